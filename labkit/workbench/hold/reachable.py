"""Where one can intervene in a model, and why not elsewhere: names, counts and nouns of units, choices and parameters."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import nn

from labkit.errors import LabError
from labkit.recording.anatomy import anatomy
from labkit.recording.asking import _refuse_unseen as refuse_unseen
from labkit.recording.attention_blocks import numbers
from labkit.recording.block import Block
from labkit.recording.intervene import changeable
from labkit.recording.materials import named, plain
from labkit.recording.router_blocks import CHOICES
from labkit.recording.router_forms import router_at
from labkit.recording.routings import noun_of
from labkit.recording.silence import Silencing, check_choices
from labkit.recording.watchable import is_compiled
from labkit.workbench.hold.intervention import Intervention


def at_a_place(model: nn.Module, one: Intervention) -> Intervention:
    """The intervention with the layer's own name, the noun, and what is there now. Nothing is changed.

    Raises: LabError when the model has no such layer, unit, choice, parameter or entry.
    """
    if one.kind == "edit":
        return _at_an_entry(model, one)
    return _at_choices(model, one) if one.kind == "silence" else _at_units(model, one)


def parameters_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """Every parameter by its name in the model, without what wrappers add to names; a shared one under all its names."""
    own = {
        f"{path}.{name}" if path else name: part
        for path, module in named(model)
        for name, part in module._parameters.items()
        if part is not None
    }
    return own | dict(model.named_parameters())


def router_of(model: nn.Module, layer: str) -> tuple[str, nn.Module, Block | None]:
    """Name and module of the router at or below this name, and its block where structure shows it.

    Raises: LabError when there is none, or several.
    """
    name, module, block = router_at(model, layer)
    if block is None and plain(module) and any(True for _ in module.parameters(recurse=False)):
        some = ", ".join(found.name for found in anatomy(model).of("router")[:5])
        raise LabError(f"{layer or 'The model'} is no router; its routers are: {some or 'none that can be found'}.")
    return name, module, block


def refuse_hooks(model: nn.Module) -> None:
    """Raises: LabError for a model whose parts are not called one by one, so that no hook acts."""
    compiled = next((name for name, module in model.named_modules() if is_compiled(module)), None)
    if compiled is not None:
        raise LabError(
            f"{'Its part ' + repr(compiled) if compiled else 'This model'} is compiled, and compiled code does not notice an "
            "intervention: use the model that was given to torch.compile. A weight can be edited all the same."
        )
    refuse_unseen(model)


def _at_units(model: nn.Module, one: Intervention) -> Intervention:
    known = changeable(model)
    block = known.get(one.layer)
    if block is None:
        raise LabError(_no_units(model, one.layer, known))
    noun = "channel" if block.kind == "convolution" else "unit"
    wrong = [unit for unit in one.each if unit < 0 or (block.units is not None and unit >= block.units)]
    if wrong:
        many = "" if block.units is None else f"{block.units} {noun}s, numbered 0 to {block.units - 1}"
        raise LabError(f"{one.layer} has {many or f'{noun}s numbered from 0'}; there is no {wrong[0]}.")
    return replace(one, noun=noun)


def _no_units(model: nn.Module, layer: str, known: Mapping[str, Block]) -> str:
    """Why no unit can be held there."""
    found = anatomy(model)
    if any(block.name == layer for block in found.of("router")):
        return f"{layer} is a router: its choices can be silenced, it has no hidden units."
    why = next((reason for name, reason in found.unknown if name == layer), None)
    if why is not None:
        return f"No unit of {layer} can be held: {why}"
    return f"The model has no block {layer!r} whose units can be held{_near(layer, known)}."


def _at_choices(model: nn.Module, one: Intervention) -> Intervention:
    name, gate, block = router_of(model, one.layer)
    holder = block and block.holder
    count = (block.units if block else None) or next(numbers((gate, holder), CHOICES), None)
    check_choices(one.each, count, name or "the model")
    others = Silencing(gate, one.each, name or "the model", holder).others
    return replace(one, layer=name, noun=noun_of(name, model), others=others)


def _at_an_entry(model: nn.Module, one: Intervention) -> Intervention:
    known = parameters_of(model)
    part = known.get(one.layer)
    if part is None:
        raise LabError(f"The model has no parameter {one.layer!r}{_near(one.layer, known)}.")
    shape = tuple(part.shape)
    inside = len(one.place) == len(shape) and all(0 <= at < size for at, size in zip(one.place, shape))
    if not inside:
        raise LabError(f"{one.layer} has the shape {shape}; it has no entry {list(one.place)}.")
    if not part.is_floating_point():
        raise LabError(f"The entries of {one.layer} are {str(part.dtype).removeprefix('torch.')}, not real numbers.")
    rounded = float(torch.tensor(one.value, dtype=part.dtype))
    if rounded in (float("inf"), float("-inf")):
        raise LabError(f"{one.layer} cannot hold {one.value:g}: it is too large for {part.dtype}.")
    return replace(one, value=rounded, before=float(part.detach()[one.place]))


def _near(wanted: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(wanted, names, 3, 0.6)
    if near:
        return f"; near to it are {', '.join(near)}"
    return f"; it has {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}" if names else "; it has none"
