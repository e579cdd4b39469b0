"""Proves that a watch changed nothing: no hook is left, and a watched evaluation is the same to the bit as an unwatched one.

Training itself changes weights, so before and after a training cannot be compared. What can: the model evaluates some
inputs alone, then once more while it is watched. The state (every parameter and buffer, as a SHA-256), the state of
the random numbers and the outputs must then be equal, all to the bit. And of the hooks on the model, its optimizer
and all of torch, those must be there that were there before the watch, and none of its own.
"""

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from labkit.recording.counting import size_of

MODULE_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
OPTIMIZER_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")

FEW = 8
"""Inputs that are remembered of the training, to prove at the end that watching changes no output."""

Hook = tuple[str, str, int]


@dataclass(frozen=True)
class Proof:
    """What was checked when a watch ended. `holds` is True when nothing that was checked differs."""

    hooks_before: int
    hooks_after: int
    hooks_left: tuple[str, ...]
    """Where hooks of this watch are still found: must be empty."""
    hooks_lost: tuple[str, ...]
    """Where hooks of others were before and are no more. The watch removes none; whoever set them may have."""
    state_before: str = ""
    state_after: str = ""
    """SHA-256 of every parameter and buffer before and after the watched evaluation."""
    random_equal: bool | None = None
    outputs_equal: bool | None = None
    """Whether the outputs with and without the watch are bit-equal; None where they were not compared."""
    why_not: str = ""
    """Why state, random numbers and outputs were not compared."""

    @property
    def holds(self) -> bool:
        checks = (self.state_before == self.state_after, self.random_equal, self.outputs_equal)
        return not self.hooks_left and False not in checks

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        says = [
            f"hooks: {self.hooks_before} before, {self.hooks_after} after, {len(self.hooks_left)} of this watch left"
        ]
        says += [f"hooks that others removed meanwhile: {', '.join(self.hooks_lost)}"] if self.hooks_lost else []
        if self.why_not:
            says.append(f"state and outputs not compared: {self.why_not}")
        else:
            same = "same" if self.state_before == self.state_after else "DIFFERENT"
            says.append(f"{same} state after a watched evaluation (SHA-256 {self.state_after[:12]}…)")
            says.append("random numbers untouched" if self.random_equal else "random numbers were DISTURBED")
            says.append("outputs bit-equal" if self.outputs_equal else "outputs DIFFER")
        return "; ".join(says) + "."


def hooks_of(model: nn.Module, optimizer: Any = None) -> set[Hook]:
    """Every hook on the model's modules, on the optimizer and on all of torch: (where, kind, number)."""
    owners: list[tuple[str, Any, Iterable[str]]] = [
        (name or "the model", module, MODULE_HOOKS) for name, module in model.named_modules()
    ]
    owners.append(("the optimizer", optimizer, OPTIMIZER_HOOKS))
    owners.append(("all modules", nn.modules.module, [f"_global{kind}" for kind in MODULE_HOOKS]))
    everywhere = sys.modules["torch.optim.optimizer"]
    owners.append(("all optimizers", everywhere, ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")))
    return {
        (where, kind, number)
        for where, owner, kinds in owners
        for kind in kinds
        for number in (getattr(owner, kind, None) or ())
    }


def state_hash(model: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of every parameter and buffer."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        if isinstance(value, Tensor):
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            digest.update(_bytes(value))
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()


def prove(
    model: nn.Module,
    probe: Any,
    watched: Callable[[], None],
    unwatched: Callable[[], None],
    before: set[Hook],
    own: set[int],
    optimizer: Any,
    why_not: str = "",
) -> Proof:
    """Evaluate the probe without and with the watch (`watched` installs its hooks, `unwatched` removes them) and compare."""
    facts: dict[str, Any] = {}
    if not why_not and probe is None:
        why_not = "no inputs were given as a probe, and none were seen."
    if not why_not:
        try:
            with evaluating(model):
                start = random_state()
                state = state_hash(model)
                alone, after_alone = called(model, probe), random_state()
                _restore(start)
                watched()
                try:
                    seen, after_seen = called(model, probe), random_state()
                finally:
                    unwatched()
                facts = {
                    "state_before": state,
                    "state_after": state_hash(model),
                    "random_equal": all(map(torch.equal, after_alone, after_seen)),
                    "outputs_equal": same(alone, seen),
                }
        except Exception as error:  # a proof that cannot be had must not end somebody's training
            why_not = (
                f"the model could not evaluate the probe ({type(error).__name__}: {str(error).splitlines()[0:1]})."
            )
    after = hooks_of(model, optimizer)
    left = tuple(sorted({where for where, _, number in after if number in own}))
    lost = tuple(sorted({where for where, _, _ in before - after}))
    return Proof(len(before), len(after), left, lost, **facts, why_not=why_not)


def called(model: nn.Module, probe: Any) -> Any:
    """The model's answer to a tensor, a tuple of arguments, a Mapping of named ones, or a pair of both."""
    if isinstance(probe, Mapping):
        return model(**probe)
    if isinstance(probe, tuple) and len(probe) == 2 and isinstance(probe[0], tuple) and isinstance(probe[1], dict):
        return model(*probe[0], **probe[1])
    return model(*probe) if isinstance(probe, tuple) else model(probe)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation and without gradients; modes and random numbers are afterwards as before.

    Fused encoder layers, which skip their modules and round otherwise, are off: they run when nobody listens only.
    """
    modes = [(module, module.training) for module in model.modules()]
    state, fused = random_state(), torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for module, _ in modes:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for module, mode in modes:
            module.training = mode
        _restore(state)


def random_state() -> list[Tensor]:
    """The state of torch's random numbers on the processor and on every accelerator in use."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    return [torch.get_rng_state(), *cuda]


def _restore(state: list[Tensor]) -> None:
    torch.set_rng_state(state[0])
    for device, one in enumerate(state[1:]):
        torch.cuda.set_rng_state(one, device)


def same(one: Any, other: Any) -> bool:
    """Whether two outputs are equal to the bit, NaN included, however nested."""
    if isinstance(one, Tensor):
        return (
            isinstance(other, Tensor)
            and one.shape == other.shape
            and one.dtype == other.dtype
            and _bytes(one) == _bytes(other)
        )
    if isinstance(one, Mapping):
        return (
            isinstance(other, Mapping) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
        )
    if isinstance(one, tuple | list):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "__dict__") and type(one).__eq__ is object.__eq__:
        return type(one) is type(other) and same(vars(one), vars(other))
    return bool(one == other)


def _bytes(values: Tensor) -> bytes:
    return values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def few(inputs: Any) -> Any:
    """The first inputs of a call, as copies: (arguments, named)."""
    if inputs is None:
        return None
    size = size_of((*inputs[0], *inputs[1].values()))

    def part(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            whole = value.detach()
            return (whole[:FEW] if whole.ndim and len(whole) == size else whole).clone()
        if isinstance(value, dict):
            return {key: part(entry) for key, entry in value.items()}
        return type(value)(map(part, value)) if type(value) in (list, tuple) else value

    return part(inputs)
