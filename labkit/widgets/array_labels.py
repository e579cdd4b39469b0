"""The names around an array: which axes it has, what they and their entries are called, which two of them are drawn."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from labkit.errors import LabError
from labkit.views.reading import entries
from labkit.views.wording import WORDS, sentence

TICKS = 48
"""Labels of an axis in one picture at most."""
ROOM = 8_000
"""Characters that the names of one axis may take on their way to the browser."""


def labelled(data: Any) -> xr.DataArray:
    """The array with named axes; a numpy array or a tensor gets the names "axis 0", "axis 1" and so on.

    Raises: LabError when there are no two axes, no entries, or no real numbers.
    """
    if not isinstance(data, xr.DataArray):
        shape = getattr(data, "shape", None)
        if shape is None or isinstance(data, xr.Dataset):
            hint = "; take one of its variables" if isinstance(data, xr.Dataset) else ""
            raise LabError(f"ArrayExplorer needs an array (xarray.DataArray), and got {type(data).__name__}{hint}.")
        data = data.detach().float().cpu().numpy() if hasattr(data, "detach") else np.asarray(data)
        data = xr.DataArray(data, dims=[f"axis {place}" for place in range(data.ndim)])
    if data.ndim < 2:
        found = f" ({', '.join(map(str, data.dims))})" if data.ndim else ""
        raise LabError(f"ArrayExplorer draws two axes, and the array has {data.ndim}{found}.")
    if data.dtype.kind not in "iufb":
        raise LabError(f"ArrayExplorer draws real numbers only, and got the type {data.dtype}.")
    if 0 in data.sizes.values():
        empty = next(dim for dim, size in data.sizes.items() if size == 0)
        raise LabError(f"ArrayExplorer has nothing to draw: there is no entry along {empty}.")
    return data


def axes_of(data: xr.DataArray, rows: str | None, columns: str | None) -> tuple[str, str]:
    """The two axes to draw: those that are named, else the last ones. Raises: LabError when there is no such axis."""
    dims = [str(dim) for dim in data.dims]
    for name in (rows, columns):
        if name is not None and name not in dims:
            raise LabError(f"ArrayExplorer cannot draw the axis {name!r}: the array has {', '.join(dims)}.")
    columns = columns or next(dim for dim in reversed(dims) if dim != rows)
    rows = rows or next(dim for dim in reversed(dims) if dim != columns)
    if rows == columns:
        raise LabError(f"ArrayExplorer draws two different axes, and got {rows!r} twice.")
    return rows, columns


def word_of(data: xr.DataArray, dim: str) -> str:
    """What an axis is called in a sentence: the long name that it brings, else its own."""
    return str(data[dim].attrs.get("long_name") or WORDS.get(dim, dim)).replace("_", " ")


def label_of(data: xr.DataArray, dim: str, place: int) -> str:
    """One entry of an axis: its coordinate, and in quotes the first text that lies along the same axis (17 “the”)."""
    value = data[dim].values[place]
    if isinstance(value, str):
        return value[:40]
    name = f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
    for extra, coordinate in data.coords.items():
        if extra != dim and coordinate.dims == (dim,) and coordinate.dtype.kind in "UOT":
            text = str(coordinate.values[place]).replace("\n", "⏎")
            return f"{name} “{text[:24]}”"
    return name


def span_of(data: xr.DataArray, dim: str, start: int, stop: int) -> str:
    """Some entries of an axis in a row: query 17 “the”, or queries as query 16 to 23."""
    word = word_of(data, dim)
    if stop - start < 2:
        return f"{word} {label_of(data, dim, start)}"
    return f"{word} {label_of(data, dim, start)} to {label_of(data, dim, stop - 1)}"


def axis_facts(data: xr.DataArray, dim: str) -> dict[str, Any]:
    """What the browser must know of an axis: its word, its size, and its coordinates where they are short or even."""
    values = data[dim].values
    facts: dict[str, Any] = {"word": sentence(word_of(data, dim)), "size": len(values)}
    if values.dtype.kind in "iu" and len(np.unique(np.diff(values.astype(np.int64)))) <= 1:
        stride = int(values[1]) - int(values[0]) if len(values) > 1 else 1
        return facts | {"first": int(values[0]), "stride": stride}
    if len(values) * 2 > ROOM:
        return facts
    names = entries(data, dim)
    return facts | ({"values": names} if len(json.dumps(names)) <= ROOM else {})


def tick_labels(data: xr.DataArray, dim: str, start: int, stop: int) -> dict[str, Any]:
    """Labels at round places of a stretch of an axis, and how far they are apart."""
    steps = (one * 10**power for power in range(12) for one in (1, 2, 5))
    apart = next(step for step in steps if (stop - start) / step <= TICKS)
    places: Sequence[int] = range(-(-start // apart) * apart, stop, apart)
    return {"apart": apart, "texts": {str(place): label_of(data, dim, place) for place in places}}
