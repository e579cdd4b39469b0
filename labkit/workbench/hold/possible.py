"""What can be done where somebody clicked in a picture: templates with words for buttons.

A place names its axes as the measurements do: {"layer": "slot.gate", "choice": 3}, {"layer": "slot", "unit": 7, "input": 2}
or {"parameter": "slot.leaves.in_weight", "row": 3, "column": 5}. Other axes of the picture (input, token, class, step)
do not matter. Row and column count as in the pictures of weights: rows are all axes but the last, of four and more axes
(convolutions) the first; {"parameter": ..., "index": [1, 2, 3]} names an entry by all its axes.
"""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.workbench.hold.intervention import Intervention
from labkit.workbench.hold.reachable import at_a_place, parameters_of, refuse_hooks, router_of

HELD = 1.0
"""At which a unit is held if nothing else is typed in."""
SHOWN = 512
"""Of a tree with more leaves a picture of its levels shows branches."""


@dataclass(frozen=True)
class Possible:
    """One thing that can be done: the words on its button, and what it applies.

    Where `value` is a number there is a field that holds it first: `with_value` takes what is typed in.
    """

    words: str
    intervention: Intervention
    value: float | None = None
    unit: str = ""

    @property
    def says(self) -> str:
        """What it would do, as a sentence."""
        return self.intervention.says

    def with_value(self, value: float) -> Intervention:
        """The intervention with another number. Raises: LabError when it takes none, or for what is no number."""
        held = self.intervention.to_dict()
        return Intervention.from_dict({**held, "value": value})

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as JSON holds it."""
        told = {"words": self.words, "says": self.says, "value": self.value, "unit": self.unit}
        return {**told, "intervention": self.intervention.to_dict()}


def possible(model: nn.Module, place: Mapping[str, Any], active: Iterable[Intervention] = ()) -> list[Possible]:
    """What can be done at a place, without what is `active` already; nothing where a picture's cell stands for nothing.

    Raises: LabError, with the reason, when the place names a layer, unit, choice, parameter or entry that the model has
    not, or one that cannot be reached.
    """
    if "parameter" in place:
        found = _at_a_weight(model, place)
    elif "layer" in place and "choice" in place:
        found = _at_a_choice(model, place)
    elif "layer" in place and "unit" in place:
        found = _at_a_unit(model, place)
    else:
        found = []
    done = list(active)
    return [one for one in found if one.value is not None or not any(one.intervention.same(other) for other in done)]


def _at_a_unit(model: nn.Module, place: Mapping[str, Any]) -> list[Possible]:
    refuse_hooks(model)
    ablated = _asked(model, "ablate", str(place["layer"]), _whole(place["unit"]))
    held = _asked(model, "clamp", str(place["layer"]), _whole(place["unit"]), HELD)
    return [Possible("Silence it", ablated), Possible("Hold it at …", held, HELD)]


def _at_a_choice(model: nn.Module, place: Mapping[str, Any]) -> list[Possible]:
    refuse_hooks(model)
    one = _asked(model, "silence", str(place["layer"]), _whole(place["choice"]))
    leaves = getattr(router_of(model, one.layer)[1], "leaves", 0)
    if "level" in place and isinstance(leaves, int) and leaves > SHOWN:
        return []
    return [Possible(f"Silence this {one.noun}", one)]


def _at_a_weight(model: nn.Module, place: Mapping[str, Any]) -> list[Possible]:
    name, parts = str(place["parameter"]), parameters_of(model)
    index = _entry(place, parts[name]) if name in parts else (0,)
    if index is None:
        return []
    one = _asked(model, "edit", name, index, 0.0)
    now = one.before
    chosen = Possible("Set it to …", one if now is None else _valued(one, now), now)
    return [chosen] if now == 0 else [chosen, Possible("Set it to zero", one)]


def _valued(one: Intervention, value: float) -> Intervention:
    try:
        return Intervention.from_dict({**one.to_dict(), "value": value})
    except LabError:  # a weight that is no number any more: zero is offered in its place
        return one


def _entry(place: Mapping[str, Any], part: Tensor) -> tuple[int, ...] | None:
    """The entry of a parameter that a place names; None between the small pictures of a picture of weights."""
    if "index" in place:
        return tuple(_whole(at) for at in place["index"])
    row, column = (_whole(place[axis]) if axis in place else 0 for axis in ("row", "column"))
    if row < 0 or column < 0:
        return None
    if part.dim() < 2:
        return (column if "column" in place else row,)[: part.dim()]
    lines, width = (part.flatten(1) if part.dim() >= 4 else part.flatten(0, -2)).shape
    if row >= lines or column >= width:
        raise LabError(
            f"{place['parameter']} has {lines} rows of {width} entries; there is no row {row}, column {column}."
        )
    return tuple(int(at) for at in np.unravel_index(row * width + column, tuple(part.shape)))


def _asked(
    model: nn.Module,
    kind: Literal["ablate", "clamp", "silence", "edit"],
    layer: str,
    index: int | tuple[int, ...],
    value: float | None = None,
) -> Intervention:
    return at_a_place(model, Intervention(kind, layer, index, value))


def _whole(value: Any) -> int:
    """A number that came from a picture, where it may have become a string or a float."""
    try:
        return operator.index(value.item() if isinstance(value, np.generic | np.ndarray) else value)
    except TypeError:
        pass
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if number != number or number != int(number):
        raise LabError(f"A place in a picture is a whole number, not {value!r}.")
    return int(number)
