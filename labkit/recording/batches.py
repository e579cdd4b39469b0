"""What a batch is to a measurement: what the model is called with, how many inputs, a part of it, its loss.

A batch is a tuple (x, labels, ...) as the tasks here give it, where x is a tensor, a tuple of tensors or a Mapping;
or it is itself a Mapping of names to tensors, as tokenizers give it, with `labels` if there are any.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.errors import LabError
from labkit.recording.record import _by_its_parts as by_its_parts

SCORES = 2**25
"""How many scores of a model are kept at once, at most."""
IGNORED = -100
"""The label that says "no label here", as in `torch.nn.functional.cross_entropy`."""


def inputs_of(batch: Any) -> Any:
    """What the model is called with: a Mapping or a tensor as it is, of a tuple the first entry."""
    return batch if isinstance(batch, Mapping | Tensor) else batch[0]


def labels_of(batch: Any) -> Tensor | None:
    """The labels of a batch, or None: the second entry of a tuple, or what a Mapping has as `labels`."""
    if isinstance(batch, Mapping):
        return batch.get("labels")
    if isinstance(batch, Tensor) or len(batch) < 2:
        return inputs_of(batch).get("labels") if isinstance(inputs_of(batch), Mapping) else None
    return batch[1] if isinstance(batch[1], Tensor) and not batch[1].is_floating_point() else None


def size_of(batch: Any) -> int:
    """How many inputs a batch has: the length of its first tensor."""
    return len(_tensors(inputs_of(batch))[0])


def extent_of(batch: Any) -> tuple[int, int | None]:
    """How many inputs, and how many tokens each has; None where inputs are no sequences of tokens or vectors."""
    first = _tensors(inputs_of(batch))[0]
    return len(first), first.shape[1] if first.dim() in (2, 3) else None


def places_of(batch: Any) -> Tensor | None:
    """Which places of each input are real and which are padding, (inputs, places) bool; None where nothing says so."""
    x = inputs_of(batch)
    mask = x.get("attention_mask") if isinstance(x, Mapping) else None
    return mask.bool() if isinstance(mask, Tensor) and mask.dim() == 2 else None


def part_of(batch: Any, chosen: Tensor) -> Any:
    """The batch with these inputs only; what has no entry for each input stays as it is."""
    size = size_of(batch)

    def part(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[chosen.to(value.device)] if value.dim() and len(value) == size else value
        if isinstance(value, Mapping):
            return {key: part(entry) for key, entry in value.items()}
        return tuple(part(entry) for entry in value) if isinstance(value, tuple | list) else value

    return part(batch)


def some_of(model: nn.Module, batch: Any, most: int) -> tuple[Any, int]:
    """At most so many inputs, evenly from the batch, and how many these are.

    Fewer where the scores of so many would be more than 2²⁵ numbers, as those of language models are.
    """
    size = size_of(batch)
    with evaluating(model):
        one = scores_of(answer(model, part_of(batch, torch.arange(min(1, size))))).numel()
    most = max(1, min(most, SCORES // max(1, one)))
    return (batch, size) if size <= most else (part_of(batch, evenly(size, most)), most)


def evenly(size: int, most: int) -> Tensor:
    """At most so many places of 0..size-1, evenly spread, without repetition."""
    return torch.arange(size) if size <= most else (torch.arange(most) * size) // most


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model is in evaluation and no gradients are kept while the block runs; then every mode is as before.

    As during a recording, compiled and fused code is left aside, so that answers with and without a change compare.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), by_its_parts():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def answer(model: nn.Module, batch: Any) -> Any:
    """What the model returns for this batch, called as `observe` calls it."""
    x = inputs_of(batch)
    if isinstance(x, Mapping):
        return model(**x)
    return model(*x) if isinstance(x, tuple) else model(x)


def scores_of(output: Any) -> Tensor:
    """The tensor that an output is about: itself, its `logits` or `last_hidden_state`, or its first tensor."""
    for name in ("logits", "last_hidden_state"):
        if isinstance(getattr(output, name, None), Tensor):
            return getattr(output, name)
    found = _tensors(output)
    if not found:
        raise LabError(f"The model returned {type(output).__name__} without a tensor in it; give a loss of your own.")
    return found[0]


def loss_of(output: Any, batch: Any, loss: Callable[[Any, Any], Tensor] | None = None) -> float:
    """The loss of an output; NaN where there are no labels to compare with.

    It is `loss(output, batch)` where that is given, else what the output has as `loss`, else the cross-entropy in nats
    of its scores (..., classes) against integer labels (...).
    """
    if loss is not None:
        return float(loss(output, batch).detach())
    own = getattr(output, "loss", None)
    if isinstance(own, Tensor):
        return float(own.detach())
    found = _compared(output, batch)
    return float("nan") if found is None else _entropy(*found)


def accuracy_of(output: Any, batch: Any) -> float:
    """The share of labels that have the highest score; NaN where there are none.

    Labels of a language model that predicts the next token are compared one place later, where that is how the model's
    own loss was computed.
    """
    found = _compared(output, batch)
    if found is None:
        return float("nan")
    scores, labels = found
    own = getattr(output, "loss", None)
    if isinstance(own, Tensor) and labels.dim() == 2 and labels.shape[1] > 1:
        plain, later = _entropy(scores, labels), _entropy(scores[:, :-1], labels[:, 1:])
        if abs(later - float(own.detach())) < abs(plain - float(own.detach())):
            scores, labels = scores[:, :-1], labels[:, 1:]
    return float((scores.argmax(-1) == labels)[labels != IGNORED].float().mean())


def judged(output: Any, batch: Any, loss: Callable[[Any, Any], Tensor] | None = None) -> tuple[float, float]:
    """`loss_of` and `accuracy_of` an output."""
    return loss_of(output, batch, loss), accuracy_of(output, batch)


def _compared(output: Any, batch: Any) -> tuple[Tensor, Tensor] | None:
    """Scores (..., classes) and labels (...), if they fit each other."""
    scores, labels = scores_of(output).detach().float(), labels_of(batch)
    if labels is None or scores.dim() < 2 or labels.shape != scores.shape[:-1]:
        return None
    return scores, labels


def _entropy(scores: Tensor, labels: Tensor) -> float:
    return float(F.cross_entropy(scores.flatten(0, -2), labels.flatten().long(), ignore_index=IGNORED))


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    entries = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return [tensor for entry in entries for tensor in _tensors(entry)]
