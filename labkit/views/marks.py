"""What is drawn into curves besides the measurement: numbered events at the top, and numbers that others reported."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from labkit.errors import LabError
from labkit.views.theme import SMALL, faded, look
from labkit.views.wording import escaped, listed, number, short, wrapped

EVENTS, ROWS, SHARED, APART, FAR, REFERENCES = 30, 3, 6, 0.075, 3.0, 6
ROW = 26
"""Pixels of a row of marks, in a strip of their own above the plot."""
KEYS, LONGEST = ("step", "where", "kind", "says"), 240
Reference = Mapping[str, Any]


def happened(events: Iterable, across: str) -> list[dict]:
    """Events in the order of their steps, as plain values: step, where, kind, says.

    Raises: LabError for an event without a step or without words.
    """
    found = []
    for event in events:
        entry = event if isinstance(event, Mapping) else {key: getattr(event, key, None) for key in KEYS}
        step, says = entry.get("step", entry.get(across)), entry.get("says")
        step = step.item() if isinstance(step, np.generic) else step
        if not isinstance(step, int | float) or isinstance(step, bool) or not np.isfinite(step) or not says:
            raise LabError(f"curves needs events with a step (a number) and what it says, and found {event!r}.")
        found.append({"step": step, **{key: short(str(entry.get(key) or ""), LONGEST) for key in KEYS[1:]}})
    return sorted(found, key=lambda event: event["step"])


def said_by_others(reference: Reference | Sequence[Reference] | None) -> list[tuple[str, float]]:
    """The reported numbers, each with its words.

    Raises: LabError where one has no words or no finite value.
    """
    given = [] if reference is None else [reference] if isinstance(reference, Mapping) else list(reference)
    found = []
    for one in given:
        says, value = (one.get("says"), one.get("value")) if isinstance(one, Mapping) else (None, None)
        if not says or not isinstance(value, int | float | np.number) or not np.isfinite(float(value)):
            raise LabError(
                f"curves needs a reference as {{'says': 'paper: 98.4 %', 'value': 0.984}}, and found {one!r}."
            )
        found.append((str(says), float(value)))
    if len(found) > REFERENCES:
        raise LabError(
            f"curves draws at most {REFERENCES} references, and got {len(found)}; choose the ones that matter."
        )
    return found


def holding(low: float, high: float, references: list[tuple[str, float]]) -> tuple[float, float]:
    """The y axis wide enough for the references, except those so far away that the curves would become flat."""
    spread = high - low
    near = [value for _, value in references if low - FAR * spread < value < high + FAR * spread]
    air = 0.06 * spread
    return min([low, *(value - air for value in near)]), max([high, *(value + air for value in near)])


def rows_of(positions: Sequence[np.ndarray], spans: Sequence[tuple[float, float]]) -> list[int]:
    """The row of each event's mark, so that no two lie on each other on any of the x axes.

    Where no row has room it is -1: that event shares the mark of the one before it in the last row.

    Shapes: positions (axes)(marks), each axis in ascending order; spans are the axes' ends
    """
    places = np.array([(one - low) / ((high - low) or 1) for one, (low, high) in zip(positions, spans)])
    last = [np.full(len(places), -np.inf) for _ in range(ROWS)]
    rows = []
    for mark in range(places.shape[1]):
        free = [row for row in range(ROWS) if (places[:, mark] - last[row] >= APART).all()]
        rows.append(free[0] if free else -1)
        if free:
            last[free[0]] = places[:, mark]
    return rows


def event_traces(
    found: list[dict], rows: list[int], limits: tuple[float, float], across: str, dark: bool
) -> tuple[list[go.Scatter], list[list[int]]]:
    """A thin line through the plot for each event, one on to its mark in the strip, and the marks; all without x.

    Returns the traces, and for each the event of every point (-1 between two lines). A mark that several events share
    has the number of the first and a plus, and names them on hover.
    """
    colors, high = look(dark), max(rows) + 1
    members: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        shared = place if row >= 0 else max(one for one in members if rows[one] == ROWS - 1)
        members.setdefault(shared, []).append(place)
    heights = [1 - (rows[shared] + 0.5) / high for shared in members]
    line = {
        "mode": "lines",
        "line": {"width": 1, "color": faded(colors.muted, 0.6)},
        "hoverinfo": "skip",
        "showlegend": False,
        "name": "event lines",
    }
    through = go.Scatter(y=[y for _ in found for y in (*limits, None)], **line)
    up = [y for height in heights for y in (0, height, None)]
    onward = go.Scatter(y=up, yaxis="y2", cliponaxis=False, **line)
    marks = go.Scatter(
        y=heights,
        mode="markers+text",
        text=[f"<b>{shared + 1}{'+' * (len(group) > 1)}</b>" for shared, group in members.items()],
        textposition="middle center",
        textfont={"size": SMALL - 2, "color": colors.surface},
        marker={"size": 21, "color": colors.ink, "line": {"width": 1, "color": colors.surface}},
        customdata=[{"step": found[shared]["step"], "event": shared} for shared in members],
        hovertext=[
            "<br>".join(_words(found[one], across, one) for one in group[:SHARED]) for group in members.values()
        ],
        hovertemplate="%{hovertext}<extra></extra>",
        cliponaxis=False,
        showlegend=False,
        name="events",
        meta="events",
        yaxis="y2",
    )
    lines, shown = ([at for one in some for at in (one, one, -1)] for some in (range(len(found)), members))
    return [through, onward, marks], [lines, shown, list(members)]


def _words(event: dict, across: str, place: int) -> str:
    where = f"{event['where']}: " if event["where"] else ""
    return wrapped(f"{place + 1}. {where}{event['says'].rstrip('.')}, {across} {number(event['step'])}", 60)


def strip(figure: go.Figure, rows: list[int], pixels: int) -> int:
    """Cut a strip for the marks off the top of the plot, which is `pixels` high without; how high the strip is."""
    high = ROW * (max(rows) + 1)
    cut = pixels / (pixels + high)
    axis = {"domain": [cut, 1], "range": [0, 1], "visible": False, "fixedrange": True, "anchor": "x"}
    figure.update_layout(yaxis={"domain": [0, cut]}, yaxis2=axis)
    return high


def reference_traces(references: list[tuple[str, float]], dark: bool) -> list[go.Scatter]:
    """A dashed line from end to end for each reported number; without x, which depends on the x axis."""
    return [
        go.Scatter(
            y=[value, value],
            mode="lines",
            line={"width": 2, "color": look(dark).muted, "dash": "longdash"},
            name=escaped(says),
            hovertemplate=f"{number(value)}<extra>{escaped(says)}</extra>",
            showlegend=False,
            meta="reference",
        )
        for says, value in references
    ]


def name_references(
    figure: go.Figure, references: list[tuple[str, float]], low: float, high: float, pixels: int, dark: bool
) -> None:
    """Write what each reported number is at its line's left end; one beyond the plot gets an arrow at the edge."""
    colors = look(dark)
    taken: list[tuple[float, str]] = []
    for says, value in sorted(references, key=lambda one: -one[1]):
        inside = low < value < high
        text = escaped(short(says, 40))
        height = (min(max(value, low), high) - low) / (high - low) * pixels
        # Above its line if no other name is there, else below it, else at the right end.
        for side, anchor in (("left", "bottom"), ("left", "top"), ("right", "bottom"), ("right", "top")):
            anchor = anchor if inside else "top" if value >= high else "bottom"
            middle = height + (12 if anchor == "bottom" else -12)
            if all(abs(middle - other) >= 24 for other, there in taken if there == side):
                break
        taken.append((middle, side))
        figure.add_annotation(
            x=0 if side == "left" else 1,
            xref="x domain",
            xanchor=side,
            y=min(max(value, low), high),
            yref="y",
            yanchor=anchor,
            text=text if inside else f"{'↑' if value >= high else '↓'} {text}",
            showarrow=False,
            font={"size": SMALL, "color": colors.ink},
            bgcolor=faded(colors.surface, 0.75),
        )


def told(found: list[dict], references: list[tuple[str, float]], across: str, most: int) -> str:
    """The sentences for the alt text; empty where nothing is marked."""
    text = ""
    if references:
        text += f" Drawn in for comparison: {listed([f'{short(says, 60)} ({number(value)})' for says, value in references])}."
    if found:
        some = [f"{across} {number(event['step'])}: {short(event['says'].rstrip('.'), 80)}" for event in found[:most]]
        more = f" and {len(found) - most} more" if len(found) > most else ""
        text += f" Events: {'; '.join(some)}{more}."
    return text
