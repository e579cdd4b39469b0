"""Which pictures a study's measurements give: chosen by what was measured, each drawn only when it is looked at."""

from importlib import import_module

import plotly.graph_objects as go
import xarray as xr

from labkit.widgets.picture import Chosen, Picture

ARM, SEED, LAYER, QUANTITY, MODE, BATCH = "Arm", "Seed", "Layer", "Quantity", "Evaluated", "Inputs at once"
AXES = {"arm": ARM, "seed": SEED, "layer": LAYER}
CURVE = {"arm", "seed", "step", "mode"}


def pictures(data: xr.Dataset) -> list[Picture]:
    """The pictures that these measurements allow, in the order in which they are read."""
    found = [_curves(data), _tree(data), _usage(data), _visits(data), _hardening(data), _latency(data)]
    found += [_declared(values) for values in data.values()]
    if {"test_loss", "training_seconds", "parameters", "flops"} <= set(data):
        found.append(race_picture(data))
    return [picture for picture in found if picture is not None]


def race_picture(data: xr.Dataset) -> Picture:
    """The end of a race or a study: the loss of every arm against what it cost."""

    def draw(_chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.race import race
        from labkit.workbench.race import costs

        loss = data["test_loss"].isel(step=-1, drop=True)
        return race(loss.sel(mode="hard", drop=True) if "mode" in loss.dims else loss, costs(data), dark=dark)

    says = "Every arm at the end of its training: its test loss against parameters, operations and seconds of training."
    return Picture("Loss against cost", says, draw, {})


def _declared(values: xr.DataArray) -> Picture | None:
    """The picture that a measurement asks for: attribute `view` is a view's name, `says` what there is to see in it.

    Arm, seed and layer are chosen; with an attribute `mean` over the seeds, as where a seed says little, they are averaged.
    """
    view, says = values.attrs.get("view"), values.attrs.get("says", "")
    if not view:
        return None
    averaged = bool(values.attrs.get("mean")) and "seed" in values.dims
    kept = values.mean("seed", keep_attrs=True) if averaged else values

    def draw(chosen: Chosen, dark: bool) -> go.Figure:
        one = _one(kept, chosen)
        for dim in one.dims:
            one = one.dropna(dim, how="all")
        return getattr(import_module(f"labkit.views.{view}"), view)(one, dark=dark)

    return Picture(_title(values), says + " Mean over the seeds." * averaged, draw, _choices(kept))


def _curves(data: xr.Dataset) -> Picture | None:
    names = [str(name) for name, values in data.items() if {"arm", "seed", "step"} <= set(values.dims) <= CURVE]
    if not names:
        return None
    titles = {_title(data[name]): name for name in sorted(names, key=lambda name: name != "test_accuracy")}
    modes = [str(mode) for mode in data["mode"].values] if "mode" in data.coords else []

    def draw(chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.curves import curves

        values = data[titles[chosen[QUANTITY]]]
        return curves(values.sel(mode=chosen[MODE]) if "mode" in values.dims else values, dark=dark)

    says = "How each arm learns: the line is the mean over the seeds, the band its 95 % confidence interval."
    modes = sorted(modes, key=lambda mode: mode != "hard")
    return Picture("Curves", says, draw, {QUANTITY: list(titles)} | ({MODE: modes} if modes else {}))


def _tree(data: xr.Dataset) -> Picture | None:
    if not {"node_entropy", "leaf_load"} <= set(data):
        return None
    entropy, load = data["node_entropy"], data["leaf_load"]
    arms = [str(arm) for arm in entropy.arm.values if _fits(entropy.sel(arm=arm), load.sel(arm=arm))]
    if not arms:
        return None

    def draw(chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.tree import tree

        return tree(_one(entropy, chosen), _one(load, chosen), dark=dark)

    says = "The tree of decisions. Move the slider to see how its nodes decide in the course of the training."
    return Picture("Tree", says, draw, _choices(entropy) | {ARM: arms})


def _fits(entropy: xr.DataArray, load: xr.DataArray) -> bool:
    """Whether both have values, and the nodes and leaves are those of one tree."""
    nodes, leaves = _filled(entropy, "node"), _filled(load, "choice")
    return 0 < nodes < leaves and leaves & (leaves - 1) == 0


def _filled(values: xr.DataArray, dim: str) -> int:
    """How many places along an axis have values, up to the last one that has any."""
    seen = values.notnull().any([other for other in values.dims if other != dim]).values
    return int(seen.nonzero()[0].max(initial=-1)) + 1


def _usage(data: xr.Dataset) -> Picture | None:
    if "leaf_by_class" not in data:
        return None
    shares = data["leaf_by_class"]

    def draw(chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.usage import usage

        return usage(_one(shares, chosen), dark=dark)

    says = "Which classes end in which leaf. A leaf that has specialised has one strong cell and pale ones beside it."
    return Picture("Leaf usage by class", says, draw, _choices(shares))


def _visits(data: xr.Dataset) -> Picture | None:
    if "visits_by_class" not in data:
        return None
    shares = data["visits_by_class"]

    def draw(chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.heatmap import heatmap

        one = _one(shares, chosen).dropna("neuron", how="all")
        rate = (one / one.sum("neuron")).transpose("class", "neuron")
        return heatmap(rate.assign_attrs(long_name="share of a class's visits", units="fraction"), dark=dark)

    says = (
        "Which neurons each kind of character visits: the first levels of the first tree, root on the left. A row is one "
        "kind; where all rows look alike, the questions do not tell the kinds apart."
    )
    return Picture("Visits by class", says, draw, _choices(shares))


def _hardening(data: xr.Dataset) -> Picture | None:
    if not {"test_accuracy", "margin"} <= set(data) or "mode" not in data["test_accuracy"].dims:
        return None
    accuracy, margin = data["test_accuracy"], data["margin"]

    def draw(chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.hardening import hardening

        return hardening(accuracy.sel(arm=chosen[ARM]), _one(margin, chosen), dark=dark)

    says = (
        "Training mixes all leaves (soft), use takes one (hard). The gap between their accuracies closes as the "
        "decisions move away from zero, which the histogram shows."
    )
    choices = {label: values for label, values in _choices(margin).items() if label != SEED}
    return Picture("Hardening gap", says, draw, choices)


def _latency(data: xr.Dataset) -> Picture | None:
    if "latency" not in data:
        return None
    seconds = data["latency"].rename(timed="arm") if "timed" in data["latency"].dims else data["latency"]
    batches = {str(batch): batch for batch in seconds.batch.values} if "batch" in seconds.dims else {}

    def draw(chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.latency import latency

        timed = seconds.sel(batch=batches[chosen[BATCH]]) if batches else seconds
        return latency(timed, baseline="dense" if "dense" in timed.arm else None, dark=dark)

    says = "Time of one forward pass against the layer's width, measured on the machine named above."
    return Picture("Latency", says, draw, {BATCH: list(batches)} if batches else {})


def _choices(values: xr.DataArray) -> dict[str, list[str]]:
    """What must be chosen before one tree can be drawn, without the arms that have no values."""
    kept = values.dropna("arm", how="all") if "arm" in values.dims else values
    return {label: [str(one) for one in kept[dim].values] for dim, label in AXES.items() if dim in kept.dims}


def _one(values: xr.DataArray, chosen: Chosen) -> xr.DataArray:
    """The values of the chosen arm, seed and layer."""
    for dim, label in AXES.items():
        if dim in values.dims and label in chosen:
            values = values.isel({dim: [str(one) for one in values[dim].values].index(chosen[label])})
    return values


def _title(values: xr.DataArray) -> str:
    words = str(values.attrs.get("long_name") or values.name).replace("_", " ")
    return words[:1].upper() + words[1:]
