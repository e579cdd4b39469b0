"""Does a classifier know how sure it may be? Its confidence beside how often it is right: the reliability diagram.

    conf_b = mean over r ∈ B_b of max_k p_rk,    acc_b = share of r ∈ B_b that are right,    ECE = Σ_b |B_b|/R · |acc_b - conf_b|

p_r is the softmax of the scores of input r, R the number of inputs, B_b the inputs whose largest probability lies in bin b; the
bins divide 0 to 1 into parts of equal width. Of inputs named with confidence 0.8, eight in ten should be right: then the
expected calibration error ECE is 0. It is never below 0 and has a small positive bias for few inputs in many bins.

Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (2017); "The Lazy Neuron Phenomenon: On
Emergence of Activation Sparsity in Transformers" (P466) measures by it what top-k is worth.
"""

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example
from labkit.recording.batches import answer, evaluating, labels_of, scores_of

QUANTITIES = ["confidence", "accuracy", "share"]


def reliability(model: nn.Module, batch: tuple[Tensor, ...], *, bins: int = 10) -> xr.DataArray:
    """Mean confidence, accuracy and share of the inputs in each bin of confidence, in evaluation.

    Shapes: batch (x, labels) -> (quantity, bin); confidence and accuracy are NaN in an empty bin. attrs: `ece`.
    Raises: LabError for a batch without labels, or labels that do not fit the scores.
    """
    labels = labels_of(batch)
    if labels is None:
        raise LabError("Reliability compares answers with labels, and the batch has none; give (x, labels).")
    with evaluating(model):
        scores = scores_of(answer(model, batch))
    return reliability_of(scores, labels, bins=bins)


def reliability_of(scores: Tensor, labels: Tensor, *, bins: int = 10) -> xr.DataArray:
    """The same of scores (..., classes) that are at hand, with labels (...)."""
    if scores.dim() < 2 or labels.shape != scores.shape[:-1]:
        raise LabError(f"Scores of shape {tuple(scores.shape)} and labels of shape {tuple(labels.shape)} do not fit.")
    sure, named = scores.detach().double().flatten(0, -2).softmax(-1).max(-1)
    right = (named == labels.flatten()).double()
    place = (sure * bins).long().clamp(0, bins - 1)
    count = torch.bincount(place, minlength=bins).double()
    sums = [torch.zeros(bins, dtype=torch.float64).index_add_(0, place.cpu(), part.cpu()) for part in (sure, right)]
    means = [torch.where(count > 0, one / count, torch.nan) for one in sums]
    share = count / len(sure)
    error = float((share * (means[1] - means[0]).abs().nan_to_num()).sum())
    middles = (np.arange(bins) + 0.5) / bins
    return xr.DataArray(
        torch.stack([*means, share]).numpy().astype(np.float32),
        dims=("quantity", "bin"),
        coords={"quantity": QUANTITIES, "bin": ("bin", middles, {"long_name": "confidence"})},
        name="reliability",
        attrs={"long_name": "reliability", "units": "fraction", "ece": error},
    )


def calibration_error(scores: Tensor, labels: Tensor, *, bins: int = 10) -> float:
    """The expected calibration error. Shapes: scores (..., classes), labels (...)."""
    return reliability_of(scores, labels, bins=bins).attrs["ece"]


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
