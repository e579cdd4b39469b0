"""Change hidden units while the model runs: `with changed(model, {"layers.0": ablate([7])}): model(x)`.

A change is any function that is given the hidden units (..., units) of a block and returns others of the same shape. It
acts where `record(model, Activations)` reads, at every call of the block, and a recording made inside sees what it did.
The model itself is not touched: on leaving the block the hooks are gone and it answers as before, to the bit.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.parts import threshold
from labkit.recording.anatomy import blocks_and_banks
from labkit.recording.block import Block, listen, units_back, units_last
from labkit.recording.record import _by_its_parts as by_its_parts

Change = Callable[[Tensor], Tensor]
"""Hidden units (..., units) -> hidden units (..., units); the channels of a convolution come last."""


@contextmanager
def changed(model: nn.Module, changes: Mapping[str, Change]) -> Iterator[None]:
    """While the block runs, the hidden units of these feed-forward blocks are changed: name -> change.

    The names are those of `record(model, Activations)`. Changes in changes add up: an outer one acts first. A recording
    begun inside sees what the change left, one begun before sees what the block itself said.

    Raises: LabError when the model has no such block, when a change returns another shape, and on leaving, when a
    block did not run.
    """
    known = changeable(model)
    for name in changes:
        if name not in known:
            raise LabError(f"The model has no block {name!r} whose hidden units can be changed; {_some(known)}.")
    ran: set[str] = set()

    def hear(block: Block, value: Tensor) -> Tensor | None:
        if block.name not in changes:
            return None
        ran.add(block.name)
        return with_change(value, block, changes[block.name])

    handles = listen(beside(known, changes), hear)
    try:
        with by_its_parts():
            yield
    finally:
        for handle in handles:
            handle.remove()
    silent = [name for name in changes if name not in ran]
    if silent:
        raise LabError(f"{silent[0]} did not run inside the block, so nothing was changed there.")


def changeable(model: nn.Module) -> dict[str, Block]:
    """The blocks of a model whose hidden units can be changed, by name."""
    return {block.name: block for block in blocks_and_banks(model)[0] if block.site is not None}


def beside(known: Mapping[str, Block], names: Iterable[str]) -> list[Block]:
    """The blocks of these names, with those that share a nonlinearity with them: who is meant is told by the turn."""
    places = {known[name].site.where for name in names}  # pyright: ignore[reportOptionalMemberAccess]
    return [block for block in known.values() if block.site and block.site.where in places]


def with_change(value: Tensor, block: Block, change: Change) -> Tensor:
    """The block's value with the change made, in the model's own order of axes, type and device."""
    if value.is_nested:  # nn.TransformerEncoder leaves padding out in this form, where nobody asks for gradients
        return torch.nested.nested_tensor([with_change(part, block, change) for part in value.unbind()])
    values = units_last(value, block)
    said = change(values)
    if said.shape != values.shape:
        raise LabError(
            f"The change of {block.name} was given hidden units of shape {tuple(values.shape)} and returned "
            f"{tuple(said.shape)}; it must return the same shape."
        )
    return units_back(said.to(value), block)


def _some(known: Mapping[str, Block]) -> str:
    return f"the blocks are {', '.join(list(known)[:8])}{', ...' if len(known) > 8 else ''}" if known else "it has none"


def ablate(units: Sequence[int] | Tensor, to: str | float | Tensor = "mean") -> Change:
    """Take away what units say: set them to their mean over this call, to "zero", or to given values, one each."""
    if isinstance(to, str) and to not in ("mean", "zero"):
        raise LabError(f"Units are set to their 'mean', to 'zero' or to numbers, not to {to!r}.")
    if to == "zero":
        return clamp(units, 0.0)
    if isinstance(to, int | float):
        return clamp(units, to)

    def change(values: Tensor) -> Tensor:
        index = _index(units, values)
        if isinstance(to, str):
            said = values[..., index].flatten(0, -2).mean(0, dtype=torch.float32)
        else:
            said = torch.as_tensor(to, dtype=values.dtype, device=values.device)
        return _with(values, index, said)

    return change


def clamp(units: Sequence[int] | Tensor, value: float) -> Change:
    """Hold units at a value, whatever the input. Unlike an ablation this adds something that the model never said."""
    checked: dict[tuple[int, torch.device], Tensor] = {}  # a training asks thousands of times

    def change(values: Tensor) -> Tensor:
        width = values.shape[-1], values.device
        if width not in checked:
            checked[width] = _index(units, values)
        return values.index_fill(-1, checked[width], value)

    return change


def scale(units: Sequence[int] | Tensor, factor: float) -> Change:
    """Multiply what units say by a factor."""

    def change(values: Tensor) -> Tensor:
        index = _index(units, values)
        return _with(values, index, values[..., index] * factor)

    return change


def keep_strongest(count: int, norms: Tensor | None = None) -> Change:
    """Keep the `count` units of the largest modulus at each token, and set the others to 0.

    With `norms` (units,), as `labkit.recording.following` computes them, modulus times norm decides.
    """
    if count < 1:
        raise LabError(f"At least 1 unit must be kept, not {count}.")
    return lambda values: values * threshold.strongest(values, count, norms)


def keep_above(limit: float, norms: Tensor | None = None) -> Change:
    """Keep the units whose modulus (times norm, where `norms` are given) exceeds a limit, and set the others to 0."""
    return lambda values: values * threshold.above(values, limit, norms)


def _index(units: Sequence[int] | Tensor, values: Tensor) -> Tensor:
    index = torch.as_tensor(units, dtype=torch.long, device=values.device)
    count = values.shape[-1]
    if len(index) and (int(index.min()) < 0 or int(index.max()) >= count):
        wrong = int(index.min()) if int(index.min()) < 0 else int(index.max())
        raise LabError(f"This block has the units 0 to {count - 1}, and {wrong} was asked for.")
    return index


def _with(values: Tensor, index: Tensor, said: Tensor) -> Tensor:
    """The values with these units replaced, in memory of their own."""
    out = values.clone()
    out[..., index] = said.to(values.dtype)
    return out
