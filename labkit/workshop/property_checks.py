"""Checks of what a layer must be, whatever it computes: its shape, finite numbers, gradients everywhere, chance in order.

Each function here makes a test for `labkit.workshop.exercise.check`. The answer is a layer, or a function that takes the
inputs; `shape` and `finite` also take a tensor. What a wrong answer is told names the usual reason for that very fault.
"""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labkit.parts.gate import Routing
from labkit.workshop.exercise import Test
from labkit.workshop.shown_numbers import listed_few, tensor_in

FAR, ROUNDING = 1000.0, 1e-7
"""How much larger than usual an input may be without the answer ceasing to be a number; below what a gradient is none."""


def shape(*wanted: int, on: Tensor | None = None) -> Test:
    """The answer, or what it makes of `on`, is a tensor of this shape; -1 stands for any size."""

    def test(answer: Any) -> str | None:
        made = answer if on is None else answer(on)
        if isinstance(made, tuple | list) and not isinstance(made, Routing):
            kinds = ", ".join(type(one).__name__ for one in made)
            return f"it returns {len(made)} things ({kinds}); a layer returns one tensor."
        out = tensor_in(made)
        if out is None:
            return f"it returns a {type(made).__name__}; it should be a tensor of shape {wanted}."
        got = tuple(out.shape)
        if len(got) == len(wanted) and all(want in (-1, have) for want, have in zip(wanted, got)):
            return None
        if sorted(got) == sorted(wanted):
            return f"the shape is {got}, and {wanted} is asked for: two axes are turned round."
        if out.ndim == len(wanted) + 1 and 1 in got:
            return f"the shape is {got}, and {wanted} is asked for: one axis of size 1 is too many; .squeeze takes it away."
        if out.ndim < len(wanted):
            return (
                f"the shape is {got}, and {wanted} is asked for: an axis is lost, as in a sum or mean without keepdim."
            )
        wrong = [place for place, (want, have) in enumerate(zip(wanted, got)) if want not in (-1, have)]
        return f"the shape is {got}, and {wanted} is asked for: look at axis {listed_few(wrong) or len(wanted)}."

    return test


def finite(on: Tensor | None = None, *, far: bool = True) -> Test:
    """The answer, or what it makes of `on`, holds numbers only; with `far` also for inputs a thousand times as large."""

    def test(answer: Any) -> str | None:
        out = tensor_in(answer if on is None else answer(on))
        if out is None:
            return "there is no tensor in the answer."
        if bool(out.isnan().any()):
            return (
                f"{int(out.isnan().sum()):,} of {out.numel():,} numbers are NaN: 0/0, the root or logarithm of something "
                "negative, or a softmax over a row in which everything is minus infinity."
            )
        if not bool(torch.isfinite(out).all()):
            return "some numbers are infinite: a division by 0, or the logarithm of 0."
        if on is None or not far:
            return None
        with torch.no_grad():
            large = tensor_in(answer(FAR * on))
        if large is not None and not bool(torch.isfinite(large).all()):
            return (
                f"for inputs {FAR:,.0f} times as large it is no longer a number: exp overflows. torch.softmax and "
                "torch.logsumexp subtract the largest score first; a softmax by hand has to do so too."
            )
        return None

    return test


def gradient_everywhere(on: Tensor) -> Test:
    """When the layer is trained on `on`, a gradient that is not 0 reaches every one of its weights."""

    def test(layer: Any) -> str | None:
        if not isinstance(layer, nn.Module):
            return f"the answer is a {type(layer).__name__}; it should be a layer, an nn.Module."
        hidden = _unregistered(layer)
        if hidden:
            return hidden
        weights = dict(layer.named_parameters())
        if not weights:
            return (
                "it has no weights at all: what shall be trained is an nn.Parameter, or in a layer such as nn.Linear."
            )
        frozen = [name for name, weight in weights.items() if not weight.requires_grad]
        if frozen:
            return f"{listed_few(frozen)} cannot be trained: requires_grad is False."
        out = tensor_in(layer.train()(on))
        if out is None or not out.requires_grad:
            return (
                "the answer of the layer is cut off from all weights. .detach(), .item(), torch.no_grad(), or an answer made "
                "of places only (argmax, the indices of topk) does that: multiply by the scores of what was chosen."
            )
        # random weights: the sum of a softmax is always 1, and would have no gradient
        pull = torch.randn(out.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32).to(out)
        found = torch.autograd.grad((out * pull).sum(), list(weights.values()), allow_unused=True)
        return _reached(dict(zip(weights, found)))

    return test


