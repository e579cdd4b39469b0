"""The compiled bank of experts: what the walk of fast paths does not ask."""

import pytest
import torch
from torch.nn import functional as F

from labkit.parts.experts import Experts
from labkit.parts.gate import Routing, only
from labkit.parts.kernels.engine import kernels
from labkit.parts.kernels.experts import experts, plain

pytest.importorskip("numba", reason="without numba nothing is compiled")


def routed(rows: int, count: int, chosen: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    best, index = torch.randn(rows, count, generator=draw).topk(chosen, -1)
    return index, best.softmax(-1)


def near(got: torch.Tensor, wanted: torch.Tensor) -> None:
    assert float((got - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())


@pytest.fixture
def bank():
    torch.manual_seed(0)
    return Experts(5, 37, 51, 45)


@pytest.mark.parametrize("chosen", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 2, 40, 900])
def test_a_bank_takes_the_compiled_way_and_it_equals_the_others(bank, rows, chosen):
    index, weights = routed(rows, 5, chosen)
    x, routing = torch.randn(rows, 37), Routing(index, weights, 5)
    with torch.no_grad():
        with kernels("compiled"):
            compiled = bank(x, routing)
        with kernels("reference"):
            near(compiled, bank(x, routing))
        near(compiled, bank.mixed(x, routing.mixture()))


@pytest.mark.parametrize("width", [16, 37, 300])
def test_a_row_does_not_depend_on_the_rows_around_it(width):
    bank = Experts(3, width, 70, 2 * width)
    index, weights = routed(700, 3, 2)
    x = torch.randn(700, width)
    with torch.no_grad(), kernels("compiled"):
        together = bank(x, Routing(index, weights, 3))
        for some in (slice(0, 1), slice(5, 8), slice(10, 30), slice(100, 500)):
            assert torch.equal(bank(x[some], Routing(index[some], weights[some], 3)), together[some])


def test_nothing_chosen_gives_nothing_and_moves_nothing(bank):
    index, weights = routed(300, 5, 2)
    index[7], index[9, 1], weights = -1, -1, weights.requires_grad_()
    x = torch.randn(300, 37, requires_grad=True)
    with kernels("compiled"):
        out = bank(x, Routing(index, weights, 5))
    assert torch.equal(out[7], torch.zeros(45))
    out.square().sum().backward()
    assert torch.equal(x.grad[7], torch.zeros(37))
    assert torch.equal(weights.grad[7], torch.zeros(2))
    assert weights.grad[9, 1] == 0
    with torch.no_grad(), kernels("compiled"):
        assert torch.equal(bank(x, Routing(torch.full((300, 1), -1), weights[:, :1], 5)), torch.zeros(300, 45))


def test_an_index_that_is_no_expert_is_refused_before_anything_is_read(bank):
    for wrong in (5, -2, 10**12):
        with pytest.raises(IndexError, match="0 to 4"), kernels("compiled"):
            bank(torch.randn(3, 37), only(torch.tensor([0, wrong, 1]), 5, torch.ones(1)))


def test_tensors_that_do_not_fit_each_other_are_refused(bank):
    index, weights = routed(8, 5, 2)
    given = [torch.randn(8, 37), index, weights, bank.in_weight, bank.in_bias, bank.out_weight, bank.out_bias]
    for place, other in enumerate((torch.randn(8, 36), index[:7], weights[:, :1], bank.in_weight[:4])):
        wrong = list(given)
        wrong[place] = other
        with torch.no_grad(), pytest.raises(ValueError, match="does not fit"):
            experts(*wrong)


def test_only_the_rectifier_is_compiled(bank):
    bank.activation = F.gelu
    index, weights = routed(30, 5, 2)
    x, routing = torch.randn(30, 37), Routing(index, weights, 5)
    with torch.no_grad():
        near(bank(x, routing), bank.mixed(x, routing.mixture()))


def test_gradients_have_the_same_bits_on_any_number_of_threads():
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(1)
            bank, x = Experts(4, 64, 100, 90), torch.randn(900, 64, requires_grad=True)
            index, weights = routed(900, 4, 2)
            weights.requires_grad_()
            with kernels("compiled"):
                bank(x, Routing(index, weights, 4)).cos().sum().backward()
            found.append([one.grad for one in (x, weights, *bank.parameters())])
    finally:
        torch.set_num_threads(before)
    for others in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], others, strict=True))


def test_experts_that_nobody_chose_get_a_gradient_of_zero():
    bank, x = Experts(6, 20, 30, 10), torch.randn(50, 20)
    with kernels("compiled"):
        bank(x, only(torch.arange(50) % 3, 6, x)).square().sum().backward()
    for parameter in bank.parameters():
        assert parameter.grad[:3].abs().amax() > 0
        assert torch.equal(parameter.grad[3:], torch.zeros_like(parameter[3:]))


def test_gradients_are_computed_only_for_who_wants_them(bank):
    index, weights = routed(700, 5, 2)
    x = torch.randn(700, 37)
    whole = [one.detach().clone().requires_grad_() for one in (x, weights, *bank.parameters())]
    plain(whole[0], index, *whole[1:]).square().sum().backward()
    for wanted in range(len(whole)):
        own = [one.detach().clone().requires_grad_(place == wanted) for place, one in enumerate(whole)]
        experts(own[0], index, *own[1:]).square().sum().backward()
        near(own[wanted].grad, whole[wanted].grad)
        assert all(one.grad is None for place, one in enumerate(own) if place != wanted)


def test_a_gradient_can_be_differentiated_again(bank):
    index, weights = routed(10, 5, 2)
    x, found = torch.randn(10, 37, requires_grad=True), []
    for way in ("compiled", "reference"):
        with kernels(way):
            (slope,) = torch.autograd.grad(bank(x, Routing(index, weights, 5)).sin().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), x)[0])
    near(*found)


def test_one_row_that_is_not_a_number_stays_alone(bank):
    index, weights = routed(80, 5, 2)
    x = torch.randn(80, 37)
    x[11], x[40, 3] = torch.nan, torch.inf
    with torch.no_grad(), kernels("compiled"):
        out = bank(x, Routing(index, weights, 5))
    assert out[11].isnan().all()
    assert not out[40].isfinite().all()
    assert torch.cat((out[:11], out[12:40], out[41:])).isfinite().all()


def test_a_compiled_training_step_holds_it(bank):
    index, weights = routed(40, 5, 2)
    x = torch.randn(40, 37)
    torch._dynamo.reset()

    def loss():
        return bank(x, Routing(index, weights, 5)).square().sum()

    loss().backward()
    known = [parameter.grad.clone() for parameter in bank.parameters()]
    bank.zero_grad()
    torch.compile(loss, fullgraph=True, backend="aot_eager")().backward()
    for one, parameter in zip(known, bank.parameters(), strict=True):
        assert torch.equal(one, parameter.grad)
