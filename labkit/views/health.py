"""Units that do no work: how many are dead, saturated or duplicates, in which layer, and from which step on."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.beginnings import began, events_of, owner_of, plain
from labkit.views.panels import colorbar, heading, layer_named, names_of, numbered, some, stack, ticks
from labkit.views.reading import axis_of, entries, read
from labkit.views.theme import look, styled
from labkit.views.thinning import compact, evenly, peaks
from labkit.views.wording import counted, escaped, listed, number, percent, sentence, short

LINES, ROWS, STEPS, POINTS, MARKS, BARS = 6, 120, 240, 900, 200, 60
MEANS = {
    "dead": "Dead: answers nothing, whatever the input",
    "saturated": "Saturated: stuck at one value or at its limit",
    "duplicate": "Duplicate: answers the same as another unit",
}


def health(data: xr.DataArray, *, events: Sequence[Mapping] = (), dark: bool = False) -> go.Figure:
    """The share of units in poor health, one panel for each condition, with a mark where an event was recorded.

    With an axis `step` up to six layers are lines, more are rows of a heat map; without, they are bars. A mark is a
    diamond at the step and the layer of the event, and says on hover what happened. Where no events are given, the
    first step at which a condition appears in a layer is marked.

    Shapes:
        data: (condition, layer, unit) or (step, condition, layer, unit), 0 or 1, NaN where a layer has fewer units
        events: mappings with `step`, `where` (the layer), `kind` (the condition) and `says`
    Raises:
        LabError: other axes, values beyond 0 and 1, or an event without its four entries.
    """
    data = read("health", data, ("condition", "layer", "unit"), ("step",))
    values = data.transpose(..., "condition", "layer", "unit").values
    if np.nanmin(values) < 0 or np.nanmax(values) > 1:
        raise LabError("health needs 0 (well) or 1 (in this condition) for each unit, and found other values.")
    values = values if "step" in data.dims else values[None]
    counts, units = np.asarray(np.nansum(values, -1, dtype=np.float64)), np.isfinite(values).any((0, 1)).sum(-1)
    sizes = np.where(np.isfinite(values).any(-1), units, 0)  # 0 where a condition was not looked for at a step
    shares = 100 * np.divide(counts, sizes, out=np.full(counts.shape, np.nan), where=sizes > 0)
    there = np.flatnonzero(sizes.any((0, 1)))
    moves = len(shares) > 1
    layers = names_of(data, "layer")
    kept, names = some([layers[at] for at in there], ROWS if moves else BARS)
    conditions = [str(one) for one in entries(data, "condition")]
    notes = [_ending(one, counts[:, at].sum(-1), sizes[:, at].sum(-1)) for at, one in enumerate(conditions)]
    shares, counts, sizes = (part[:, :, there[kept]] for part in (shares, counts, sizes))
    steps = np.array(entries(data, "step")) if moves else np.zeros(1)
    found = events_of(events, conditions, names) or (
        began(shares, counts, sizes, steps, conditions, names) if moves else []
    )
    height = 130 if len(names) <= LINES else max(110, min(220, 24 + 12 * len(names)))
    domains = stack([height] * len(conditions), 46)
    figure = go.Figure()
    for place, condition in enumerate(conditions):
        axes = {"xaxis": numbered("x", place), "yaxis": numbered("y", place)}
        heading(figure, MEANS.get(condition, sentence(condition)), domains[place][1])
        marks = [event for event in found if event["kind"] == condition]
        if not moves:
            _bars(figure, shares[0, place], (counts[0, place], sizes[0, place]), names, axes, dark)
        elif len(names) <= LINES:
            _lines(figure, shares[:, place], steps, names, marks, axes, place == 0, dark)
        else:
            _rows(figure, shares, place, steps, names, marks, axes, dark)
        _axes(figure, data, domains[place], axes, place == len(conditions) - 1, moves, names, shares[:, place])
    notes += [f"{len(names)} of {counted(len(there), 'layer')} drawn"] * (len(names) < len(there))
    legend = moves and 1 < len(names) <= LINES
    figure.update_layout(meta={"events": [plain(event) for event in found[:MARKS]]} if found else None)
    figure.update_layout(margin={"b": 20 + 40 * legend})
    return styled(
        figure,
        title="Units in poor health, layer by layer",
        subtitle=sentence("; ".join(notes)),
        alt=_alt(conditions, counts, sizes, names, steps, found, moves),
        dark=dark,
        height=200 + (height + 46) * len(conditions) + 30 * legend,
        above=22,
        axes={"x": "step" if moves else "layer"} if len(names) <= LINES or not moves else {"x": "step", "y": "layer"},
    )


def _mark(marks: list[dict], heights: list, axes: dict, dark: bool) -> go.Scatter:
    colors = look(dark)
    return go.Scatter(
        x=[event["step"] for event in marks],
        y=heights,
        mode="markers",
        marker={"symbol": "diamond", "size": 12, "color": colors.surface, "line": {"width": 2.5, "color": colors.ink}},
        text=[f"{escaped(event['where'])}: {escaped(event['says'])}" for event in marks],
        hovertemplate="%{text}<extra></extra>",
        name="begins",
        showlegend=False,
        cliponaxis=False,
        **axes,
    )


def _lines(
    figure: go.Figure,
    shares: np.ndarray,
    steps: np.ndarray,
    names: list[str],
    marks: list[dict],
    axes: dict,
    first: bool,
    dark: bool,
) -> None:
    for layer, name in enumerate(names):
        style = look(dark).line(layer)
        kept = peaks(shares[:, [layer]].T, POINTS)
        figure.add_scatter(
            x=compact(steps[kept]),
            y=compact(shares[kept, layer]),
            mode="lines",
            connectgaps=True,
            line={"width": 3, "color": style["color"], "dash": style["dash"]},
            name=short(layer_named(name), 40),
            legendgroup=name,
            showlegend=first and len(names) > 1,
            hovertemplate=f"{layer_named(name)}: %{{y:.3~g}} % at step %{{x}}<extra></extra>",
            **axes,
        )
    heights = []
    for event in marks[:MARKS]:
        owner = owner_of(str(event["where"]), names)
        heights.append(0.0 if owner is None else float(shares[np.abs(steps - event["step"]).argmin(), owner]))
    if marks:
        figure.add_trace(_mark(marks[:MARKS], heights, axes, dark))


def _rows(
    figure: go.Figure,
    shares: np.ndarray,
    place: int,
    steps: np.ndarray,
    names: list[str],
    marks: list[dict],
    axes: dict,
    dark: bool,
) -> None:
    kept = evenly(len(steps), min(STEPS, 40_000 // (len(names) * shares.shape[1])))
    figure.add_heatmap(
        x=compact(steps[kept]),
        y=names,
        z=compact(shares[kept, place].T),
        zmin=0,
        zmax=float(np.nanmax(shares)) or 1.0,
        colorscale=look(dark).scale(),
        showscale=place == 0,
        colorbar=colorbar("Share of the layer's units (%)", dark),
        hovertemplate="%{y}: %{z:.3~g} % at step %{x}<extra></extra>",
        hoverongaps=False,
        name="share (%)",
        **axes,
    )
    owners = [(event, owner_of(str(event["where"]), names)) for event in marks[:MARKS]]
    known = [(event, names[owner]) for event, owner in owners if owner is not None]
    if known:
        mark = _mark([event for event, _ in known], [name for _, name in known], axes, dark)
        figure.add_trace(mark.update(marker={"size": 7, "line": {"width": 1.5}}))


def _bars(
    figure: go.Figure,
    shares: np.ndarray,
    units: tuple[np.ndarray, np.ndarray],
    names: list[str],
    axes: dict,
    dark: bool,
) -> None:
    figure.add_bar(
        x=names,
        y=compact(shares),
        customdata=compact(np.stack(units, 1)),
        marker={"color": look(dark).series[0], "line": {"width": 0}},
        width=0.6 if len(names) < 12 else 0.85,
        hovertemplate="%{x}: %{customdata[0]} of %{customdata[1]} units, %{y:.3~g} %<extra></extra>",
        name="share",
        showlegend=False,
        **axes,
    )


def _axes(
    figure: go.Figure,
    data: xr.DataArray,
    domain: list[float],
    axes: dict,
    last: bool,
    moves: bool,
    names: list[str],
    shares: np.ndarray,
) -> None:
    rows = moves and len(names) > LINES
    x: dict = {"anchor": axes["yaxis"], "showgrid": False, "showticklabels": last}
    x |= {"matches": "x"} if axes["xaxis"] != "x" else {}
    x |= {} if moves else ticks(names, most=8, width=16)
    x |= {"title": {"text": escaped(axis_of(data, "step" if moves else "layer"))}} if last else {}
    top = float(np.nan_to_num(shares).max())
    y: dict = {"domain": domain, "anchor": axes["xaxis"], "nticks": 4}
    y |= {**ticks(names, most=8), "autorange": "reversed"} if rows else {"title": {"text": "Units (%)"}}
    y |= {} if rows else {"range": [-0.04 * (top or 1), 1.12 * top or 1]}
    figure.update_layout({f"xaxis{axes['xaxis'][1:]}": x, f"yaxis{axes['yaxis'][1:]}": y})


def _ending(condition: str, counts: np.ndarray, sizes: np.ndarray) -> str:
    """How many there are at the last step at which the condition was looked for."""
    looked = np.flatnonzero(sizes)
    return (
        f"{condition} {number(counts[looked[-1]])} of {number(sizes[looked[-1]])}"
        if len(looked)
        else f"{condition} not looked for"
    )


def _alt(
    conditions: list[str],
    counts: np.ndarray,
    sizes: np.ndarray,
    names: list[str],
    steps: np.ndarray,
    found: list[dict],
    moves: bool,
) -> str:
    told = []
    for place, condition in enumerate(conditions):
        looked = np.flatnonzero(sizes[:, place].any(-1))
        if not len(looked):
            told.append(f"{condition}: not looked for")
            continue
        last, size = counts[looked[-1], place], np.maximum(sizes[looked[-1], place], 1)
        worst = int((last / size).argmax())
        text = f"{condition}: {number(last.sum())} of {number(size.sum())} units"
        if last[worst]:
            text += f", most in {layer_named(names[worst])} ({percent(last[worst] / size[worst])} of its units)"
        first = [event for event in found if event["kind"] == condition]
        if first:
            text += f", first marked at step {number(min(event['step'] for event in first))}"
        told.append(text)
    when = f" at step {number(steps[-1])}" if moves else ""
    return f"Units in poor health in {counted(len(names), 'layer')}{when}. {sentence(listed(told))}."


def example(seed: int = 0) -> dict:
    """A ReLU network along its training on digits. Saturated is here a unit that is on for every input, duplicate one
    whose activations have a correlation above 0.9 with those of a unit before it.
    """
    from labkit.views.network_specimen import LAYERS, digits_network

    network = digits_network(seed)
    widest = max(activity.shape[1] for activity in network.hidden(0))
    values = np.full((len(network.steps), len(MEANS), len(LAYERS), widest), np.nan)
    for at in range(len(network.steps)):
        for layer, activity in enumerate(network.hidden(at)):
            alive = activity.std(0) > 0
            alike = np.zeros((len(alive), len(alive)))
            alike[np.ix_(alive, alive)] = np.corrcoef(activity[:, alive].T)
            parts = [~(activity > 0).any(0), (activity > 0).all(0), (np.tril(alike, -1) > 0.9).any(1)]
            values[at, :, layer, : len(alive)] = parts
    coords = {"step": network.steps, "condition": list(MEANS), "layer": list(LAYERS), "unit": np.arange(widest)}
    attrs = {"long_name": "units in poor health", "units": ""}
    return {"data": xr.DataArray(values, dims=("step", "condition", "layer", "unit"), coords=coords, attrs=attrs)}
