"""Everything that the next step of a training depends on, as plain nested values: copied out, and put back.

A checkpoint holds parameters and buffers (also those that a state_dict leaves out), the trainer's state_dict, random
numbers, how many batches were taken, the dials that lie in modules, and the interventions in force.
"""

import inspect
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from labkit.errors import LabError

State = dict[str, Any]


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; shared ones once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies of parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in tensors_of(model).items()}


@torch.no_grad()
def put_back(model: nn.Module, kept: dict[str, Tensor]) -> None:
    """Write copies of parameters and buffers into a model, in place: who holds a parameter still holds it.

    Raises: LabError when the model has other parameters than the copies.
    """
    there = tensors_of(model)
    wrong = next((name for name in {**there, **kept} if _shape(there, name) != _shape(kept, name)), None)
    if wrong is not None:
        raise LabError(
            f"The model has changed since this checkpoint: {wrong} is {_shape(there, wrong) or 'not there'} now and was "
            f"{_shape(kept, wrong) or 'not there'} then."
        )
    for name, tensor in there.items():
        tensor.copy_(kept[name])


def _shape(tensors: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None


def copied(value: Any) -> Any:
    """A deep copy of nested dicts, lists and tensors; other values as they are."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: copied(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied(one) for one in value) if type(value) in (list, tuple) else value
    return value


def can_rewind(trainer: Any) -> bool:
    """Whether a trainer can say its state and take it back."""
    return hasattr(trainer, "state_dict") and hasattr(trainer, "load_state_dict")


def batches_of(task: Any, seed: int, after: int) -> Iterator[Any]:
    """The task's batches, without the first `after` ones; quickly where the task knows how."""
    if not after:
        return iter(task.batches(seed))
    if "after" in inspect.signature(task.batches).parameters:
        return iter(task.batches(seed, after=after))
    return itertools.islice(task.batches(seed), after, None)
