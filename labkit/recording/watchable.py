"""What cannot be watched, and why: said before a training begins, in one sentence."""

import sys
from typing import Any

from torch import nn

from labkit.errors import LabError
from labkit.recording.counting import moved_by

WHAT = ("units", "density", "health", "gradients", "routing")


def refuse_to_watch(model: Any, every: Any, budget: Any, what: tuple[str, ...], optimizer: Any) -> None:
    """Raises: LabError, where a watch could not see anything or an argument makes no sense."""
    if not isinstance(model, nn.Module):
        raise LabError(f"watch takes a torch.nn.Module, and got {type(model).__name__}.")
    compiled = next((name for name, module in model.named_modules() if is_compiled(module)), None)
    if compiled is not None:
        where = f"its part {compiled!r}" if compiled else "it"
        raise LabError(
            f"This {type(model).__name__} cannot be watched because {where} is compiled, and a compiled model calls no hooks "
            "that come later: watch the original and train it uncompiled, for as long as you look."
        )
    unknown = [name for name in what if name not in WHAT]
    if unknown or not what:
        raise LabError(f"watch can read {', '.join(WHAT)}, and what={what!r} names something else.")
    if every is not None and (not isinstance(every, int) or every < 1):
        raise LabError(f"every is a number of steps, 1 or more, not {every!r}.")
    if not 0 < budget <= 1:
        raise LabError(
            f"budget is a share of the training's time, above 0 and at most 1 (0.03 is 3 %), not {budget!r}."
        )
    if optimizer is not None and not hasattr(optimizer, "register_step_post_hook"):
        raise LabError(
            f"watch takes a torch.optim.Optimizer, and {type(optimizer).__name__} is none: leave it out and call "
            "watching.step() after each step."
        )
    if optimizer is not None and moved_by(optimizer).isdisjoint(map(id, model.parameters())):
        raise LabError(f"This {type(optimizer).__name__} moves none of the model's parameters: give the one that does.")


def is_compiled(module: nn.Module) -> bool:
    """Whether a module was given to `torch.compile`, or compiled in place."""
    compiler = sys.modules.get("torch._dynamo")  # asking torch for it would load it, which takes a second
    return (compiler is not None and isinstance(module, compiler.OptimizedModule)) or (
        getattr(module, "_compiled_call_impl", None) is not None
    )
