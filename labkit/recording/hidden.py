"""The hidden units of every block as one table each: a row for each token, with the input that it comes from.

A recording keeps values as the model shapes them: (inputs, units), (inputs, places, units), (inputs, rows, columns,
units), or all tokens in one row. Measurements want one form, and which input a row came from. Padding is left out.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from labkit.recording.batches import extent_of, inputs_of, places_of
from labkit.recording.kinds import Activations
from labkit.recording.observe import observe
from labkit.recording.once import kept

CELLS = 2**22
"""How many numbers a measurement looks at in one go: 16 MiB in float32."""


class Hidden(NamedTuple):
    """What the hidden units of a block said, row by row.

    Shapes: values (rows, units) in the type the model computes in; input and place (rows,) integers, -1 where not known.
    """

    values: Tensor
    input: Tensor
    """Which input of the batch a row belongs to; -1 where a block sees only some tokens, as an expert does."""
    place: Tensor
    """Where in its input a row stands: the token's place, or the pixel's in reading order; 0 where there is one."""


def hidden(model: nn.Module, batch: Any) -> dict[str, Hidden]:
    """The hidden units of every feed-forward block for this batch, in evaluation.

    Raises: NothingRecorded when the model has no block whose hidden units can be read.
    """
    x = inputs_of(batch)
    return kept(("hidden", id(model), id(x)), (model, x), lambda: _hidden(model, batch))


def _hidden(model: nn.Module, batch: Any) -> dict[str, Hidden]:
    trace, size, length, real = observe(model, inputs_of(batch), Activations), *extent_of(batch), places_of(batch)
    return {name: joined([rows_of(call.values, size, length, real) for call in trace.calls(name)]) for name in trace}


def rows_of(values: Tensor, size: int | None = None, length: int | None = None, real: Tensor | None = None) -> Hidden:
    """Values (..., units) as rows: a row for each place of each of `size` inputs.

    `length` is the number of tokens of an input, where inputs are token sequences: a block that sees (tokens, units)
    in one row is told from one that sees some tokens only. `real` (inputs, places) tells tokens from padding.
    """
    size = len(values) if size is None else size
    rows = values.reshape(-1, values.shape[-1])
    flat = values.dim() == 2 and length is not None and len(rows) == size * length
    if not (size > 0 and len(rows) % size == 0 and (len(values) == size or flat)):
        unknown = torch.full((len(rows),), -1)
        return Hidden(rows, unknown, torch.arange(len(rows)))
    places = len(rows) // size
    number = torch.arange(len(rows))
    found = Hidden(rows, number // max(places, 1), number % max(places, 1))
    if real is None or real.numel() != len(rows) or bool(real.all()):
        return found
    kept = real.flatten().to(rows.device)
    return Hidden(rows[kept], *(part[kept.cpu()] for part in found[1:]))


def blocks(values: Tensor, cells: int = CELLS) -> Iterator[Tensor]:
    """Rows (rows, units) in float32, a bounded number at a time."""
    for part in values.split(max(1, cells // max(1, values.shape[-1]))):
        yield part.float()


def sampled(values: Tensor, most: int) -> Tensor:
    """At most so many rows, evenly from all, as they are."""
    if len(values) <= most:
        return values
    return values[(torch.arange(most, device=values.device) * len(values)) // most]


def by_input(found: Hidden) -> Tensor | None:
    """The mean over the places of each input, (inputs, units) float32; None where the inputs are not known."""
    if len(found.input) == 0 or int(found.input.min()) < 0:
        return None
    count = int(found.input.max()) + 1
    if len(found.input) == count:
        return found.values.float()
    total = torch.zeros(count, found.values.shape[-1])
    for rows, input in zip(blocks(found.values), found.input.split(max(1, CELLS // max(1, found.values.shape[-1])))):
        total.index_add_(0, input, rows.cpu())
    return total / torch.bincount(found.input, minlength=count).clamp_min(1).unsqueeze(-1)


def aligned(found: Mapping[str, Hidden]) -> tuple[dict[str, Tensor], Hidden | None, list[str]]:
    """The layers row by row beside each other: token by token where all have the same tokens, else input by input.

    Returns the values of each layer that can be aligned, a layer's `Hidden` that says which row is which token (None
    where the rows are inputs), and the names of the layers that were left out because they see only some tokens.
    """
    known = {name: one for name, one in found.items() if len(one.input) and int(one.input.min()) >= 0}
    left_out = [name for name in found if name not in known]
    if not known:
        counts = {len(one.values) for one in found.values()}
        if len(counts) == 1:  # rows of unknown origin, but as many in every layer
            return {name: one.values for name, one in found.items()}, next(iter(found.values())), []
        return {}, None, left_out
    first = next(iter(known.values()))
    if all(torch.equal(one.input, first.input) and torch.equal(one.place, first.place) for one in known.values()):
        return {name: one.values for name, one in known.items()}, first, left_out
    means = {name: by_input(one) for name, one in known.items()}
    return {name: mean for name, mean in means.items() if mean is not None}, None, left_out


def joined(calls: list[Hidden]) -> Hidden:
    """Several calls of one block: the rows one after the other; a later call's places are counted on."""
    if len(calls) == 1:
        return calls[0]
    steps = [int(call.place.max()) + 1 if len(call.place) else 0 for call in calls]
    starts = [sum(steps[:at]) for at in range(len(calls))]
    return Hidden(
        torch.cat([call.values for call in calls]),
        torch.cat([call.input for call in calls]),
        torch.cat([call.place + start for call, start in zip(calls, starts)]),
    )
