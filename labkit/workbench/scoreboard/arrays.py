"""Boards as DataArrays, for the views."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from labkit.workbench.scoreboard.goals import in_words

QUANTILES = (0.25, 0.5, 0.75)


def times_array(case: Mapping[str, Any]) -> xr.DataArray:
    """A case of a board as (setting, contestant, quantile), seconds. NaN: not timed.

    What is the same in all rows is not in their names but in the attribute `always`.
    Coordinates: `floor` (setting) in seconds, `times` (setting, contestant) as long as ours, by rounds.
    """
    rows = [row for row in case["rows"] if any("median" in times for times in row.get("contestants", {}).values())]
    names = list(dict.fromkeys(name for row in rows for name, one in row["contestants"].items() if "median" in one))
    names.sort(key=lambda name: name != "ours")
    values = np.full((len(rows), len(names), len(QUANTILES)), np.nan)
    faster = np.full((len(rows), len(names)), np.nan)
    for place, row in enumerate(rows):
        for name, times in row["contestants"].items():
            if "median" in times:
                values[place, names.index(name)] = [times["low"], times["median"], times["high"]]
                faster[place, names.index(name)] = times.get("times", [np.nan])[0]
    first = rows[0]["setting"] if len(rows) > 1 else {}
    always = {name: size for name, size in first.items() if all(row["setting"].get(name) == size for row in rows)}
    floors = [row["floor"]["seconds"] if row.get("floor") else np.nan for row in rows]
    coords = {
        "setting": [in_words(_without(row["setting"], always)) or "one size" for row in rows],
        "contestant": names,
        "quantile": list(QUANTILES),
        "floor": ("setting", floors),
        "times": (("setting", "contestant"), faster),
    }
    attrs = {"long_name": case["title"], "units": "s", "always": in_words(always)}
    return xr.DataArray(values, dims=("setting", "contestant", "quantile"), coords=coords, attrs=attrs)


def _without(setting: Mapping[str, Any], left_out: Mapping[str, Any]) -> dict[str, Any]:
    return {name: size for name, size in setting.items() if name not in left_out}


def crossover_array(grid: Mapping[str, Any]) -> xr.DataArray:
    """A grid of a crossover as (batch, its other axis): how many times as fast as dense. Seconds are coordinates."""
    dims = (grid["rows"]["name"], grid["columns"]["name"])
    tables = {
        name: np.array([[np.nan if one is None else one for one in line] for line in grid[name]], dtype=float)
        for name in ("ratio", "low", "high", "ours", "dense")
    }
    coords: dict[str, Any] = {
        dim: (dim, axis["values"], {"long_name": axis["says"]})
        for dim, axis in zip(dims, (grid["rows"], grid["columns"]))
    }
    coords |= {name: (dims, tables[name]) for name in ("low", "high", "ours", "dense")}
    attrs = {"long_name": grid["title"], "units": "times as fast as dense"}
    return xr.DataArray(tables["ratio"], dims=dims, coords=coords, attrs=attrs)
