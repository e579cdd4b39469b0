"""B-splines on a grid of knots of each input's own: basis functions, curves made of them, and grids that follow the data.

Between `low` and `high` lie G cells of one size; the grid goes on for k cells on either side, so that G + k basis functions
of order k overlap everywhere inside. By Cox and de Boor, with knots t_0 < t_1 < ... and 0/0 = 0,

    B_g,0(x) = 1 where t_g ≤ x < t_{g+1}, else 0
    B_g,k(x) = (x - t_g) / (t_{g+k} - t_g) B_g,k-1(x)  +  (t_{g+k+1} - x) / (t_{g+k+1} - t_{g+1}) B_g+1,k-1(x)

Outside the knots every basis function is 0. The silu of the input counts as one more function, the first.

Source: "KAN: Kolmogorov-Arnold Networks" (Liu et al., 2024); the code of its authors, pykan, gives the same numbers.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def even_knots(low: float, high: float, cells: int, order: int, inputs: int) -> Tensor:
    """Knots at equal distances, `order` more on either side of [low, high].

    Shapes: -> (inputs, cells + 2 order + 1). Raises: ValueError for no cell, a negative order or an empty interval.
    """
    if cells < 1 or order < 0 or not low < high:
        raise ValueError(
            f"a grid has at least one cell between low < high, not {cells} in [{low}, {high}], order {order}."
        )
    step = (high - low) / cells
    places = torch.arange(-order, cells + order + 1, dtype=torch.float64)
    return (low + places * step).to(torch.get_default_dtype()).repeat(inputs, 1)


def basis(x: Tensor, grid: Tensor, order: int) -> Tensor:
    """Each input's value of each of its basis functions.

    Shapes: x (..., inputs), grid (inputs, knots) -> (..., inputs, knots - 1 - order).
    """
    x = x.unsqueeze(-1)
    inside = (x >= grid[:, :1]) & (x < grid[:, -1:])
    x = torch.where(inside, x, grid[:, :1])  # also what is not a number: no 0 · inf in the gradients
    value = ((x >= grid[:, :-1]) & (x < grid[:, 1:])).to(x.dtype)
    for k in range(1, order + 1):
        left, right = grid[:, : -k - 1], grid[:, k + 1 :]
        rising = _share(x - left, grid[:, k:-1] - left) * value[..., :-1]
        value = rising + _share(right - x, right - grid[:, 1:-k]) * value[..., 1:]
    return torch.where(inside, value, 0.0)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, and 0 where knots coincide."""
    return torch.where(whole > 0, part / torch.where(whole > 0, whole, 1.0), 0.0)


def functions(x: Tensor, grid: Tensor, order: int) -> Tensor:
    """The silu of each input, then its basis functions. Shapes: (..., inputs) -> (..., inputs, 1 + bases)."""
    return torch.cat((F.silu(x).unsqueeze(-1), basis(x, grid, order)), -1)


def order_of(grid: Tensor, edges: Tensor) -> int:
    """The order of the splines: what the numbers of knots and of functions leave."""
    return grid.shape[-1] - edges.shape[-2]


def edge_sums(x: Tensor, grid: Tensor, edges: Tensor) -> Tensor:
    """y_o = Σ_i Σ_s edges_iso function_s(x_i), in plain torch: one matrix product. The grid is given, not learnt.

    Shapes: x (..., inputs), grid (inputs, knots), edges (inputs, 1 + bases, outputs) -> (..., outputs).
    """
    return functions(x, grid.detach(), order_of(grid, edges)).flatten(-2) @ edges.flatten(0, 1)


def following(x: Tensor, cells: int, order: int, evenness: float) -> Tensor:
    """Knots where the data are: `evenness` 1 spaces them evenly between the extremes, 0 puts equally many values in each cell.

    Shapes: x (rows, inputs) -> (inputs, cells + 2 order + 1). Source: pykan's update of its grid from samples.
    """
    ranked = x.sort(0).values
    places = [len(x) * cell // cells for cell in range(cells)] + [-1]
    dense = ranked[places].T
    low, high = dense[:, :1], dense[:, -1:]
    even = low + (high - low) * torch.linspace(0, 1, cells + 1, dtype=x.dtype, device=x.device)
    inner = evenness * even + (1 - evenness) * dense
    outward = torch.arange(1, order + 1, dtype=x.dtype, device=x.device) * ((high - low) / cells)
    return torch.cat((inner[:, :1] - outward.flip(-1), inner, inner[:, -1:] + outward), -1)


def coefficients(x: Tensor, curves: Tensor, grid: Tensor, order: int) -> Tensor:
    """The coefficients whose splines come nearest to curves at the points x, by least squares.

    Shapes: x (points, inputs), curves (points, inputs, outputs), grid (inputs, knots) -> (inputs, bases, outputs).
    """
    table = basis(x, grid, order).transpose(0, 1)
    return torch.linalg.pinv(table) @ curves.transpose(0, 1)


def spline_values(x: Tensor, grid: Tensor, splines: Tensor, order: int) -> Tensor:
    """Every curve's value at every point, without the silu.

    Shapes: x (points, inputs), grid (inputs, knots), splines (inputs, bases, outputs) -> (points, inputs, outputs).
    """
    return torch.einsum("pis,iso->pio", basis(x, grid, order), splines)
