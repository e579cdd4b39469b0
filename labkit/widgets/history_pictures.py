"""Which pictures a watched training gives: how units, layers, gradients and routers changed from step to step."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.widgets.picture import Chosen, Picture

QUANTITY = "Quantity"
PARAMETERS = "Parameters"
WIDE = 16
"""Letters of a name at the side of a picture."""
LINES = 12
"""Of more layers the curves would hide each other."""
CONDITIONS = ("dead", "saturated", "duplicate")
TROUBLES = {"units die": "dead", "layer saturates": "saturated"}
"""Kind of event -> the condition of units that it tells of."""
UNITS = {
    "share of inputs for which a unit is active": "active_fraction",
    "mean activation": "mean",
    "variance of the activation": "variance",
}
STEPPING = {"gradient_norm": "Gradients", "update_ratio": "Updates"}


def chapters(data: xr.Dataset, events: Sequence[Any] = ()) -> dict[str, list[Picture]]:
    """The pictures of a history, by chapter; `events` are what `history.events` holds."""
    told = [_told(event) for event in events]
    return {
        "Activations": [one for one in (_distribution(data), _health(data, told), _map(data)) if one is not None],
        "Routing": [one for one in (_load(data), _routers(data, told), _flips(data)) if one is not None],
        "Training": [one for name in STEPPING if (one := _parameters(data, name)) is not None],
    }


def _told(event: Any) -> dict[str, Any]:
    """An event as the views take it."""
    if isinstance(event, Mapping):
        return dict(event)
    return {"step": event.step, "where": event.where, "kind": event.kind, "says": event.says}


def _distribution(data: xr.Dataset) -> Picture | None:
    if "density" not in data:
        return None
    density = _ran(data["density"])

    def draw(_chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.distribution import distribution

        return distribution(density, dark=dark)

    says = (
        "How the activations of each layer move in the course of the training; each shade is ten times the one before."
    )
    return Picture("Distribution", says, draw)


def _health(data: xr.Dataset, events: list[dict]) -> Picture | None:
    found = [name for name in CONDITIONS if name in data and bool(data[name].notnull().any())]
    if not found:
        return None
    conditions = xr.concat([data[name] for name in found], xr.IndexVariable("condition", found))
    marks = [event | {"kind": TROUBLES[event["kind"]]} for event in events if event["kind"] in TROUBLES]
    conditions = _ran(conditions.rename("unit_health").assign_attrs(long_name="units in poor health", units="fraction"))

    def draw(_chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.health import health

        return health(conditions, events=marks, dark=dark)

    says = "The share of units that do no work, and where each trouble starts."
    return Picture("Idle units", says, draw)


def _map(data: xr.Dataset) -> Picture | None:
    kinds = {words: name for words, name in UNITS.items() if name in data}
    if not kinds:
        return None

    def draw(chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.unit_map import unit_map

        return unit_map(_ran(data[kinds[chosen[QUANTITY]]]), order="index", dark=dark)

    return Picture(
        "Map of units",
        "Every unit of every layer; the slider goes through the training.",
        draw,
        {QUANTITY: list(kinds)},
    )


def _load(data: xr.Dataset) -> Picture | None:
    if "load" not in data or not bool(data["load"].notnull().any()):
        return None
    load = _ran(data["load"])

    def draw(_chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.choice_load import choice_load

        return choice_load(load, dark=dark)

    return Picture("Load", "What share of the inputs each expert gets, step by step, and where experts die.", draw)


def _routers(data: xr.Dataset, events: list[dict]) -> Picture | None:
    names = {"entropy of the load (bits)": "entropy", "margin between first and second choice": "margin"}
    kinds = {words: name for words, name in names.items() if name in data and bool(data[name].notnull().any())}
    if not kinds:
        return None
    marks = [event for event in events if "expert" in event["kind"] or "router" in event["kind"]]

    def draw(chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.curves import curves
        from labkit.views.heatmap import heatmap

        values = _ran(data[kinds[chosen[QUANTITY]]])
        if values.sizes["layer"] > LINES:
            return heatmap(values.transpose("layer", "step"), dark=dark)
        return curves(values, compare="layer", events=marks, dark=dark)

    says = "A falling entropy means that fewer experts do the work; a small margin means that the router hesitates."
    return Picture("Routers", says, draw, {QUANTITY: list(kinds)})


def _flips(data: xr.Dataset) -> Picture | None:
    if "flips" not in data or not bool(data["flips"].notnull().any()):
        return None
    flips = _ran(data["flips"])

    def draw(_chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.flips import flips as view

        return view(flips, dark=dark)

    return Picture("Flips", "The share of the probe's tokens that go to another expert than at the step before.", draw)


def _parameters(data: xr.Dataset, name: str) -> Picture | None:
    if name not in data or not bool((data[name] > 0).any()):
        return None
    values = data[name].where(data[name] > 0).dropna("parameter", how="all").dropna("step", how="all")
    title, units = f"{STEPPING[name]}: {values.attrs['long_name']}", "log10"
    if name == "gradient_norm":
        largest = float(values.max())
        values, units = values / largest, f"log10 of the share of the largest, {largest:.3g}"
    sizes = xr.apply_ufunc(np.log10, values).transpose("parameter", "step")
    sizes = sizes.assign_attrs(long_name=title, units=units)
    groups = _groups([str(one) for one in sizes["parameter"].values])

    def draw(chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.heatmap import heatmap

        places = groups[chosen[PARAMETERS]]
        shown = sizes.isel(parameter=places)
        return heatmap(shown.assign_coords(parameter=_short(shown["parameter"].values.tolist())), dark=dark)

    says = {
        "gradient_norm": "How large the gradient of each parameter is: one shade is a factor, not a difference.",
        "update_ratio": "How much one step changes each parameter, relative to its size: about a thousandth (-3) is usual.",
    }[name]
    return Picture(STEPPING[name], says, draw, {PARAMETERS: list(groups)})


def _groups(names: list[str]) -> dict[str, list[int]]:
    """Which parameters are shown together: the weights, and the others, where there are both."""
    weights = [place for place, name in enumerate(names) if name.endswith("weight")]
    others = [place for place in range(len(names)) if place not in weights]
    if not weights or not others:
        return {"all": list(range(len(names)))}
    return {"weights": weights, "biases and others": others}


def _short(names: list[str]) -> list[str]:
    """Names without what all of them begin and end with; of long ones the beginning and the end."""
    parts = [name.split(".") for name in names]
    while len(parts) > 1 and all(len(part) > 1 and part[0] == parts[0][0] for part in parts):
        parts = [part[1:] for part in parts]
    while len(parts) > 1 and all(len(part) > 1 and part[-1] == parts[0][-1] for part in parts):
        parts = [part[:-1] for part in parts]
    whole = [".".join(part) for part in parts]
    cut = [name if len(name) <= WIDE else f"{name[: WIDE // 2 - 1]}…{name[-(WIDE // 2) :]}" for name in whole]
    return cut if len(set(cut)) == len(cut) else whole


def _ran(values: xr.DataArray) -> xr.DataArray:
    """Without layers that have no such values, and without the steps at which nothing was seen."""
    return values.dropna("layer", how="all").dropna("step", how="all")
