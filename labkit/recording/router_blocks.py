"""Finds routers of any model, and banks of experts whose hidden units lie in stacked tables.

A router is a module that says it returns a `Routing`, or one that stands beside experts and makes one number for each:
`gate` or `router` beside a ModuleList of experts, or beside one module whose tables have a leading axis of experts.
"""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from torch import nn

from labkit.parts.gate import Routing
from labkit.recording.attention_blocks import numbers
from labkit.recording.block import Block
from labkit.recording.materials import Child, children, named, projection

GATE = re.compile(r"gate|gating|router|routing|route$|switch|^wg$|^w_g$|selector", re.IGNORECASE)
EXPERTS = re.compile(r"expert|leaves|mixture|specialist", re.IGNORECASE)
CHOSEN = (
    "top_k", "topk", "num_experts_per_tok", "num_experts_per_token", "experts_per_token", "moe_top_k", "moe_k",
    "num_selected_experts", "num_selected", "n_activated_experts", "k", "chosen", "num_active_experts", "n_active",
)  # fmt: skip
CHOICES = ("choices", "leaves", "neurons", "experts", "num_experts", "slots")


class Bank(NamedTuple):
    """Experts in stacked tables: one parameter holds the weights of all."""

    name: str
    module: nn.Module
    experts: int
    """How many; 0 where that is not known."""


def router_blocks(model: nn.Module) -> list[Block]:
    """Every router of the model."""
    return [block for block, _ in routers_and_banks(model) if block]


def foreign_routers(modules: Mapping[str, nn.Module]) -> list[Block]:
    """The routers that do not say themselves that they return a `Routing`, among these modules by name."""
    found: dict[nn.Module, Block] = {}
    for name, module in modules.items():
        if any(map(_told, module._modules.items())) and not any(map(_says_routing, module.children())):
            for block, _ in _beside_experts(name, module):
                if block and not _says_routing(block.module):
                    found.setdefault(block.module, block)
    return list(found.values())


def routers_and_banks(model: nn.Module) -> list[tuple[Block | None, Bank | None]]:
    """Every router with the bank of stacked experts beside it, where there is one."""
    found: list[tuple[Block | None, Bank | None]] = []
    seen: set[nn.Module] = set()
    for name, module in named(model):
        if module not in seen and _says_routing(module):
            seen.add(module)
            units = next(numbers((module,), CHOICES), None)
            found.append((Block(name, "router", module, units, _OWN, parts=((name, module),)), None))
        if any(map(_told, module._modules.items())):
            for block, bank in _beside_experts(name, module):
                block = None if block and block.module in seen else block
                if block:
                    seen.add(block.module)
                found.append((block, bank))
    return found


def _beside_experts(name: str, holder: nn.Module) -> Iterator[tuple[Block | None, Bank | None]]:
    """The gates that a module holds beside experts, and the experts if they lie in tables."""
    inside = children(holder, name)
    for experts in inside:
        count = _count(experts)
        if count is not None:
            gate = _gate(inside, experts, count)
            count = count or (_width(gate.module) if gate else None) or 0
            stacked = not isinstance(experts.module, (nn.ModuleList, nn.ModuleDict))
            bank = Bank(experts.name, experts.module, count) if stacked else None
            yield (_router(gate, holder, count) if gate else None), bank


_OWN = "which choices it takes, with what weight"


def _router(gate: Child, holder: nn.Module, count: int) -> Block:
    chosen = chosen_of(gate.module, holder)
    says = f"which {chosen} of {count} experts" if chosen else f"which of {count} experts, by what the block then picks"
    return Block(gate.name, "router", gate.module, count, says, parts=((gate.name, gate.module),), holder=holder)


def chosen_of(gate: nn.Module, holder: nn.Module | None) -> int | None:
    """How many experts are chosen for each input, where the router, its holder or their configuration say it."""
    configurations = (getattr(gate, "config", None), getattr(holder, "config", None))
    return next((number for number in numbers((gate, holder, *configurations), CHOSEN) if number > 0), None)


def _told(held: tuple[str, nn.Module | None]) -> bool:
    """Whether a name or a class speaks of gates or experts."""
    return _speaks(held[0]) or _speaks(type(held[1]).__name__)


@lru_cache(4096)
def _speaks(word: str) -> bool:
    return bool(GATE.search(word) or EXPERTS.search(word))


def _says_routing(module: nn.Module) -> bool:
    return _returns_routing(type(module))


@cache
def _returns_routing(kind: type[nn.Module]) -> bool:
    annotation: Any = inspect.get_annotations(kind.forward).get("return")
    return annotation is Routing or annotation == "Routing"


def _count(child: Child) -> int | None:
    """How many experts a module holds: 0 where its name says experts but not how many; None where it holds none."""
    module = child.module
    if isinstance(module, (nn.ModuleList, nn.ModuleDict)):
        held = list(module.children())
        alike = len(held) > 1 and len({type(one) for one in held}) == 1
        return len(held) if alike and any(True for _ in held[0].parameters()) else None
    if not EXPERTS.search(child.short) and not EXPERTS.search(type(module).__name__):
        return None
    if "shared" in child.short:
        return None
    tables = [part for inner in module.modules() for part in inner._parameters.values() if part is not None]
    stacked = [part.shape[0] for part in tables if part.ndim == 3]
    if len(stacked) > 1 and len(set(stacked)) == 1:
        return stacked[0]
    direct = [inner for inner in children(module, "") if isinstance(inner.module, nn.ModuleList)]
    return 0 if not direct and len(tables) > 1 and not any(map(projection, module.modules())) else None


def _gate(inside: Sequence[Child], experts: Child, count: int) -> Child | None:
    """The module beside the experts that makes one number for each."""
    fits = [
        child
        for child in inside
        if child is not experts and (width := _width(child.module)) and width in (count, width * (not count))
    ]
    called = [child for child in fits if GATE.search(child.short) or GATE.search(type(child.module).__name__)]
    if called:
        return called[0]
    return fits[0] if len(fits) == 1 and EXPERTS.search(experts.short) else None


def _width(module: nn.Module) -> int | None:
    """How many numbers a small module makes: of a linear map, of the last one inside, or of its own (choices, width)."""
    own = projection(module)
    if own:
        return own.out
    weight = module._parameters.get("weight")
    if weight is not None and weight.ndim == 2:
        return weight.shape[0]
    inner = [found for found in map(projection, module.modules()) if found]
    return inner[-1].out if inner else None
