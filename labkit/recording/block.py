"""A place of a model where something can be read: a feed-forward block, an attention, a router, a convolution.

`anatomy` finds blocks; `listen` hears what the hidden units of some of them say while the model runs.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from labkit.recording.staying import Staying

Kind = Literal["feedforward", "attention", "router", "convolution"]


class Site(NamedTuple):
    """Where the hidden units of a block are read: what enters one module, or what leaves it.

    A nonlinearity may serve several projections of its holder (`self.relu` after each convolution). Then `after` is the
    projection that is meant, and its units are what the first call of the nonlinearity after it returns.
    """

    where: nn.Module
    side: Literal["input", "output"]
    places: int = 0
    """Axes behind the units' axis: 0 where units come last, 2 for a picture's channels."""
    flattened: bool = False
    """Whether units and places share the last axis, as in what enters the first linear layer behind convolutions."""
    after: nn.Module | None = None
    holder: nn.Module | None = None


class Block(NamedTuple):
    """One recognised part of a model."""

    name: str
    kind: Kind
    module: nn.Module
    units: int | None
    """Hidden units, channels, heads of an attention, choices of a router; None where only a run tells."""
    says: str
    """What a recording holds of it."""
    site: Site | None = None
    parts: tuple[tuple[str, nn.Module], ...] = ()
    """The modules whose parameters belong to it, by their own name in the model."""
    holder: nn.Module | None = None
    """For a router: the module that holds it and its experts."""


def units_last(value: Tensor, block: Block) -> Tensor:
    """The same numbers with the units' axis at the end. Shapes: (..., units, *places) -> (..., *places, units)."""
    site = block.site
    if site is None:
        return value
    if site.flattened and block.units:
        return value.unflatten(-1, (block.units, -1)).transpose(-1, -2)
    return value.movedim(-1 - site.places, -1) if site.places else value


def units_back(value: Tensor, block: Block) -> Tensor:
    """The inverse of `units_last`. Shapes: (..., *places, units) -> (..., units, *places)."""
    site = block.site
    if site is None:
        return value
    if site.flattened and block.units:
        return value.transpose(-1, -2).flatten(-2)
    return value.movedim(-1, -1 - site.places) if site.places else value


Hear = Callable[[Block, Tensor], Tensor | None]
"""What it returns takes the place of the value that it heard; None leaves the value as it is."""


def listen(blocks: Sequence[Block], hear: Hear) -> list[RemovableHandle]:
    """Call `hear(block, value)` each time the hidden units of a block are known, until the handles are removed.

    `value` is the model's own tensor, in the model's own order of axes: `units_last(value, block)` brings the units to
    the end. It is called during a recomputation in backward() too. A copy of the model is not heard.
    """
    handles: list[RemovableHandle] = []
    shared: dict[nn.Module, list[Block]] = {}
    for block in blocks:
        if block.site is None:
            continue
        if block.site.after is not None:
            shared.setdefault(block.site.where, []).append(block)
        elif block.site.side == "input":
            handles.append(
                block.site.where.register_forward_pre_hook(Staying(_entering(block, hear)), with_kwargs=True)
            )
        else:
            handles.append(block.site.where.register_forward_hook(Staying(_leaving(block, hear))))
    for where, served in shared.items():
        handles += _taking_turns(where, served, hear)
    return handles


def _entering(block: Block, hear: Hear) -> Callable[..., Any]:
    def hook(_module: nn.Module, inputs: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
        given = {**dict(enumerate(inputs)), **named}
        key = next((key for key, part in given.items() if isinstance(part, Tensor)), None)
        said = None if key is None else hear(block, given[key])
        if said is None:
            return None
        given[key] = said
        return tuple(given[place] for place in range(len(inputs))), {name: given[name] for name in named}

    return hook


def _leaving(block: Block, hear: Hear) -> Callable[..., Any]:
    def hook(_module: nn.Module, _inputs: tuple, output: Any) -> Tensor | None:
        return hear(block, output) if isinstance(output, Tensor) else None

    return hook


def _taking_turns(where: nn.Module, blocks: Sequence[Block], hear: Hear) -> list[RemovableHandle]:
    """One nonlinearity for several projections: what it returns belongs to the one that ran last before it."""
    waiting: list[Block] = []

    def ran(block: Block) -> Callable[..., None]:
        return lambda *_call: waiting.append(block)

    def said(_module: nn.Module, _inputs: tuple, output: Tensor) -> Tensor | None:
        for block in waiting:
            if output.shape[-1 - (block.site.places if block.site else 0)] == block.units:
                waiting.clear()
                return hear(block, output)
        return None

    handles = [
        block.site.after.register_forward_hook(Staying(ran(block)))
        for block in blocks
        if block.site and block.site.after
    ]
    holders = {block.site.holder for block in blocks if block.site and block.site.holder}
    handles += [holder.register_forward_pre_hook(Staying(lambda *_call: waiting.clear())) for holder in holders]
    return [*handles, where.register_forward_hook(Staying(said))]
