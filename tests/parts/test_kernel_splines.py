"""Spline edges: the compiled sums equal the recursion, whatever the batch, the threads, the grid and the numbers are."""

import pytest
import torch

from labkit.layers.feedforward.spline_edges import SplineEdges
from labkit.parts.kernels import splines
from labkit.parts.kernels.engine import kernels
from labkit.parts.splines import basis, edge_sums, even_knots


def drawn(rows: int, inputs: int, outputs: int, cells: int = 5, spread: float = 1.2):
    draw = torch.Generator().manual_seed(rows + inputs + outputs)
    x = spread * torch.randn(rows, inputs, generator=draw)
    grid = even_knots(-1, 1, cells, 3, inputs)
    return x, grid, torch.randn(inputs, cells + 4, outputs, generator=draw)


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return ((found - exact).abs().max() / exact.abs().max()).item()


@pytest.mark.parametrize(
    "sizes", [(1, 1, 1, 1), (2, 17, 3, 5), (33, 5, 64, 2), (300, 18, 200, 5), (129, 3, 300, 20), (64, 40, 192, 7)]
)
def test_sums_and_gradients_equal_the_recursion_in_double_precision(sizes):
    x, grid, edges = drawn(*sizes)
    slope = torch.randn(len(x), edges.shape[-1])
    answers = []
    for way, dtype in ((splines.spline_sums, torch.float32), (edge_sums, torch.float64)):
        own, weights = x.to(dtype, copy=True).requires_grad_(), edges.to(dtype, copy=True).requires_grad_()
        out = way(own, grid.to(dtype), weights)
        out.backward(slope.to(dtype))
        answers.append((out.detach(), own.grad, weights.grad))
    for found, exact in zip(*answers, strict=True):
        assert error(found, exact) < 1e-5


def test_a_row_is_the_same_in_any_batch_on_any_threads():
    x, grid, edges = drawn(300, 33, 210)
    whole = splines.compute(x, grid, edges)
    for rows in (1, 7, 129, 256):
        assert torch.equal(splines.compute(x[:rows], grid, edges), whole[:rows])
    before = torch.get_num_threads()
    slope, steps = torch.randn(300, 210), splines._even(grid)
    answers = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            answers.append(
                (
                    splines.compute(x, grid, edges),
                    splines.toward_inputs(slope, x, steps, edges),
                    splines.toward_edges(slope, x, steps, edges),
                )
            )
    finally:
        torch.set_num_threads(before)
    for other in answers[1:]:
        assert all(torch.equal(a, b) for a, b in zip(answers[0], other, strict=True))


def test_knots_edges_and_what_is_no_number_say_what_plain_torch_says():
    grid = even_knots(-1, 1, 5, 3, 1)
    special = torch.tensor(
        [float("nan"), float("inf"), float("-inf"), 1e30, -1e30, 0.0, -0.0, 2.2, -2.2, 5.0, -90.0, 90.0]
    )
    x = torch.cat((special, grid[0], torch.linspace(-3, 3, 101))).unsqueeze(-1)
    edges = torch.randn(1, 9, 80)
    torch.testing.assert_close(
        splines.compute(x, grid, edges), edge_sums(x, grid, edges), rtol=1e-5, atol=1e-5, equal_nan=True
    )


def test_outside_the_grid_only_the_silu_is_left():
    _, grid, edges = drawn(1, 2, 5)
    x = torch.tensor([[3.0, -4.0], [-2.3, 2.3]])
    assert basis(x, grid, 3).abs().sum() == 0
    torch.testing.assert_close(
        splines.compute(x, grid, edges), torch.nn.functional.silu(x) @ edges[:, 0], rtol=1e-5, atol=1e-5
    )


def test_grids_that_are_not_even_take_the_plain_way_with_the_same_answer():
    x, grid, edges = drawn(20, 4, 6)
    for spoil in (
        lambda g: g[2, 5].add_(0.01),
        lambda g: g[1].copy_(g[1].sign() * g[1].square()),
        lambda g: g[0, 3].fill_(float("nan")),
    ):
        other = grid.clone()
        spoil(other)
        assert splines._even(other) is None
        own, weights = x.clone().requires_grad_(), edges.clone().requires_grad_()
        out = splines.spline_sums(own, other, weights)
        torch.testing.assert_close(out, edge_sums(x, other, edges), equal_nan=True)
        out.nan_to_num().sum().backward()
        assert own.grad is not None
        assert weights.grad is not None
    assert splines._even(grid) is not None
    assert splines._even(grid * torch.tensor([[1.0], [2.0], [0.3], [5.0]]) + 3) is not None


