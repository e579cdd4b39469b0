"""The traces of curves: bands at the back, single seeds thin, means in front, each thinned and on every x axis."""

from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go

from labkit.views.across import Axis, slim
from labkit.views.labels import legend_name
from labkit.views.seeds import Line
from labkit.views.theme import faded, look
from labkit.views.thinning import compact, evenly, peaks
from labkit.views.wording import escaped

SINGLES, BYTES = 32, 180_000


@dataclass
class Drawn:
    """Traces, and for each x axis the x of every trace, in their order."""

    axes: list[Axis]
    notes: list[str] = field(default_factory=list)
    traces: list[go.Scatter] = field(default_factory=list)
    x: list[list[np.ndarray]] = field(default_factory=list)

    def add(self, trace: go.Scatter, places: list[np.ndarray]) -> None:
        """One more trace, with its x on every axis; it starts on the first."""
        self.x = self.x or [[] for _ in self.axes]
        for traces, x in zip(self.x, places):
            traces.append(x)
        self.traces.append(trace.update(x=slim(places[0])))


def drawn(
    lines: list[Line],
    arms: list[int],
    loud: list[int] | None,
    axes: list[Axis],
    seeds: list,
    over: str,
    across: str,
    smooth: int,
    dark: bool,
) -> Drawn:
    """The traces of these lines, and what had to be left out of them.

    `arms` says which arm of the data each line is; `loud`, where there are many, which lines are coloured, from the
    one that ends highest to the one that ends lowest.
    """
    colors, picture = look(dark), Drawn(axes)
    full = list(range(len(lines))) if loud is None else loud
    runs, count = max(len(line.runs) for line in lines), len(lines[0].mean)
    measured = runs > 1 or smooth > 1
    single = evenly(runs, max(2, SINGLES // len(full))) if measured else np.array([], int)
    sure = any(np.isfinite(line.half).any() for line in lines)
    share = _share(count, len(lines), len(full), len(single), len(axes), sure)
    spot = f" at {escaped(across)} %{{x}}" if len(axes) == 1 else "<br>%{xaxis.title.text}: %{x}"
    bands, thin, means = [], [], []
    for place, line in enumerate(lines):
        strong = place in full
        style = colors.line(full.index(place) if loud is not None and strong else place)
        color = style["color"] if strong else faded(colors.muted, 0.6)
        group = {"legendgroup": str(place), "showlegend": False}

        def on(kept: np.ndarray, arm: int = arms[place], run: int | None = None) -> list[np.ndarray]:
            return [axis.of(arm, run)[kept] for axis in axes]

        for run in single[single < len(line.runs)] if strong else []:
            kept = peaks(line.runs[[run]], share)
            label = f"{over} {seeds[run]}" if runs > 1 else "as measured"
            trace = go.Scatter(
                y=compact(line.runs[run, kept]),
                mode="lines",
                line={"width": 1, "color": faded(color, 0.35 if len(full) < 5 else 0.22)},
                name=escaped(", ".join(filter(None, [line.name, label]))),
                hovertemplate=f"%{{y:.4~g}}{spot}",
                meta="single",
                **group,
            )
            thin.append((trace, on(kept, run=int(run))))
        sure = np.isfinite(line.half).any()
        rows = [line.mean, line.mean - line.half, line.mean + line.half] if sure else [line.mean]
        kept = peaks(np.stack(rows), 4 * share)
        if sure and strong:
            edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", **group}
            fill = {"fill": "tonexty", "fillcolor": faded(color, 0.18 if len(full) < 5 else 0.1)}
            bands.append((go.Scatter(y=compact((line.mean - line.half)[kept]), name="lower", **edge), on(kept)))
            bands.append((go.Scatter(y=compact((line.mean + line.half)[kept]), name="upper", **fill, **edge), on(kept)))
        shape = {"dash": style["dash"]} if strong else {}
        trace = go.Scatter(
            y=compact(line.mean[kept]),
            customdata=compact(line.half[kept]) if sure else None,
            mode="lines+markers" if strong and (len(lines) > 1 or len(kept) < 30) else "lines",
            line={"width": 3 if strong else 1.5, "color": color, **shape},
            marker={"symbol": style["symbol"], "size": 9, "maxdisplayed": 8},
            name=legend_name(line.name or "mean"),
            legendgroup=str(place),
            showlegend=len(lines) > 1,
            hovertemplate="mean " * (runs > 1) + "%{y:.4~g}" + " ± %{customdata:.2~g}" * bool(sure) + spot,
            meta="mean",
        )
        means.append((strong, trace, on(kept)))
    for trace, x in [*bands, *thin, *((trace, x) for _, trace, x in sorted(means, key=lambda one: one[0]))]:
        picture.add(trace, x)
    picture.notes += _notes(runs, len(single), over, smooth, loud is not None)
    if count > share:
        picture.notes.append(f"{count:,} {across}s thinned, every peak kept")
    return picture


def _share(count: int, lines: int, full: int, single: int, axes: int, sure: bool) -> int:
    """How many points a single seed may have, and a mean four times as many, so that all numbers stay within `BYTES`.

    A number is four bytes, which base64 makes 16 / 3; a point has a y, an x for each axis, and of a mean the interval.
    """
    room, bands = 3 * BYTES // 16, 2 * full * sure
    mean = (1 + axes + sure) * lines
    if count * ((1 + axes) * (full * single + bands) + mean) <= room:
        return count
    return room // ((1 + axes) * (full * single + 4 * bands) + 4 * mean)


def _notes(runs: int, single: int, over: str, smooth: int, crowded: bool) -> list[str]:
    notes = []
    if runs > 1:
        some = f"{single} of them" if runs > single else f"single {over}s"
        notes.append(f"thin lines: {some}" + " as measured" * (smooth > 1))
    elif smooth > 1:
        notes.append("thin line: as measured")
    if crowded:
        notes.append("grey: arms that end between the coloured ones; click a name to see it alone")
    return notes
