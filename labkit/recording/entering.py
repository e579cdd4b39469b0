"""What a block is given beside what its hidden units say of it, row by row: what a predictor of the units can see.

The input is read at the entrance of the block's up-projection.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from labkit.recording.anatomy import blocks_and_banks
from labkit.recording.batches import answer, evaluating, extent_of, places_of
from labkit.recording.block import Block
from labkit.recording.hidden import Hidden, joined, rows_of
from labkit.recording.kinds import Activations
from labkit.recording.materials import projection
from labkit.recording.record import record


def entering(model: nn.Module, batch: Any) -> dict[str, tuple[Hidden, Hidden]]:
    """Block name -> (what its up-projection is given, what its hidden units say), the same rows in both.

    Convolutions and blocks without a known up-projection are left out.

    Raises: NothingRecorded when the model has no block whose hidden units can be read.
    """
    given: dict[str, list[Tensor]] = {}
    handles = []
    for block in blocks_and_banks(model)[0]:
        module = _up(block)
        if module is not None:
            hook = _keeping(given.setdefault(block.name, []))
            handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
    try:
        with evaluating(model), record(model, Activations) as trace:  # not observed: it must run while the hooks are on
            answer(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    form = (*extent_of(batch), places_of(batch))
    found = {}
    for name in trace:
        said = joined([rows_of(call.values, *form) for call in trace.calls(name)])
        seen = [rows_of(call.detach(), *form) for call in given.get(name, [])]
        if seen and sum(len(call.values) for call in seen) == len(said.values):
            found[name] = joined(seen), said
    return found


def _keeping(calls: list[Tensor]) -> Callable[[nn.Module, tuple, dict[str, Any]], None]:
    def keep(_module: nn.Module, inputs: tuple, named: dict[str, Any]) -> None:
        calls.extend([part for part in (*inputs, *named.values()) if isinstance(part, Tensor)][:1])

    return keep


def _up(block: Block) -> nn.Module | None:
    """The linear map that makes a block's hidden units."""
    for _, part in block.parts:
        known = projection(part)
        if block.site is None or part is block.site.where or known is None or known.places or not block.units:
            continue
        if known.out in (block.units, 2 * block.units):
            return part
    return None
