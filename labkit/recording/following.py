"""Which module multiplies the hidden units of a block next: the down-projection, found by what it is given.

The name of a block does not tell, so the model runs once on a few inputs: a linear layer or a convolution whose input
equals the hidden units of a block, number by number, is the one that follows it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from labkit.recording.batches import answer, evaluating, evenly, part_of, size_of
from labkit.recording.kinds import Activations
from labkit.recording.record import record

PROBED = 4


def following(model: nn.Module, batch: Any) -> dict[str, nn.Module]:
    """Block name -> the module that multiplies its hidden units; blocks of which none is found are left out.

    Raises: NothingRecorded when the model has no block whose hidden units can be read.
    """
    given: list[tuple[nn.Module, Tensor]] = []

    def keep(module: nn.Module, inputs: tuple, named: dict[str, Any]) -> None:
        tensors = [part for part in (*inputs, *named.values()) if isinstance(part, Tensor)]
        given.extend((module, tensor.detach().clone()) for tensor in tensors[:1])

    handles = [
        module.register_forward_pre_hook(keep, with_kwargs=True)
        for module in model.modules()
        if weight_of(module) is not None
    ]
    try:
        with evaluating(model), record(model, Activations) as trace:
            answer(model, part_of(batch, evenly(size_of(batch), PROBED)))
    finally:
        for handle in handles:
            handle.remove()
    found: dict[str, nn.Module] = {}
    for name in trace:
        values = trace.calls(name)[0].values
        for module, input in given:
            if _same(values, input.movedim(1, -1) if isinstance(module, nn.modules.conv._ConvNd) else input):
                found[name] = module
                break
    return found


def weight_of(module: nn.Module) -> Tensor | None:
    """The matrix (outputs, units) or kernel (outputs, units, ...) by which a module multiplies its input, else None."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        return None
    if isinstance(module, nn.modules.conv._ConvNd):
        return weight.transpose(0, 1) if module.transposed else weight
    if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):  # Hugging Face's, of GPT-2: (units, outputs)
        return weight.T
    return weight if isinstance(module, nn.Linear) else None


def norms_of(followers: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The Euclidean norm of the weights that each unit is multiplied by: block name -> (units,) float32."""
    norms = {}
    for name, module in followers.items():
        weight = weight_of(module)
        if weight is not None:
            norms[name] = weight.detach().float().transpose(0, 1).flatten(1).norm(dim=1)
    return norms


def _same(values: Tensor, input: Tensor) -> bool:
    if input.shape[-1] != values.shape[-1] or input.numel() != values.numel():
        return False
    return torch.equal(input.reshape(-1, input.shape[-1]), values.reshape(-1, values.shape[-1]).to(input.dtype))
