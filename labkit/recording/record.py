"""Look inside a running model: `with record(model, Routing) as trace: model(x)`. Works on anyone's `nn.Module`.

Nothing is added to the model: hooks see what modules are given and return, keep what was asked for, and are removed on
leaving. Ask by type (`Activations`, `Attention`, `Routing`, `Branching`, wherever they arise), by module class, by name
pattern, or by several of these.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from labkit.parts.gate import Routing
from labkit.recording.asking import Asked, NothingRecorded, asked
from labkit.recording.block import Block, listen, units_last
from labkit.recording.kinds import Activations, Attention
from labkit.recording.materials import projection
from labkit.recording.recomputing import in_backward
from labkit.recording.router_blocks import chosen_of
from labkit.recording.routers import best_of, routing_of
from labkit.recording.seeing import AttentionEars, Listening, Picks
from labkit.recording.trace import Keeper, Trace, mapped

__all__ = ["NothingRecorded", "Trace", "record"]


@contextmanager
def record(
    model: nn.Module,
    what: type | tuple[type, ...] | str | None = None,
    names: str = "*",
    *,
    attached: bool = False,
    gradients: bool = False,
) -> Iterator[Trace]:
    """Keep what happens inside a model while the block runs.

    `what` is a type (`Activations`, `Attention`, `Routing`, `Branching`), a class of module (`nn.ReLU`, whose outputs
    are kept), a tuple of these, or None for the output of every module that `names` matches. `names` is a pattern on
    names as in `model.named_modules()`: "blocks.*.mlp"; of typed values, a module's name also stands for what is in it.
    A string as `what` is taken as the pattern. `anatomy(model)` lists what can be found.

    Values are copies, detached from the graph, in the type in which the model computes (under `torch.autocast` in the
    lower one). With `attached` they are the model's own tensors, for losses on a recording. With `gradients`,
    `trace.gradients` holds what backward() inside the block brings to each value. A module that runs several times
    keeps each call; what a checkpoint computes again is no call.

    While the block runs, compiled models run without their compiler and nn.TransformerEncoder without its fused path,
    since neither calls hooks: numbers may differ from theirs in the last digits. Names are the model's own, without
    "module." of DistributedDataParallel or "_orig_mod." of torch.compile.

    Raises: LabError for a wrong question; NothingRecorded, at once or on leaving, with the reason, when there is
    nothing of that kind.
    """
    question = asked(model, what, names)
    trace = Trace()
    keeper = Keeper(trace, attached=attached, gradients=gradients)
    with ExitStack() as stack:
        stack.callback(keeper.finish)
        stack.enter_context(_by_its_parts())
        for handle in _hooks(question, keeper, stack):
            stack.callback(handle.remove)
        yield trace
    if not len(trace):
        raise NothingRecorded(_why(question, keeper.heard))
    keeper.complain()


class _Switches:
    """Torch's switches for compiled code and fused encoders. They hold for the whole program, so blocks are counted:
    the first one that begins turns them, the last one that ends, in whichever thread, puts back what was there."""

    def __init__(self) -> None:
        self._lock, self._blocks, self._eager = Lock(), 0, False
        self._back = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            self._blocks += 1
            if self._blocks == 1:
                fused = torch.backends.mha.get_fastpath_enabled()
                self._back.callback(torch.backends.mha.set_fastpath_enabled, fused)
                torch.backends.mha.set_fastpath_enabled(False)
            if not self._eager and "torch._dynamo" in sys.modules:
                self._back.enter_context(torch.compiler.set_stance("force_eager"))
                self._eager = True

    def __exit__(self, *_error: Any) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                self._back.close()
                self._eager = False


_switches = _Switches()


@contextmanager
def _by_its_parts() -> Iterator[None]:
    """Within this block models call their modules: no compiled code, no fused encoder."""
    with _switches:
        yield


def _hooks(question: Asked, keeper: Keeper, stack: ExitStack) -> list[Any]:
    listeners, handles = [], []
    if question.attentions is not None:
        attention = AttentionEars(question.modules, question.attentions, question.wanted, keeper)
        handles += attention.handles()
        listeners.append(attention.hear)
    picks = Picks(question.routers, _routing_keeper(keeper))
    if any(_bare(block) for block in question.routers):
        handles += picks.handles()
        listeners.append(picks.hear)
    if listeners:
        stack.enter_context(Listening(listeners))
    if not question.kinds or question.classes or question.outputs:
        routers = {block.module: block for block in question.routers}
        watched = question.watched | {block.name: block.module for block in question.routers}
        for name, module in watched.items():
            handles.append(module.register_forward_hook(_output_hook(name, module, question, keeper, picks, routers)))
    handles += listen(question.spoken, _activations_keeper(keeper))
    return handles


def _output_hook(
    name: str, module: nn.Module, question: Asked, keeper: Keeper, picks: Picks, routers: dict[nn.Module, Block]
) -> Callable[..., None]:
    parts = ((name, module),)
    every = not question.kinds or isinstance(module, question.classes)
    block, outputs = routers.get(module), question.outputs

    def hook(_module: nn.Module, _inputs: tuple, output: Any) -> None:
        if not in_backward():
            keeper.heard.add(name)
        if every or isinstance(output, outputs):
            keeper.keep(name, output, parts=parts)
        elif block is not None and not in_backward():
            picks.scores(block, output)

    return hook


def _bare(block: Block) -> bool:
    """Whether a router may return scores only, so that its holder must be seen to pick."""
    return block.holder is not None and (
        projection(block.module) is not None or chosen_of(block.module, block.holder) is None
    )


def _activations_keeper(keeper: Keeper) -> Callable[[Block, Tensor], None]:
    def keep(block: Block, value: Tensor) -> None:
        keeper.keep(block.name, value, lambda tensor: Activations(units_last(tensor, block)), block.parts)

    return keep


def _routing_keeper(keeper: Keeper) -> Callable[[Block, Any, Tensor | None], None]:
    def keep(block: Block, output: Any, picked: Tensor | None) -> None:
        chosen = chosen_of(block.module, block.holder)
        output = output if keeper.attached or keeper.gradients else mapped(output, torch.Tensor.detach)
        if isinstance(output, Tensor) and picked is not None:
            read = best_of(output, output.shape[-1], chosen, picked)
        else:
            read = routing_of(output, block.units or 0, chosen, block.module)
        if read is not None:
            routing, keeper.trace.notes[block.name] = read
            keeper.keep(block.name, Routing(*routing), parts=block.parts)

    return keep


def _why(question: Asked, heard: set[str]) -> str:
    if heard:
        hidden = "; attention is seen where softmax, torch's fused function or nn.MultiheadAttention computes it"
        return (
            f"Of {len(heard)} modules that ran and match {question.names!r}, none returned or was {question.words}"
            f"{hidden if Attention in question.kinds else ''}."
        )
    return (
        f"Nothing was recorded of {question.words}: the model did not run inside the block, or did not call its parts."
    )
