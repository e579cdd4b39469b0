"""How far a guessed curve is from what happened: the area between them over the width, in words and beside a naive guess."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from labkit.errors import LabError
from labkit.views.wording import number

PLACES, NARROW, NEAR = 400, 0.55, 0.02
"""Where both are compared, how wide a stretch may be that most of the area lies in, what share of the axis counts as met."""
ONE_END, MOST = 0.9, 0.7
"""What share of the area is most of it: towards one end of the axis, and in its middle."""


@dataclass(frozen=True)
class Axis:
    """One axis of the picture: its name and its two ends. `unit` says differences: "points" shows fractions times 100."""

    name: str
    low: float
    high: float
    unit: str = ""

    def difference(self, value: float) -> str:
        if self.unit == "points":
            return f"{number(round(100 * value, 1))} points"
        return f"{number(value)} {self.unit}".strip()


@dataclass(frozen=True)
class Truth:
    """What happened: x ascending, the mean over the seeds, and the lowest and highest of them where there are several."""

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


@dataclass(frozen=True)
class Gap:
    """The mean distance of the guess, its mean with sign (above 0: too high), that of the best naive guess, and words."""

    area: float
    signed: float
    naive: float
    says: str


def axis(given: Sequence[Any], what: str) -> Axis:
    """An axis from ("accuracy", 0, 1) or ("loss", 0, 3, "nats"). Raises: LabError where that makes no sense."""
    try:
        name, low, high, *unit = given
        found = Axis(str(name), float(low), float(high), str(unit[0]) if unit else "")
    except (TypeError, ValueError) as error:
        raise LabError(
            f"Give {what} as (name, lowest, highest), such as ('accuracy', 0, 1), and not {given!r}."
        ) from error
    if not (np.isfinite([found.low, found.high]).all() and found.low < found.high):
        raise LabError(
            f"The axis {found.name} goes from {found.low:g} to {found.high:g}: the second has to be the larger one."
        )
    share = what == "y" and not found.unit and (found.low, found.high) == (0.0, 1.0)
    return Axis(found.name, found.low, found.high, "points") if share else found


def truth_of(actual: Any, x: Axis) -> Truth:
    """What happened, from an array with an axis and, if you like, `seed`; from (xs, ys); or from values at equal distances.

    Raises: LabError for other axes, or where nothing is there.
    """
    if isinstance(actual, xr.DataArray):
        return _of_array(actual)
    if isinstance(actual, tuple) and len(actual) == 2 and np.ndim(actual[0]) == 1:
        xs, ys = (np.asarray(one, dtype=float) for one in actual)
        if len(xs) != len(ys):
            raise LabError(f"There are {len(xs)} places and {len(ys)} values; each place has one value.")
    else:
        ys = np.asarray(actual, dtype=float)
        if ys.ndim != 1:
            raise LabError(
                f"What happened has shape {ys.shape}; give one curve, or a DataArray with the axes step and seed."
            )
        xs = np.linspace(x.low, x.high, len(ys))
    there = np.isfinite(xs) & np.isfinite(ys)
    if not there.any():
        raise LabError("There is no value to show: all are missing.")
    order = np.argsort(xs[there], kind="stable")
    return Truth(xs[there][order], ys[there][order])


def _of_array(data: xr.DataArray) -> Truth:
    data = data.squeeze([dim for dim in data.dims if data.sizes[dim] == 1 and dim != "seed"], drop=True)
    along = [dim for dim in data.dims if dim != "seed"]
    if len(along) != 1:
        told = ", ".join(map(str, along)) or "none but seed"
        raise LabError(
            f"What happened should have one axis, such as step, beside seed; its axes are {told}: choose with .sel."
        )
    xs = np.asarray(data[along[0]].values, dtype=float)
    rows = data.transpose(..., along[0]).values.reshape(-1, len(xs)).astype(float)
    there = np.isfinite(rows).any(0)
    if not there.any():
        raise LabError("There is no value to show: all are missing.")
    xs, rows = xs[there], rows[:, there]
    order = np.argsort(xs, kind="stable")
    xs, rows = xs[order], rows[:, order]
    mean = np.nanmean(rows, 0)
    return Truth(xs, mean, np.nanmin(rows, 0), np.nanmax(rows, 0)) if len(rows) > 1 else Truth(xs, mean)


def gap(points: Sequence[tuple[float, float]], truth: Truth, x: Axis, y: Axis) -> Gap:
    """The area between the guess (drawn through `points`) and what happened, over the stretch where both are."""
    left, right = max(x.low, float(truth.x[0])), min(x.high, float(truth.x[-1]))
    if not left < right:
        raise LabError(f"What happened lies outside the picture: {x.name} {truth.x[0]:g} to {truth.x[-1]:g}.")
    places = np.linspace(left, right, PLACES)
    actual = np.interp(places, truth.x, truth.mean)
    guessed = np.interp(places, *np.array(sorted(points), dtype=float).T)
    off = guessed - actual
    area, signed = float(np.abs(off).mean()), float(off.mean())
    level = (x.high - places) / (x.high - x.low)
    naive = {
        f"the same value, {number((y.low + y.high) / 2)}, all the time": np.full(PLACES, (y.low + y.high) / 2),
        "a straight line from corner to corner": y.high - level * (y.high - y.low),
        "a straight line downwards from corner to corner": y.low + level * (y.high - y.low),
    }
    errors = {said: float(np.abs(line - actual).mean()) for said, line in naive.items()}
    best = min(errors, key=lambda said: errors[said])
    said = [_told(area, signed, y) + _where(places, np.abs(off), x, area, y) + "."]
    if area < errors[best]:
        said.append(f"Without a thought, {best} is {y.difference(errors[best])} off; your guess is nearer.")
    else:
        said.append(f"Without a thought, {best} is {y.difference(errors[best])} off, which is nearer.")
    if truth.low is not None and truth.high is not None:
        low, high = (np.interp(places, truth.x, one) for one in (truth.low, truth.high))
        inside = float(((guessed >= low) & (guessed <= high)).mean())
        said.append(f"For {inside:.0%} of the way it lies between the seeds.")
    return Gap(area, signed, errors[best], " ".join(said))


def _told(area: float, signed: float, y: Axis) -> str:
    if area < NEAR * (y.high - y.low):
        return f"Nearly the same: on average your guess is {y.difference(area)} off"
    if abs(signed) > 0.8 * area:
        return f"On average your guess is {y.difference(area)} too {'high' if signed > 0 else 'low'}"
    off = f"On average your guess is {y.difference(area)} off"
    if abs(signed) < 0.2 * area:
        return f"{off}, as much too high as too low"
    return f"{off}, more too {'high than too low' if signed > 0 else 'low than too high'}"


def _where(places: np.ndarray, off: np.ndarray, x: Axis, area: float, y: Axis) -> str:
    """The shortest stretch that holds most of the area, in words; nothing where it is spread all over."""
    if area < NEAR * (y.high - y.low):
        return ""
    total = np.concatenate([[0.0], np.cumsum(off)]) / off.sum()
    count = len(off)
    first, last = int(np.searchsorted(total, 1 - ONE_END)), int(np.searchsorted(total, ONE_END)) - 1
    if count - first <= NARROW * count:
        return f", mostly after {x.name} {number(_round(places[first], x))}"
    if last <= NARROW * count:
        return f", mostly before {x.name} {number(_round(places[last], x))}"
    ends = np.searchsorted(total, total[:-1] + MOST)
    start = int(np.argmin(ends - np.arange(count) + count * (ends > count)))
    if ends[start] - start > NARROW * count:
        return ""
    here, there = (number(_round(places[at], x)) for at in (start, int(ends[start]) - 1))
    return f", mostly between {x.name} {here} and {there}"


def _round(value: float, x: Axis) -> float:
    """To a fortieth of the axis, as people say places."""
    step = 10.0 ** np.floor(np.log10((x.high - x.low) / 10))
    return float(np.round(value / step) * step)
