"""What a view asks of its data: the axes it needs, numbers on them, and a sentence when something is missing."""

from collections.abc import Hashable, Sequence

import numpy as np
import xarray as xr

from labkit.errors import LabError
from labkit.views.wording import WORDS, sentence

TAKEN = ("method", "tolerance", "drop")  # arguments of xarray's sel, which an axis of that name would be taken for


def read(view: str, data: object, needs: Sequence[str], may: Sequence[str] = ()) -> xr.DataArray:
    """The data with its axes in the order of `needs` and `may`, axes of length 1 that are not asked for taken away.

    Raises:
        LabError: not a DataArray, an axis missing or too many, no entries, no numbers, or no value at all.
    """
    wanted = f"{view} needs a DataArray with the axes ({', '.join(needs)})" + (
        f" and, if you like, {', '.join(may)}" if may else ""
    )
    if not isinstance(data, xr.DataArray):
        raise LabError(f"{wanted}, and got {_kind(data)}.")
    found = f"({', '.join(f'{dim}: {size}' for dim, size in data.sizes.items())})"
    spare = [dim for dim in data.dims if dim not in (*needs, *may)]
    data = data.squeeze([dim for dim in spare if data.sizes[dim] == 1], drop=False)
    missing = [dim for dim in needs if dim not in data.dims]
    if missing:
        raise LabError(f"{wanted}, and found {found}: {', '.join(missing)} is missing.")
    extra = [dim for dim in data.dims if dim not in (*needs, *may)]
    if extra:
        raise LabError(f"{wanted}, and found {found}: choose one {extra[0]} first, for example {_choose(data, extra)}.")
    if 0 in data.sizes.values():
        empty = next(dim for dim, size in data.sizes.items() if size == 0)
        raise LabError(f"{wanted}, and found {found}: there is nothing along {empty} to draw.")
    if data.dtype.kind not in "iufb":
        raise LabError(f"{wanted}, and found {found} of type {data.dtype}: it draws real numbers only.")
    if data.dtype.kind == "f" and not any(np.isfinite(part).any() for part in np.atleast_1d(data.values)):
        raise LabError(f"{wanted}, and found {found} with no value in it: all are missing (NaN) or infinite.")
    return data.transpose(*needs, *(dim for dim in may if dim in data.dims))


def _kind(data: object) -> str:
    shape = getattr(data, "shape", None)
    return f"{type(data).__name__}" + (f" of shape {tuple(shape)}" if shape is not None else "")


def _choose(data: xr.DataArray, extra: Sequence[Hashable]) -> str:
    chosen = {str(dim): _plain(data[dim].values[-1]) for dim in extra if data.sizes[dim]}
    if any(not dim.isidentifier() or dim in TAKEN for dim in map(str, extra)):
        return f"data.sel({chosen!r})"
    return f"data.sel({', '.join(f'{dim}={value!r}' for dim, value in chosen.items())})"


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def entries(data: xr.DataArray, dim: str) -> list:
    """The labels along an axis as plain Python values; places 0, 1, ... where the axis has none."""
    return [_plain(value) for value in data[dim].values]


def title_of(data: xr.DataArray, default: str) -> str:
    """What the numbers are: their long name, with a capital."""
    return sentence(str(data.attrs.get("long_name") or data.name or default).replace("_", " "))


def units_of(data: xr.DataArray) -> str:
    """The unit as people write it; empty where there is none to write."""
    units = str(data.attrs.get("units", "")).strip()
    return "" if units in ("", "1", "none", "dimensionless") else units


def axis_title(data: xr.DataArray, default: str) -> str:
    """Name and unit for an axis: Test accuracy (fraction)."""
    name, units = title_of(data, default), units_of(data)
    return f"{name} ({units})" if units else name


def axis_of(data: xr.DataArray, dim: str) -> str:
    """Name and unit of one of the axes of the data: Training step."""
    return axis_title(data[dim], WORDS.get(dim, dim)) if data[dim].attrs else sentence(WORDS.get(dim, dim))
