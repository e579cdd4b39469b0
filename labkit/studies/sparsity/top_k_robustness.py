"""What is a network worth that may keep only its strongest units? P466 with wrong labels, noisy images and calibration.

Networks 784-512-10 learn 2,000 pictures of clothes in 400 steps of 100. Top-k keeps the 8 strongest of 512 ReLU units for each
image, while it learns and after. The paper finds Top-k Transformers less sensitive to wrong labels, more robust to noise in the
input, and better calibrated. It trains both in one way, and so do the first claims here: rate 0.003, the best of 0.0001,
0.0003, 0.001, 0.003 and 0.01 for the dense network on whole labels but for a tie with 0.01; k is the best for wrong labels.
But whatever learns less by heart suffers less from wrong labels. So other brakes are trained in the same way, tuned as hard,
and dense and top-k once more with the rate that is best for each when labels are wrong.

Tuned on 2,000 training images that were held out, with whole labels, seed 100: k of 4, 8, 16 and 32, each with four rates; at
rate 0.003 and with 40 % of wrong labels weight decay 0.3, 1, 3, 10 and 30 (3 and 10 are alike), L1 on the activations 0.1,
0.3, 1, 3 and 10, label smoothing 0.1, 0.3, 0.5, 0.7 and 0.9. In these runs it was seen that the dense network with a small
rate is ahead of top-k with its best one, and so are decay and L1 at the same rate; so these claims were expected to fail.

Accuracies are of whole labels. Noise has a spread of 0.5 where that of the pixels is 1.

Source: "The Lazy Neuron Phenomenon: On Emergence of Activation Sparsity in Transformers" (P466).
"""

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.analysis.confidence.reliability import calibration_error, reliability_of
from labkit.layers.feedforward.top_k_feedforward import TopKFeedforward
from labkit.recording.batches import evaluating
from labkit.workbench.backbones.only_layer import OnlyLayer
from labkit.workbench.baselines import DenseFeedforward
from labkit.workbench.claim import Claim, Rule, last
from labkit.workbench.other_rows import OtherRows, wrong_labels
from labkit.workbench.probes import score
from labkit.workbench.study import Arm, Scale, Study
from labkit.workbench.tasks.standardised_images import StandardisedImages

UNITS, CHOSEN, WRONG, RATE, NOISE = 512, 8, 0.4, 0.003, 0.5
OWN_DENSE, OWN_TOP = 3e-4, 1e-3
DECAY, QUIET, SMOOTHING = 3.0, 3.0, 0.7
NOISES = [0.0, 0.25, NOISE, 1.0]
DENSE, TOP, DECAYED, SMOOTHED, QUIETED = (
    "dense",
    f"top {CHOSEN}",
    "weight decay",
    "label smoothing",
    "L1 on activations",
)


class HeldOut(StandardisedImages):
    """The images with a thousand more that nobody learns from, to fit a temperature on."""

    def __init__(self, rows: int, test_rows: int | None):
        super().__init__("fashion_mnist", batch=100, test_rows=test_rows)
        self.held = self.train_x[8000:9000], self.train_y[8000:9000]
        self.train_x, self.train_y = self.train_x[:rows], self.train_y[:rows]


def dense(in_width: int, out_width: int) -> DenseFeedforward:
    return DenseFeedforward(in_width, out_width, width=UNITS)


def top(in_width: int, out_width: int) -> TopKFeedforward:
    return TopKFeedforward(in_width, out_width, units=UNITS, chosen=CHOSEN)


def wrong(name: str) -> str:
    return f"{name}, wrong labels"


def own(name: str) -> str:
    return f"{name}, wrong labels, own rate"


def trained(rate: float = RATE, *, damaged: bool = False, **other) -> Callable[[], OtherRows]:
    change = {"change": wrong_labels(WRONG)} if damaged else {}
    return lambda: OtherRows(rate, **change, **other)


