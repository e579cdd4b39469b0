"""Any array as the two axes of a picture: a single axis becomes a row, and too many cells are thinned evenly."""

from typing import Any

import numpy as np
import xarray as xr

from labkit.errors import LabError

ONE = "values"
"""The axis of the only row of an array that has one axis."""


def two_axes(data: Any) -> xr.DataArray:
    """Any array of at most two axes as (rows, columns); one of a single axis becomes a row.

    Raises: LabError when it has more axes or holds no real numbers.
    """
    if not isinstance(data, xr.DataArray):
        if not hasattr(data, "shape"):
            raise LabError(f"A live picture shows an array, and got {type(data).__name__}.")
        data = data.detach().float().cpu().numpy() if hasattr(data, "detach") else np.asarray(data)
        dims = (
            ("row", "column")[-data.ndim :] if data.ndim in (1, 2) else [f"axis {place}" for place in range(data.ndim)]
        )
        data = xr.DataArray(data, dims=dims)
    if not 1 <= data.ndim <= 2:
        found = ", ".join(map(str, data.dims)) or "a single number"
        raise LabError(
            f"A live picture shows one or two axes, and the array has {data.ndim} ({found}); choose some entries."
        )
    if data.dtype.kind not in "iufb":
        raise LabError(f"A live picture shows real numbers only, and got the type {data.dtype}.")
    if data.ndim == 1:
        data = data.expand_dims(ONE)
    return data


def thinned(data: xr.DataArray, rows: int = 256, columns: int = 512) -> xr.DataArray:
    """At most so many rows and columns, taken evenly with their own coordinates."""
    if data.shape[0] <= rows and data.shape[1] <= columns:
        return data
    kept = [
        np.arange(size) if size <= most else (np.arange(most) * size) // most
        for size, most in zip(data.shape, (rows, columns))
    ]
    found = data.isel(dict(zip(data.dims, kept)))
    sides = zip(("rows", "columns"), found.shape, data.shape)
    said = [f"{few:,} of {whole:,} {word}" for word, few, whole in sides if few < whole]
    note = f"{' and '.join(said)} are shown, evenly spread."
    return found.assign_attrs(note=f"{data.attrs.get('note', '')} {note}".strip())
