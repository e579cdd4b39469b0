"""The weights of one parameter as a picture: a matrix, or small pictures where a unit looks at pictures.

An entry of a picture knows which entry of the parameter it is: with the coordinates `row` and `column` of a parameter of
shape s and the attribute `width` = s_last (of a convolution the product of all but the first),

    index = unravel(row * width + column, s)
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.recording.batches import inputs_of
from labkit.recording.materials import named

ROWS, COLUMNS = 256, 512
"""A picture of weights is at most so large; of a larger parameter the entries are taken evenly."""
SMALLEST, GRID = 8, (8, 12)
"""Pictures as inputs have at least so many pixels a side; so many small pictures stand below and beside each other."""
SMOOTH = 0.75
"""In a picture neighbouring pixels differ by at most this share of what distant ones do."""


def readable(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter of two axes and more that has entries, by its name in the model."""
    for path, module in named(model):
        for name, weight in module._parameters.items():
            if weight is not None and weight.dim() >= 2 and weight.numel():
                yield (f"{path}.{name}" if path else name), weight.detach()


def matrix(name: str, weight: Tensor) -> xr.DataArray:
    """A parameter as a matrix of its own entries. Shapes: (..., inputs) -> (row, column), at most 256 x 512.

    Of a convolution a row is a filter; of a bank of experts the rows are the units of one expert after the other.
    """
    flat = _flat(weight)
    rows, columns = (_evenly(size, most) for size, most in zip(flat.shape, (ROWS, COLUMNS)))
    words = _words(weight)
    values = flat[rows][:, columns].float().cpu().numpy()
    shown = parts_shown(flat.shape, values.shape)
    return xr.DataArray(
        values,
        dims=("row", "column"),
        coords={
            "row": ("row", rows.numpy(), {"long_name": words[0]}),
            "column": ("column", columns.numpy(), {"long_name": words[1]}),
            "parameter": name,
        },
        name="weights",
        attrs={"long_name": "weight", "units": "", "signed": 1, "width": flat.shape[1], "note": shown},
    )


def tiles(name: str, weight: Tensor, shape: tuple[int, int] | None) -> xr.DataArray | None:
    """The weights of units that look at pictures of this shape, or the filters of a convolution, as small pictures.

    Shapes: (..., rows * columns) or (outputs, inputs, rows, columns) -> (down, across), NaN between the pictures; `row` and
    `column` (down, across) say which entry of the parameter a cell is, -1 between. None where there are no such pictures.
    """
    if weight.dim() == 4 and min(weight.shape[2:]) > 1:
        kept = [_evenly(size, most) for size, most in zip(weight.shape[:2], GRID)]
        number = torch.arange(weight.numel()).view(weight.shape)[kept[0]][:, kept[1]]
    elif shape is not None and weight.dim() in (2, 3) and weight.shape[-1] == shape[0] * shape[1]:
        units = weight.numel() // weight.shape[-1]
        most = min(GRID[0], max(1, (ROWS + 1) // (shape[0] + 1))) * min(
            GRID[1], max(1, (COLUMNS + 1) // (shape[1] + 1))
        )
        chosen = _evenly(units, most)
        across = int(np.ceil(np.sqrt(len(chosen) * 1.6)))
        down = -(-len(chosen) // across)
        number = torch.full((down * across, *shape), -1)
        number[: len(chosen)] = torch.arange(weight.numel()).view(units, *shape)[chosen]
        number = number.view(down, across, *shape)
    else:
        return None
    return _spread(name, weight, number)


def _spread(name: str, weight: Tensor, number: Tensor) -> xr.DataArray:
    """Small pictures, given as numbers of entries (down, across, rows, columns), with a line between them."""
    down, across, rows, columns = number.shape
    wide = torch.full((down, across, rows + 1, columns + 1), -1)
    wide[:, :, :rows, :columns] = number
    whole = wide.permute(0, 2, 1, 3).reshape(down * (rows + 1), across * (columns + 1))[:-1, :-1]
    flat, width = weight.flatten().float().cpu(), _flat(weight).shape[1]
    values = torch.where(whole >= 0, flat[whole.clamp_min(0)], torch.nan)
    place = {"row": torch.where(whole >= 0, whole // width, -1), "column": torch.where(whole >= 0, whole % width, -1)}
    return xr.DataArray(
        values.numpy(),
        dims=("down", "across"),
        coords={**{key: (("down", "across"), one.numpy()) for key, one in place.items()}, "parameter": name},
        name="pictures",
        attrs={"long_name": "weight", "units": "", "signed": 1, "width": width, "pictures": 1},
    )


def picture_shape(batch: Any) -> tuple[int, int] | None:
    """Rows and columns of the grey square pictures that the inputs are, whether flattened or not; None where they are none.

    Flat inputs count as pictures where pixels that would lie below each other are more alike than distant ones.
    """
    x = inputs_of(batch)
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() not in (2, 4):
        return None
    if x.dim() == 4:
        return (x.shape[2], x.shape[3]) if x.shape[1] == 1 and min(x.shape[2:]) >= SMALLEST else None
    side = round(x.shape[1] ** 0.5)
    if side < SMALLEST or side * side != x.shape[1]:
        return None
    flat = x[:64].float()
    near = (flat[:, side:] - flat[:, :-side]).abs().mean()
    far = (flat - flat.roll(side * (side // 2) + side // 3, 1)).abs().mean()
    return (side, side) if bool(near < SMOOTH * far) else None


def parts_shown(whole: Sequence[int], shown: Sequence[int]) -> str:
    """A sentence on what a thinned picture leaves out; "" where nothing."""
    sides = zip(("rows", "columns"), shown, whole)
    said = [f"{few:,} of {all_:,} {word}" for word, few, all_ in sides if few < all_]
    return f"{' and '.join(said)} are shown, evenly spread." if said else ""


def _flat(weight: Tensor) -> Tensor:
    """A parameter as a matrix, its entries in their own order."""
    return weight.flatten(1) if weight.dim() >= 4 else weight.flatten(0, -2)


def _words(weight: Tensor) -> tuple[str, str]:
    if weight.dim() >= 4:
        return "filter", "entry of the filter"
    return ("unit, group by group", "input") if weight.dim() == 3 else ("unit", "input")


def _evenly(size: int, most: int) -> Tensor:
    return torch.arange(size) if size <= most else (torch.arange(most) * size) // most
