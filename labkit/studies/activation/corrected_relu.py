"""Does a small learnt correction make ReLU better? P289 in a dense network on pictures of clothes.

Seven networks that differ in their activation only: same layers, same first weights and same batches for the same seed.
ReLU is compared with the corrections of it that people use, with the paper's, and with the paper's when its ε stays at
0.01. As differences between activations are small, there are ten seeds.

The paper shows vision transformers and language models; what is asked here is whether the advantage is there in the plain
network where activations are usually compared.
"""

from collections.abc import Callable

import numpy as np
import xarray as xr
from torch import nn

from labkit.layers.activation.corrected_relu import CorrectedReLU
from labkit.workbench.backbones.activation_network import ActivationNetwork
from labkit.workbench.backprop import Backprop
from labkit.workbench.claim import Claim, Rule, last
from labkit.workbench.probes import score
from labkit.workbench.study import Arm, Scale, Study
from labkit.workbench.tasks.classification import Classification

WIDTH, DEPTH, START = 64, 3, 0.01
RATE = 0.01
"""Tried for ReLU, LeakyReLU, PReLU, GELU, Mish and CRReLU alike, on 2,000 training images that were held out, two seeds
each: 0.001, 0.003, 0.01 with 400 steps and 0.01, 0.02, 0.04 with 500. 0.01 was best for every one of them. The rules were
written after that look; their thresholds are 0 or stated in the rule."""
CORRECTIONS = ("LeakyReLU", "PReLU", "GELU", "Mish")


def frozen(i: int, o: int) -> CorrectedReLU:
    layer = CorrectedReLU(start=START)
    layer.epsilon.requires_grad_(False)
    return layer


def trainer() -> Backprop:
    return Backprop(learning_rate=RATE)


SAYS = "same weights, layers and batches for the same seed"
ARMS = {
    "ReLU": Arm(lambda i, o: nn.ReLU(), trainer, "baseline", f"max(0, x); {SAYS}."),
    "LeakyReLU": Arm(lambda i, o: nn.LeakyReLU(), trainer, "baseline", f"0.01 x for negative x; {SAYS}."),
    "PReLU": Arm(lambda i, o: nn.PReLU(), trainer, "baseline", f"a x for negative x, one learnt a a layer; {SAYS}."),
    "GELU": Arm(
        lambda i, o: nn.GELU(), trainer, "baseline", f"x times the normal distribution's share below x; {SAYS}."
    ),
    "Mish": Arm(lambda i, o: nn.Mish(), trainer, "baseline", f"x tanh(softplus x); {SAYS}."),
    "CRReLU": Arm(
        lambda i, o: CorrectedReLU(start=START),
        trainer,
        "method",
        f"ReLU + ε x exp(-x²/2), one learnt ε a layer, {START} at the start; {SAYS}.",
    ),
    "frozen ε": Arm(frozen, trainer, "control", f"The same with every ε kept at {START}; {SAYS}."),
}


def epsilon(place: int) -> Callable[[nn.Module, object], xr.DataArray | None]:
    """A probe of one layer's ε; None in a network that has none."""

    def probe(model: nn.Module, task: object) -> xr.DataArray | None:
        layer = model.activations[place]  # pyright: ignore
        if not isinstance(layer, CorrectedReLU):
            return None
        return xr.DataArray(layer.epsilon.item(), attrs={"long_name": f"learnt ε of layer {place + 1}", "units": ""})

    return probe


def gain(over: str, arm: str = "CRReLU") -> Callable[[xr.Dataset], np.ndarray]:
    return lambda data: last(data, "test_accuracy", arm) - last(data, "test_accuracy", over)


def corrections(data: xr.Dataset) -> np.ndarray:
    """Accuracies of the usual corrections, (correction, seed)."""
    return np.stack([last(data, "test_accuracy", name) for name in CORRECTIONS])


def best(data: xr.Dataset) -> np.ndarray:
    found = corrections(data)
    return found[found.mean(1).argmax()]


def moved(data: xr.Dataset) -> np.ndarray:
    """How far the layers' ε are from their start at the end, on the mean of the layers, one number a seed."""
    ends = [last(data, f"epsilon_{place + 1}", "CRReLU") for place in range(DEPTH)]
    return np.abs(np.stack(ends) - START).mean(0)


NAMES = ", ".join(CORRECTIONS)
CLAIMS = [
    Claim(
        "CRReLU is better than ReLU.",
        Rule(
            "Test accuracy of CRReLU minus that of ReLU, paired by seed, is above 0.", gain("ReLU"), 0.0, unit="points"
        ),
    ),
    Claim(
        "CRReLU is better than existing corrections of ReLU: than the usual one.",
        Rule(
            f"Test accuracy of CRReLU minus the mean of those of {NAMES}, paired by seed, is above 0.",
            lambda data: last(data, "test_accuracy", "CRReLU") - corrections(data).mean(0),
            0.0,
            unit="points",
        ),
    ),
    Claim(
        "CRReLU is better than existing corrections of ReLU: than the best one.",
        Rule(
            f"Test accuracy of CRReLU minus that of the one of {NAMES} that is best on the mean of the seeds, paired by "
            "seed, is above 0.",
            lambda data: last(data, "test_accuracy", "CRReLU") - best(data),
            0.0,
            unit="points",
        ),
    ),
    Claim(
        "What helps is that ε is learnt (our control).",
        Rule(
            f"Test accuracy of CRReLU minus that with ε kept at {START}, paired by seed, is above 0.",
            gain("frozen ε"),
            0.0,
            unit="points",
        ),
    ),
    Claim(
        "The correction helps before anything of it is learnt (our control).",
        Rule(
            f"Test accuracy with ε kept at {START} minus that of ReLU, paired by seed, is above 0.",
            gain("ReLU", "frozen ε"),
            0.0,
            unit="points",
        ),
    ),
    Claim(
        "The network makes use of ε: it ends far from where it starts (our control).",
        Rule(
            f"The distance of ε from {START} at the end, on the mean of the layers, is at least {START}: it has doubled or gone.",
            moved,
            START,
        ),
    ),
    Claim(
        "Vision transformers with CRReLU are better than with other corrections of ReLU on CIFAR-10, CIFAR-100 and ImageNet.",
        needs="Vision transformers and their variants trained for many epochs on CIFAR and ImageNet: days on several GPUs.",
    ),
    Claim(
        "Fine-tuning a large language model works better with CRReLU than with GELU.",
        needs="A pretrained language model, its preference data and a GPU.",
    ),
]

study = Study(
    name="corrected_relu",
    paper="P289",
    title="A corrected ReLU",
    question="Does a small learnt correction make ReLU better?",
    task=lambda scale: Classification(
        "fashion_mnist", rows=scale.options["rows"], test_rows=scale.options["test_rows"]
    ),
    backbone=lambda task, layer: ActivationNetwork(task, layer, width=WIDTH, depth=DEPTH),
    arms=ARMS,
    scales={
        "smoke": Scale(10, 2, 3, {"rows": 500, "test_rows": 200}),
        "lesson": Scale(400, 10, 8, {"rows": None, "test_rows": None}),
    },
    claims=CLAIMS,
    probes={
        "test_accuracy": score("accuracy"),
        "test_loss": score("loss"),
        **{f"epsilon_{place + 1}": epsilon(place) for place in range(DEPTH)},
    },
)
