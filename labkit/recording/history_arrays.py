"""The rows of a history as arrays with named axes: what views and analyses read.

| name | axes | what |
| --- | --- | --- |
| active_fraction | step, layer, unit | share of the looked-at inputs for which the unit was active |
| mean, variance | step, layer, unit | of the unit's values in the window |
| dead | step, layer, unit | 1: the row lies in a stretch of `gathering.ENOUGH` inputs or more without one activation |
| saturated | step, layer, unit | 1: a bounded nonlinearity that is at its bounds; any other: always active, never changing |
| duplicate | step, layer, unit | 1: correlates with an earlier unit of the layer by 0.98 or more; as last checked |
| density | step, layer, bin | share of the values in each bin; coordinates centre (layer, bin) and width (layer) |
| seen | step, layer | inputs looked at in the window |
| gradient_norm, update_ratio | step, parameter | at the last look of the window |
| load | step, layer, choice | share of the routing weight that each choice got |
| entropy | step, layer | of the load, in bits |
| margin | step, layer | mean of p1 - p2 |
| flips | step, layer | share of the probe's tokens whose first choice is another one than in the row before |

NaN stands where a layer has no such unit or choice, where a layer did not run in the window, and before a first check.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import xarray as xr

from labkit.recording.density import Density
from labkit.recording.history import GateRow, Row, UnitRow
from labkit.recording.moments import Moments

BINS = 64
WORDS = {
    "active_fraction": ("share of inputs for which the unit is active", "fraction"),
    "mean": ("mean activation", ""),
    "variance": ("variance of the activation", ""),
    "dead": ("dead units", "0 or 1"),
    "saturated": ("saturated units", "0 or 1"),
    "duplicate": ("duplicate units", "0 or 1"),
    "density": ("share of values", "fraction"),
    "seen": ("inputs looked at", "inputs"),
    "gradient_norm": ("norm of the gradient", ""),
    "update_ratio": ("change of a parameter in one step, relative to its size", "fraction"),
    "load": ("share of routing weight", "fraction"),
    "entropy": ("entropy of the load", "bits"),
    "margin": ("margin of the first choice over the second", "probability"),
    "flips": ("share of the probe's tokens whose first choice changed", "fraction"),
}
AXES = {
    "step": ("training step", ""),
    "layer": ("layer", ""),
    "unit": ("unit", ""),
    "bin": ("bin", ""),
    "choice": ("choice", ""),
    "parameter": ("parameter", ""),
}


def dataset(rows: Sequence[Row], choice: str = "choice") -> xr.Dataset:
    """All rows as one Dataset; empty of variables when there are none. `choice` is what a choice is called."""
    layers = _ordered(name for row in rows for name in (*row.units, *row.gates))
    found = {**_units(rows, layers), **_gates(rows, layers), **_parameters(rows)}
    coords: dict = {"step": np.array([row.step for row in rows], np.int64)}
    if rows:
        coords["examples"] = (
            "step",
            np.array([row.examples for row in rows], np.int64),
            _attrs("examples", "examples"),
        )
        coords["seconds"] = ("step", np.array([row.seconds for row in rows]), _attrs("time", "seconds"))
    if found:
        used = {dim for dims, _ in found.values() for dim in dims}
        coords |= {"layer": layers} if "layer" in used else {}
        coords |= {dim: np.arange(_length(found, dim)) for dim in ("unit", "choice") if dim in used}
        coords |= {"parameter": _ordered(name for row in rows for name in row.gradients)} if "parameter" in used else {}
    variables = {name: (dims, values, _attrs(*WORDS[name])) for name, (dims, values) in found.items()}
    data = xr.Dataset(variables, coords)
    if any(one.density for row in rows for one in row.units.values()):
        data = _with_density(data, rows, layers)
    for name, words in AXES.items():
        if name in data.coords:
            data[name].attrs = _attrs(*words)
    if "choice" in data.coords:
        data["choice"].attrs["long_name"] = choice
    return data


def health(data: xr.Dataset) -> xr.DataArray:
    """Dead, saturated and duplicate as one array (step, condition, layer, unit)."""
    conditions = [name for name in ("dead", "saturated", "duplicate") if name in data]
    found = xr.concat([data[name] for name in conditions], xr.Variable("condition", conditions), combine_attrs="drop")
    found = found.transpose("step", "condition", "layer", "unit").rename("unit_health")
    found.attrs = _attrs("condition of units", "0 or 1")
    return found


def _units(rows: Sequence[Row], layers: list[str]) -> dict:
    if not any(row.units for row in rows):
        return {}
    seen = np.full((len(rows), len(layers)), np.nan, np.float32)
    for at, row in enumerate(rows):
        for name, one in row.units.items():
            seen[at, layers.index(name)] = one.count
    found = {"seen": (("step", "layer"), seen)}
    width = max((len(one.moments.mean) for row in rows for one in row.units.values() if one.moments), default=0)
    if not width:
        return found

    def table(read: Callable[[UnitRow, Moments], np.ndarray | None]) -> np.ndarray:
        values = np.full((len(rows), len(layers), width), np.nan, np.float32)
        for at, row in enumerate(rows):
            for name, one in row.units.items():
                column = read(one, one.moments) if one.moments is not None else None
                if column is not None:
                    values[at, layers.index(name), : len(column)] = column
        return values

    axes = ("step", "layer", "unit")
    found |= {
        "active_fraction": (axes, table(lambda _, moments: moments.active / moments.count)),
        "mean": (axes, table(lambda _, moments: moments.mean)),
        "variance": (axes, table(lambda _, moments: moments.variance)),
    }
    if any(one.dead is not None for row in rows for one in row.units.values()):
        found |= {
            "dead": (axes, _since_silent(table(lambda one, _: one.dead), table(lambda one, _: one.silent))),
            "saturated": (axes, table(lambda one, _: one.saturated)),
            "duplicate": (axes, _carried(table(lambda one, _: one.duplicate))),
        }
    return found


def _carried(values: np.ndarray) -> np.ndarray:
    """What is not checked at each row stays as it was last found."""
    for at in range(1, len(values)):
        values[at] = np.where(np.isnan(values[at]), values[at - 1], values[at])
    return values


def _since_silent(dead: np.ndarray, silent: np.ndarray) -> np.ndarray:
    """A unit that turns out to be dead was so from the first silent row on: only then was it not known yet."""
    for at in range(len(dead) - 2, -1, -1):
        known_later = (dead[at + 1] == 1) & (silent[at] > 0)
        dead[at] = np.where(known_later, 1, dead[at])
    return dead


def _gates(rows: Sequence[Row], layers: list[str]) -> dict:
    choices = max((len(one.load) for row in rows for one in row.gates.values()), default=0)
    if not choices:
        return {}
    shape = (len(rows), len(layers))
    load = np.full((*shape, choices), np.nan, np.float32)
    entropy, margin, flips = (np.full(shape, np.nan, np.float32) for _ in range(3))
    last: dict[str, np.ndarray] = {}
    for at, row in enumerate(rows):
        for name, one in row.gates.items():
            place = layers.index(name)
            shares = one.load / max(one.load.sum(), 1e-300)
            load[at, place, : len(shares)] = shares
            entropy[at, place] = entropy_of(one)
            margin[at, place] = one.margin
            if one.first is not None:
                if name in last and last[name] is not one.first and len(last[name]) == len(one.first):
                    flips[at, place] = np.mean(last[name] != one.first)
                last[name] = one.first
    found = {
        "load": (("step", "layer", "choice"), load),
        "entropy": (("step", "layer"), entropy),
        "margin": (("step", "layer"), margin),
    }
    return found | ({"flips": (("step", "layer"), flips)} if last else {})


def entropy_of(one: GateRow) -> float:
    """Entropy of a load in bits: 0 where one choice gets all, log2(choices) where all get the same."""
    shares = one.load[one.load > 0] / max(one.load.sum(), 1e-300)
    return float(-(shares * np.log2(shares)).sum())


def _parameters(rows: Sequence[Row]) -> dict:
    names = _ordered(name for row in rows for name in row.gradients)
    if not names:
        return {}
    axes = ("step", "parameter")
    return {
        called: (axes, np.array([[getattr(row, kept).get(name, np.nan) for name in names] for row in rows], np.float32))
        for called, kept in (("gradient_norm", "gradients"), ("update_ratio", "updates"))
    }


def _with_density(data: xr.Dataset, rows: Sequence[Row], layers: list[str]) -> xr.Dataset:
    share = np.full((len(rows), len(layers), BINS), np.nan, np.float32)
    centre, width = np.full((len(layers), BINS), np.nan, np.float32), np.full(len(layers), np.nan, np.float32)
    for place, name in enumerate(layers):
        kept = {at: row.units[name].density for at, row in enumerate(rows) if name in row.units}
        found = {at: one for at, one in kept.items() if one is not None and one.counts.sum()}
        if not found:
            continue
        exponent, first = common_bins(list(found.values()))
        width[place] = 2.0**exponent
        centre[place] = (first + np.arange(BINS) + 0.5) * 2.0**exponent
        for at, one in found.items():
            share[at, place] = placed(one, exponent, first) / one.counts.sum()
    data["density"] = (("step", "layer", "bin"), share, _attrs(*WORDS["density"]))
    data["density"].attrs["outermost"] = "the first and the last bin hold also what lies beyond them"
    return data.assign_coords(
        bin=np.arange(BINS),
        centre=(("layer", "bin"), centre, _attrs("activation", "")),
        width=("layer", width, _attrs("width of a bin", "")),
    )


def common_bins(densities: Sequence[Density]) -> tuple[int, int]:
    """Exponent and first bin of `BINS` bins for all rows, wide enough for the middle 99 % of their values.

    Each row counts the same. One step at which activations explode does therefore not squeeze all others into one bin.
    """
    lows, highs, shares = [], [], []
    for one in densities:
        used = np.flatnonzero(one.counts)
        lows += [(one.first + int(at)) * one.width for at in used]
        highs += [(one.first + int(at) + 1) * one.width for at in used]
        shares += list(one.counts[used] / one.counts.sum())
    low, high = _at(lows, shares, 0.005), _at(highs, shares, 0.995)
    exponent = math.frexp((high - low) / BINS)[1] - 1
    while math.ceil(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent)) > BINS:
        exponent += 1
    first, used = math.floor(math.ldexp(low, -exponent)), math.ceil(math.ldexp(high, -exponent))
    return exponent, first if low >= 0 else first - (BINS - (used - first)) // 2


def placed(one: Density, exponent: int, first: int) -> np.ndarray:
    """The counts of one window in the common bins; what lies beyond is in the outermost, finer bins are summed.

    Only a window that reaches beyond the common range many times over can have wider bins than these: each of them goes
    where its middle lies, and the two beside zero, which hold the silent units, to zero.
    """
    counts = np.zeros(BINS)
    if one.exponent <= exponent:
        one = one.coarser(exponent)
        at = one.first - first + np.arange(len(one.counts))
    else:
        number = one.first + np.arange(len(one.counts))
        middles = np.where(
            number == 0, 0.0, np.where(number == -1, -0.5 / 2.0 ** (one.exponent - exponent), number + 0.5)
        )
        at = np.floor(middles * 2.0 ** (one.exponent - exponent)).astype(np.int64) - first
    np.add.at(counts, np.clip(at, 0, BINS - 1).astype(np.int64), one.counts)
    return counts


def _at(places: list[float], shares: list[float], part: float) -> float:
    order = np.argsort(places)
    total = np.cumsum(np.asarray(shares)[order])
    return places[order[min(int(np.searchsorted(total, part * total[-1])), len(order) - 1)]]


def _ordered(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _length(found: dict, dim: str) -> int:
    return max(values.shape[dims.index(dim)] for dims, values in found.values() if dim in dims)


def _attrs(long_name: str, units: str) -> dict[str, str]:
    return {"long_name": long_name, "units": units}
