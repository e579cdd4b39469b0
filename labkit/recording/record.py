"""Look inside a running model: `with record(model, Routing) as trace: model(x)`. Works on anyone's `nn.Module`.

Nothing is added to the model: forward hooks see what modules return, keep what was asked for, and are removed on
leaving. Ask by type (every output of type `Routing`, wherever it is), by module class, by name pattern, or both.
"""

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from labkit.errors import LabError


class NothingRecorded(LabError):
    """A recording ended without having seen anything of the wanted kind."""


class Trace(Mapping[str, Any]):
    """What a recording saw, by module name: the value, or a list where the module ran more than once."""

    def __init__(self) -> None:
        self._calls: dict[str, list[Any]] = {}

    def calls(self, name: str) -> list[Any]:
        """Every value that this module returned, in order."""
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
        """All recorded values of this type, in the order in which the modules first ran."""
        return [value for calls in self._calls.values() for value in calls if isinstance(value, kind)]

    def __repr__(self) -> str:
        return f"Trace({', '.join(f'{name}: {len(calls)}' for name, calls in self._calls.items())})"

    def _add(self, name: str, value: Any) -> None:
        self._calls.setdefault(name, []).append(value)


@contextmanager
def record(
    model: nn.Module, what: type | tuple[type, ...] | str | None = None, names: str = "*", *, attached: bool = False
) -> Iterator[Trace]:
    """Keep what modules return while the block runs.

    `what` is a type of output (`Routing`, `Branching`), a class of module (`nn.ReLU`, whose outputs are kept), a tuple
    of these, or None for the output of every module that `names` matches. `names` is a pattern on module names as in
    `model.named_modules()`: "blocks.*.mlp". A string as `what` is taken as the pattern.

    Values are detached from the graph unless `attached`, which losses on a recording need.

    Raises: NothingRecorded on leaving, with the reason, when nothing of that kind was seen.
    """
    if isinstance(what, str):
        what, names = None, what
    kinds = what if isinstance(what, tuple) else (what,) if what else ()
    classes = tuple(kind for kind in kinds if issubclass(kind, nn.Module))
    outputs = tuple(kind for kind in kinds if not issubclass(kind, nn.Module))
    watched = [(name, module) for name, module in model.named_modules() if fnmatch.fnmatchcase(name, names)]
    trace, ran = Trace(), []

    def hook(name: str, module: nn.Module) -> Callable[..., None]:
        def keep(_module: nn.Module, _inputs: tuple, output: Any) -> None:
            ran.append(name)
            if not kinds or isinstance(module, classes) or isinstance(output, outputs):
                trace._add(name, output if attached else _detached(output))

        return keep

    handles = [module.register_forward_hook(hook(name, module)) for name, module in watched]
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()
    if not len(trace):
        raise NothingRecorded(_why(model, kinds, names, watched, ran))


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_detached(part) for part in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_detached(part) for part in value)
    if isinstance(value, dict):
        return {key: _detached(part) for key, part in value.items()}
    return value


def _why(model: nn.Module, kinds: tuple, names: str, watched: list, ran: list) -> str:
    wanted = " or ".join(kind.__name__ for kind in kinds) or "anything"
    if not watched:
        known = ", ".join(name for name, _ in list(model.named_modules())[1:6])
        return f"No module's name matches {names!r}; this model has for instance: {known or 'no named modules'}."
    compiled = isinstance(model, torch._dynamo.eval_frame.OptimizedModule) or getattr(
        model, "_compiled_call_impl", None
    )
    if compiled:
        return "Nothing was recorded because the model was compiled before: record the original, then compile it."
    if ran:
        return f"Of {len(set(ran))} modules that ran and match {names!r}, none returned or was {wanted}."
    return f"Nothing was recorded of {wanted}: the model did not run inside the block, or did not call its parts."
