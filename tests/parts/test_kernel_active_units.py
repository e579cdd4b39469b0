"""Compiled active units: a row's bits depend on nothing but the row, gradients are short and right, bad units are refused."""

import pytest
import torch
from torch.nn import functional as F

from labkit.layers.feedforward.average_key_blocks import AverageKeyBlocks
from labkit.layers.feedforward.top_k_feedforward import TopKFeedforward
from labkit.parts.gate import Routing
from labkit.parts.gathered import active_units, chosen_sum, gathered_row, gathered_rows, units_of
from labkit.parts.kernels import active_units as compiled
from labkit.parts.kernels.engine import kernels
from labkit.recording.record import record

pytest.importorskip("numba", reason="without numba nothing is compiled")


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def weights(units, width, out_width):
    return torch.randn(units, width), torch.randn(units), torch.randn(units, out_width), torch.randn(out_width)


def draw(rows, chosen, units, width=70, out_width=37):
    index = torch.stack([torch.randperm(units)[:chosen] for _ in range(rows)])
    return torch.randn(rows, width), index, weights(units, width, out_width)


@pytest.mark.parametrize(("rows", "chosen", "units"), [(1, 9, 40), (8, 30, 100), (70, 40, 4000), (600, 5, 65)])
def test_a_row_has_the_same_bits_alone_in_a_batch_and_on_two_threads(rows, chosen, units):
    x, index, bank = draw(rows, chosen, units, width=520, out_width=500)
    answers = []
    for count in (1, 2):
        torch.set_num_threads(count)
        answers.append(compiled.feedforward(x, index, *bank, True))
    assert torch.equal(*answers)
    for row in (0, rows - 1):
        alone = compiled.feedforward(x[row : row + 1], index[row : row + 1], *bank, True)
        assert torch.equal(alone, answers[0][row : row + 1])


def test_the_order_of_the_index_does_not_matter_to_a_bit():
    x, index, bank = draw(5, 33, 3000)
    given = compiled.feedforward(x, index, *bank, True)
    assert torch.equal(given, compiled.feedforward(x, index.sort(1).values, *bank, True))
    assert torch.equal(given, compiled.feedforward(x, F.pad(index, (3, 2), value=-1), *bank, True))


def test_training_says_to_a_bit_what_evaluation_says():
    x, index, bank = draw(17, 6, 90)
    with kernels("compiled"):
        evaluated = active_units(x, index, *bank)
        learning = active_units(x.requires_grad_(), index, *bank)
    assert torch.equal(evaluated, learning.detach())
    assert learning.requires_grad


@pytest.mark.parametrize("activation", [F.relu, F.gelu, torch.sigmoid])
def test_compiled_and_plain_agree_forward_and_backward(activation):
    x, index, bank = draw(19, 7, 60)
    index[3, 2:] = -1
    index[4] = index[4, 0]
    sides = []
    for way in ("compiled", "reference"):
        given = [one.clone().requires_grad_() for one in (x, *bank)]
        with kernels(way):
            out = active_units(given[0], index, *given[1:], activation)
        sides.append((out, *torch.autograd.grad(out.square().sum(), given)))
    for one, other in zip(*sides, strict=True):
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()


@pytest.mark.parametrize("bad", [-2, 60, 2**40, -(2**62)])
@pytest.mark.parametrize("rows", [1, 40])
def test_a_unit_that_is_not_there_is_refused(bad, rows):
    x, index, bank = draw(rows, 7, 60)
    index[-1, 3] = bad
    with pytest.raises(IndexError):
        compiled.feedforward(x, index, *bank, True)
    with pytest.raises(IndexError):
        compiled.chosen_dots(x, index, *bank[:2])
    with pytest.raises(IndexError):
        compiled.chosen_sums(torch.randn(rows, 7), index, *bank[2:])


