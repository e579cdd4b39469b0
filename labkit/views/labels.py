"""Which line is which: names at the lines' ends where there is room for them, else a legend below the plot."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from labkit.views.theme import SMALL, TEXT
from labkit.views.wording import escaped, longest, wrapped

WIDTH, LINES, LEGEND = 18, 3, 26
LETTER, ROW = 0.56, 1.3  # of the font size: the mean width of a letter, the height of a line


@dataclass(frozen=True)
class End:
    """Where a line ends, in the units of its axes (a logarithmic axis: the logarithm), and what stands there."""

    x: float
    y: float
    name: str
    value: str
    color: str


def legend_name(name: str) -> str:
    """A name for the legend, broken where it is long."""
    return wrapped(name, LEGEND, lines=3)


def legend_height(names: Sequence[str]) -> int:
    """Pixels that a legend below the plot needs at most, where the figure is 600 pixels wide."""
    texts = [legend_name(name) for name in names]
    wide = 60 + max(longest(text) for text in texts) * TEXT * LETTER
    high = max(text.count("<br>") + 1 for text in texts) * TEXT * ROW + 6
    return int(-(-len(texts) // max(1, int(540 // wide))) * high)


def name_ends(
    figure: go.Figure, ends: Sequence[End], low: float, high: float, pixels: int, subplot: tuple[str, str] = ("x", "y")
) -> bool:
    """Write each name beside its line's end and make room at the right; False, and nothing done, if two would touch.

    `low` and `high` are the limits of the y axis and `pixels` its height on the screen.
    """
    texts = [wrapped(end.name, WIDTH, lines=LINES) for end in ends]
    if not ends or len(ends) > 6 or max(end.x for end in ends) - min(end.x for end in ends) > 1e-9:
        return False
    heights = [(text.count("<br>") + 2) * SMALL * ROW for text in texts]
    scale = pixels / (high - low or 1)
    order = sorted(range(len(ends)), key=lambda place: ends[place].y)
    for below, above in itertools.pairwise(order):
        if (ends[above].y - ends[below].y) * scale < (heights[below] + heights[above]) / 2 + 2:
            return False
    for end, text in zip(ends, texts):
        figure.add_annotation(
            x=end.x,
            y=end.y,
            xref=subplot[0],
            yref=subplot[1],
            text=f"<b>{text}</b><br>{escaped(end.value)}",
            font={"color": end.color, "size": SMALL},
            showarrow=False,
            xanchor="left",
            yanchor="middle",
            align="left",
            xshift=10,
        )
    widest = max(longest(text) for text in (*texts, *(end.value for end in ends)))
    figure.update_layout(margin={"r": int(24 + widest * SMALL * LETTER * 1.1)}, showlegend=False)
    return True
