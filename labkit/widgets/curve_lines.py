"""The lines of a picture of curves, and how they travel: thinned, smoothed, with bands over seeds and forks of branches."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from labkit.errors import LabError
from labkit.views.seeds import smoothed
from labkit.views.theme import BUDGET, look
from labkit.views.thinning import evenly, peaks

SERIES, EVENTS, LONGEST = 240, 60, 300
BAND = 3
"""From so many seeds on the single ones are a band, and lines only where they are asked for."""

Points = Mapping[tuple[str, int], tuple[Sequence[float], Sequence[float]]]
Numbers = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Curve:
    """One line: x ascending and y (NaN is a gap); `place` gives colour and dash, a faint one has no name in the legend.

    `dash` takes the place of that of its place. `fork` is the point (x, y) of another line at which this one begins.
    `low` and `high` are a band around it. `of` is the name of the line that a faint one belongs to: it is switched on and
    off with that line, and where that line has a band, it is shown only when single lines are asked for.
    """

    name: str
    x: Numbers
    y: Numbers
    place: int = 0
    faint: bool = False
    dash: str | None = None
    fork: tuple[float, float] | None = None
    low: Numbers | None = None
    high: Numbers | None = None
    of: str = ""


@dataclass(frozen=True)
class Labels:
    """The words around the curves, and the ends of their axes where they are known.

    `across` is what the x axis shows at least, `limits` what the y axis never goes beyond; None is open. `tools` offers
    a logarithmic y axis and smoothing. Lines have at most `points` points, where that is less than what fits.
    """

    title: str = ""
    x: str = "step"
    y: str = "value"
    across: tuple[float | None, float | None] = (None, None)
    limits: tuple[float | None, float | None] = (None, None)
    height: int = 320
    empty: str = "No values yet."
    tools: bool = False
    points: int = 1_000_000


def packed(
    curves: Sequence[Curve],
    labels: Labels,
    fraction: float | None,
    status: str,
    note: str,
    events: Iterable[Any] = (),
    cursor: float | None = None,
) -> dict[str, Any]:
    """What travels to the browser: `state` as JSON text, and `points` as bytes, at most 300 kB together.

    `points` holds for each series its x and y, and where it has a band also the lower and the upper end, as float32.
    Curves that are too long are thinned so that every stretch keeps its lowest and highest value, and the note says so.
    Raises: LabError when x and y differ in length, or when there are too many named curves.
    """
    named = [curve for curve in curves if not curve.faint]
    faint = [curve for curve in curves if curve.faint]
    if len(named) > SERIES // 2:
        raise LabError(f"A live curve shows {SERIES // 2} named curves at most, not {len(named)}; choose some of them.")
    kept = [faint[place] for place in evenly(len(faint), SERIES // 2)] + named
    found = list(events)[-EVENTS:]
    words = [_event(one) for one in found]
    room = BUDGET - 20_000 - len(json.dumps(words))
    rows = sum(4 if curve.low is not None else 2 for curve in kept)
    share = min(labels.points, max(8, room // max(1, rows) // 4 - 40))
    series, blocks, thinned = [], [], len(kept) < len(curves)
    for curve in kept:
        x, ys = _numbers(curve)
        places = peaks(ys, share)
        thinned |= len(places) < len(x)
        blocks += [x[places].tobytes(), *(row[places].tobytes() for row in ys)]
        series.append({"name": curve.name[:60], "count": len(places), **_style(curve)})
    if thinned:
        note = f"{note} Long curves are thinned: every stretch keeps its lowest and highest value.".strip()
    state = {**vars(labels), "smooths": labels.tools, "series": series, "fraction": fraction, "status": status}
    state |= {"note": note, "events": words, "cursor": cursor}
    return {"state": json.dumps(state), "points": b"".join(blocks)}


def _numbers(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """x, and the rows y or y, low, high."""
    parts = [curve.y] if curve.low is None or curve.high is None else [curve.y, curve.low, curve.high]
    x, *ys = (np.asarray(part, dtype=np.float32) for part in (curve.x, *parts))
    for y in ys:
        if x.shape != y.shape or x.ndim != 1:
            raise LabError(f"The curve {curve.name!r} needs as many x as y, and has {x.shape} and {y.shape}.")
    return x, np.stack(ys)


def _style(curve: Curve) -> dict[str, Any]:
    line, dark = look(False).line(curve.place), look(True).line(curve.place)
    colors = {"light": line["color"], "dark": dark["color"], "dash": curve.dash or line["dash"], "faint": curve.faint}
    fork = None if curve.fork is None or not np.isfinite(curve.fork).all() else [float(one) for one in curve.fork]
    return colors | {"fork": fork, "band": curve.low is not None and curve.high is not None, "of": curve.of[:60]}


def _event(event: Any) -> dict[str, Any]:
    held = event if isinstance(event, Mapping) else vars(event)
    told = {name: str(held.get(name, ""))[:LONGEST] for name in ("says", "kind", "where")}
    return {"step": float(held["step"]), **told}


def smooth_lines(curves: Sequence[Curve], window: int) -> list[Curve]:
    """Each named line as a running mean over so many values, and behind it the values as they were, as a faint one."""
    if window <= 1:
        return list(curves)
    lines = []
    for curve in curves:
        if curve.faint or len(curve.x) < 2:
            lines.append(curve)
            continue
        means = smoothed(np.asarray(curve.y, np.float64)[None], window)[0]
        raw = replace(curve, name=f"{curve.name}, as it was", faint=True, low=None, high=None, fork=None, of=curve.name)
        lines += [raw] * (curve.low is None) + [replace(curve, y=means)]
    return lines


def arms(points: Points) -> list[Curve]:
    """One named curve an arm, the mean of the seeds that have got to each step, and one faint curve a seed.

    From three seeds on the mean has a band from the lowest to the highest seed.
    """
    names = list(dict.fromkeys(arm for arm, _ in points))
    lines = []
    for place, name in enumerate(names):
        runs = {seed: (np.array(x), np.array(y)) for (arm, seed), (x, y) in points.items() if arm == name}
        if len(runs) > 1:
            lines += [Curve(f"{name}, seed {seed}", x, y, place, True, of=name) for seed, (x, y) in runs.items()]
        steps = np.concatenate([x for x, _ in runs.values()])
        values = np.concatenate([y for _, y in runs.values()])
        at, which = np.unique(steps, return_inverse=True)
        mean = np.bincount(which, weights=values, minlength=len(at)) / np.bincount(which, minlength=len(at))
        low, high = np.full(len(at), np.inf), np.full(len(at), -np.inf)
        np.minimum.at(low, which, values)
        np.maximum.at(high, which, values)
        band = (low, high) if len(runs) >= BAND else (None, None)
        lines.append(Curve(name, at, mean, place, low=band[0], high=band[1]))
    return lines
