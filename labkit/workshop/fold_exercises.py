"""What the exercise on folding holds an answer against: the matrix of a layer's straight path, and near misses."""

from typing import Any

import torch
from torch import Tensor, nn

from labkit.parts.folding import Affine, identity, of_linear, of_norm
from labkit.workshop.exercise import Test

CLOSE = 1e-4
"""The largest difference that counts as rounding, relative to the largest entry."""


def straight_path(layer: Any) -> Affine:
    """What an idle layer's straight path does in evaluation: idle channels, both norms, bias and residual as one map."""
    return _path(layer)


def _path(layer: Any, *, first: bool = True, second: bool = True, residual: bool = True, idle: bool = True) -> Affine:
    """The same with something left out, or with the active channels in place of the idle ones."""
    into, out = of_linear(layer.into), of_linear(layer.out)
    into = into.after(of_norm(layer.before)) if first else into
    out = out.after(of_norm(layer.between)) if second else out
    channels = slice(layer.active, None) if idle else slice(layer.active)
    path = out.reading(channels).after(into.saying(channels))
    return path.beside(identity(layer.width, layer.into.weight)) if residual else path


def near_misses(layer: Any) -> dict[str, Affine]:
    """Folds with one thing wrong, by the sentence that says what."""
    return {
        "the residual connection is missing: y = x + ... adds x itself, which is the identity matrix": _path(
            layer, residual=False
        ),
        "the first norm is missing: W_in reads N(x), and not x": _path(layer, first=False),
        "the second norm is missing: W_out reads N(h), and not h": _path(layer, second=False),
        "neither norm is in it: in evaluation each multiplies its channels and adds to them": _path(
            layer, first=False, second=False
        ),
        "these are the active channels, which pass an activation and cannot be folded; the idle ones come after them": (
            _path(layer, idle=False)
        ),
    }


def folded_matrix(layer: nn.Module) -> tuple[Test, ...]:
    """Tests of an answer that should be the matrix M which an idle layer's straight path is in evaluation."""
    wanted = straight_path(layer).weight

    def tensor(answer: Any) -> str | None:
        if not isinstance(answer, Tensor):
            return f"the answer is a {type(answer).__name__}; it should be a tensor."
        if answer.shape != wanted.shape:
            return f"the answer has shape {tuple(answer.shape)}; the matrix has shape {tuple(wanted.shape)}."
        return None

    def matrix(answer: Tensor) -> str | None:
        found = answer.detach().double()
        if _close(found, wanted):
            return None
        if _close(found.T, wanted):
            return "the matrix is transposed: a linear layer computes x @ W.T, so its rows belong to what comes out."
        for says, wrong in near_misses(layer).items():
            if _close(found, wrong.weight):
                return f"{says}."
        gap = float((found - wanted).abs().max())
        return f"the matrix differs by up to {gap:.2g} from M; begin with the product of W_out and W_in alone."

    return tensor, matrix


def _close(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).abs().max() <= CLOSE * torch.clamp(wanted.abs().max(), min=1))
