"""Numbers of routings as labelled arrays: one row a layer, with the word for what is chosen, and what to know of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.recording.batches import inputs_of, labels_of, places_of
from labkit.recording.observe import observe
from labkit.recording.recorded_routing import without_padding
from labkit.recording.routings import Routings, calls_of, common_noun, joined
from labkit.recording.tables import layered


def routed(model: nn.Module, batch: Any, *, soft: bool = False) -> Routings:
    """Every routing of one pass in evaluation over a batch, as a measurement takes it, without the padding.

    Raises: NothingRecorded when the model has no gate.
    """
    trace, places = observe(model, inputs_of(batch), Routing, soft=soft), places_of(batch)
    if places is None or bool(places.all()):
        return trace
    return without_padding(trace, places, common_noun(trace, model))


def labelled(batch: Any) -> Tensor:
    """The labels of a batch.

    Raises: LabError when it has none, or when they are no classes.
    """
    labels = labels_of(batch)
    if labels is None:
        raise LabError(
            "This measurement needs a batch (x, labels) with whole numbers as labels, one an input or token."
        )
    return labels


def by_layer(
    rows: Mapping[str, Tensor | np.ndarray],
    axes: tuple[str, ...],
    *,
    name: str,
    says: str,
    units: str,
    routings: Routings,
    model: nn.Module | None = None,
) -> xr.DataArray:
    """Stack one array for each layer along `layer`, NaN where a layer has fewer.

    The axis `choice` says what is chosen, `token` where its positions are known; what the recording says of itself
    (weights that were not recorded, tokens left out) becomes the attribute `note`.

    Shapes: rows of len(axes) dimensions each -> (layer, *axes) float32.
    """
    tables = {layer: np.asarray(row, dtype=np.float64) for layer, row in rows.items()}
    sizes = {axis: max(table.shape[place] for table in tables.values()) for place, axis in enumerate(axes)}
    coords: dict[str, Any] = {}
    if "choice" in sizes:
        coords["choice"] = ("choice", np.arange(sizes["choice"]), {"long_name": common_noun(routings, model)})
    if "token" in sizes:
        coords |= token_coords(routings, sizes["token"])
    attrs: dict[str, Any] = dict(notes(routings))
    if not axes:
        single = {layer: table[None] for layer, table in tables.items()}
        return layered(single, ("one",), name=name, long_name=says, units=units, **attrs).isel(one=0, drop=True)
    return layered(tables, axes, name=name, long_name=says, units=units, coords=coords, **attrs)


def token_coords(routings: Routings, tokens: int) -> dict[str, Any]:
    """Coordinates on the axis `token`: its place among all tokens where some were left out, and its sequence.

    The sequence is known where the recording tells inputs from the tokens of an input.
    """
    positions, extent = getattr(routings, "positions", None), getattr(routings, "extent", None)
    coords: dict[str, Any] = {}
    if positions is not None and len(positions) == tokens:
        coords["position"] = ("token", np.asarray(positions))
    else:
        positions = np.arange(tokens)
    if extent is not None and len(extent) > 1:
        coords["sequence"] = ("token", np.asarray(positions) // int(np.prod(extent[1:])))
        return coords
    shapes = {tuple(call.index.shape[:-1] for call in calls_of(routings, name)) for name in routings}
    if len(shapes) == 1:
        calls = shapes.pop()
        if all(len(shape) > 1 for shape in calls):
            lengths = [shape[1:].numel() for shape in calls for _ in range(shape[0])]
            coords["sequence"] = ("token", np.repeat(np.arange(len(lengths)), lengths))
    return coords


def notes(routings: Routings) -> dict[str, str]:
    """The attribute `note`: what a recording says of itself; nothing for an ordinary live one."""
    says = getattr(routings, "says", ())
    return {"note": " ".join(says)} if says else {}


def choices_coord(routings: Routings) -> tuple[str, np.ndarray]:
    """How many choices each layer has, as a coordinate on `layer`."""
    return "layer", np.array([routing.choices for routing in joined(routings).values()])
