"""Which form a router's output has, so that somebody can answer in its place; and which module of a model is the router.

The forms: `Routing`; a tuple with the index of the chosen (..., K) and their weights (..., K), with or without scores; a
tuple of the weights of all (..., E) and their scores; a table (..., E) of 0 and 1 that says who is dispatched where; and
one tensor (..., E), scores or shares. Symbols: E experts, K chosen for each input.
"""

from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.recording.block import Block
from labkit.recording.router_blocks import router_blocks


class Form(NamedTuple):
    """A form, and where in the output its parts stand."""

    kind: Literal["routing", "chosen", "weights", "dispatched", "scores"]
    weights_at: int = 0
    """(..., K) of "chosen", (..., E) of "weights"."""
    index_at: int = 0
    """(..., K) of "chosen", the table (..., E) of "dispatched"."""
    scores_at: int | None = None


def form_of(output: Any, name: str = "the gate") -> Form:
    """The form of a router's output, by types and shapes.

    Raises: LabError when it is of no known form.
    """
    if isinstance(output, Routing):
        return Form("routing")
    if isinstance(output, Tensor) and output.is_floating_point() and output.dim() > 1:
        return Form("scores")
    if isinstance(output, tuple) and output and all(isinstance(part, Tensor) for part in output):
        form = _of_parts(output)
        if form is not None:
            return form
    raise LabError(
        f"{name} returns {type(output).__name__}, from which no choice can be read: give the name of a gate that returns "
        "Routing, (scores, weights, index) or one score for each expert."
    )


def _of_parts(parts: tuple[Tensor, ...]) -> Form | None:
    real = [part.is_floating_point() for part in parts]
    if real == [True, True, False] and parts[1].shape == parts[2].shape:
        return Form("chosen", weights_at=1, index_at=2, scores_at=0)
    if real == [True, True] and parts[0].shape == parts[1].shape:
        return Form("weights", weights_at=0, scores_at=1)
    if real == [False, True, True] and parts[0].shape == parts[2].shape:
        return Form("dispatched", index_at=0, weights_at=1, scores_at=2)
    if real.count(False) == 1:
        index = real.index(False)
        fits = [place for place, part in enumerate(parts) if real[place] and part.shape == parts[index].shape]
        if len(fits) == 1 and parts[index].dim() > 1:
            return Form("chosen", weights_at=fits[0], index_at=index)
    return None


def replaced(output: tuple, parts: dict[int, Tensor]) -> tuple:
    """The same tuple with other parts at these places, of the same class."""
    new = [parts.get(place, part) for place, part in enumerate(output)]
    make = getattr(type(output), "_make", tuple)
    return make(new)


def gate_of(model: nn.Module, layer: str) -> tuple[str, nn.Module]:
    """The router at or below this name, as `anatomy` finds it; else the module of this name.

    Raises: as `router_at`.
    """
    return router_at(model, layer)[:2]


def router_at(model: nn.Module, layer: str) -> tuple[str, nn.Module, Block | None]:
    """Name and module of the router at or below this name, else of the module of this name; its block where it has one.

    Raises: LabError when the model has no module of this name, or when several routers lie below it.
    """
    known, routers = dict(model.named_modules()), router_blocks(model)
    known |= {block.name: block.module for block in routers}  # without the names that wrappers add
    if layer not in known:
        some = ", ".join([block.name for block in routers][:5])
        raise LabError(f"The model has no module {layer!r}; its routers are: {some or 'none that can be found'}.")
    at = {block.name: block for block in routers if _below(block.name, layer)}
    if layer in at or not at:
        return layer, known[layer], at.get(layer)
    if len(at) > 1:
        raise LabError(f"{layer or 'The model'} holds {len(at)} routers: name one of {', '.join(list(at)[:5])}.")
    (name, block), *_ = at.items()
    return name, block.module, block


def _below(name: str, layer: str) -> bool:
    return name == layer or name.startswith(f"{layer}." if layer else "")
