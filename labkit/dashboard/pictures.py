"""Which pictures a study's measurements give: chosen by the axes, each drawn only when it is looked at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from labkit.views.curves import curves
from labkit.views.hardening import hardening
from labkit.views.latency import latency
from labkit.views.show import show
from labkit.views.tree import tree
from labkit.views.usage import usage


@dataclass(frozen=True)
class Picture:
    """One view of a run: its name, a sentence for newcomers, what can be chosen, and how it is drawn."""

    name: str
    says: str
    draw: Callable[..., Any]
    """(chosen: dict of selector -> value, dark) -> plotly figure."""
    choices: Mapping[str, list[str]] = field(default_factory=dict)
    """What can be chosen: label -> values; selectors with one value are not shown."""
    controls: Sequence[Any] = ()
    """Widgets of the page's own that belong to the picture."""


def pictures(data: xr.Dataset) -> list[Picture]:
    """The pictures that these measurements allow, in the order in which they are read."""
    found = [_curves(data), _tree(data), _usage(data), _hardening(data), _latency(data)]
    return [picture for picture in found if picture is not None]


def _curves(data: xr.Dataset) -> Picture | None:
    names = {
        _title(values): name for name, values in data.items() if {"arm", "seed", "step"} <= set(values.dims) <= CURVE
    }
    if not names:
        return None
    first = [title for title, name in names.items() if "test_accuracy" in str(name)]
    titles = first + [title for title in names if title not in first]
    modes = {str(mode) for name in names.values() if "mode" in data[name].dims for mode in data[name].mode.values}

    def draw(chosen: dict[str, str], dark: bool) -> Any:
        values = data[names[chosen["Quantity"]]]
        if "mode" in values.dims:
            values = values.sel(mode=chosen["Evaluated"])
        return curves(values, across="step", compare="arm", over="seed", dark=dark)

    choices = {"Quantity": titles} | ({"Evaluated": sorted(modes)} if modes else {})
    says = "How each arm learns: the line is the mean over the seeds, the band its 95 % confidence interval."
    return Picture("Curves", says, draw, choices)


CURVE = {"arm", "seed", "step", "mode"}


def _tree(data: xr.Dataset) -> Picture | None:
    if not {"node_entropy", "leaf_load"} <= set(data):
        return None

    def draw(chosen: dict[str, str], dark: bool) -> Any:
        return tree(_one(data["node_entropy"], chosen), _one(data["leaf_load"], chosen), dark=dark)

    says = (
        "The tree of decisions. A node’s colour is how undecided it is (1 bit: it might as well toss a coin); "
        "a leaf’s is the share of the inputs that end there. Move the slider to see the tree harden."
    )
    return Picture("Tree", says, draw, _axes(data["node_entropy"]))


def _usage(data: xr.Dataset) -> Picture | None:
    if "leaf_by_class" not in data:
        return None

    def draw(chosen: dict[str, str], dark: bool) -> Any:
        return usage(_one(data["leaf_by_class"], chosen), dark=dark)

    says = "Which classes end in which leaf, as shares of all test inputs. Leaves that specialise have one bright cell."
    return Picture("Leaves by class", says, draw, _axes(data["leaf_by_class"]))


def _hardening(data: xr.Dataset) -> Picture | None:
    if not {"test_accuracy", "margin"} <= set(data) or "mode" not in data["test_accuracy"].dims:
        return None
    choices = {name: values for name, values in _axes(data["margin"]).items() if name != "Seed"}

    def draw(chosen: dict[str, str], dark: bool) -> Any:
        accuracy = data["test_accuracy"].sel(arm=chosen["Arm"])
        margin = _one(data["margin"].mean("seed", keep_attrs=True), chosen)
        return hardening(accuracy, margin, dark=dark)

    says = (
        "Training mixes all leaves (soft), use takes one (hard). The gap between the two accuracies closes as the "
        "decisions move away from zero, which the histogram below shows."
    )
    return Picture("Soft and hard", says, draw, choices)


def _latency(data: xr.Dataset) -> Picture | None:
    times = [name for name, values in data.items() if "repeat" in values.dims and "width" in values.dims]
    if not times:
        return None
    values = data[times[0]].rename({"timed": "arm"}) if "timed" in data[times[0]].dims else data[times[0]]
    batches = [str(batch) for batch in values.batch.values] if "batch" in values.dims else []

    def draw(chosen: dict[str, str], dark: bool) -> Any:
        at = values.isel(batch=batches.index(chosen["Inputs at once"])) if batches else values
        return latency(at, dark=dark)

    says = "Time of one forward pass against the layer’s width, measured on the machine named below; both axes are logarithmic."
    return Picture("Speed", says, draw, {"Inputs at once": batches} if batches else {})


def anything(data: xr.DataArray, dark: bool) -> Any:
    """Any other measurement: the view that its axes ask for."""
    return show(data, dark=dark)


AXES = {"arm": "Arm", "seed": "Seed", "layer": "Layer"}


def _axes(values: xr.DataArray) -> dict[str, list[str]]:
    """What must be chosen before a picture of one tree can be drawn, without the arms that have no values."""
    kept = values.dropna("arm", how="all") if "arm" in values.dims else values
    return {label: [str(one) for one in kept[dim].values] for dim, label in AXES.items() if dim in kept.dims}


def _one(values: xr.DataArray, chosen: dict[str, str]) -> xr.DataArray:
    """The values of the chosen arm, seed and layer, without the entries that only other arms fill."""
    for dim, label in AXES.items():
        if dim in values.dims:
            labels = [str(one) for one in values[dim].values]
            values = values.isel({dim: labels.index(chosen[label])})
    for dim in ("node", "choice", "step"):
        if dim in values.dims:
            values = values.dropna(dim, how="all")
    return values


def _title(values: xr.DataArray) -> str:
    words = str(values.attrs.get("long_name") or values.name).replace("_", " ")
    return words[:1].upper() + words[1:]