def test_nan_stays_and_what_is_not_chosen_is_not_read():
    x, index, (w1, b1, w2, b2) = draw(6, 8, 60)
    kept = active_units(x, index, w1, b1, w2, b2)
    free = torch.ones(60, dtype=torch.bool).index_fill(0, index.unique(), False)
    w1[free], w2[free] = torch.nan, torch.inf
    assert torch.equal(compiled.feedforward(x, index, w1, b1, w2, b2, True), kept)
    x[2, 5] = torch.nan
    with kernels("compiled"):
        poisoned = active_units(x, index, w1, b1, w2, b2).isnan()
    assert poisoned[2].all()
    assert not poisoned[[0, 1, 3, 4, 5]].any()
    values = torch.zeros(2, 60)
    values[0, 3], values[1, 59] = torch.nan, 2.0
    w2[3] = 1.0
    assert gathered_rows(values, w2).isnan()[0].all()


@pytest.mark.parametrize("units", [1, 15, 16, 17, 63, 300])
def test_every_value_that_is_not_zero_is_found(units):
    values = torch.randn(21, units) * (torch.rand(21, units) < 0.4)
    weight = torch.randn(units, 19)
    with kernels("compiled"):
        assert torch.allclose(gathered_rows(values, weight), values @ weight, atol=1e-4)
        assert torch.allclose(gathered_row(values[0], weight), values[0] @ weight, atol=1e-4)


def test_products_whose_gradient_is_wanted_take_the_plain_way():
    values, weight = torch.rand(3, 9, requires_grad=True), torch.rand(9, 2)
    gathered_rows(values, weight).sum().backward()
    assert values.grad is not None
    assert values.grad.abs().sum() > 0


def test_a_mask_and_its_index_name_the_same_units():
    mask = torch.rand(4, 5, 30) < 0.3
    mask[1, 2] = False
    index = units_of(mask)
    back = torch.zeros(4, 5, 31).scatter_(-1, index.where(index >= 0, 30), 1.0)[..., :30]
    assert torch.equal(back.bool(), mask)
    assert units_of(torch.zeros(0, 7, dtype=torch.bool)).shape == (0, 0)


def test_leading_axes_are_kept():
    x, index, bank = draw(12, 4, 50)
    flat = active_units(x, index, *bank)
    assert torch.equal(active_units(x.view(3, 4, -1), index.view(3, 4, -1), *bank).flatten(0, 1), flat)
    assert torch.allclose(active_units(x[0], index[0], *bank), flat[0])
    assert chosen_sum(torch.rand(3, 4, 6), torch.zeros(3, 4, 6, dtype=torch.long), bank[2]).shape == (3, 4, 37)


@pytest.mark.parametrize("rows", [1, 9, 80])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda: TopKFeedforward(20, 12, units=160, chosen=9),
        lambda: AverageKeyBlocks(20, 12, blocks=40, block_size=4, chosen=3),
    ],
)
def test_layers_say_and_learn_the_same_compiled_recorded_and_plain(make, rows, training):
    layer = make().train(training)
    x, sides = torch.randn(rows, 20), []
    for way in ("compiled", "recorded", "reference"):
        given = x.clone().requires_grad_()
        with kernels("compiled" if way == "recorded" else way), torch.set_grad_enabled(True):
            if way == "recorded":
                with record(layer, Routing) as trace:
                    out = layer(given)
                assert len(trace.every(Routing)) == 1
            else:
                out = layer(given)
        sides.append((out, *torch.autograd.grad(out.square().sum(), [given, *layer.parameters()])))
    assert torch.equal(sides[0][0], sides[1][0])
    for compiled_one, plain in zip(sides[0], sides[2], strict=True):
        assert (compiled_one - plain).abs().max() <= 1e-5 * plain.abs().max()


def test_a_silent_unit_is_not_chosen():
    layer = TopKFeedforward(4, 3, units=6, chosen=6)
    with torch.no_grad():
        layer.in_bias.copy_(torch.tensor([-99.0, 99.0, -99.0, 99.0, -99.0, -99.0]))
    routing = layer.gate(F.relu(F.linear(torch.randn(5, 4), layer.in_weight, layer.in_bias)))
    assert ((routing.index >= 0).sum(-1) == 2).all()
    assert routing.weights.sum(-1).allclose(torch.ones(5))
