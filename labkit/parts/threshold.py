"""Which hidden units, or which inputs of a linear layer, to keep for an input: the score rules of sparsity, as masks.

    magnitude     keep u if |a_u| > t                    t is calibrated on other inputs
    WINA          keep u if |a_u| · ‖W_:u‖₂ > t          W is the weight that multiplies the units next
    top-k         keep the k largest |a_u|               of this input

A unit at exactly 0 contributes nothing; it is never kept.

Source: "WINA: Weight Informed Neuron Activation for Accelerating Large Language Model Inference" (P281); the magnitude
rule with calibrated thresholds is TEAL, Liu et al., "Training-Free Activation Sparsity in Large Language Models" (2024);
top-k of the activations as in "The Lazy Neuron Phenomenon" (P466). WINA as published keeps the k largest scores of each
input; its authors' code offers thresholds as well, which is the form here.
"""

import torch
from torch import Tensor


def scores(values: Tensor, norms: Tensor | None = None) -> Tensor:
    """How much a unit matters: its modulus, with `norms` (units,) times the norm of its outgoing weights.

    Shapes: values (..., units) -> (..., units), not negative.
    """
    return values.abs() if norms is None else values.abs() * norms.to(values)


def above(values: Tensor, threshold: float, norms: Tensor | None = None) -> Tensor:
    """Which units score above the threshold. Shapes: values (..., units) -> (..., units) bool."""
    return scores(values, norms) > threshold


def strongest(values: Tensor, count: int, norms: Tensor | None = None) -> Tensor:
    """Which units are among the `count` of the highest score of their row, exact zeros left out.

    Shapes: values (..., units) -> (..., units) bool.
    """
    score = scores(values, norms)
    chosen = score.topk(min(count, values.shape[-1]), dim=-1).indices
    return torch.zeros_like(score, dtype=torch.bool).scatter_(-1, chosen, True) & (score > 0)


def counted_active(values: Tensor) -> Tensor:
    """Which units are active: those that are not exactly 0; where nearly nothing is, the loudest fifth of each row.

    Shapes: values (rows, units) -> (rows, units) bool.
    """
    size = values.abs()
    if float((size == 0).float().mean()) < 0.05:
        return size >= size.topk(max(1, size.shape[1] // 5), dim=-1).values[:, -1:]
    return size > 0


def calibrated(score: Tensor, silenced: float) -> float:
    """The threshold that so large a share of the scores does not exceed.

    Shapes: score any -> a float; 0 where `silenced` is 0, so that only exact zeros fall below. At most 2²⁴ scores are
    looked at, evenly.
    """
    flat = score.flatten()
    if silenced <= 0 or not len(flat):
        return 0.0
    step = -(-len(flat) // 2**24)
    flat = flat[::step].float()
    return float(flat.kthvalue(min(len(flat), max(1, round(silenced * len(flat))))).values)
