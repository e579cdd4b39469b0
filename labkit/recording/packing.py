"""Numbers as small integers: x ≈ offset + scale · k, k = 0 .. 2^bits - 2, with the largest error that it makes.

With step = (max - min)/(2^bits - 2), rounding to the nearest step errs by step/2 at most; what is recorded is the
error that was really made, in float64. The highest k stands for NaN. What holds an infinity is not packed.
"""

import numpy as np
import xarray as xr

from labkit.errors import LabError

KINDS = {"uint8": np.uint8, "uint16": np.uint16}


def packed(values: xr.DataArray, kind: str) -> xr.DataArray | None:
    """The array as integers with the attributes that netCDF readers understand; None where it cannot be packed.

    Raises: LabError for another kind than uint8 or uint16.
    """
    if kind not in KINDS:
        raise LabError(f"recordings are packed as uint8 or uint16, not as {kind!r}.")
    whole = values.values
    if whole.dtype.kind != "f" or not whole.size or np.isinf(whole).any() or np.isnan(whole).all():
        return None
    whole = whole.astype(np.float64)
    highest = np.iinfo(KINDS[kind]).max
    low, high = np.nanmin(whole), np.nanmax(whole)
    scale = float(high - low) / (highest - 1)
    if not scale or not np.isfinite(scale):
        scale = 1.0
    missing = np.isnan(whole)
    steps = np.rint((np.where(missing, low, whole) - low) / scale)
    error = float(np.abs(np.where(missing, 0, steps * scale + low - whole)).max())
    return values.copy(data=np.where(missing, highest, steps).astype(KINDS[kind])).assign_attrs(
        scale_factor=scale, add_offset=float(low), _FillValue=KINDS[kind](highest), error_bound=error, packed_as=kind
    )
