"""How full each expert is, layer by layer and over the training, and where and when one dies."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.choices import against_even, filled, layers_of, noun_of, plural, rounded
from labkit.views.panels import colorbar, heading, numbered, stack
from labkit.views.reading import axis_of, entries, read
from labkit.views.scrubber import DEPTH, scrub
from labkit.views.theme import look, styled
from labkit.views.thinning import compact, evenly
from labkit.views.wording import counted, escaped, listed, number, percent, sentence

TOGETHER, CHOICES, STEPS, LAYERS, CELLS, EVENTS = 4, 128, 240, 24, 60_000, 60


@dataclass(frozen=True)
class Loads:
    """What is drawn: values (step, layer, choice) in shares of an equal share, NaN where there is no choice."""

    values: np.ndarray
    steps: list
    names: list[str]
    short: list[str]
    noun: str

    @property
    def moves(self) -> bool:
        """Whether there are steps."""
        return len(self.steps) > 1

    def deaths(self) -> list[tuple[int, int, int]]:
        """(layer, choice, place of the first step from which on it gets nothing), in the order of the steps."""
        if not self.moves:
            return []
        found = []
        for layer, choice in np.ndindex(self.values.shape[1:]):
            column = self.values[:, layer, choice]
            seen, alive = np.flatnonzero(np.isfinite(column)), np.flatnonzero(column > 0)
            if len(seen) and (not len(alive) or alive[-1] < seen[-1]):
                found.append((layer, choice, int(seen[seen > alive[-1]][0] if len(alive) else seen[0])))
        return sorted(found, key=lambda one: one[2])


def choice_load(load: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """The load of every choice against an equal share: over the steps as a map, or at one moment as bars.

    The colour says how full a choice is: 100 % is an equal share, the one end of the scale gets nothing, the other
    twice its share or more. A cross is where a choice dies: from there on it gets nothing. The first 60 deaths
    are also in `layout.meta["events"]`, as step, where, kind and says. Up to four layers stand below each other; with
    more of them a slider goes through the layers.

    Shapes:
        load: (choice), with layer, with step or with both; the share of all that was chosen; NaN where a layer has
            fewer choices
    Raises:
        LabError: other axes, or a negative share.
    """
    load = filled(read("choice_load", load, ("choice",), ("layer", "step")))
    found = _loads(load)
    deaths, rows = found.deaths(), len(found.names)
    slides = rows > TOGETHER
    widest = min(found.values.shape[2], CHOICES)
    shown = evenly(rows, min(LAYERS, CELLS // (24 * widest)) if slides else rows).tolist()
    panels = [_panel(found, at, CELLS // (len(shown) * widest), deaths, dark) for at in shown]
    figure = go.Figure()
    for place, panel in enumerate(panels[-1:] if slides else panels):
        figure.add_traces([{**trace, "xaxis": numbered("x", place), "yaxis": numbered("y", place)} for trace in panel])
    high = max(110, min(440, 15 * widest)) if found.moves else 190
    _axes(figure, found, load, 1 if slides else rows, high, dark)
    if slides:
        frames = [{"data": _changes(panel, panels[-1]), "traces": list(range(len(panel)))} for panel in panels]
        scrub(figure, frames, [found.short[at] for at in shown], "layer", dark)
    below = (DEPTH - 20) * slides
    events = [
        {
            "step": found.steps[at],
            "where": str(entries(load, "layer")[layer]) if "layer" in load.dims else "",
            "kind": "expert dies",
            "says": f"{found.noun} {choice} gets nothing from here on.",
        }
        for layer, choice, at in deaths[:EVENTS]
    ]
    figure.update_layout(meta={"events": events} if events else None, margin={"b": 20 + below}, showlegend=False)
    notes = [f"{len(shown)} of {rows:,} layers on the slider"] if len(shown) < rows else []
    group = -(-found.values.shape[2] // CHOICES)
    notes += [f"{group} neighbouring {plural(found.noun)} put together"] if group > 1 else []
    across = {"x": "step", "y": "choice"} if found.moves else {"x": "choice"}
    return styled(
        figure,
        title=f"How full each {found.noun} is",
        subtitle=sentence("; ".join([_state(found, deaths), *notes])),
        alt=_alt(found, deaths),
        dark=dark,
        height=190 + (1 if slides else rows) * (high + 40) + below,
        above=26 * (not slides and rows > 1),
        axes=across,
    )


def _loads(load: xr.DataArray) -> Loads:
    names, short = layers_of(load) if "layer" in load.dims else ([""], [""])
    steps = entries(load, "step") if "step" in load.dims else [None]
    noun = noun_of(load, "expert")
    for dim in ("layer", "step"):
        load = load if dim in load.dims else load.expand_dims({dim: 1})
    values = load.transpose("step", "layer", "choice").values.astype(np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    if np.nanmin(values) < 0 or np.nansum(values) <= 0:
        raise LabError("choice_load needs shares of inputs, from 0 to 1, and found a negative one or only zeros.")
    total, there = np.nansum(values, -1, keepdims=True), np.isfinite(values).sum(-1, keepdims=True)
    values = np.divide(values * there, total, out=np.where(np.isnan(values), np.nan, 0), where=total > 0)
    return Loads(values, steps, names, short, noun)


def _panel(found: Loads, layer: int, room: int, deaths: list, dark: bool) -> list[dict]:
    """The map or the bars of one layer, and the crosses on it."""
    colors, noun = look(dark), escaped(found.noun)
    values = found.values[:, layer]
    values = values[:, : int(np.flatnonzero(np.isfinite(values).any(0)).max(initial=0)) + 1]
    group = -(-values.shape[1] // CHOICES)
    starts = np.arange(0, values.shape[1], group)
    which = f"{noun} %{{y}}" if group == 1 else f"{group} {plural(noun)} from %{{y}} on"
    cells = np.add.reduceat(values, starts, axis=1) / np.diff([*starts, values.shape[1]])
    cross = {"symbol": "x", "size": 9, "color": colors.ink, "line": {"width": 1, "color": colors.surface}}
    if not found.moves:
        idle = np.flatnonzero(cells[0] == 0)
        says = which.replace("%{y}", "%{x}")
        bars = {
            "type": "bar",
            "x": compact(starts),
            "y": compact(100 * cells[0]),
            "marker": {"color": colors.series[0], "line": {"width": 0}},
            "hovertemplate": f"{says}: %{{y:.1f}} % of an equal share<extra></extra>",
            "name": f"load in % of an equal share, layer {found.short[layer]}",
        }
        dead = {"x": compact(starts[idle]), "y": [0] * len(idle), "hovertemplate": f"{says}: nothing<extra></extra>"}
        return [bars, {"type": "scatter", "mode": "markers", "marker": cross, "name": "gets nothing", **dead}]
    slots = np.unique(np.linspace(0, len(values), min(len(values), STEPS, max(2, room)) + 1).astype(int)[:-1])
    means = np.add.reduceat(cells, slots, axis=0) / np.diff([*slots, len(values)])[:, None]
    steps = np.array(found.steps)
    merged = "" if len(slots) == len(values) else "<br>(mean of the recorded steps up to the next column)"
    grid = {
        "type": "heatmap",
        "z": compact(rounded(means.T)),
        "x": compact(steps[slots]),
        "y": compact(starts),
        "coloraxis": "coloraxis",
        "hovertemplate": f"{which} at step %{{x}}: %{{z}} % of an equal share{merged}<extra></extra>",
        "name": f"load in % of an equal share, layer {found.short[layer]}",
    }
    here = [(choice, at) for place, choice, at in deaths if place == layer]
    choices, since = np.array([one for one, _ in here], int), steps[[at for _, at in here]] if here else np.array([])
    dead = {
        "x": compact(since),
        "y": compact(choices),
        "hovertemplate": f"{noun} %{{y}} gets nothing from step %{{x}} on<extra></extra>",
    }
    line = {"width": 1.5, "dash": "dot", "color": colors.surface}
    trail = {
        "x": [one for start in since.tolist() for one in (start, found.steps[-1], None)],
        "y": [one for choice in choices.tolist() for one in (choice, choice, None)],
        "hoverinfo": "skip",
    }
    return [
        grid,
        {"type": "scatter", "mode": "lines", "line": line, "name": "dead", **trail},
        {"type": "scatter", "mode": "markers", "marker": cross, "name": "dies", **dead},
    ]


def _changes(panel: list[dict], last: list[dict]) -> list[dict]:
    """What a layer on the slider has otherwise than the one that is drawn first."""
    kept = []
    for trace, shown in zip(panel, last):
        fixed = {"marker", "line", "mode", "hoverinfo", "coloraxis", "name", "hovertemplate"}
        fixed |= {key for key in ("x", "y") if "z" in trace and np.array_equal(trace[key], shown[key])}
        kept.append({key: value for key, value in trace.items() if key not in fixed})
    return kept


def _axes(figure: go.Figure, found: Loads, load: xr.DataArray, rows: int, high: int, dark: bool) -> None:
    colors, domains = look(dark), stack([high] * rows, 44)
    noun, top = sentence(escaped(found.noun)), 100 * float(np.nanmax(found.values))
    for place, domain in enumerate(domains):
        last, y = place == rows - 1, numbered("y", place)
        below: dict = {"anchor": y, "showgrid": False, "title": {"text": ""}, "showticklabels": last}
        if found.moves:
            below |= {"title": {"text": escaped(axis_of(load, "step")) if last else ""}}
            side: dict = {"autorange": "reversed", "showgrid": False, "title": {"text": noun}}
        else:
            below |= {"title": {"text": noun if last else ""}}
            side = {"range": [-0.03 * top, 1.06 * max(top, 100)], "title": {"text": "% of an equal share"}, "nticks": 5}
            line = {"color": colors.ink, "width": 2, "dash": "dot"}
            figure.add_shape(type="line", xref="paper", x0=0, x1=1, yref=y, y0=100, y1=100, line=line)
        whole = {"tickformat": ",d"} | ({"dtick": 1} if found.values.shape[2] <= 8 else {"nticks": 9})
        (side if found.moves else below).update(whole)
        figure.update_layout(
            {
                f"xaxis{y[1:]}": {**below, **({"matches": "x"} if place else {})},
                f"yaxis{y[1:]}": {**side, "domain": domain, "anchor": numbered("x", place)},
            }
        )
        if rows > 1:
            heading(figure, f"Layer {found.short[place]}", domain[1])
    if found.moves:
        ticks = {"tickvals": [0, 50, 100, 150, 200], "ticktext": ["0", "50", "100", "150", "200+"]}
        bar = colorbar("% of an equal share", dark, **ticks, len=min(1, 240 / (high * rows)) if rows > 1 else 1)
        scale = against_even(dark)
        names = {"zmin": "cmin", "zmid": "cmid", "zmax": "cmax"}
        figure.update_layout(coloraxis={names.get(key, key): value for key, value in scale.items()} | {"colorbar": bar})
    else:
        figure.update_layout(bargap=0.25 if found.values.shape[2] <= 64 else 0)


def _state(found: Loads, deaths: list) -> str:
    last = found.values[-1]
    there, idle = int(np.isfinite(last).sum()), int((last == 0).sum())
    layer, choice = np.unravel_index(np.nanargmax(last), last.shape)
    where = f" of layer {found.short[layer]}" if len(found.names) > 1 else ""
    words = f"{counted(idle, found.noun, plural(found.noun))} of {there:,} get nothing" + " at the end" * found.moves
    words = words if idle else f"all {there:,} {plural(found.noun)} get inputs" + " at the end" * found.moves
    full = f"the fullest is {choice}{where} with {number(round(100 * float(last[layer, choice])))}\u00a0% of an equal share"
    dotted = "" if found.moves else " (dotted line)"
    first = f", the first from step {number(found.steps[deaths[0][2]])} on (×)" if deaths else ""
    return f"{words}{first}; {full}{dotted}"


def _alt(found: Loads, deaths: list) -> str:
    last = found.values[-1]
    sizes = counted(len(found.names), "layer")
    when = f", {len(found.steps):,} steps to step {number(found.steps[-1])}" if found.moves else ""
    told = []
    for layer, choice, at in deaths[:3]:
        where = f" of layer {found.short[layer]}" if len(found.names) > 1 else ""
        told.append(f"{found.noun} {choice}{where} gets nothing from step {number(found.steps[at])} on")
    more = f", and {len(deaths) - 3} more die" if len(deaths) > 3 else ""
    die = f" {sentence(listed(told))}{more}." if told else ""
    spread = percent(float(np.nanmin(last))) + " to " + percent(float(np.nanmax(last)))
    state = _state(found, [])
    return f"Load of the {plural(found.noun)}, {sizes}{when}: {state}. Loads are {spread} of an equal share.{die}"


def example(seed: int = 0) -> dict:
    """Two mixtures of 16 experts, trained without a balance loss: some of the experts die."""
    from labkit.views.routed_specimen import measured, routed

    run = routed(seed, "none", experts=16, rate=0.02)
    return {"load": measured(run, run.chosen(), ("step", "layer", "choice"), "share of inputs", "fraction")}