PARTS, LABELS = "As many parameters", f"{100 * WRONG:g} % of the labels are wrong. "
SAYS = {
    DENSE: (dense, "baseline", {}, "All units work."),
    TOP: (top, "method", {}, f"The {CHOSEN} strongest of {UNITS} units of each image. {PARTS}."),
    DECAYED: (dense, "baseline", {"weight_decay": DECAY}, f"Dense, with weight decay {DECAY:g}. {PARTS}."),
    SMOOTHED: (dense, "baseline", {"smoothing": SMOOTHING}, f"Dense, with labels smoothed by {SMOOTHING:g}. {PARTS}."),
    QUIETED: (dense, "baseline", {"quiet": QUIET}, f"Dense, a penalty {QUIET:g} on the mean activation. {PARTS}."),
}
ARMS = {
    **{
        name: Arm(layer, trained(**how), role, says)
        for name, (layer, role, how, says) in SAYS.items()
        if name != QUIETED
    },
    **{
        wrong(name): Arm(layer, trained(damaged=True, **how), role, LABELS + says)
        for name, (layer, role, how, says) in SAYS.items()
    },
    own(DENSE): Arm(
        dense, trained(OWN_DENSE, damaged=True), "control", f"{LABELS}Dense, at the rate best for it, {OWN_DENSE:g}."
    ),
    own(TOP): Arm(
        top, trained(OWN_TOP, damaged=True), "control", f"{LABELS}Top {CHOSEN}, at the rate best for it, {OWN_TOP:g}."
    ),
}


@torch.no_grad()
def scores(model: nn.Module, x: Tensor, noise: float = 0.0) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    with evaluating(model):
        return model(x + noise * torch.randn(x.shape, generator=draw))


def temperature(scored: Tensor, labels: Tensor) -> float:
    """By what to divide the scores so that their loss is smallest: the best of 61 values from 1/8 to 8."""
    values = torch.logspace(-3, 3, 61, base=2.0)
    losses = torch.stack([F.cross_entropy(scored / value, labels) for value in values])
    return values[int(losses.argmin())].item()


def noisy_inputs(model: nn.Module, task) -> xr.DataArray:
    """Accuracy on test images with Gaussian noise."""
    x, labels = task.test()
    found = [task.accuracy(scores(model, x, noise), labels) for noise in NOISES]
    named = {"noise": ("noise", NOISES, {"long_name": "spread of the noise in the input"})}
    return xr.DataArray(found, dims="noise", coords=named, attrs={"long_name": "test accuracy", "units": "fraction"})


def calibration(model: nn.Module, task) -> xr.DataArray:
    """Expected calibration error on whole test images, as the network is and with a temperature."""
    x, labels = task.test()
    said = scores(model, x)
    fitted = temperature(scores(model, task.held[0]), task.held[1])
    return xr.DataArray(
        [calibration_error(said, labels), calibration_error(said / fitted, labels)],
        dims="scaling",
        coords={"scaling": ["as it is", "temperature"]},
        attrs={"long_name": "expected calibration error", "units": "fraction"},
    )


def overconfidence(model: nn.Module, task) -> xr.DataArray:
    """Confidence minus accuracy, by confidence and noise in the input; empty where fewer than 1 % of the images lie."""
    x, labels = task.test()
    rows = []
    for noise in NOISES:
        found = reliability_of(scores(model, x, noise), labels, bins=5)
        gap = found.sel(quantity="confidence", drop=True) - found.sel(quantity="accuracy", drop=True)
        rows.append(gap.where(found.sel(quantity="share", drop=True) >= 0.01).values)
    says = "A row is an amount of noise in the images, a column how sure the network says it is. Above 0: surer than it may be."
    return xr.DataArray(
        np.stack(rows),
        dims=("blur", "confidence"),
        coords={
            "blur": ("blur", [f"{noise:g}" for noise in NOISES], {"long_name": "spread of the noise in the input"}),
            "confidence": [f"{low:.1f}-{low + 0.2:.1f}" for low in np.arange(5) / 5],
        },
        attrs={
            "long_name": "confidence minus accuracy",
            "units": "fraction",
            "view": "heatmap",
            "mean": "seeds",
            "says": says,
        },
    )


def accuracy(data: xr.Dataset, arm: str, noise: float = 0.0) -> np.ndarray:
    return data.noisy_inputs.sel(arm=arm, noise=noise).transpose("seed").values


