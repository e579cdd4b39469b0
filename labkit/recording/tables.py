"""Numbers of layers of different width in one table: short rows are filled with NaN, every axis has its labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr


def stacked(rows: Mapping[str, np.ndarray], axis: int = 0, fill: float = np.nan) -> np.ndarray:
    """One array for each layer as one array with the layers at `axis`, filled at the end where a layer is smaller.

    Shapes: arrays (a, b, ...) of the same number of axes -> (layers, a, b, ...) with the largest size of each axis.
    """
    arrays = [np.asarray(row) for row in rows.values()]
    widest = tuple(max(array.shape[place] for array in arrays) for place in range(arrays[0].ndim))
    kind = np.int64 if np.issubdtype(arrays[0].dtype, np.integer) else np.float32
    out = np.full((len(arrays), *widest), fill, dtype=kind)
    for place, array in enumerate(arrays):
        out[(place, *(slice(size) for size in array.shape))] = array
    return np.moveaxis(out, 0, axis)


def layered(
    tables: Mapping[str, np.ndarray],
    dims: Sequence[str],
    /,
    *,
    name: str,
    long_name: str,
    units: str = "",
    coords: Mapping[str, Any] | None = None,
    **attrs: Any,
) -> xr.DataArray:
    """A table (layer, *dims) of one array for each layer; axes without labels of their own are counted from 0.

    Shapes: each array has the axes `dims` -> (layer, *dims) float32, NaN where a layer is smaller.
    """
    values = stacked(tables)
    labels = {dim: np.arange(size) for dim, size in zip(dims, values.shape[1:])}
    return xr.DataArray(
        values,
        dims=("layer", *dims),
        coords={"layer": list(tables), **labels, **(coords or {})},
        name=name,
        attrs={"long_name": long_name, "units": units, **attrs},
    )
