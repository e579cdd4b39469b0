"""Sees what no module returns: attention weights, and which experts the holder of a router picks.

A `TorchFunctionMode` is told of the functions that a model calls; hooks tell which module is at work. Both only look:
the functions run as they are.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from labkit.recording.attention_weights import multihead_weights, product_weights, unpacked
from labkit.recording.block import Block
from labkit.recording.kinds import Attention
from labkit.recording.recomputing import in_backward
from labkit.recording.trace import Keeper, copied

_FUSED = {"scaled_dot_product_attention": product_weights, "multi_head_attention_forward": multihead_weights}
_PICKS = ("topk", "argmax", "max")


class Listening(TorchFunctionMode):
    """Passes every function that a model calls to those who listen, with its result."""

    def __init__(self, listeners: Iterable[Callable[[Any, tuple, dict, Any], None]]):
        super().__init__()
        self._listeners = tuple(listeners)

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not in_backward():
            for listener in self._listeners:
                listener(func, args, kwargs, result)
        return result


@dataclass
class _Frame:
    """A module at work."""

    name: str
    module: nn.Module
    block: Block | None
    first: Tensor | None
    products: list[Tensor] = field(default_factory=list)
    softmax: tuple[Tensor, Tensor] | None = None
    """The last softmax seen in it, and a copy of what it was then."""


class AttentionEars:
    """Keeps the attention weights of a model under the names of its attention blocks."""

    def __init__(
        self, modules: Mapping[str, nn.Module], blocks: Iterable[Block], wanted: Callable[[str], bool], keeper: Keeper
    ):
        self._blocks = {block.module: block for block in blocks}
        self._modules, self._wanted, self._keeper = modules, wanted, keeper
        self._frames: list[_Frame] = []

    def handles(self) -> list[RemovableHandle]:
        """Hooks that know which module is at work."""
        handles = []
        for name, module in self._modules.items():
            handles.append(module.register_forward_pre_hook(self._starts(name), with_kwargs=True))
            handles.append(module.register_forward_hook(self._ends, always_call=True))
        return handles

    def _starts(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple, named: dict) -> None:
            first = next((part for part in (*inputs, *named.values()) if isinstance(part, Tensor)), None)
            self._frames.append(_Frame(name, module, self._blocks.get(module), first))
            if self._wanted(name):
                self._keeper.heard.add(name)

        return hook

    def _ends(self, module: nn.Module, _inputs: tuple, output: Any) -> None:
        while self._frames:
            frame = self._frames.pop()
            if frame.module is module:
                if frame.block is not None and not in_backward():
                    self._conclude(frame, output)
                return

    def hear(self, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
        """Called with every function that the model calls."""
        called = getattr(func, "__name__", "")  # by name, since others (torchlens) put wrappers in their place
        if called == "softmax":
            frame = next((frame for frame in reversed(self._frames) if frame.block is not None), None)
            if frame is not None and isinstance(result, Tensor) and result.ndim > 2:
                frame.softmax = (result, copied(result))
            return
        compute = _FUSED.get(called)
        if compute is None or not self._frames:
            return
        frame = next((frame for frame in reversed(self._frames) if frame.block is not None), self._frames[-1])
        if not self._wanted(frame.name):
            return
        with torch.set_grad_enabled(self._keeper.attached and torch.is_grad_enabled()):
            weights = unpacked(compute(args, kwargs), frame.module)
        if frame.block is None:
            self._keep(frame, weights, "computed beside scaled_dot_product_attention")
        else:
            frame.products.append(weights)

    def _conclude(self, frame: _Frame, output: Any) -> None:
        """The end of an attention block: weights behind a fused function, else its softmax, else what it returns."""
        if not self._wanted(frame.name):
            return
        for weights in frame.products:
            self._keep(frame, weights, "computed beside the model's fused attention, before dropout")
        if frame.products:
            return
        returned = _returned(output)
        if frame.softmax and (returned is None or returned.shape == frame.softmax[0].shape):
            weights, kept = frame.softmax
            self._keep(frame, weights, "the softmax inside the block, before dropout", kept)
        elif returned is not None:
            self._keep(frame, returned, "as the block returns them")

    def _keep(self, frame: _Frame, weights: Tensor, how: str, kept: Tensor | None = None) -> None:
        heads = frame.block.units if frame.block else None
        form = _form(weights, frame.first, heads)
        self._keeper.trace.notes[frame.name] = how
        parts = frame.block.parts if frame.block else ((frame.name, frame.module),)
        self._keeper.keep(frame.name, weights, lambda tensor: Attention(form(tensor)), parts, kept)


def _form(weights: Tensor, first: Tensor | None, heads: int | None) -> Callable[[Tensor], Tensor]:
    """How to bring weights to (..., heads, queries, keys): heads may be missing, or lie in one axis with the inputs."""
    if first is None or weights.ndim != 3 or first.ndim != 3:
        return lambda tensor: tensor
    inputs = first.shape[0]
    if heads and weights.shape[0] == inputs * heads and heads > 1:
        return lambda tensor: tensor.unflatten(0, (inputs, heads))
    return lambda tensor: tensor.unsqueeze(-3)


def _returned(output: Any) -> Tensor | None:
    """The attention weights among what a block returns: (inputs, heads, queries, keys) behind its answer."""
    if not isinstance(output, tuple):
        return None
    tensors = [part for part in output[1:] if isinstance(part, Tensor) and part.is_floating_point() and part.ndim == 4]
    return tensors[0] if tensors else None


class Picks:
    """Holds the scores of routers until their holder has picked from them."""

    def __init__(self, blocks: Iterable[Block], conclude: Callable[[Block, Any, Tensor | None], None]):
        self._blocks = [block for block in blocks if block.holder is not None]
        self._conclude = conclude
        self._open: list[tuple[nn.Module, list[list[Any]]]] = []

    def handles(self) -> list[RemovableHandle]:
        """Hooks on the holders, which are at work from their start to their end."""
        handles = []
        for holder in {block.holder for block in self._blocks if block.holder is not None}:
            handles.append(holder.register_forward_pre_hook(lambda module, _inputs: self._open.append((module, []))))
            handles.append(holder.register_forward_hook(self._ends, always_call=True))
        return handles

    def scores(self, block: Block, output: Any) -> None:
        """What a router returned: concluded when its holder ends, or at once where none is at work."""
        for holder, held in reversed(self._open):
            if holder is block.holder:
                held.append([block, output, None])
                return
        self._conclude(block, output, None)

    def hear(self, func: Any, args: tuple, kwargs: dict, result: Any) -> None:
        """Called with every function that the model calls: the first pick from as many numbers as there are experts."""
        if not self._open or getattr(func, "__name__", "") not in _PICKS or not args or not isinstance(args[0], Tensor):
            return
        index = result if isinstance(result, Tensor) else getattr(result, "indices", None)
        if not isinstance(index, Tensor) or index.is_floating_point():
            return
        for place in self._open[-1][1]:
            scores = place[1]
            if place[2] is None and isinstance(scores, Tensor) and args[0].shape == scores.shape:
                if index.shape == scores.shape[:-1]:
                    index = index.unsqueeze(-1)
                if index.shape[:-1] == scores.shape[:-1]:
                    place[2] = index.detach().clone()

    def _ends(self, module: nn.Module, _inputs: tuple, _output: Any) -> None:
        while self._open:
            holder, held = self._open.pop()
            if holder is module:
                for block, output, picked in held:
                    self._conclude(block, output, picked)
                return
