"""Run a model once to look at it: in evaluation, without gradients, and with everything put back afterwards."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from labkit.parts.relaxation import softened
from labkit.recording.once import kept
from labkit.recording.record import Trace, record


def observe(
    model: nn.Module,
    x: Tensor | tuple | Mapping[str, Any],
    what: type | tuple[type, ...] | str | None = None,
    names: str = "*",
    *,
    soft: bool = False,
) -> Trace:
    """Record `what` while the model evaluates x: a tensor, a tuple (model(*x)) or a mapping (model(**x)).

    `soft` mixes relaxed modules as in training, without noise. The model's modes, parameters and hooks are afterwards
    as before.

    Raises: as `record`.
    """
    question = (id(model), id(x), what, names, soft)
    return kept(question, (model, x), lambda: _observed(model, x, what, names, soft))


def _observed(model: nn.Module, x: Any, what: Any, names: str, soft: bool) -> Trace:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), softened(model) if soft else nullcontext(), record(model, what, names) as trace:
            if isinstance(x, Mapping):
                model(**x)
            elif isinstance(x, tuple):
                model(*x)
            else:
                model(x)
    finally:
        for module, mode in modes:
            module.training = mode
    return trace
