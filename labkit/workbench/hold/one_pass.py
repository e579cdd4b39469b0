"""One pass of a model over some inputs, heard without a switch of torch being touched: while another thread trains.

`labkit.recording.record` sets switches that hold for the whole program while it runs (torch's fused attention, the
compiler), so two of them at once would put back each other's settings. Here only hooks on the model that is looked at
are used, and settings that torch keeps for each thread: whether gradients are kept. A fused encoder leaves its fused
path by itself where gradients are kept, and a compiled model is called below its compiler.

Nothing is drawn: a model that draws random numbers in evaluation would take them from the training, so `draws` finds
out, before the first number is drawn, whether it does.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from labkit.parts.gate import Routing
from labkit.parts.tree import Branching
from labkit.recording.batches import extent_of, inputs_of, places_of
from labkit.recording.hidden import Hidden, joined, rows_of
from labkit.recording.kinds import Activations
from labkit.recording.listening import Ears
from labkit.recording.materials import named
from labkit.recording.once import kept
from labkit.recording.recorded_routing import without_padding
from labkit.recording.routings import Routings, common_noun

FUSED = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)


class Heard(NamedTuple):
    """What one pass said, by the name of the layer: hidden units, routings, the decisions of trees."""

    units: dict[str, Hidden]
    routings: Routings
    decisions: dict[str, Branching]


def one_pass(model: nn.Module, batch: Any) -> Heard:
    """Run the model once in evaluation and hear its hidden units, routers and trees. Its modes and hooks stay as before.

    Within `labkit.recording.once.once()` the same model is run on the same inputs once only.
    """
    x = inputs_of(batch)
    return kept(("one pass", id(model), id(x)), (model, x), lambda: _passed(model, batch))


def _passed(model: nn.Module, batch: Any) -> Heard:
    said: dict[str, list[Any]] = {}

    def hear(name: str, value: Any) -> None:
        kind = type(value)
        said.setdefault(name, []).append(
            kind(*(one.detach().clone() if isinstance(one, Tensor) else one for one in value))
        )

    with _listening(model, hear), quietly(model):
        called(model, batch)
    form = (*extent_of(batch), places_of(batch))
    units = {
        name: joined([rows_of(call.values, *form) for call in calls])
        for name, calls in said.items()
        if isinstance(calls[0], Activations)
    }
    routings: Routings = {name: calls for name, calls in said.items() if isinstance(calls[0], Routing)}
    places = form[2]
    if routings and places is not None and not bool(places.all()):
        routings = without_padding(routings, places, common_noun(routings, model))
    decisions = {name: calls[0] for name, calls in said.items() if isinstance(calls[0], Branching)}
    return Heard(units, routings, decisions)


@contextmanager
def _listening(model: nn.Module, hear: Any) -> Iterator[None]:
    """Hooks on the blocks, the routers and the trees of a model, for the time of this block."""
    ears = Ears(model, "*", ("units", "routing"), hear)
    handles = []
    try:
        ears.open()
        for name, module in named(model):
            handles.append(module.register_forward_hook(_decided(name, hear)))
        yield
    finally:
        for handle in handles:
            handle.remove()
        ears.close()


def _decided(name: str, hear: Any) -> Any:
    def hook(_module: nn.Module, _inputs: tuple, output: Any) -> None:
        if isinstance(output, Branching):
            hear(name, output)

    return hook


def called(model: nn.Module, batch: Any) -> Any:
    """What the model returns, without its compiler."""
    plain, x = getattr(model, "_orig_mod", model), inputs_of(batch)
    if isinstance(x, Mapping):
        return plain._call_impl(**x)
    return plain._call_impl(*x) if isinstance(x, tuple) else plain._call_impl(x)


@contextmanager
def quietly(model: nn.Module) -> Iterator[None]:
    """The model evaluates, and this thread keeps no gradients, except where they keep torch from fused code."""
    modes = [(module, module.training) for module in model.modules()]
    fused = any(isinstance(module, FUSED) for module, _ in modes)
    for module, _ in modes:
        module.training = False
    try:
        with torch.set_grad_enabled(fused):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


class _Drawn(Exception):
    """A random number was about to be drawn."""


class _NoDice(TorchDispatchMode):
    """Stops this thread at the first operation that would draw a random number."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags and not _harmless(func, args, kwargs or {}):
            raise _Drawn(str(func))
        return func(*args, **(kwargs or {}))


def _harmless(func: Any, args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether an operation that may draw does not: its chance is 0, or it is told that nobody trains."""
    given = {one.name: one.default_value for one in func._schema.arguments if one.has_default_value()}
    given |= dict(zip((one.name for one in func._schema.arguments), args)) | kwargs
    chances = [given[name] for name in ("dropout_p", "p") if name in given]
    trains = [given[name] for name in ("train", "training") if name in given]
    return any(chance == 0 for chance in chances) or any(one is False for one in trains)


def draws(model: nn.Module, batch: Any) -> str:
    """The operation with which a model would draw random numbers in evaluation, or "". Nothing is drawn."""
    try:
        with quietly(model), _NoDice():
            called(model, batch)
    except _Drawn as stopped:
        return str(stopped)
    return ""