def test_every_input_may_have_an_even_grid_of_its_own():
    x, grid, edges = drawn(50, 4, 70)
    grid = grid * torch.tensor([[1.0], [2.0], [0.3], [5.0]]) + 0.5
    exact = edge_sums(x.double(), grid.double(), edges.double())
    assert error(splines.compute(x, grid, edges), exact) < 1e-5


def test_second_derivatives_are_those_of_plain_torch():
    x, _, _ = drawn(30, 8, 9)
    layer, found = SplineEdges(8, 9), []
    for way in ("auto", "reference"):
        own = x.clone().requires_grad_()
        with kernels(way):
            (first,) = torch.autograd.grad(layer(own).square().sum(), own, create_graph=True)
            first.square().sum().backward()
        found.append(own.grad)
    assert error(found[0], found[1].double()) < 1e-5
    assert found[1].abs().sum() > 0


def test_only_the_gradients_that_are_wanted_are_computed():
    x, grid, edges = drawn(10, 4, 6)
    own = x.clone().requires_grad_()
    splines.spline_sums(own, grid, edges).sum().backward()
    assert own.grad is not None
    weights = edges.clone().requires_grad_()
    splines.spline_sums(x, grid, weights).sum().backward()
    assert weights.grad is not None


def test_strided_and_folded_inputs_are_read_rightly():
    x, grid, edges = drawn(24, 6, 10)
    strided = torch.stack((x, x), -1).transpose(0, 1)[..., 0].t()
    torch.testing.assert_close(splines.compute(strided, grid, edges), splines.compute(x, grid, edges), rtol=0, atol=0)
    folded = splines.compute(x.view(2, 3, 4, 6), grid, edges)
    assert torch.equal(folded.view(24, 10), splines.compute(x, grid, edges))


def test_sizes_that_do_not_fit_are_refused_before_memory_is_read():
    x, grid, edges = drawn(10, 4, 6)
    for wrong in ((x[:, :3], grid, edges), (x, grid[:3], edges), (x, grid, edges[:2])):
        with pytest.raises(ValueError, match="as many inputs"):
            splines.compute(*wrong)


def test_a_moved_grid_keeps_the_curves_inside_the_data():
    torch.manual_seed(0)
    layer, x = SplineEdges(3, 4, cells=8), torch.rand(400, 3) * 1.6 - 0.8
    before = layer(x)
    layer.move_grid(x, evenness=1.0)
    assert splines._even(layer.grid) is not None
    assert error(layer(x[20:380]), before[20:380]) < 0.05
    layer.move_grid(x, evenness=0.02)
    assert splines._even(layer.grid) is None
    assert torch.isfinite(layer(x)).all()


def test_equal_to_pykan_with_its_weights():
    kan = pytest.importorskip("kan.KANLayer")
    torch.manual_seed(0)
    theirs, ours = kan.KANLayer(7, 70, num=5, k=3), SplineEdges(7, 70)
    with torch.no_grad():
        theirs.coef.normal_()
        ours.edges[:, 0] = theirs.scale_base
        ours.edges[:, 1:] = (theirs.coef * theirs.scale_sp.unsqueeze(-1)).transpose(1, 2)
    torch.testing.assert_close(ours.grid, theirs.grid.data)
    x = 1.5 * torch.randn(200, 7)
    answers = []
    for layer in (lambda x: ours(x), lambda x: theirs(x)[0]):
        own = x.clone().requires_grad_()
        out = layer(own)
        out.square().sum().backward()
        answers.append((out.detach(), own.grad))
    for found, exact in zip(*answers, strict=True):
        assert error(found, exact) < 1e-5
    assert error(ours.edges.grad[:, 0], theirs.scale_base.grad) < 1e-5
    with torch.no_grad():
        theirs.update_grid_from_samples(x)
        ours.move_grid(x)
    torch.testing.assert_close(ours.grid, theirs.grid.data)
