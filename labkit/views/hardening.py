"""The hardening gap: how much better the soft mixture is than the hard choice, and how sure the decisions are."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.curves import Line, limits, summarised
from labkit.views.reading import axis_of, axis_title, entries, read
from labkit.views.scrubber import DEPTH, scrub
from labkit.views.theme import SMALL, Look, faded, look, styled
from labkit.views.thinning import compact, evenly, peaks
from labkit.views.wording import counted, escaped, fixed, number, percent, sentence

POINTS, FRAMES, BINS = 800, 40, 60
CEILINGS = (5, 10, 20, 50, 100)  # of the histogram's axis, in per cent: few, so that it does not jump at every step


def hardening(accuracy: xr.DataArray, margin: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """Soft and hard accuracy by step with the gap between them hatched, and the decision margins at the chosen step.

    *Soft* weighs all leaves by their probability, as in training; *hard* lets each input take one way, as in use. The
    gap closes when the decisions become sure, which the histogram shows: |score| far from 0 is a sure decision. The
    slider moves the marker on the curves and the histogram together. With seeds the curves are means with their 95 %
    interval, and the histogram is the mean over the seeds.

    Shapes:
        accuracy: (step, mode) or (step, mode, seed), mode with the entries "soft" and "hard"
        margin: (step, bin) or (step, bin, seed), share of the decisions; `bin` holds the middles of the |score| bins
    Raises:
        LabError: axes or modes missing, or no step in common.
    """
    accuracy = read("hardening", accuracy, ("step", "mode"), ("seed",))
    margin = read("hardening", margin, ("step", "bin"), ("seed",))
    modes = [str(mode) for mode in entries(accuracy, "mode")]
    if not {"soft", "hard"} <= set(modes):
        raise LabError(f"hardening needs the modes soft and hard in accuracy, and found {', '.join(modes)}.")
    steps = np.array(entries(accuracy, "step"))
    soft, hard = (
        summarised(mode, accuracy.isel(mode=modes.index(mode)).values.reshape(len(steps), -1).T)
        for mode in ("soft", "hard")
    )
    gap = soft.mean - hard.mean
    common = np.flatnonzero(np.isin(steps, entries(margin, "step")) & np.isfinite(gap))
    if not len(common):
        raise LabError("hardening found no step that has soft and hard accuracy and margins; record them together.")
    shown = common[evenly(len(common), FRAMES)]
    shares = _shares(margin, steps[shown])
    colors = look(dark)
    bounds = limits([soft, hard])
    still = _curves(soft, hard, steps, colors)
    figure = go.Figure([*still, *_moving(soft, hard, steps, shown[-1], bounds, colors)])
    centres, width, merged = _bins(margin)
    bars = 100 * np.add.reduceat(shares, np.arange(0, shares.shape[1], merged), axis=1)
    figure.add_bar(
        x=compact(centres),
        y=compact(bars[-1]),
        width=0.92 * width,
        marker={"color": colors.series[2], "line": {"width": 0}},
        hovertemplate="%{y:.1f} % of the decisions have |score| near %{x:.3~g}<extra></extra>",
        name="margins",
        showlegend=False,
        xaxis="x2",
        yaxis="y2",
    )
    place = list(range(len(still), len(still) + 4))
    frames = [
        {
            "data": [*_moving(soft, hard, steps, at, bounds, colors), {"type": "bar", "y": compact(row)}],
            "traces": place,
            "layout": {"yaxis2": {"range": [0, _ceiling(row)]}},
        }
        for at, row in zip(shown, bars)
    ]
    if len(frames) > 1:
        scrub(figure, frames, [number(steps[at]) for at in shown], "step", dark)
    _axes(figure, accuracy, margin, bounds, _ceiling(bars[-1]), len(frames) > 1)
    told = _told(soft, hard, steps, margin, shares[-1])
    notes = [f"{len(shown)} of {len(common):,} steps on the slider"] if len(shown) < len(common) else []
    seeds = counted(len(soft.runs), "seed") + (", with 95\u00a0% intervals" if len(soft.runs) > 1 else ", so no band")
    return styled(
        figure,
        title="The hardening gap: soft against hard accuracy",
        subtitle=sentence("; ".join([told[0], seeds, *notes])),
        alt=f"The hardening gap by training step, {seeds}: {'. '.join(told)}",
        dark=dark,
        height=700,
        above=24,
    )


def _shares(margin: xr.DataArray, steps: np.ndarray) -> np.ndarray:
    values = margin.sel(step=list(steps)).transpose("step", "bin", ...).values.astype(np.float64)
    values = values.reshape(*values.shape[:2], -1)
    there = np.isfinite(values)
    return np.where(there, values, 0).sum(-1) / np.maximum(there.sum(-1), 1)


def _bins(margin: xr.DataArray) -> tuple[np.ndarray, float, int]:
    """Middles and width of the bars, and how many bins went into each."""
    middles = np.array(entries(margin, "bin"), dtype=np.float64)
    merged = -(-len(middles) // BINS)
    step = float(np.median(np.diff(middles))) if len(middles) > 1 else 1.0
    starts = np.arange(0, len(middles), merged)
    return np.array([middles[at : at + merged].mean() for at in starts]), step * merged, merged


def _ceiling(row: np.ndarray) -> float:
    highest = float(row.max())
    return next((top for top in CEILINGS if highest <= top), highest * 1.05)


def _curves(soft: Line, hard: Line, steps: np.ndarray, colors: Look) -> list[go.Scatter]:
    rows = [line.mean + side * np.nan_to_num(line.half) for line in (soft, hard) for side in (-1, 0, 1)]
    kept = peaks(np.stack(rows), POINTS)
    x, traces = compact(steps[kept]), []
    for place, line in enumerate((soft, hard)):
        if np.isfinite(line.half).any():
            edge = {"x": x, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
            fill = {"fill": "tonexty", "fillcolor": faded(colors.series[place], 0.22)}
            traces.append(go.Scatter(y=compact((line.mean - line.half)[kept]), name="lower", **edge))
            traces.append(go.Scatter(y=compact((line.mean + line.half)[kept]), name="upper", **fill, **edge))
    hatch = {"shape": "/", "size": 7, "solidity": 0.25, "fgcolor": colors.muted, "bgcolor": faded(colors.muted, 0.1)}
    lines = []
    for place, (line, words) in enumerate(((soft, "soft: all leaves, weighted"), (hard, "hard: one way each"))):
        style = colors.line(place)
        lines.append(
            go.Scatter(
                x=x,
                y=compact(line.mean[kept]),
                mode="lines",
                line={"width": 3, "color": style["color"], "dash": style["dash"]},
                name=words,
                hovertemplate=f"{line.name} %{{y:.3f}} at step %{{x}}<extra></extra>",
            )
        )
    between = {"x": x, "mode": "lines", "hoverinfo": "skip", "line": {"width": 0, "color": colors.muted}}
    start = go.Scatter(y=compact(soft.mean[kept]), name="soft", showlegend=False, **between)
    gap = go.Scatter(y=compact(hard.mean[kept]), name="the gap", fill="tonexty", fillpattern=hatch, **between)
    return [*traces, start, gap, *lines]


def _moving(soft: Line, hard: Line, steps: np.ndarray, at: int, bounds: tuple, colors: Look) -> list[dict]:
    """The marker of the chosen step: a vertical line, and a point on each curve."""
    step = steps[at].item()
    quiet = {"type": "scatter", "hoverinfo": "skip", "showlegend": False}
    line = {"width": 1.5, "color": colors.ink, "dash": "dot"}
    marks = [{**quiet, "x": [step, step], "y": list(bounds), "mode": "lines", "line": line, "name": "chosen step"}]
    for place, curve in enumerate((soft, hard)):
        style = colors.line(place)
        marker = {"size": 13, "color": style["color"], "symbol": style["symbol"]}
        marker["line"] = {"width": 2, "color": colors.surface}
        marks.append(
            {**quiet, "x": [step], "y": [float(curve.mean[at])], "mode": "markers", "marker": marker, "name": "chosen"}
        )
    return marks


def _axes(
    figure: go.Figure, accuracy: xr.DataArray, margin: xr.DataArray, bounds: tuple, ceiling: float, scrubbed: bool
) -> None:
    figure.update_layout(
        xaxis={"title": {"text": escaped(axis_of(accuracy, "step"))}, "anchor": "y"},
        yaxis={
            "title": {"text": escaped(axis_title(accuracy, "accuracy"))},
            "domain": [0.48, 1],
            "range": list(bounds),
        },
        xaxis2={
            "title": {"text": f"Decision margin |score|: at 0 a coin toss, far from it sure{_note(margin)}"},
            "anchor": "y2",
            "rangemode": "tozero",
            "showgrid": False,
        },
        yaxis2={"title": {"text": "Decisions (%)"}, "domain": [0, 0.3], "range": [0, ceiling], "nticks": 4},
        legend={"yref": "paper", "y": 1, "yanchor": "bottom", "traceorder": "normal", "font": {"size": SMALL}},
        margin={"b": 20 + DEPTH * scrubbed},
    )


def _note(margin: xr.DataArray) -> str:
    """What the measurement says of its bins, such as what the last one holds: the attribute `note` of the axis."""
    note = margin["bin"].attrs.get("note") if "bin" in margin.coords else None
    return f"; {escaped(str(note))}" if note else ""


def _told(soft: Line, hard: Line, steps: np.ndarray, margin: xr.DataArray, last: np.ndarray) -> list[str]:
    gap = soft.mean - hard.mean
    there = np.flatnonzero(np.isfinite(gap))
    widest, end = there[gap[there].argmax()], there[-1]
    middles = np.array(entries(margin, "bin"), dtype=np.float64)
    near = middles < 1
    total = last.sum()
    words = f"the gap is widest at step {number(steps[widest])} with {fixed(gap[widest], 0.01)} and ends at "
    words += f"{fixed(gap[end], 0.01)} (soft {fixed(soft.mean[end], 0.01)}, hard {fixed(hard.mean[end], 0.01)})"
    unsure = percent(last[near].sum() / total) if total > 0 else "an unknown share"
    return [words, f"At step {number(steps[end])} {unsure} of the decisions have a margin below 1."]


def example(seed: int = 0) -> dict:
    """A soft tree of depth 3, really trained on digits with five seeds."""
    from labkit.views.specimen import EDGES, grown

    runs = [grown(seed + run) for run in range(5)]
    accuracy = xr.DataArray(
        np.stack([run.accuracy for run in runs]),
        dims=("seed", "step", "mode"),
        coords={"step": runs[0].steps, "mode": ["soft", "hard"], "seed": list(range(5))},
        attrs={"long_name": "test accuracy", "units": "fraction"},
    )
    margin = xr.DataArray(
        np.stack([run.margin for run in runs]),
        dims=("seed", "step", "bin"),
        coords={"step": runs[0].steps, "bin": (EDGES[1:] + EDGES[:-1]) / 2, "seed": list(range(5))},
        attrs={"long_name": "decision margin", "units": "share of decisions"},
    )
    return {"accuracy": accuracy, "margin": margin}
