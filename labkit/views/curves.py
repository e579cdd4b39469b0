"""Curves over training (or any axis): the mean of the seeds, how sure it is, and every single seed on hover."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.labels import End, legend_height, legend_name, name_ends
from labkit.views.reading import axis_of, axis_title, entries, read, title_of, units_of
from labkit.views.theme import HEIGHT, faded, look, styled
from labkit.views.thinning import compact, evenly, peaks
from labkit.views.wording import WORDS, counted, escaped, fixed, listed, named, number, sentence

ARMS, SINGLES, POINTS, TOLD, CHUNK = 12, 32, 9_000, 4, 65_536


@dataclass(frozen=True)
class Line:
    """One arm: mean over the seeds, half the 95 % interval (NaN below two seeds), the seeds, their lowest and highest."""

    name: str
    mean: np.ndarray
    half: np.ndarray
    runs: np.ndarray
    low: float
    high: float

    @property
    def ends(self) -> np.ndarray:
        """The first and the last place that has a value."""
        return np.flatnonzero(np.isfinite(self.mean))[[0, -1]]


def curves(
    data: xr.DataArray, across: str = "step", compare: str = "arm", over: str = "seed", *, dark: bool = False
) -> go.Figure:
    """One line for each arm: the mean over the seeds with its 95 % interval, and the single seeds as thin lines.

    The band is Student's t interval of the mean, at each place over the seeds that have a value there; with one seed
    there is none. Long curves are thinned so that every stretch keeps its lowest and highest value.

    Shapes:
        data: (across), and optionally (compare), (over), in any order; the y axis takes its name and units
    Raises:
        LabError: another axis is there, or nothing to draw.
    """
    data = read("curves", data, (across,), (compare, over))
    places = entries(data, across)
    if not all(isinstance(place, int | float) for place in places):
        raise LabError(f"curves needs numbers along {across}, and found {places[0]!r}; a heat map can show names.")
    names = [named(entry, compare) for entry in entries(data, compare)] if compare in data.dims else [""]
    seeds = entries(data, over) if over in data.dims else []
    lines = []
    for place, name in enumerate(names[:ARMS]):
        part = data.isel({compare: place}) if compare in data.dims else data
        lines.append(summarised(name, part.transpose(..., across).values.reshape(-1, len(places))))
    lines = [line for line in lines if np.isfinite(line.mean).any()]
    if not lines:
        raise LabError(f"curves found no value in the first {ARMS} entries of {compare}; choose others with data.sel.")
    figure, notes = drawn(lines, np.array(places), seeds, over, across, dark)
    low, high = limits(lines)
    figure.update_yaxes(title_text=escaped(axis_title(data, "value")), range=[low, high])
    figure.update_xaxes(title_text=escaped(axis_of(data, across)))
    direct = _name(figure, lines, places, (low, high), dark)
    below = 0 if direct or len(lines) == 1 else max(0, legend_height([line.name for line in lines]) - 30)
    if len(names) > ARMS:
        notes.append(f"the first {ARMS} of {len(names)} {compare}s")
    title = f"{title_of(data, 'Value')} by {WORDS.get(across, across)}"
    basis = _basis(lines, over)
    return styled(
        figure,
        title=title,
        subtitle=sentence("; ".join([basis, *notes])),
        alt=_alt(title, lines, places, across, units_of(data), basis),
        dark=dark,
        height=HEIGHT + below,
    )


def summarised(name: str, runs: np.ndarray) -> Line:
    """Mean and 95 % interval over the rows, place by place, missing values left out."""
    from scipy.special import stdtrit

    quantiles = stdtrit(np.maximum(np.arange(len(runs) + 1) - 1, 1), 0.975)
    means, halves, lows, highs = [], [], [np.inf], [-np.inf]
    for start in range(0, runs.shape[1], CHUNK):
        part = runs[:, start : start + CHUNK].astype(np.float64)
        there = np.isfinite(part)
        count = there.sum(0)
        part[~there] = 0
        mean = part.sum(0) / np.maximum(count, 1)
        off = np.where(there, part - mean, 0)
        square = np.einsum("ij,ij->j", off, off)
        half = quantiles[count] * np.sqrt(square / np.maximum(count - 1, 1) / np.maximum(count, 1))
        means.append(np.where(count, mean, np.nan))
        halves.append(np.where(count > 1, half, np.nan))
        lows.append(part.min(where=there, initial=np.inf))
        highs.append(part.max(where=there, initial=-np.inf))
    return Line(name, np.concatenate(means), np.concatenate(halves), runs, float(min(lows)), float(max(highs)))


def limits(lines: list[Line]) -> tuple[float, float]:
    """The y axis: the seeds, their bands (a very wide one not all the way, it would squash the rest), a little air."""
    low, high = min(line.low for line in lines), max(line.high for line in lines)
    half = (high - low) / 2
    bands = [end for line in lines for end in (line.mean - line.half, line.mean + line.half) if np.isfinite(end).any()]
    low = max(low - half, min([low, *map(np.nanmin, bands)]))
    high = min(high + half, max([high, *map(np.nanmax, bands)]))
    air = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return low - air, high + air


def drawn(
    lines: list[Line], x: np.ndarray, seeds: list, over: str, across: str, dark: bool
) -> tuple[go.Figure, list[str]]:
    """The traces, bands at the back and means in front, and what had to be left out of them."""
    colors, notes = look(dark), []
    runs = max(len(line.runs) for line in lines)
    single = evenly(runs, max(2, SINGLES // len(lines))) if runs > 1 else np.array([], int)
    share = POINTS // max(1, len(lines) * (len(single) + 4))
    bands, thin, means = [], [], []
    for place, line in enumerate(lines):
        style = colors.line(place)
        group = {"legendgroup": str(place), "showlegend": False}
        for run in single[single < len(line.runs)]:
            kept = peaks(line.runs[[run]], share)
            thin.append(
                go.Scatter(
                    x=compact(x[kept]),
                    y=compact(line.runs[run, kept]),
                    mode="lines",
                    line={"width": 1, "color": faded(style["color"], 0.35 if len(lines) < 5 else 0.22)},
                    name=escaped(", ".join(filter(None, [line.name, f"{over} {seeds[run]}"]))),
                    hovertemplate=f"%{{y:.4~g}} at {escaped(across)} %{{x}}",
                    meta="single",
                    **group,
                )
            )
        kept = peaks(np.stack([line.mean, line.mean - line.half, line.mean + line.half]), 4 * share)
        sure = np.isfinite(line.half).any()
        if sure:
            edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "x": compact(x[kept]), **group}
            fill = {"fill": "tonexty", "fillcolor": faded(style["color"], 0.18 if len(lines) < 5 else 0.1)}
            bands.append(go.Scatter(y=compact((line.mean - line.half)[kept]), name="lower", **edge))
            bands.append(go.Scatter(y=compact((line.mean + line.half)[kept]), name="upper", **fill, **edge))
        means.append(
            go.Scatter(
                x=compact(x[kept]),
                y=compact(line.mean[kept]),
                customdata=compact(line.half[kept]) if sure else None,
                mode="lines+markers" if len(lines) > 1 or len(kept) < 30 else "lines",
                line={"width": 3, "color": style["color"], "dash": style["dash"]},
                marker={"symbol": style["symbol"], "size": 9, "maxdisplayed": 8},
                name=legend_name(line.name or "mean"),
                legendgroup=str(place),
                showlegend=len(lines) > 1,
                hovertemplate=("mean " if runs > 1 else "")
                + "%{y:.4~g}"
                + (" ± %{customdata:.2~g}" if sure else "")
                + f" at {escaped(across)} %{{x}}",
            )
        )
    if runs > 1:
        some = f"{len(single)} of them" if runs > len(single) else f"single {over}s"
        notes.append(f"thin lines: {some}")
    if len(x) > share:
        notes.append(f"{len(x):,} {across}s thinned, every peak kept")
    return go.Figure([*bands, *thin, *means]), notes


def _name(figure: go.Figure, lines: list[Line], places: list, limit: tuple[float, float], dark: bool) -> bool:
    spread = limit[1] - limit[0]
    ends = []
    for place, line in enumerate(lines):
        last = line.ends[1]
        color = look(dark).line(place)["color"]
        ends.append(End(places[last], float(line.mean[last]), line.name, fixed(line.mean[last], spread / 10), color))
    return len(lines) > 1 and name_ends(figure, ends, *limit, pixels=HEIGHT - 190)


def _basis(lines: list[Line], over: str) -> str:
    count = max(len(line.runs) for line in lines)
    if count == 1:
        return f"1 {over}, so no band"
    return f"mean and 95{chr(160)}% interval over {counted(count, over)}"


def _alt(title: str, lines: list[Line], places: list, across: str, units: str, basis: str) -> str:
    spread = limits(lines)[1] - limits(lines)[0]
    told = []
    order = sorted(lines, key=lambda line: -line.mean[line.ends[1]])
    for line in lines if len(lines) <= TOLD else [*order[: TOLD - 1], order[-1]]:
        first, last = line.ends
        start, end = line.mean[first], line.mean[last]
        move = "stays at" if abs(end - start) < 0.02 * spread else "rises from" if end > start else "falls from"
        path = f"{fixed(start, spread / 10)} to " if move != "stays at" else ""
        half = f" ± {fixed(line.half[last], 10 * line.half[last])}" if np.isfinite(line.half[last]) else ""
        final = fixed(end, 10 * line.half[last] if half else spread / 10)
        told.append(f"{line.name or 'the line'} {move} {path}{final}{half} by {across} {number(places[last])}")
    if len(lines) > TOLD:
        told.append(f"{len(lines) - TOLD} more end in between")
    best = f" {sentence(order[0].name)} ends highest." if len(lines) > 1 else ""
    unit = f" in {units}" if units else ""
    return f"{title}{unit}, {basis}: {listed(told)}.{best}"


def example(seed: int = 0) -> dict:
    """Accuracy of a linear classifier and of two soft trees, really trained on digits, over five seeds."""
    from labkit.views.specimen import grown

    arms = {"linear classifier": 0, "tree of depth 2": 2, "tree of depth 3": 3}
    runs = [[grown(seed + run, depth) for run in range(5)] for depth in arms.values()]
    values = np.array([[run.accuracy[:, 1] for run in row] for row in runs])
    data = xr.DataArray(
        values,
        dims=("arm", "seed", "step"),
        coords={"arm": list(arms), "seed": list(range(5)), "step": runs[0][0].steps},
        attrs={"long_name": "test accuracy, hard", "units": "fraction"},
    )
    return {"data": data}
