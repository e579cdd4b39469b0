"""A number for each layer at each step: a few lines that sum it up, and below them every layer as a row of colour."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.views.panels import colorbar, heading, stack
from labkit.views.reading import axis_of
from labkit.views.theme import SMALL, look
from labkit.views.thinning import blocks, compact, evenly, peaks
from labkit.views.wording import escaped, longest, wrapped

LAYERS, STEPS, POINTS, LINES = 96, 240, 600, 210


@dataclass(frozen=True)
class Wording:
    """The title of the lines' axis, of the colours, and the words behind a number in a hover text."""

    axis: str
    colors: str
    unit: str


def layer_ticks(names: list[str], short: list[str], shown: np.ndarray) -> dict:
    """A category axis of layers, the first on top, with at most 24 ticks."""
    ticks = shown[evenly(len(shown), 24)]
    return {
        "title": {"text": "Layer"},
        "type": "category",
        "autorange": "reversed",
        "tickvals": [names[at] for at in ticks],
        "ticktext": [short[at] for at in ticks],
        "showgrid": False,
    }


def layer_lines(
    data: xr.DataArray,
    lines: dict[str, tuple[np.ndarray, int]],
    rows: np.ndarray,
    layers: tuple[list[str], list[str]],
    steps: np.ndarray,
    low: float,
    words: Wording,
    dark: bool,
) -> tuple[go.Figure, int, list[str]]:
    """The figure, its height, and what it leaves out.

    Shapes:
        lines: name -> (step) values and the place among the series colours
        rows: (layer, step) values; `low` is where the colours begin
        layers: names as the data has them, and short
    """
    (names, short), colors, figure = layers, look(dark), go.Figure()
    for name, (values, place) in lines.items():
        if not np.isfinite(values).any():
            continue
        style, kept = colors.line(place), peaks(values[None], POINTS)
        figure.add_scatter(
            x=compact(steps[kept]),
            y=compact(values[kept]),
            mode="lines+markers",
            line={"width": 3, "color": style["color"], "dash": style["dash"]},
            marker={"symbol": style["symbol"], "size": 9, "maxdisplayed": 8},
            name=wrapped(name, 40, lines=1),
            hovertemplate=f"{escaped(name)}: %{{y:.3~g}}{words.unit} at step %{{x}}<extra></extra>",
        )
    shown = evenly(len(names), LAYERS)
    cells, _, wide = blocks(rows[shown], len(shown), STEPS)
    high = max(90, min(560, 26 * len(shown)))
    reach = [float(np.nanmax(values)) for values, _ in lines.values() if np.isfinite(values).any()]
    top = max([float(np.nanmax(cells)), *reach])
    top = top if top > low else low + 1
    figure.add_heatmap(
        z=compact(cells),
        x=compact(steps[::wide]),
        y=[names[at] for at in shown],
        yaxis="y2",
        colorscale=colors.scale(),
        zmin=low,
        zmax=top,
        hovertemplate=f"layer %{{y}} at step %{{x}}: %{{z:.3~g}}{words.unit}"
        + ("<br>(mean of the steps up to the next column)" if wide > 1 else "")
        + "<extra></extra>",
        ygap=1 if len(shown) <= 32 else 0,
        colorbar=colorbar(words.colors, dark, len=high / (high + 60 + LINES), y=0, yanchor="bottom", nticks=5),
        name="every layer",
    )
    upper, lower = stack([LINES, high], 60)
    figure.update_layout(
        xaxis={"title": {"text": escaped(axis_of(data, "step"))}, "anchor": "y2", "showgrid": False},
        yaxis={
            "domain": upper,
            "title": {"text": words.axis},
            "range": [low - 0.08 * (top - low), top + 0.06 * (top - low)],
            "nticks": 6,
        },
        yaxis2={**layer_ticks(names, short, shown), "domain": lower},
        legend={"yref": "paper", "y": 1, "yanchor": "bottom", "font": {"size": SMALL}, "traceorder": "normal"},
    )
    heading(figure, "Every layer for itself", lower[1])
    return figure, 310 + LINES + high, [f"{len(shown)} of {len(names):,} layers"] if len(shown) < len(names) else []


def legend_room(lines: list[str]) -> int:
    """Pixels above the plot for a legend of these names, where the figure is 600 pixels wide."""
    return 30 + 22 * int(sum(60 + 8 * longest(wrapped(name, 40, lines=1)) for name in lines) / 480)
