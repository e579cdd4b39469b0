"""Curves that grow while something is computed: a canvas that redraws many times a second, with a progress bar.

One JavaScript module draws them in notebooks (here), in Panel (`panel_live_curve.py`) and in an exported page. Python
hands over whole pictures; the browser acknowledges each one that it has drawn, so a slow browser is never flooded.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from labkit.errors import LabError
from labkit.views.theme import BUDGET, look
from labkit.views.thinning import evenly, peaks
from labkit.widgets.source import page, source, write

SCRIPT = source("dark.js", "scales.js", "live_curve.js")
STYLE = source("live_curve.css")
SERIES = 240
PATIENCE = 1.0
"""Seconds after which a picture that no browser has acknowledged counts as seen: the tab may be closed."""

Points = Mapping[tuple[str, int], tuple[Sequence[float], Sequence[float]]]


@dataclass(frozen=True)
class Curve:
    """One line: x ascending and y (NaN is a gap); `place` gives colour and dash, a faint one has no name in the legend."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    place: int = 0
    faint: bool = False


@dataclass(frozen=True)
class Labels:
    """The words around the curves, and the ends of their axes where they are known.

    `across` is what the x axis shows at least, `limits` what the y axis never goes beyond; None is open.
    """

    title: str = ""
    x: str = "step"
    y: str = "value"
    across: tuple[float | None, float | None] = (None, None)
    limits: tuple[float | None, float | None] = (None, None)
    height: int = 320
    empty: str = "No values yet."


def packed(curves: Sequence[Curve], labels: Labels, fraction: float | None, status: str, note: str) -> dict[str, Any]:
    """What travels to the browser: `state` as JSON text, and `points` as bytes, at most 300 kB together.

    Curves that are too long are thinned so that every stretch keeps its lowest and highest value, and the note says so.
    Raises: LabError when x and y differ in length, or when there are too many named curves.
    """
    named = [curve for curve in curves if not curve.faint]
    faint = [curve for curve in curves if curve.faint]
    if len(named) > SERIES // 2:
        raise LabError(f"A live curve shows {SERIES // 2} named curves at most, not {len(named)}; choose some of them.")
    kept = [faint[place] for place in evenly(len(faint), SERIES // 2)] + named
    share = (BUDGET - 20_000) // max(1, len(kept)) // 8 - 40
    series, blocks, thinned = [], [], len(kept) < len(curves)
    for curve in kept:
        x, y = np.asarray(curve.x, dtype=np.float32), np.asarray(curve.y, dtype=np.float32)
        if x.shape != y.shape or x.ndim != 1:
            raise LabError(f"The curve {curve.name!r} needs as many x as y, and has {x.shape} and {y.shape}.")
        places = peaks(y[None], share)
        thinned |= len(places) < len(x)
        blocks += [x[places].tobytes(), y[places].tobytes()]
        line, dark = look(False).line(curve.place), look(True).line(curve.place)
        style = {"light": line["color"], "dark": dark["color"], "dash": line["dash"]}
        series.append({"name": curve.name[:60], "faint": curve.faint, "count": len(places), **style})
    if thinned:
        note = f"{note} Long curves are thinned: every stretch keeps its lowest and highest value.".strip()
    state = {**vars(labels), "series": series, "fraction": fraction, "status": status, "note": note}
    return {"state": json.dumps(state), "points": b"".join(blocks)}


class LiveCurve(anywidget.AnyWidget):
    """A picture of growing curves for notebooks: `show` the lines, and show them again when there are more points."""

    _esm = SCRIPT
    _css = STYLE
    state = traitlets.Unicode("{}").tag(sync=True)
    points = traitlets.Bytes(b"").tag(sync=True)
    seq = traitlets.Int(0).tag(sync=True)
    acked = traitlets.Int(0).tag(sync=True)

    def __init__(self, labels: Labels | None = None, **settings: Any):
        super().__init__(**settings)
        self.labels, self._sent = labels or Labels(), 0.0
        self.show([])

    def show(self, curves: Sequence[Curve], *, fraction: float | None = None, status: str = "", note: str = "") -> None:
        """Replace everything that is shown, in one message. `fraction` is 0..1, or None for no progress bar.

        Raises: LabError when x and y of a curve differ in length.
        """
        sent = packed(curves, self.labels, fraction, status, note)
        with self.hold_sync():
            self.state, self.points, self.seq = sent["state"], sent["points"], self.seq + 1
        self._sent = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether the browser still draws what was shown last; after a second without an answer it counts as done."""
        return self.acked < self.seq and time.monotonic() - self._sent < PATIENCE

    def export_html(self, path: Path | str | None = None) -> str:
        """What is shown now as one HTML page that works offline; also written to `path` where one is given.

        Raises: LabError when the file cannot be written.
        """
        values = {"state": self.state, "points": self.points, "seq": 1, "acked": 0}
        text = page(SCRIPT, STYLE, values, self.labels.title or "Curves")
        if path is not None:
            write(text, path)
        return text


def arms(points: Points) -> list[Curve]:
    """One named curve an arm, the mean of the seeds that have got to each step, and one faint curve a seed."""
    names = list(dict.fromkeys(arm for arm, _ in points))
    lines = []
    for place, name in enumerate(names):
        runs = {seed: (np.array(x), np.array(y)) for (arm, seed), (x, y) in points.items() if arm == name}
        if len(runs) > 1:
            lines += [Curve(f"{name}, seed {seed}", x, y, place, True) for seed, (x, y) in runs.items()]
        steps = np.concatenate([x for x, _ in runs.values()])
        values = np.concatenate([y for _, y in runs.values()])
        at, which = np.unique(steps, return_inverse=True)
        mean = np.bincount(which, weights=values, minlength=len(at)) / np.bincount(which, minlength=len(at))
        lines.append(Curve(name, at, mean, place))
    return lines
