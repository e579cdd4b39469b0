"""Group-rational functions: one compiled pass equals plain torch, and the shared coefficients' gradients are exact sums."""

import pytest
import torch
from torch.nn import functional as F

from labkit.layers.feedforward.group_rational import GroupRational
from labkit.parts.kernels import rational as compiled
from labkit.parts.kernels.engine import kernels
from labkit.parts.rational import STARTS, gain, rational


def drawn(rows: int, groups: int, width: int):
    draw = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, groups * width, generator=draw)
    return x, torch.randn(groups, 6, generator=draw), torch.randn(groups, 4, generator=draw)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 2, 5), (65, 3, 17), (200, 4, 48), (0, 2, 3)])
def test_answers_and_gradients_equal_plain_torch_in_double_precision(sizes):
    given = drawn(*sizes)
    slope, answers = torch.randn(given[0].shape), []
    for way, dtype in ((compiled.group_rational, torch.float32), (rational, torch.float64)):
        own = [one.to(dtype, copy=True).requires_grad_() for one in given]
        out = way(*own)
        out.backward(slope.to(dtype))
        answers.append([out.detach(), *(one.grad for one in own)])
    for found, exact in zip(*answers, strict=True):
        assert found.shape == exact.shape
        assert not found.numel() or (found - exact).abs().max() <= 1e-5 * exact.abs().max()


def test_the_same_bits_on_any_threads_and_in_any_batch():
    given = drawn(1000, 4, 40)
    before, answers = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            own = [one.clone().requires_grad_() for one in given]
            out = compiled.group_rational(*own)
            out.square().sum().backward()
            answers.append([out.detach(), *(one.grad for one in own)])
    finally:
        torch.set_num_threads(before)
    for other in answers[1:]:
        assert all(torch.equal(a, b) for a, b in zip(answers[0], other, strict=True))
    x, above, below = given
    assert torch.equal(compiled.compute(x[:3], above, below), answers[0][0][:3])


def test_what_is_no_number_stays_none():
    _, above, below = drawn(1, 1, 4)
    x = torch.tensor([[float("nan"), float("inf"), 1e20, 0.5]])
    assert torch.equal(compiled.compute(x, above, below).isfinite(), rational(x, above, below).isfinite())


def test_a_function_that_starts_as_the_identity_can_learn_its_denominator():
    for way in ("compiled", "reference"):
        torch.manual_seed(0)
        layer = GroupRational(32, 4, groups=2, start="identity")
        x = torch.randn(64, 32)
        with kernels(way):
            torch.testing.assert_close(layer.curve(x), x)
            layer(x).square().sum().backward()
        assert (layer.denominator.grad != 0).all()


def test_it_starts_as_the_function_it_says():
    x = torch.linspace(-3, 3, 301).unsqueeze(-1)
    for start, function, off in (("swish", F.silu, 1e-5), ("gelu", F.gelu, 3e-3), ("identity", lambda x: x, 1e-7)):
        assert (GroupRational(1, 1, groups=1, start=start).curve(x) - function(x)).abs().max() < off


@pytest.mark.parametrize("start", STARTS)
def test_the_variance_is_kept(start):
    torch.manual_seed(0)
    layer = GroupRational(512, 512, start=start)
    assert layer(torch.randn(512, 512)).square().mean().item() == pytest.approx(1, rel=0.05)


def test_the_gains_are_those_of_the_functions():
    x = torch.linspace(-8, 8, 8001, dtype=torch.float64)
    normal = torch.exp(-x.square() / 2) / torch.exp(-x.square() / 2).sum()
    assert gain("identity") == pytest.approx(1, rel=1e-6)
    assert gain("swish") == pytest.approx(1 / (F.silu(x).square() * normal).sum().item(), rel=1e-3)


def test_sizes_that_do_not_fit_are_refused_before_memory_is_read():
    x, above, below = drawn(4, 2, 3)
    for wrong in ((x[:, :5], above, below), (x, above[:, :5], below), (x, above, below[:1])):
        with pytest.raises(ValueError, match="whole groups"):
            compiled.compute(*wrong)
