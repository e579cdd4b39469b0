"""Reading what an answer holds: the tensor in whatever a layer returned, and names in a sentence that stays short."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from labkit.parts.gate import Routing
from labkit.views.wording import listed

FEW = 3


def tensor_in(value: Any) -> Tensor | None:
    """The tensor that a layer returned: itself, the weights of a routing, or the first real-valued one of several."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Routing):
        return value.mixture()
    if isinstance(value, tuple | list):
        found = [one for one in value if isinstance(one, Tensor)]
        return next((one for one in found if one.dtype.is_floating_point), found[0] if found else None)
    return None


def listed_few(names: Sequence[Any]) -> str:
    """Names in a sentence; of more than three the first ones and how many more there are."""
    names = [str(name) for name in names]
    return listed(names) if len(names) <= FEW + 1 else f"{', '.join(names[:FEW])} and {len(names) - FEW} more"