def error(data: xr.Dataset, arm: str, scaling: str = "as it is") -> np.ndarray:
    return data.calibration.sel(arm=arm, scaling=scaling).transpose("seed").values


def ahead(one: str, other: str, at_least: float = 0.0) -> Rule:
    margin = "above 0" if at_least == 0 else f"above {100 * at_least:g} point"
    return Rule(
        f'Test accuracy of "{one}" minus that of "{other}", paired by seed, is {margin}.',
        lambda data: last(data, "test_accuracy", one) - last(data, "test_accuracy", other),
        at_least,
        unit="points",
    )


CLAIMS = [
    Claim("Top-k is more accurate when it learns from wrong labels.", ahead(wrong(TOP), wrong(DENSE))),
    Claim(
        "It loses less by wrong labels.",
        Rule(
            "What dense loses in test accuracy by wrong labels, minus what top-k loses, paired by seed, is above 0.",
            lambda data: (
                last(data, "test_accuracy", DENSE)
                - last(data, "test_accuracy", wrong(DENSE))
                - last(data, "test_accuracy", TOP)
                + last(data, "test_accuracy", wrong(TOP))
            ),
            0.0,
            unit="points",
        ),
    ),
    Claim("It costs nothing where labels are right (within a point).", ahead(TOP, DENSE, -0.01)),
    Claim(
        "Against wrong labels it is still ahead where each has its own best rate (our control).",
        ahead(own(TOP), own(DENSE)),
    ),
    Claim("... ahead of weight decay (our control),", ahead(wrong(TOP), wrong(DECAYED))),
    Claim("... of label smoothing (our control),", ahead(wrong(TOP), wrong(SMOOTHED))),
    Claim("... and of L1 on the activations (our control).", ahead(wrong(TOP), wrong(QUIETED))),
    Claim(
        "It is more accurate on noisy images.",
        Rule(
            f"Accuracy with noise {NOISE:g} of top-k minus that of dense, paired by seed, is above 0.",
            lambda data: accuracy(data, TOP, NOISE) - accuracy(data, DENSE, NOISE),
            0.0,
            unit="points",
        ),
    ),
    Claim(
        "It loses less by noise in the image (our control).",
        Rule(
            f"What dense loses by noise {NOISE:g}, minus what top-k loses, paired by seed, is above 0.",
            lambda data: (
                accuracy(data, DENSE) - accuracy(data, DENSE, NOISE) - accuracy(data, TOP) + accuracy(data, TOP, NOISE)
            ),
            0.0,
            unit="points",
        ),
    ),
    Claim(
        "It is better calibrated.",
        Rule(
            "Expected calibration error of dense minus that of top-k, whole labels, paired by seed, is above 0.",
            lambda data: error(data, DENSE) - error(data, TOP),
            0.0,
            unit="points",
        ),
    ),
    Claim(
        "... than a dense network whose scores are divided by a fitted temperature (our control).",
        Rule(
            "Calibration error of dense with a temperature minus that of top-k without, paired by seed, is above 0.",
            lambda data: error(data, DENSE, "temperature") - error(data, TOP),
            0.0,
            unit="points",
        ),
    ),
    Claim(
        "The same holds for vision transformers on ImageNet with wrong labels and with damaged images.",
        needs="ViT-B/16 on ImageNet, clean and with wrong labels, and ImageNet-C: days on accelerators.",
    ),
]

study = Study(
    name="top_k_robustness",
    paper="P466",
    title="Only the strongest units",
    question="Is a network that may keep only its strongest units harder to mislead?",
    task=lambda scale: HeldOut(scale.options["rows"], scale.options["test_rows"]),
    backbone=OnlyLayer,
    arms=ARMS,
    scales={
        "smoke": Scale(10, 2, 3, {"rows": 400, "test_rows": 100}),
        "lesson": Scale(400, 3, 9, {"rows": 2000, "test_rows": None}),
    },
    claims=CLAIMS,
    probes={"test_accuracy": score("accuracy"), "test_loss": score("loss")},
    final={"noisy_inputs": noisy_inputs, "calibration": calibration, "overconfidence": overconfidence},
)
