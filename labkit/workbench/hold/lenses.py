"""Lenses: what can be looked at while a model trains, found by what the model is made of.

    found = lenses(model, batch)            # a list, with found.left_out: what this model has not, and why
    picture = found[0].measure(copy, batch) # a DataArray of one or two axes, fit for a heat map or for bars

A lens is cheap enough for ten looks a second at a copy of the model in another thread: it changes no setting of the
program and draws no random number (see `one_pass`). Several lenses share one pass of the model inside `once()`.
The axes are those that a picture is clicked on: layer, choice, class, unit, input; row and column of a parameter.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.analysis.activity.unit_activity import unit_activity_of
from labkit.analysis.activity.unit_health import QUIET
from labkit.analysis.routing.choice_by_class import by_class_of
from labkit.analysis.routing.choice_load import load_of
from labkit.errors import LabError
from labkit.recording.batches import labels_of, part_of, size_of
from labkit.recording.hidden import by_input, sampled
from labkit.recording.routings import common_noun
from labkit.recording.tables import layered
from labkit.workbench.hold.one_pass import Heard, draws, one_pass
from labkit.workbench.hold.tree_lenses import decisions, path_depth, paths
from labkit.workbench.hold.weight_lenses import matrix, picture_shape, readable, tiles

INPUTS, UNITS = 48, 512
"""Rows and columns of a picture of activations at most."""
FIRST = 8
"""Inputs of the pass that finds out what a model has."""
PLURALS = {"leaf": "leaves"}
Measure = Callable[[nn.Module, Any], xr.DataArray]


@dataclass(eq=False)
class Lens:
    """One thing to look at: its name, a sentence on what one sees, and `measure(model, batch)`, at most two axes.

    `kind` is the same for all models: load, classes, activity, speaking, silent, activations, paths, decisions, images
    or weights. `steps` says whether it is worth a strip over the steps: a short row of numbers.
    """

    name: str
    says: str
    measure: Measure
    kind: str
    steps: bool = False


class Lenses(list[Lens]):
    """The lenses of a model, and what is left out with the reason, in a sentence each."""

    left_out: tuple[str, ...] = ()

    def __call__(self, name: str) -> Lens:
        """The lens of this name. Raises: LabError when the model has none."""
        found = next((lens for lens in self if lens.name == name), None)
        if found is None:
            raise LabError(f"There is no lens {name!r}; this model has {', '.join(lens.name for lens in self)}.")
        return found


def lenses(model: nn.Module, batch: Any) -> Lenses:
    """What this model can be looked at with, on inputs like these: `batch` is (x, labels), a tensor, or a Mapping.

    The model runs on a few of the inputs, in evaluation, and is afterwards as before.

    Raises: LabError when the model cannot be run on this batch.
    """
    few = part_of(batch, torch.arange(min(FIRST, size_of(batch))))
    found, left_out = Lenses(), []
    drawn = _tried(draws, model, few)
    if drawn:
        left_out.append(
            f"{type(model).__name__} draws random numbers in evaluation ({drawn}), which would change the training: only "
            "its weights can be looked at."
        )
    else:
        heard = _tried(one_pass, model, few)
        labelled = labels_of(batch) is not None
        found += [*_routed(heard, labelled, model), *_trees(heard), *_units(heard, labelled)]
        if not heard.routings:
            left_out.append("No router was found in this model, so there is no load to look at.")
        elif not labelled:
            left_out.append("The batch has no labels, so it is not known which class goes where.")
        if not heard.units:
            left_out.append("No block with hidden units was found in this model, so there are no units to look at.")
    found += _weights(model, batch)
    found.left_out = tuple(left_out)
    return found


def _tried(look: Callable[[nn.Module, Any], Any], model: nn.Module, batch: Any) -> Any:
    try:
        return look(model, batch)
    except LabError:
        raise
    except Exception as error:  # the model is the user's and raises what it likes
        words = " ".join(str(error).split())[:200]
        kind = type(error).__name__
        raise LabError(f"{type(model).__name__} could not be run on this batch: {kind}: {words}") from error


def _routed(heard: Heard, labelled: bool, model: nn.Module) -> Iterable[Lens]:
    if not heard.routings:
        return
    noun = common_noun(heard.routings, model)
    many = PLURALS.get(noun, f"{noun}s")
    says = f"How the inputs are spread over the {many}: the share that each {noun} gets. One at 0 is not used."
    yield Lens(f"{many}: load", says, _load, "load", steps=True)
    for layer in list(heard.routings) if labelled else []:
        where = f" in {layer}" if len(heard.routings) > 1 else ""
        says = f"Of each class, the share of inputs that goes to each {noun}: a column sums to 1."
        yield Lens(f"{many}: which class goes where{where}", says, partial(_classes, layer=layer), "classes")


def _load(model: nn.Module, batch: Any) -> xr.DataArray:
    routings = one_pass(model, batch).routings
    found = load_of(routings, model)
    whole = found.sum("choice")  # below 1 where a gate weighs what it chose by a probability
    found = (found / whole.where(whole > 0)).assign_attrs(found.attrs)
    sizes = {calls[0].choices for calls in routings.values()}
    return found.assign_attrs(even_share=1 / sizes.pop()) if len(sizes) == 1 else found


def _classes(model: nn.Module, batch: Any, layer: str) -> xr.DataArray:
    routings, labels = one_pass(model, batch).routings, labels_of(batch)
    assert labels is not None
    share = by_class_of({layer: routings[layer]}, labels, model).isel(layer=0)
    whole = share.sum("choice")
    return (share / whole.where(whole > 0)).assign_attrs(
        long_name="share of the class",
        units="fraction",
        note="" if bool((whole > 0).all()) else "A class that none of these inputs has shows no value.",
    )


def _trees(heard: Heard) -> Iterable[Lens]:
    for layer, found in heard.decisions.items():
        where = f" in {layer.removesuffix('.decisions')}" if len(heard.decisions) > 1 else ""
        if path_depth(found):
            says = "The tree from its root (top) to its leaves: the share of inputs that passes through each branch."
            yield Lens(f"tree: where the inputs go{where}", says, partial(_paths, layer=layer), "paths")
        says = "What each input meets on its way down: blue goes left, orange goes right, pale is undecided; hatched is not met."
        yield Lens(f"tree: decisions{where}", says, partial(_decisions, layer=layer), "decisions")


def _paths(model: nn.Module, batch: Any, layer: str) -> xr.DataArray:
    return paths(one_pass(model, batch).decisions[layer], layer)


def _decisions(model: nn.Module, batch: Any, layer: str) -> xr.DataArray:
    return decisions(one_pass(model, batch).decisions[layer], layer, chosen_inputs(batch), labels_of(batch))


def _units(heard: Heard, labelled: bool) -> Iterable[Lens]:
    if not heard.units:
        return
    says = "How strongly each hidden unit answers, on average over the inputs: the mean of its absolute value."
    yield Lens("units: activity", says, _activity, "activity")
    says = "For how many of the inputs each hidden unit says anything: one at 0 is dead, one at 1 is always on."
    yield Lens("units: how often they speak", says, _speaking, "speaking")
    says = "The share of hidden units of each layer that say nothing for any of the inputs."
    yield Lens("units: silent share", says, _silent, "silent", steps=True)
    for layer in heard.units:
        order = ", which are ordered by class" if labelled else ""
        says = f"What each hidden unit of {layer or 'the model'} says to each of {INPUTS} inputs{order}."
        yield Lens(f"activations of {layer or 'the model'}", says, partial(_activations, layer=layer), "activations")


def _activity(model: nn.Module, batch: Any) -> xr.DataArray:
    found = one_pass(model, batch).units
    return _fewer(unit_activity_of({name: one.values for name, one in found.items()}), "unit", UNITS)


def _speaking(model: nn.Module, batch: Any) -> xr.DataArray:
    return _fewer(spoken(model, batch), "unit", UNITS)


def _silent(model: nn.Module, batch: Any) -> xr.DataArray:
    found = spoken(model, batch)
    silent = (found == 0).where(found.notnull()).mean("unit")
    return silent.assign_attrs(long_name="share of silent units", units="fraction")


def spoken(model: nn.Module, batch: Any) -> xr.DataArray:
    """The share of rows in which each unit says something: more than 1/1000 of the median of the units' largest values.

    Shapes: -> (layer, unit), 0 to 1; NaN where a layer has fewer units.
    """
    rows = {}
    for name, found in one_pass(model, batch).units.items():
        size = found.values.abs().float()
        largest = size.amax(0)
        heard = largest[largest > 0]
        rows[name] = (size > (QUIET * heard.median() if len(heard) else 0)).float().mean(0).cpu().numpy()
    return layered(rows, ("unit",), name="spoken", long_name="share of inputs it speaks to", units="fraction")


def _activations(model: nn.Module, batch: Any, layer: str) -> xr.DataArray:
    found = one_pass(model, batch).units[layer]
    table = by_input(found)
    attrs = {"long_name": "activation", "units": ""}
    if table is None or len(table) != size_of(batch):
        values = sampled(found.values, INPUTS).float().cpu().numpy()
        data = xr.DataArray(values, dims=("row", "unit"), attrs=attrs)
        return _fewer(data.assign_coords(unit=range(values.shape[1]), layer=layer), "unit", UNITS)
    chosen, labels = chosen_inputs(batch), labels_of(batch)
    data = xr.DataArray(table[chosen].cpu().numpy(), dims=("input", "unit"), attrs=attrs)
    data = data.assign_coords(input=chosen.numpy(), unit=range(table.shape[1]), layer=layer)
    if labels is not None and labels.dim() == 1:
        data = data.assign_coords(text=("input", [f"class {label}" for label in labels[chosen].tolist()]))
    return _fewer(data, "unit", UNITS)


def chosen_inputs(batch: Any, most: int = INPUTS) -> Tensor:
    """Some inputs, evenly from the batch, ordered by class where there are labels: (at most `most`,) places."""
    size = size_of(batch)
    places = (torch.arange(min(size, most)) * size) // max(1, min(size, most))
    labels = labels_of(batch)
    if labels is None or labels.dim() != 1 or len(labels) != size:
        return places
    return places[labels.cpu()[places].argsort(stable=True)]


def _fewer(data: xr.DataArray, dim: str, most: int) -> xr.DataArray:
    size = data.sizes[dim]
    return data if size <= most else data.isel({dim: [place * size // most for place in range(most)]})


def _weights(model: nn.Module, batch: Any) -> Iterable[Lens]:
    shape = picture_shape(batch)
    for name, weight in readable(model):
        if tiles(name, weight, shape) is not None:
            many = "filters" if weight.dim() == 4 else "units"
            says = f"The weights of {name} as small pictures, one for each of its {many}: blue is negative, orange positive."
            yield Lens(f"pictures of {name}", says, partial(_tiles, name=name, shape=shape), "images")
    for name, _ in readable(model):
        says = f"Every weight of {name}: blue is negative, orange positive, pale is near zero."
        yield Lens(f"weights of {name}", says, partial(_matrix, name=name), "weights")


def _tiles(model: nn.Module, batch: Any, name: str, shape: tuple[int, int] | None) -> xr.DataArray:
    found = tiles(name, dict(readable(model))[name], shape)
    assert found is not None
    return found


def _matrix(model: nn.Module, batch: Any, name: str) -> xr.DataArray:
    return matrix(name, dict(readable(model))[name])
