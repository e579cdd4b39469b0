"""Which curve is which: at the lines' ends where there is room, in a legend, and of many only the ends by colour."""

import itertools

import plotly.graph_objects as go

from labkit.views.labels import LETTER, LINES, ROW, WIDTH, End, legend_height, legend_name, name_ends
from labkit.views.seeds import Line
from labkit.views.theme import HEIGHT, SMALL, look
from labkit.views.wording import escaped, fixed, longest, wrapped

READABLE, ENDS = 6, 2
PIXELS = HEIGHT - 190


def crowd(lines: list[Line]) -> list[int] | None:
    """Of more than six lines the two that end highest and the two that end lowest, highest first; else None."""
    if len(lines) <= READABLE:
        return None
    order = sorted(range(len(lines)), key=lambda place: -lines[place].mean[lines[place].ends[1]])
    return [*order[:ENDS], *order[-ENDS:]]


def name(
    figure: go.Figure, lines: list[Line], loud: list[int] | None, places: list, limit: tuple[float, float], dark: bool
) -> bool:
    """Write the names beside the lines' ends; whether that is enough, so that no legend is needed."""
    if len(lines) == 1:
        return False
    spread, ends = limit[1] - limit[0], []
    for place in range(len(lines)) if loud is None else loud:
        line, color = lines[place], look(dark).line(place if loud is None else loud.index(place))["color"]
        last = line.ends[1]
        ends.append(End(places[last], float(line.mean[last]), line.name, fixed(line.mean[last], spread / 10), color))
    if loud is not None:
        _beside(figure, ends, *limit)
        ranks = {str(place): rank for rank, place in enumerate(_ranked(lines), 1)}
        for place, rank in ranks.items():
            figure.update_traces(legendrank=rank, selector={"meta": "mean", "legendgroup": place})
        clicks = {"itemclick": "toggleothers", "itemdoubleclick": "toggle", "traceorder": "normal"}
        figure.update_layout(legend={**clicks, "font": {"size": SMALL}})
        return False
    direct = name_ends(figure, ends, *limit, pixels=PIXELS)
    # At the edge of the plot the names stay right on whichever x axis is chosen.
    figure.update_annotations(xref="x domain", x=1)
    return direct


def legend_room(lines: list[Line], loud: list[int] | None, direct: bool) -> int:
    """Pixels that the legend needs below the plot, beyond what every figure has, where the figure is 600 wide."""
    if direct or len(lines) == 1:
        return 0
    if loud is None:
        return max(0, legend_height([line.name for line in lines]) - 30)
    # Beside the names at the lines' ends the legend has room for one column.
    return sum(int((legend_name(line.name).count("<br>") + 1) * SMALL * ROW + 5) for line in lines) - 30


def _ranked(lines: list[Line]) -> list[int]:
    return sorted(range(len(lines)), key=lambda place: -lines[place].mean[lines[place].ends[1]])


def _beside(figure: go.Figure, ends: list[End], low: float, high: float) -> None:
    """Names at the right edge, moved up or down until none touches another, each with a thin line to its curve."""
    texts = [wrapped(end.name, WIDTH, lines=LINES) for end in ends]
    heights = [(text.count("<br>") + 2) * SMALL * ROW + 2 for text in texts]
    scale = PIXELS / (high - low)
    wanted = [(end.y - low) * scale for end in ends]
    spots = apart(wanted, heights, PIXELS)
    for end, text, spot, height in zip(ends, texts, spots, wanted):
        figure.add_annotation(
            x=1,
            y=end.y,
            xref="x domain",
            yref="y",
            text=f"<b>{text}</b><br>{escaped(end.value)}",
            font={"color": end.color, "size": SMALL},
            showarrow=True,
            arrowhead=0,
            arrowwidth=1,
            arrowcolor=end.color,
            ax=22,
            ay=height - spot,
            xanchor="left",
            yanchor="middle",
            align="left",
        )
    widest = max(longest(text) for text in (*texts, *(end.value for end in ends)))
    figure.update_layout(margin={"r": int(44 + widest * SMALL * LETTER * 1.1)})


def apart(wanted: list[float], heights: list[float], pixels: float) -> list[float]:
    """The nearest places to the wanted ones at which boxes of these heights do not touch, within 0..pixels.

    The boxes are in order, highest place first. Boxes that would touch move away from each other as one group.
    """
    groups = [[place] for place in range(len(wanted))]

    def middle(group: list[int]) -> float:
        """Where the group's centre would best be, so that its members are nearest to their own places."""
        size = sum(heights[place] for place in group)
        offsets, top = [], size / 2
        for place in group:
            offsets.append(wanted[place] - (top - heights[place] / 2))
            top -= heights[place]
        return min(max(sum(offsets) / len(offsets), size / 2), max(size / 2, pixels - size / 2))

    def touch(upper: list[int], lower: list[int]) -> bool:
        sizes = [sum(heights[place] for place in group) for group in (upper, lower)]
        return middle(upper) - sizes[0] / 2 < middle(lower) + sizes[1] / 2 - 1e-9

    while pairs := [at for at, two in enumerate(itertools.pairwise(groups)) if touch(*two)]:
        at = pairs[0]
        groups[at : at + 2] = [groups[at] + groups[at + 1]]
    spots = [0.0] * len(wanted)
    for group in groups:
        top = middle(group) + sum(heights[place] for place in group) / 2
        for place in group:
            spots[place] = top - heights[place] / 2
            top -= heights[place]
    return spots
