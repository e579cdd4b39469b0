"""The one look of all figures: colours that colour-blind people tell apart, large type, alt text, a size limit.

Every view ends in `styled(figure, ...)`. The series colours are Okabe and Ito's, darkened (light version) or lightened
(dark version) until each stands out from the background by a contrast of at least 3:1. The colour scales have equal
steps of perceived difference (OKLab); the low end is near the background, the high end far from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from labkit.views.wording import wrapped

BUDGET = 300_000
FONT = '"Inter", "Segoe UI", "Helvetica Neue", Arial, "Liberation Sans", sans-serif'
TEXT, SMALL, TITLE = 15, 14, 20
HEIGHT = 560
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
PALETTE = {
    "light": ("#0072B2", "#D55E00", "#009E73", "#8A2F86", "#6E4300", "#2B3038"),
    "dark": ("#56B4E9", "#E15F38", "#1FA582", "#B06BA5", "#E69F00", "#F2F4F7"),
}


@dataclass(frozen=True)
class Look:
    """The colours of one version, light or dark: `series` for lines, `sequential` and `diverging` for heat maps."""

    surface: str
    ink: str
    muted: str
    grid: str
    series: tuple[str, ...]
    sequential: tuple[str, ...]
    diverging: tuple[str, ...]

    def line(self, place: int) -> dict:
        """Colour, dash and marker of the series at this place; no two of the first thirty-six share all of them."""
        turn = place + place // len(self.series)
        return {
            "color": self.series[place % len(self.series)],
            "dash": DASHES[turn % len(DASHES)],
            "symbol": MARKERS[turn % len(MARKERS)],
        }

    def scale(self, signed: bool = False) -> list[list]:
        """Plotly's colour scale: from nothing to much, or with `signed` from negative through zero to positive."""
        colors = self.diverging if signed else self.sequential
        return [[place / (len(colors) - 1), color] for place, color in enumerate(colors)]


def _stops(colors: str) -> tuple[str, ...]:
    return tuple(f"#{color}" for color in colors.split())


LIGHT = Look(
    surface="#FFFFFF",
    ink="#1D222B",
    muted="#555D6B",
    grid="#E4E7EC",
    series=PALETTE["light"],
    sequential=_stops("F6F4E5 D5E3C1 A6D6AE 7DC2AB 59ADAA 4095A6 2B7C9B 1F648E 1C4B7E 163565 0F204C"),
    diverging=_stops("003D74 1D629C 3B88C5 79ACD8 B4CFE7 F2F2F2 F1C6AF E89A6E D46F32 AA4F1E 803009"),
)
DARK = Look(
    surface="#14171C",
    ink="#EDEFF2",
    muted="#AAB2BF",
    grid="#2C323B",
    series=PALETTE["dark"],
    sequential=_stops("1D2534 243754 294976 2D6189 347A9A 3C93A4 4FABA8 71C2A7 9AD5A3 C8E5A0 F8F3A3"),
    diverging=_stops("85DDFF 5EB3EA 398AC5 306490 2A4259 222222 5A3723 934C24 CB6628 EB9757 FFC988"),
)


def look(dark: bool = False) -> Look:
    """The light or the dark version."""
    return DARK if dark else LIGHT


def faded(color: str, strength: float) -> str:
    """The same colour, see-through: strength 1 is opaque, 0 is invisible."""
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {strength:g})"


def template(dark: bool) -> go.layout.Template:
    """Plotly's defaults of the theme; small, because it travels inside every figure."""
    colors = look(dark)
    axis = {
        "automargin": True,
        "showline": False,
        "zeroline": False,
        "ticks": "",
        "ticklabelstandoff": 4,
        "separatethousands": True,
        "exponentformat": "power",
        "minexponent": 6,
        "gridcolor": colors.grid,
        "linecolor": colors.grid,
        "tickfont": {"size": SMALL, "color": colors.muted},
        "title": {"standoff": 10, "font": {"size": TEXT, "color": colors.ink}},
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": TEXT, "color": colors.ink},
            "paper_bgcolor": colors.surface,
            "plot_bgcolor": colors.surface,
            "colorway": list(colors.series),
            "xaxis": axis,
            "yaxis": axis,
            "hovermode": "closest",
            "hoverlabel": {
                "bgcolor": colors.surface,
                "bordercolor": colors.muted,
                "align": "left",
                "namelength": -1,
                "font": {"family": FONT, "size": SMALL, "color": colors.ink},
            },
            "legend": {
                "orientation": "h",
                "yref": "container",
                "y": 0.01,
                "yanchor": "bottom",
                "x": 0,
                "xanchor": "left",
                "font": {"size": TEXT},
                "bgcolor": "rgba(0, 0, 0, 0)",
                "itemwidth": 44,
                "maxheight": 600,
            },
            "modebar": {
                "remove": ["select2d", "lasso2d", "autoscale2d", "sendChartToCloud"],
                "bgcolor": "rgba(0, 0, 0, 0)",
                "color": colors.muted,
                "activecolor": colors.ink,
            },
        }
    )


def styled(
    figure: go.Figure,
    *,
    alt: str,
    dark: bool = False,
    title: str = "",
    subtitle: str = "",
    height: int = HEIGHT,
    above: int = 0,
    axes: Mapping[str, str] | None = None,
) -> go.Figure:
    """Give a figure the theme, its title and the sentence that a screen reader says instead of the picture.

    `axes` says which axis of the data lies on which axis of the picture, {"x": "step", "y": "layer"}: there the cursor
    that several pictures share is shown and moved.

    The title and the subtitle are wrapped so that they fit a figure of 600 pixels, and the margin above the plot
    grows with them; `above` adds room below them, for a legend on top.
    """
    head, below = wrapped(title, 50), wrapped(subtitle, 76, lines=4)
    lines = (head.count("<br>") + 1) * 25 * bool(title) + (below.count("<br>") + 1) * 19 * bool(subtitle)
    figure.update_layout(template=template(dark), height=height, autosize=True)
    figure.update_layout(margin={"l": 20, "r": 24, "b": 20, "t": 38 + lines + above, **_margins(figure)})
    if title:
        small = {"text": below, "font": {"size": SMALL, "color": look(dark).muted}}
        place = {"x": 0, "xref": "container", "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top"}
        font = {"size": TITLE, "color": look(dark).ink, "weight": 600}
        figure.update_layout(title={"text": head, "subtitle": small, **place, "pad": {"l": 20, "t": 18}, "font": font})
    if axes:
        meta: Any = figure["layout"]["meta"]
        figure.update_layout(meta={**(meta or {}), "axes": dict(axes)})
    return _described(figure, alt)


def _margins(figure: go.Figure) -> dict:
    margin: Any = figure["layout"]["margin"]
    return {side: margin[side] for side in "lrb" if margin[side] is not None}


def _described(figure: go.Figure, alt: str) -> go.Figure:
    meta: Any = figure["layout"]["meta"]
    figure.update_layout(meta={**(meta or {}), "alt": alt})
    return figure


def alt_text(figure: go.Figure) -> str:
    """The sentence that stands for the picture; empty when the figure did not come from a view."""
    meta: Any = figure["layout"]["meta"]
    return (meta or {}).get("alt", "")


def payload(figure: go.Figure) -> int:
    """What the figure weighs on its way to the browser, in bytes, without the drawing library."""
    return len((figure.to_json() or "").encode())
