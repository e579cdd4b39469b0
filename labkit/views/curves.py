"""Curves over training (or any axis): the mean of the seeds, how sure it is, and every single seed on hover."""

from collections.abc import Iterable, Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.across import ROOM, axes_of, switch
from labkit.views.curve_names import PIXELS, crowd, legend_room, name
from labkit.views.curve_traces import Drawn, drawn
from labkit.views.marks import (
    EVENTS,
    Reference,
    event_traces,
    happened,
    holding,
    name_references,
    reference_traces,
    rows_of,
    said_by_others,
    strip,
    told,
)
from labkit.views.reading import axis_title, entries, read, title_of, units_of
from labkit.views.seeds import Line, limits, summarised
from labkit.views.theme import HEIGHT, styled
from labkit.views.wording import WORDS, counted, escaped, fixed, listed, named, number, sentence

ARMS, TOLD = 12, 4


def curves(
    data: xr.DataArray,
    across: str = "step",
    compare: str = "arm",
    over: str = "seed",
    *,
    events: Iterable = (),
    reference: Reference | Sequence[Reference] | None = None,
    smooth: int = 1,
    dark: bool = False,
) -> go.Figure:
    """One line for each arm: the mean over the seeds with its 95 % interval, and the single seeds as thin lines.

    The band is Student's t interval of the mean, at each place over the seeds that have a value there; with one seed
    there is none. Long curves are thinned so that every stretch keeps its lowest and highest value. Of more than six
    arms the two that end highest and the two that end lowest are coloured and named, the others are grey between
    them; a click on a name in the legend shows that arm alone.

    Coordinates along `across` (examples, seconds, flops; also one for each arm or seed) become buttons that put all
    curves onto another x axis. With `smooth` the line and its band are running means over so many recorded values,
    and the values as measured stay visible as thin lines.

    Shapes:
        data: (across), and optionally (compare), (over), in any order; the y axis takes its name and units
        events: mappings, or objects with the attributes `step`, `says` and if you like `where` and `kind`; a click on
            one gives `customdata` {"step": step, "event": place in `layout.meta["events"]`}
        reference: {"says": "paper: 98.4 %", "value": 0.984} or several, drawn as dashed lines
    Raises:
        LabError: another axis is there, nothing to draw, or an event, a reference or a window that makes no sense.
    """
    data = read("curves", data, (across,), (compare, over))
    places = entries(data, across)
    if not all(isinstance(place, int | float) for place in places):
        raise LabError(f"curves needs numbers along {across}, and found {places[0]!r}; a heat map can show names.")
    if not (isinstance(smooth, int) and 1 <= smooth <= max(1, len(places))):
        raise LabError(f"curves smooths over 1 to {len(places):,} recorded values, and got {smooth!r}.")
    found, references = happened(events, across), said_by_others(reference)
    names = [named(entry, compare) for entry in entries(data, compare)] if compare in data.dims else [""]
    seeds = entries(data, over) if over in data.dims else []
    arms, lines = [], []
    for arm, one in enumerate(names[:ARMS]):
        part = data.isel({compare: arm}) if compare in data.dims else data
        line = summarised(one, part.transpose(..., across).values.reshape(-1, len(places)), smooth)
        if np.isfinite(line.mean).any():
            arms, lines = [*arms, arm], [*lines, line]
    if not lines:
        raise LabError(f"curves found no value in the first {ARMS} entries of {compare}; choose others with data.sel.")
    axes, loud = axes_of(data, across, compare, over), crowd(lines)
    picture = drawn(lines, arms, loud, axes, seeds, over, across, smooth, dark)
    notes = picture.notes
    low, high = holding(*limits(lines), references)
    rows = _mark(picture, found, references, (low, high), np.array(places), across, dark)
    figure = go.Figure(picture.traces)
    figure.update_yaxes(title_text=escaped(axis_title(data, "value")), range=[low, high])
    figure.update_xaxes(title_text=axes[0].title)
    above = ROOM if len(axes) > 1 else 0
    taller = above
    if rows:
        taller += strip(figure, rows, PIXELS)
        figure.update_layout(meta={"events": found[:EVENTS]})
        more = f", the first {EVENTS} of {len(found)}" if len(found) > EVENTS else ""
        notes.append(f"numbers at the top: events{more}")
    direct = name(figure, lines, loud, places, (low, high), dark)
    name_references(figure, references, low, high, PIXELS, dark)
    if len(axes) > 1:
        switch(figure, axes, picture.x, dark)
    if len(names) > ARMS:
        notes.append(f"the first {ARMS} of {len(names)} {compare}s")
    title = f"{title_of(data, 'Value')} by {_called(data, across)}" if len(axes) == 1 else title_of(data, "Value")
    basis = _basis(lines, over, smooth)
    return styled(
        figure,
        title=title,
        subtitle=sentence("; ".join([basis, *notes])),
        alt=_alt(title, lines, places, across, units_of(data), basis) + told(found, references, across, TOLD),
        dark=dark,
        height=HEIGHT + legend_room(lines, loud, direct) + taller,
        above=above,
        axes={"x": across},
    )


