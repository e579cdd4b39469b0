"""Run a model once to look at it: in evaluation, without gradients, and with everything put back afterwards."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from labkit.parts.relaxation import softened
from labkit.recording.record import Trace, record


def observe(model: nn.Module, x: Tensor, what: type, *, soft: bool = False) -> Trace:
    """Record `what` while the model evaluates x; `soft` mixes relaxed modules as in training, without noise.

    The model's modes, parameters and hooks are afterwards as before.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), softened(model) if soft else nullcontext(), record(model, what) as trace:
            model(x)
    finally:
        for module, mode in modes:
            module.training = mode
    return trace
