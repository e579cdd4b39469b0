"""What a recording was asked for, checked before the model runs: types, names, and where in the model they are."""

import difflib
import fnmatch
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from torch import Tensor, nn

from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.recording.anatomy import anatomy, blocks_and_banks
from labkit.recording.attention_blocks import attention_blocks
from labkit.recording.block import Block
from labkit.recording.kinds import Activations, Attention
from labkit.recording.materials import named
from labkit.recording.router_blocks import foreign_routers

KNOWN = "Routing, Branching, Activations, Attention"


class NothingRecorded(LabError):
    """A recording that has nothing to see, or ended without having seen anything of the wanted kind."""


class Asked(NamedTuple):
    """Where a recording looks."""

    kinds: tuple[type, ...]
    modules: dict[str, nn.Module]
    """All modules of the model, without the names that wrappers add."""
    watched: dict[str, nn.Module]
    """Modules whose outputs are looked at."""
    classes: tuple[type, ...]
    outputs: tuple[type, ...]
    spoken: tuple[Block, ...]
    """Blocks whose hidden units are wanted."""
    attentions: tuple[Block, ...] | None
    routers: tuple[Block, ...]
    names: str

    def wanted(self, name: str) -> bool:
        return _fits(name, self.names) or any(_fits(above, self.names) for above in _above(name))

    @property
    def words(self) -> str:
        return " or ".join(kind.__name__ for kind in self.kinds) or "anything"


def asked(model: nn.Module, what: Any, names: str) -> Asked:
    """Read what is wanted of a model.

    Raises: LabError for what is no type that can be asked for; NothingRecorded where the model has no such thing or no
    such name.
    """
    if not isinstance(model, nn.Module):
        raise LabError(f"record looks into an nn.Module, not into {_said(model)}.")
    if isinstance(what, str):
        what, names = None, what
    if not isinstance(names, str):
        raise LabError(f"names is a pattern such as 'layers.*.mlp', not {_said(names)}.")
    kinds = tuple(what) if isinstance(what, tuple | list) else () if what is None else (what,)
    for kind in kinds:
        _require_type(kind)
    _refuse_unseen(model)
    classes = tuple(kind for kind in kinds if issubclass(kind, nn.Module))
    outputs = tuple(kind for kind in kinds if not issubclass(kind, (nn.Module, Activations, Attention)))
    modules = dict(named(model))
    watched = {name: module for name, module in modules.items() if _fits(name, names)}
    speaking = [block for block in blocks_and_banks(model)[0] if block.site] if Activations in kinds else []
    spoken = _within(speaking, names)
    attentions = tuple(attention_blocks(model)) if Attention in kinds else None
    routers = _within(foreign_routers(modules), names) if Routing in outputs else ()
    named_by_type = [block.name for block in (*spoken, *(attentions or ()), *routers)]
    if not watched and not named_by_type:
        raise NothingRecorded(_no_such_name(names, modules, speaking))
    if kinds and not outputs and attentions is None and not spoken:
        _require_present(model, kinds, classes, names, watched, speaking)
    return Asked(kinds, modules, watched, classes, outputs, spoken, attentions, routers, names)


def _require_type(kind: Any) -> None:
    if isinstance(kind, nn.Module):
        raise LabError(f"Ask for the class nn.{type(kind).__name__}, not for a module made of it.")
    if not isinstance(kind, type):
        raise LabError(f"record takes a type ({KNOWN}, a class of module) or a pattern on names, not {_said(kind)}.")
    fits = issubclass(kind, nn.Module | Tensor | dict) or (issubclass(kind, tuple) and kind is not tuple)
    if not fits:
        near = difflib.get_close_matches(kind.__name__, KNOWN.split(", "), 1, 0.5)
        raise LabError(
            f"{kind.__name__} is neither a class of module nor a type of output{_near(near)}; ask for {KNOWN}, "
            "for a class such as nn.ReLU, or for names."
        )


def _refuse_unseen(model: nn.Module) -> None:
    """Raises: LabError for wrappers inside which hooks do not see the model's own values."""
    for module in model.modules():
        reason = _hidden(type(module))
        if reason and not (type(module).__name__ == "DataParallel" and len(getattr(module, "device_ids", ())) < 2):
            raise LabError(reason)


@cache
def _hidden(kind: type) -> str | None:
    """Why hooks do not see inside a class of module; None where they do."""
    name = kind.__name__
    if name == "DataParallel":
        return "DataParallel runs copies of the model in threads: record model.module, or use one device."
    if name == "FullyShardedDataParallel" or name.startswith("FSDP"):
        return "This model is sharded (FSDP), so a process holds only a part of each weight: record it before sharding."
    if name in ("RecursiveScriptModule", "TopLevelTracedModule", "TracedModule"):
        return "TorchScript runs without Python's hooks: record the model that the script was made from."
    return None


def _require_present(
    model: nn.Module, kinds: tuple, classes: tuple, names: str, watched: dict[str, nn.Module], speaking: list[Block]
) -> None:
    if any(isinstance(module, classes) for module in watched.values()):
        return
    if Activations in kinds:
        if speaking:
            blocks = [block.name for block in speaking]
            raise NothingRecorded(f"No block with hidden units is named {names!r}{_examples(names, blocks)}")
        why = "; ".join(f"{name or 'the model itself'}: {reason}" for name, reason in anatomy(model).unknown[:3])
        raise NothingRecorded(
            f"{type(model).__name__} has no block whose hidden units can be read" + (f" ({why})" if why else ".")
        )
    held = sorted({type(module).__name__ for module in watched.values()})
    words = " or ".join(kind.__name__ for kind in kinds)
    near = difflib.get_close_matches(classes[0].__name__, held, 3, 0.4) or held[:5]
    raise NothingRecorded(f"The model has no {words} under {names!r}; it has {', '.join(near)}.")


def _no_such_name(names: str, modules: dict[str, nn.Module], speaking: list[Block]) -> str:
    known = [name for name in modules if name]
    known += [block.name for block in speaking if block.name not in modules]
    return f"No module's name matches {names!r}{_examples(names, known)}"


def _examples(wanted: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(wanted, known, 4, 0.6)
    if near:
        return f": did you mean {' or '.join(near)}?"
    return f"; this model has for instance: {', '.join(known[:5]) or 'no named modules'}."


def _within(blocks: Iterable[Block], names: str) -> tuple[Block, ...]:
    """The blocks whose name fits; where none does, those inside a module whose name fits."""
    blocks = tuple(blocks)
    exact = tuple(block for block in blocks if _fits(block.name, names))
    return exact or tuple(block for block in blocks if any(_fits(above, names) for above in _above(block.name)))


def _above(name: str) -> list[str]:
    pieces = name.split(".")
    return [".".join(pieces[:count]) for count in range(1, len(pieces))]


def _fits(name: str, names: str) -> bool:
    return fnmatch.fnmatchcase(name, names)


def _near(names: list[str]) -> str:
    return f" (did you mean {names[0]}?)" if names else ""


def _said(value: Any) -> str:
    return f"{value!r}" if isinstance(value, int | float | str | type(None)) else f"a {type(value).__name__}"
