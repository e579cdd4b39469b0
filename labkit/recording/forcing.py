"""Send a token to another expert and see what happens: `with forcing(model, "blocks.0.slot", 3, 5): model(x)`.

The gate's answer is changed on its way out by a forward hook: the token's first choice and the forced one exchange their
places, so that the forced one gets exactly the weight that the first choice had. Where K are chosen, the others stay.
Nothing in the model is touched; on leaving the block the hook is gone, and the model answers as before, to the bit.

Works on gates that return `Routing`; on routers of Hugging Face models, which return scores, weights and index, or a
table of dispatched tokens; and on home-made gates that return one score for each expert (`router_forms` lists them).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.recording.router_forms import form_of, gate_of, replaced


@contextmanager
def forcing(model: nn.Module, layer: str, tokens: int | Sequence[int] | Tensor, choice: int) -> Iterator[None]:
    """While the block runs, these tokens of a layer are sent to `choice`, at every call of the layer.

    `layer` is the name of a gate or of the block that holds one. `tokens` counts along all leading axes of what the gate
    chooses for, as the axis `token` of the measurements does: one place, several, or a mask. A recording made inside
    the block sees the forced routing.

    Raises: LabError when there is no such layer, token or choice, when the layer's gate is of no known form, and on
    leaving when the gate did not run.
    """
    name, gate = gate_of(model, layer)
    ran = []

    def force(_module: nn.Module, _inputs: tuple, output: Any) -> Any:
        ran.append(name)
        return forced(output, tokens, choice, name)

    handle = gate.register_forward_hook(force, prepend=True)
    try:
        yield
    finally:
        handle.remove()
    if not ran:
        raise LabError(f"{name} did not run inside the block, so nothing was forced; a compiled model runs no hooks.")


def forced(output: Any, tokens: int | Sequence[int] | Tensor, choice: int, name: str = "the gate") -> Any:
    """A gate's output in which these tokens go to `choice`; a new one, the given one stays as it is.

    Raises: LabError when the output is of no known form, or when a token or the choice does not exist.
    """
    form = form_of(output, name)
    if form.kind == "routing":
        index, weights = _exchanged(output.index, output.weights, output.choices, tokens, choice, name)
        return Routing(index, weights, output.choices, output.scores)
    if form.kind == "scores":
        return _swapped(output, output, tokens, choice, name)
    if form.kind == "chosen":
        if form.scores_at is None:
            raise LabError(f"{name} does not say among how many it chooses, so no token of it can be sent elsewhere.")
        choices, index, weights = output[form.scores_at].shape[-1], output[form.index_at], output[form.weights_at]
        index, weights = _exchanged(index, weights, choices, tokens, choice, name)
        return replaced(output, {form.weights_at: weights, form.index_at: index})
    if form.kind == "weights":
        return replaced(output, {0: _swapped(output[0], output[0], tokens, choice, name)})
    return replaced(output, {0: _dispatched(output[0], tokens, choice, name)})


def _exchanged(
    index: Tensor, weights: Tensor, choices: int, tokens: Any, choice: int, name: str
) -> tuple[Tensor, Tensor]:
    """Index and weights (..., K) in which `choice` has the place of the first choice."""
    rows = _rows(tokens, choice, index.shape[:-1].numel(), choices, name)
    index, weights = index.clone(), weights.clone()
    flat, share = index.view(-1, index.shape[-1]), weights.view(-1, weights.shape[-1])
    for row in rows.tolist():
        first = int(share[row].masked_fill(flat[row] < 0, -torch.inf).argmax())
        already = (flat[row] == choice).nonzero().flatten()
        if len(already):
            flat[row, int(already[0])] = flat[row, first]
        if flat[row, first] < 0:  # the token had been dropped: it is served now, with the whole weight
            share[row, first] = 1
        flat[row, first] = choice
    if index.shape[-1] == choices:  # a soft routing keeps its order 0..choices-1; the weights move instead
        order = index.argsort(-1)
        index, weights = index.gather(-1, order), weights.gather(-1, order)
    return index, weights


def _swapped(values: Tensor, leading: Tensor, tokens: Any, choice: int, name: str) -> Tensor:
    """Values (..., experts) in which `choice` and the expert that leads have exchanged theirs."""
    rows = _rows(tokens, choice, values.shape[:-1].numel(), values.shape[-1], name).to(values.device)
    flat = values.reshape(-1, values.shape[-1])
    first = leading.reshape(-1, leading.shape[-1])[rows].argmax(-1)
    other = flat.clone()
    other[rows, first] = flat[rows, choice]
    other[rows, choice] = flat[rows, first]
    return other.view(values.shape)


def _dispatched(table: Tensor, tokens: Any, choice: int, name: str) -> Tensor:
    """A table (..., experts) of 0 and 1 in which the tokens go to `choice`, whatever its capacity."""
    rows = _rows(tokens, choice, table.shape[:-1].numel(), table.shape[-1], name)
    other = table.clone()
    flat = other.view(-1, table.shape[-1])
    flat[rows] = 0
    flat[rows, choice] = 1
    return other


def _rows(tokens: int | Sequence[int] | Tensor, choice: int, count: int, choices: int, name: str) -> Tensor:
    """The places of the tokens among all, checked."""
    if not 0 <= choice < choices:
        raise LabError(f"{name} has {choices} choices, numbered 0 to {choices - 1}; there is no {choice}.")
    places = torch.as_tensor(tokens)
    if places.dtype == torch.bool:
        if places.numel() != count:
            raise LabError(f"{name} routes {count} tokens, but the mask has {places.numel()} places.")
        return places.flatten().nonzero().flatten().cpu()
    places = places.flatten().long().cpu()
    if not len(places) or int(places.min()) < 0 or int(places.max()) >= count:
        raise LabError(f"{name} routes tokens 0 to {count - 1}; there is no token {places.tolist()}.")
    return places
