"""Is one network with all its units as good as the average of many networks with half of them? Dropout at test time.

Every mask m of a network with dropout is a thinned network of its own, p_m(k | x) what it says of class k. Three ways to use
all:

    mean network          p(k | x) = softmax(f with every mask replaced by its mean)            one pass
    geometric mean        p(k | x) ∝ exp( (1/S) Σ_s log p_{m_s}(k | x) )                        S passes
    arithmetic mean       p(k | x) = (1/S) Σ_s p_{m_s}(k | x)                                   S passes ("Monte Carlo")

With dropout only in front of one softmax layer, the mean network *is* the geometric mean over all 2^n masks: the logarithm of a
softmax is linear in the inputs but for a term that is the same for all classes. With more layers it is an approximation.

Torch scales in training by 1 / (1 - p) and leaves the weights alone in evaluation; the paper trains unscaled and halves the
outgoing weights at test time. With outgoing weights twice as large the second network is the first, mask by mask and in the
mean.

Source: "Improving neural networks by preventing co-adaptation of feature detectors" (P158) names the mean network and its
geometric mean; the arithmetic mean is the usual Monte Carlo average, as in Gal and Ghahramani, "Dropout as a Bayesian
Approximation" (2016).
"""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example
from labkit.recording.batches import answer, evaluating, labels_of, scores_of

WAYS, QUANTITIES = ["mean network", "geometric mean", "arithmetic mean"], ["loss", "error"]
DROPS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def thinned_average(
    model: nn.Module, batch: tuple[Tensor, ...], *, passes: Sequence[int] = (1, 4, 16, 64), seed: int = 0
) -> xr.DataArray:
    """Loss and error of the three ways, the two averages over so many passes; batch norms stay in evaluation.

    A module takes part if it is one of torch's dropouts with p > 0, or has a class attribute `noisy = True`.
    Shapes: batch (x, labels) -> (way, quantity, passes). The mean network needs one pass, and stands at every number of them.
    Raises: LabError for a batch without labels, a model without dropout, or passes that are not positive.
    """
    labels, drops = labels_of(batch), noises(model)
    if labels is None:
        raise LabError("An average is judged by labels, and the batch has none; give (x, labels).")
    if not drops:
        raise LabError(f"{type(model).__name__} has no dropout, so there is nothing to average over.")
    counts = sorted({int(count) for count in passes})
    if not counts or counts[0] < 1:
        raise LabError(f"An average needs one pass or more, not {counts[:1]}.")
    with evaluating(model), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean = scores_of(answer(model, batch)).log_softmax(-1)
        for one in drops:
            one.train()
        logs, shares, at = torch.zeros_like(mean), torch.zeros_like(mean), {}
        for number in range(1, counts[-1] + 1):
            said = scores_of(answer(model, batch)).log_softmax(-1)
            logs, shares = logs + said, shares + said.exp()
            if number in counts:
                at[number] = (logs / number).log_softmax(-1), (shares / number).clamp_min(1e-30).log()
    rows = [
        [judged(mean, labels) for _ in counts],
        *([judged(at[count][way], labels) for count in counts] for way in (0, 1)),
    ]
    return xr.DataArray(
        np.array(rows, dtype=np.float32).transpose(0, 2, 1),
        dims=("way", "quantity", "passes"),
        coords={
            "way": WAYS,
            "quantity": QUANTITIES,
            "passes": ("passes", counts, {"long_name": "thinned networks averaged"}),
        },
        name="thinned_average",
        attrs={"long_name": "loss (nats) and error of averages over masks", "units": "nats or fraction"},
    )


def noises(model: nn.Module) -> list[nn.Module]:
    """The modules whose masks or noise make a network another one at every pass in training."""
    return [
        part
        for part in model.modules()
        if (isinstance(part, DROPS) and part.p > 0) or getattr(type(part), "noisy", False)
    ]


def judged(logarithms: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean loss in nats and share of wrong answers. Shapes: logarithms of probabilities (..., classes), labels (...)."""
    loss = -logarithms.gather(-1, labels.unsqueeze(-1)).mean().item()
    return loss, (logarithms.argmax(-1) != labels).float().mean().item()


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Dropout(0.5), nn.Linear(12, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