def _called(data: xr.DataArray, across: str) -> str:
    """What an axis is called within a sentence: the word of the lab, or the name that its entries carry."""
    own = str(data[across].attrs.get("long_name") or across)
    return WORDS.get(across) or (own if own[1:2].isupper() else own[:1].lower() + own[1:])


def _mark(
    picture: Drawn,
    found: list[dict],
    references: list,
    limit: tuple[float, float],
    places: np.ndarray,
    across: str,
    dark: bool,
) -> list[int]:
    """Add references and events to the traces, on every x axis; the rows of the events' marks."""
    ends = [_ends(x) for x in picture.x]
    for trace in reference_traces(references, dark):
        picture.add(trace, [np.array(end) for end in ends])
    shown = found[:EVENTS]
    if not shown:
        return []
    steps = np.array([event["step"] for event in shown])
    positions = [steps.astype(np.float64)]
    positions += [axis.at(steps, places) for axis in picture.axes[1:]]
    spans = [(min(low, own.min()), max(high, own.max())) for (low, high), own in zip(ends, positions)]
    rows = rows_of(positions, spans)
    for trace, which in zip(*event_traces(shown, rows, limit, across, dark)):
        picture.add(trace, [np.array([own[at] if at >= 0 else np.nan for at in which]) for own in positions])
    return rows


def _ends(traces: list[np.ndarray]) -> tuple[float, float]:
    return float(min(np.nanmin(x) for x in traces)), float(max(np.nanmax(x) for x in traces))


def _basis(lines: list[Line], over: str, smooth: int) -> str:
    count = max(len(line.runs) for line in lines)
    window = f"running mean over {smooth:,} recorded values" if smooth > 1 else ""
    if count == 1:
        return "; ".join(filter(None, [f"1 {over}, so no band", window]))
    basis = f"mean and 95{chr(160)}% interval over {counted(count, over)}"
    return f"{basis} of a {window}" if window else basis


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
    """Accuracy of a linear classifier and of two soft trees, really trained on digits, over five seeds.

    The multiplications are counted: of every example's 64 pixels with each decision and each leaf's ten classes,
    forwards and, twice as many, backwards. The dashed line is what always naming the commonest class would reach.
    """
    from labkit.views.specimen import digits, grown

    arms = {"linear classifier": 0, "tree of depth 2": 2, "tree of depth 3": 3}
    runs = [[grown(seed + run, depth) for run in range(5)] for depth in arms.values()]
    values = np.array([[run.accuracy[:, 1] for run in row] for row in runs])
    steps = runs[0][0].steps
    work = [3 * 2 * 64 * 64 * (2**depth - 1 + 10 * 2**depth) for depth in arms.values()]
    data = xr.DataArray(
        values,
        dims=("arm", "seed", "step"),
        coords={
            "arm": list(arms),
            "seed": list(range(5)),
            "step": steps,
            "examples": ("step", 64 * steps),
            "flops": (("arm", "step"), np.outer(work, steps)),
        },
        attrs={"long_name": "test accuracy, hard", "units": "fraction"},
    )
    labels = digits()[1]
    mean, events = values.mean(1), []
    for place, arm in enumerate(arms):
        reached = np.flatnonzero(mean[place] >= 0.8)
        if len(reached):
            says = "the mean over the seeds reaches 0.8"
            events.append({"step": int(steps[reached[0]]), "says": says, "kind": "milestone", "where": arm})
    commonest = float(np.bincount(labels).max() / len(labels))
    return {
        "data": data,
        "events": events,
        "reference": {"says": "always the commonest digit", "value": commonest},
    }
