"""The pictures of a class: guesses pooled, a study that grows with every student, everybody's curves. Pure functions."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.curves import curves
from labkit.views.guesses import guesses as drawn_guesses
from labkit.views.theme import faded, look, styled
from labkit.views.wording import counted, escaped, listed, number
from labkit.workbench.claim import interval
from labkit.workshop.classroom.room import Curve, Guess

HEIGHT = 420
PLACES = 80
"""Places at which guesses and curves of different students are compared."""
CURVES = 80
FAR = 1e30
"""What lies farther off is drawn there: single precision holds no more."""


def pooled(guesses: Mapping[str, Guess], question: str, dark: bool = False) -> go.Figure:
    """What a class guessed, and over it what was measured, once notebooks tell it, which they do when it is revealed.

    Where notebooks differ in what was measured, their median counts.
    """
    lines = [np.array(sorted(one.points)) for one in guesses.values()]
    low, high = (float(side([line[:, 0] for line in lines])) for side in (_least, _most))
    grid = np.linspace(low, high, PLACES) if high > low else np.array([low])
    table = xr.DataArray(
        np.clip([along(line, grid) for line in lines], -FAR, FAR),
        dims=("guess", "step"),
        coords={"step": grid},
        attrs={"long_name": escaped(question)},
    )
    truths = [np.array(sorted(one.truth)) for one in guesses.values() if one.truth]
    true = None
    if truths:
        median = np.nanmedian(np.clip([along(line, grid) for line in truths], -FAR, FAR), axis=0)
        true = xr.DataArray(median, dims="step", coords={"step": grid})
    figure = drawn_guesses(table, true, dark=dark)
    # what the axes are called is not told: the question says it
    return figure.update_layout(title_text=escaped(question), xaxis_title_text="", yaxis_title_text="")


def along(line: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """A line, shape (points, 2), read at the places of the grid; NaN beyond its ends."""
    values = np.interp(grid, line[:, 0], line[:, 1], left=np.nan, right=np.nan)
    return values if len(grid) > 1 else np.full(1, line[:, 1].mean())


def _least(parts: Sequence[np.ndarray]) -> float:
    return min(part.min() for part in parts)


def _most(parts: Sequence[np.ndarray]) -> float:
    return max(part.max() for part in parts)


def study(arms: Mapping[str, Mapping[str, float]], name: str, dark: bool = False) -> go.Figure:
    """One dot for each student's seed, and for each arm the mean with its 95 % interval."""
    colors = look(dark)
    figure, told = go.Figure(), []
    order = sorted(arms, key=lambda arm: -_mean(arms[arm]))
    for place, arm in enumerate(reversed(order)):
        dots = {who: value for who, value in arms[arm].items() if np.isfinite(value)}
        paint = colors.line(order.index(arm))["color"]
        label = "one student's seed" if place == 0 else ""
        heights = [place + 0.32 * (((37 * at) % 17) / 8 - 1) for at in range(len(dots))]
        hover = [f"{escaped(who)}: {value:.4g}" for who, value in dots.items()]
        figure.add_trace(
            go.Scatter(
                x=list(dots.values()),
                y=heights,
                mode="markers",
                name=label or escaped(arm),
                showlegend=False,
                hovertext=hover,
                hoverinfo="text",
                marker={"size": 11, "color": faded(paint, 0.55), "line": {"width": 1, "color": paint}},
            )
        )
        lost = len(arms[arm]) - len(dots)
        end = f"; {lost} gave no number" if lost else ""
        if len(dots) < 2:
            told.append(f"{arm} {', '.join(number(value) for value in dots.values()) or 'nothing yet'} (one seed){end}")
            continue
        mean, low, high = interval(np.array(list(dots.values())))
        told.append(f"{arm} {number(mean)} (95 % interval {number(low)} to {number(high)}, {len(dots)} seeds{end})")
        bar = {"type": "data", "symmetric": False, "array": [high - mean], "arrayminus": [mean - low]}
        figure.add_trace(
            go.Scatter(
                x=[mean],
                y=[place],
                mode="markers",
                name=escaped(arm),
                showlegend=False,
                error_x={**bar, "thickness": 4, "width": 14, "color": colors.ink},
                marker={"size": 15, "symbol": "diamond", "color": colors.ink},
                hovertemplate=f"mean {mean:.4g}, 95 % interval {low:.4g} to {high:.4g}<extra></extra>",
            )
        )
    figure.update_yaxes(
        tickvals=list(range(len(order))),
        ticktext=[escaped(arm) for arm in reversed(order)],
        range=[-0.6, len(order) - 0.4],
        showgrid=False,
        tickfont={"size": 17, "color": colors.ink},
    )
    figure.update_xaxes(title_text=escaped(name))
    said = "; ".join(reversed(told))
    return styled(
        figure,
        title=escaped(name),
        subtitle=escaped(said),
        alt=f"{name}: {said}.",
        dark=dark,
        height=max(380, 240 + 70 * len(order)),
    )


def _mean(dots: Mapping[str, float]) -> float:
    values = [value for value in dots.values() if np.isfinite(value)]
    return float(np.mean(values)) if values else -np.inf


def runs(found: Mapping[tuple[str, str], Curve], name: str, dark: bool = False) -> go.Figure:
    """Everybody's curves of one quantity: thin lines, and their mean with its 95 % interval.

    Raises: LabError where there is nothing to draw yet.
    """
    newest = dict(list(found.items())[-CURVES:])
    points = {key: curve.points() for key, curve in newest.items()}
    points = {key: (steps, values) for key, (steps, values) in points.items() if np.isfinite(values).any()}
    if not points:
        raise LabError(f"Nobody has told a finite {name} yet.")
    lines = {key: np.array(sorted(zip(steps, values))) for key, (steps, values) in points.items()}
    low, high = _least([one[:, 0] for one in lines.values()]), _most([one[:, 0] for one in lines.values()])
    grid = np.unique(np.linspace(low, high, PLACES).round()) if high > low else np.array([low])
    data = xr.DataArray(
        np.array([along(line, grid) for line in lines.values()]),
        dims=("seed", "step"),
        coords={"seed": [escaped(f"{who}, {run}") for who, run in lines], "step": grid.astype(int)},
        attrs={"long_name": name, "units": ""},
    )
    people = len({who for who, _ in lines})
    figure = curves(data.rename(seed="training"), over="training", dark=dark)
    title = f"{name}: {counted(len(lines), 'training')} of {counted(people, 'student')}"
    figure.update_layout(title_text=escaped(title), meta={**figure.layout.meta, "alt": f"{title}. {_ends(lines)}"})
    return figure


def _ends(lines: Mapping[tuple[str, str], np.ndarray]) -> str:
    ends = [float(line[-1, 1]) for line in lines.values() if np.isfinite(line[-1, 1])]
    return f"They stand between {listed([number(min(ends)), number(max(ends))])} now." if ends else ""