def _reached(gradients: dict[str, Tensor | None]) -> str | None:
    none = [name for name, gradient in gradients.items() if gradient is None]
    if none:
        return (
            f"no gradient reaches {listed_few(none)}: forward does not use it, or something on the way from there cuts "
            "gradients off (.detach(), argmax, the indices of topk, .data)."
        )
    odd = [name for name, gradient in gradients.items() if not bool(torch.isfinite(gradient).all())]
    if odd:
        return f"the gradient of {listed_few(odd)} is not a number: a division by 0 or a root of 0 on the way."
    still = [name for name, gradient in gradients.items() if not bool((gradient.abs() > ROUNDING).any())]
    if still:
        return (
            f"the gradient of {listed_few(still)} is 0 everywhere, so training will never change it: a comparison, a "
            "rounding, a weight that is always exactly 1 (a softmax over one choice), or a choice that is never taken."
        )
    return None


def _unregistered(layer: nn.Module) -> str:
    """What would be trained and is hidden in a plain list or dictionary, or is a plain tensor."""
    for name, module in layer.named_modules():
        for word, value in vars(module).items():
            inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
            place = f"{name}.{word}".lstrip(".")
            if not word.startswith("_") and any(isinstance(one, nn.Module) for one in inner):
                kind = "nn.ModuleDict" if isinstance(value, dict) else "nn.ModuleList"
                return f"{place} is a plain {type(value).__name__} of layers, whose weights no optimiser finds: use {kind}."
            if isinstance(value, Tensor) and value.requires_grad and not isinstance(value, nn.Parameter):
                return f"{place} is a tensor, which no optimiser finds: use nn.Parameter(...)."
    return ""


def same_seed_same_answer(seeds: tuple[int, int] = (0, 1)) -> Test:
    """The answer is a function of a seed: the same seed gives the same, to the last bit, and another seed another."""

    def test(answer: Callable[[int], Any]) -> str | None:
        state, old = np.random.get_state(), random.getstate()
        try:
            with torch.random.fork_rng(devices=[]):
                return _seeded(answer, *seeds)
        finally:
            np.random.set_state(state)
            random.setstate(old)

    return test


def _seeded(answer: Callable[[int], Any], seed: int, other: int) -> str | None:
    first, again = _numbers(answer(seed)), _numbers(answer(seed))
    if not np.array_equal(first, again, equal_nan=True):
        for chance, fix in (("numpy's (np.random)", np.random.seed), ("Python's (random)", random.seed)):
            fix(0)
            one = _numbers(answer(seed))
            fix(0)
            if np.array_equal(one, _numbers(answer(seed)), equal_nan=True):
                return f"twice the same seed, two answers: it draws from {chance} chance, which it does not seed."
        return (
            "twice the same seed, two answers: something draws random numbers before torch.manual_seed(seed), such as "
            "the model or the order of the data."
        )
    if np.array_equal(first, _numbers(answer(other)), equal_nan=True):
        return "two seeds, one answer: the seed is not used, or another one is set inside."
    return None


def unchanged_model(model: nn.Module) -> Test:
    """Working out the answer leaves this model as it is: weights, statistics, mode, gradients and hooks.

    Give it to `check` as it stands there: the model is looked at before the answer is worked out.
    """
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    mode = {name: module.training for name, module in model.named_modules()}
    trained = {name: weight.requires_grad for name, weight in model.named_parameters()}
    graded = {name for name, weight in model.named_parameters() if weight.grad is not None}
    hooks = _hooks(model)

    def test(_answer: Any) -> str | None:
        weights = dict(model.named_parameters())
        now = model.state_dict()
        moved = [name for name, value in before.items() if name not in now or not _alike(now[name], value)]
        if any(name in weights for name in moved):
            return f"the weights of the model were changed ({listed_few(moved)}): work on a copy.deepcopy(model)."
        if moved:
            return (
                f"what the model keeps of its data was changed ({listed_few(moved)}): call .eval() before you run it."
            )
        if any(module.training != mode.get(name) for name, module in model.named_modules()):
            word = "training" if any(mode.values()) else "evaluation"
            return f"the model was left in another mode: it was in {word}, and should be again at the end."
        if any(weight.requires_grad != trained.get(name) for name, weight in weights.items()):
            return "requires_grad of some weights was changed, and not put back."
        if {name for name, weight in weights.items() if weight.grad is not None} - graded:
            return (
                "gradients were left on the weights: torch.autograd.grad leaves none, or zero_grad() takes them away."
            )
        if _hooks(model) > hooks:
            return "a hook was left on the model: .remove() it, also where an error ends your function."
        return None

    return test


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and bool(((one == other) | (one != one)).all())


def _hooks(model: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def _numbers(value: Any) -> np.ndarray:
    found = tensor_in(value)
    return np.asarray(value if found is None else found.detach().numpy(), dtype=float)
