"""Where a picture must show that something was changed by hand: interventions as places of measurements."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import nn

from labkit.workbench.hold.intervention import Intervention
from labkit.workbench.hold.reachable import parameters_of


def changed_places(active: Iterable[Intervention], model: nn.Module) -> list[dict[str, Any]]:
    """A place with its sentence for each unit, choice or entry: {"layer": "slot.gate", "choice": 3, "says": "..."}.

    Units and choices are named as in measurements, entries of a parameter as in the pictures of weights.
    """
    found = []
    for one in active:
        if one.kind == "edit":
            found.append({**entry_place(model, one.layer, one.place), "says": one.says})
        else:
            axis = "choice" if one.kind == "silence" else "unit"
            found += [{"layer": one.layer, axis: at, "says": one.says} for at in one.each]
    return found


def entry_place(model: nn.Module, parameter: str, index: tuple[int, ...]) -> dict[str, Any]:
    """An entry of a parameter as row and column of its picture."""
    weight = parameters_of(model)[parameter]
    if not weight.dim():
        return {"parameter": parameter}  # a single number has no picture
    width = int(np.prod(weight.shape[1:])) if weight.dim() >= 4 else weight.shape[-1]
    row, column = divmod(int(np.ravel_multi_index(index, tuple(weight.shape))), width)
    return {"parameter": parameter, "row": row, "column": column}
