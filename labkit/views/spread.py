"""A histogram from whatever was recorded: single values, or shares in bins."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from labkit.errors import LabError
from labkit.views.panels import coordinate
from labkit.views.reading import read
from labkit.views.wording import number, percent

BINS = 60


@dataclass(frozen=True)
class Spread:
    """Middles and width of the bins, the share of values in each, the mean, and a sentence."""

    middles: np.ndarray
    width: float
    shares: np.ndarray
    told: str


def spread_of(view: str, data: xr.DataArray) -> Spread:
    """The histogram of (input) or (token) values, or of (bin) shares with the coordinate `centre`, or the
    centres as labels of `bin`.

    Raises:
        LabError: other axes, or no `centre`.
    """
    dim = next((one for one in ("token", "input") if isinstance(data, xr.DataArray) and one in data.dims), "bin")
    if isinstance(data, xr.DataArray) and dim not in data.dims:
        found = f"({', '.join(f'{name}: {size}' for name, size in data.sizes.items())})"
        raise LabError(f"{view} needs a density by bin, or the values by input or token, and found the axes {found}.")
    if dim == "bin":
        data = read(view, data, ("bin",))
        place = "centre" if "centre" in data.coords else "bin"
        middles = coordinate(view, data, place, ("bin",), "the value in the middle of each bin").astype(np.float64)
        there = np.isfinite(middles)
        middles, shares = middles[there], np.nan_to_num(data.values.astype(np.float64))[there]
        if shares.min() < 0 or shares.sum() <= 0:
            raise LabError(f"{view} needs a density of shares from 0 to 1, and found a negative one or only zeros.")
        starts = np.arange(0, len(middles), -(-len(middles) // (2 * BINS)))
        counts = np.diff(np.append(starts, len(middles)))
        middles, shares = np.add.reduceat(middles, starts) / counts, np.add.reduceat(shares, starts)
        width = float(np.diff(middles).mean()) if len(middles) > 1 else 1.0
        shares = shares / shares.sum()
        if "zeros" in data.attrs:
            rows = f" of {int(data.attrs['rows']):,}" if "rows" in data.attrs else ""
            return Spread(middles, width, shares, f"exactly zero at {percent(float(data.attrs['zeros']))}{rows} inputs")
        nothing = float(shares[np.abs(middles) <= 0.501 * width].sum())
        return Spread(middles, width, shares, f"{percent(nothing)} of its values are near zero")
    values = read(view, data, (dim,)).values.astype(np.float64)
    values = values[np.isfinite(values)]
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    counts, edges = np.histogram(values, BINS, (low, high if high > low else low + 1))
    active = float((values != 0).mean())
    mean = float(values.mean())
    told = f"active for {percent(active)} of {len(values):,} {dim}s, {number(mean)} on average"
    return Spread((edges[1:] + edges[:-1]) / 2, float(edges[1] - edges[0]), counts / len(values), told)
