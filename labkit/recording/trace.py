"""What a recording saw: `Trace`, and the `Keeper` that fills it while the model runs.

Kept values are copies, since later operations may overwrite a tensor in place; with `attached` they are the model's
own tensors, and an overwritten one is an error on leaving.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.recording.recomputing import forward_pass, in_backward, recomputed_pass


class Calls(Mapping[str, Any]):
    """Values by name: the value, or a list where there was more than one call."""

    def __init__(self) -> None:
        self._calls: dict[str, list[Any]] = {}

    def calls(self, name: str) -> list[Any]:
        """Every value of this name, in the order of the calls."""
        if name not in self._calls:
            raise KeyError(f"nothing was recorded of {name!r}; recorded: {', '.join(self._calls) or 'nothing'}.")
        return self._calls[name]

    def __getitem__(self, name: str) -> Any:
        calls = self.calls(name)
        return calls[0] if len(calls) == 1 else calls

    def __iter__(self) -> Iterator[str]:
        return iter(self._calls)

    def __len__(self) -> int:
        return len(self._calls)

    def every(self, kind: type) -> list[Any]:
        """All values of this type, in the order in which the modules first ran."""
        return [value for calls in self._calls.values() for value in calls if isinstance(value, kind)]

    def __repr__(self) -> str:
        counted = ", ".join(f"{name}: {len(calls)}" for name, calls in self._calls.items())
        return f"{type(self).__name__}({counted})"

    def _add(self, name: str, value: Any) -> None:
        self._calls.setdefault(name, []).append(value)


class Gradients(Calls):
    """d loss / d value of each recorded value, in its form; None where none arrived."""


class Trace(Calls):
    """What a recording saw, by name: the value, or a list where the module ran more than once."""

    def __init__(self) -> None:
        super().__init__()
        self.gradients = Gradients()
        """With `gradients=True`: what backward() brought to each value, call by call as in the trace."""
        self.notes: dict[str, str] = {}
        """How a value was read, where that is not obvious: of foreign routers and of attention."""
        self._parts: dict[str, tuple[tuple[str, nn.Module], ...]] = {}

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """The parameters of what was recorded, as they are now: name -> {parameter name: detached copy}."""
        return {
            name: {
                f"{part}.{key}".removeprefix(f"{name}.").removeprefix("."): value.detach().clone()
                for part, module in self._parts.get(name, ())
                for key, value in module.named_parameters()
            }
            for name in self
        }


class _Slot(NamedTuple):
    """Where the gradients of one kept value arrive: one place for each tensor in it."""

    name: str
    form: Any
    arrived: list[Tensor | None]
    arrange: Callable[[Tensor], Any] | None


class _Place(int):
    """Stands for a tensor in the form of a value."""


class Keeper:
    """Puts what hooks see into a trace: once for each call, not again when a checkpoint computes it again."""

    def __init__(self, trace: Trace, *, attached: bool, gradients: bool):
        self.trace, self.attached, self.gradients = trace, attached, gradients
        self.heard: set[str] = set()
        """Names of modules that were seen to run."""
        self._slots: list[_Slot] = []
        self._waiting: dict[tuple[Any, str], list[_Slot]] = {}
        self._own: list[tuple[str, Tensor, int]] = []
        self._handles: list[Any] = []
        self._last: tuple[Tensor, int, Tensor] | None = None

    def keep(
        self,
        name: str,
        value: Any,
        arrange: Callable[[Tensor], Any] | None = None,
        parts: tuple[tuple[str, nn.Module], ...] = (),
        copy: Tensor | None = None,
    ) -> None:
        """Keep a value under a name; `arrange` brings the model's tensor into the form that is recorded.

        `copy` is a copy of the value made earlier, where it may have been overwritten since.
        """
        if in_backward():
            self._again(name, value)
            return
        _refuse_transforms(name)
        if self.attached and not torch.is_grad_enabled() and forward_pass():
            raise LabError(
                f"{name} runs inside a checkpoint with use_reentrant=True, whose values have no graph: a recording with "
                "attached=True needs use_reentrant=False."
            )
        kept = copy if copy is not None and not self.attached else mapped(value, partial(self._kept, name))
        self.trace._add(name, arrange(kept) if arrange else kept)
        self.trace._parts.setdefault(name, parts)
        if self.gradients:
            self._listen(name, value, arrange)

    def _kept(self, name: str, tensor: Tensor) -> Tensor:
        if not self.attached:
            return self._copied_once(tensor)
        if not tensor.is_inference():
            self._own.append((name, tensor, tensor._version))
        return tensor

    def _copied_once(self, tensor: Tensor) -> Tensor:
        """A module often returns what its last part returned: the same tensor is copied once."""
        version = -1 if tensor.is_inference() else tensor._version
        if self._last is None or self._last[0] is not tensor or self._last[1] != version or version < 0:
            self._last = (tensor, version, copied(tensor))
        return self._last[2]

    def _listen(self, name: str, value: Any, arrange: Callable[[Tensor], Any] | None) -> None:
        tensors: list[Tensor] = []
        mapped(value, tensors.append)
        places = iter(range(len(tensors)))
        slot = _Slot(name, mapped(value, lambda _: _Place(next(places))), [None] * len(tensors), arrange)
        self._slots.append(slot)
        self._connect(slot, tensors)
        if not torch.is_grad_enabled() and (segment := forward_pass()) is not None:
            self._waiting.setdefault((segment, name), []).append(slot)

    def _connect(self, slot: _Slot, tensors: list[Tensor]) -> None:
        for place, tensor in enumerate(tensors):
            if tensor.requires_grad:
                self._handles.append(tensor.register_hook(partial(self._receive, slot, place)))

    def _receive(self, slot: _Slot, place: int, gradient: Tensor) -> None:
        before = slot.arrived[place]
        slot.arrived[place] = gradient.detach().clone() if before is None else before + gradient.detach()

    def _again(self, name: str, value: Any) -> None:
        """A reentrant checkpoint computes its graph in backward(): the gradients of the first pass arrive here."""
        if self.gradients and (slots := self._waiting.get((recomputed_pass(), name))):
            tensors: list[Tensor] = []
            mapped(value, tensors.append)
            self._connect(slots.pop(0), tensors)

    def finish(self) -> None:
        """Hand the gradients over, and check that no attached value was overwritten."""
        for handle in self._handles:
            handle.remove()
        for slot in self._slots:
            value = mapped(slot.form, slot.arrived.__getitem__)
            if slot.arrange and value is not None:
                value = slot.arrange(value)
            self.trace.gradients._add(slot.name, value)
        self._waiting.clear()
        self._last = None

    def complain(self) -> None:
        """Raises: LabError for an attached value that was overwritten, and where no gradient at all arrived."""
        spoilt = sorted({name for name, tensor, version in self._own if tensor._version != version})
        if spoilt:
            raise LabError(
                f"{', '.join(spoilt)}: a later operation overwrote the recorded tensor in place; record without "
                "attached=True, or build the model with inplace=False."
            )
        if self._slots and not any(part is not None for slot in self._slots for part in slot.arrived):
            raise LabError(
                "No gradient reached a recorded value: call backward() inside the block, on a loss that depends on it, "
                "with gradients enabled. Recomputed attention weights and choices have none."
            )


def mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """The same tuples, lists and mappings with every tensor changed."""
    if isinstance(value, Tensor | _Place):
        return change(value)  # pyright: ignore[reportArgumentType] - a place is put back where its tensor was
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(part, change) for part in value))
    if isinstance(value, tuple) and type(value) is not tuple:
        return value if isinstance(value, torch.Size) else type(value)([mapped(part, change) for part in value])
    if isinstance(value, tuple | list):
        return type(value)(mapped(part, change) for part in value)
    if isinstance(value, dict):
        return _mapped_dict(value, change)
    return value


def _mapped_dict(value: dict, change: Callable[[Tensor], Any]) -> dict:
    parts = {key: mapped(part, change) for key, part in value.items()}
    try:
        return type(value)(**parts) if type(value) is not dict else parts
    except (TypeError, ValueError):
        return parts


def copied(tensor: Tensor) -> Tensor:
    """A detached copy; what is spread over one number by strides of 0 cannot be overwritten and is not copied."""
    spread = 0 in tensor.stride() if tensor.layout == torch.strided else False
    return tensor.detach() if spread and not tensor.is_floating_point() else tensor.detach().clone()


def _refuse_transforms(name: str) -> None:
    if torch._C._functorch.maybe_current_level() is not None:  # pyright: ignore[reportAttributeAccessIssue]
        raise LabError(
            f"{name} runs inside torch.func (vmap, grad): its values exist only there and cannot be recorded. Run the "
            "model itself inside the block."
        )
