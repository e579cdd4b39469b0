"""Fewer blocks with deeper feedforward layers? P123 in a character transformer that guesses hidden characters.

A block with a feedforward layer of three linear layers holds more than twice the weights of a usual one, so that two such
blocks stand against five usual ones, against twelve with a single linear layer, and against fifteen with attention only.
All have nearly the same number of parameters, the method the fewest; the same text, batches and number of steps. Time is
what a processor core spent on the training steps, measured in every training.

Two controls take apart what "three layers" means: the same two blocks without activations, and two blocks whose usual two
layers are as much wider as the third layer is large.

Learning rates were chosen with two seeds that the study does not use, by the loss on windows of the training text; the test
text was not looked at. Of 0.005, 0.009 and 0.016 the middle one was best for three and for two layers, the highest for the
wide two and the lowest for attention only (the middle one as good); the single layer's 0.012 is the best of 0.003, 0.006 and
0.012, and the three layers without activations take over the method's. How the weights start was looked at as well, with
one seed: with PyTorch's own start two layers did as well as with the layer's, and three layers much worse, so that the
claim would fail by the start alone. All arms start as the layer says.
"""

import numpy as np
import xarray as xr

from labkit.layers.feedforward.deep_feedforward import DeepFeedforward
from labkit.workbench.backbones.sharing_transformer import Plan, SharingTransformer
from labkit.workbench.backprop import Backprop
from labkit.workbench.claim import Claim, Rule, last
from labkit.workbench.probes import score
from labkit.workbench.study import Arm, Scale, Study
from labkit.workbench.tasks.masked_characters import MaskedCharacters

WIDTH, UNITS, WIDE = 64, 256, 768


def blocks(pattern: str, layers: int, units: int = UNITS, activation: str | None = "gelu") -> Plan:
    return Plan(lambda i, o: DeepFeedforward(i, o, layers=layers, units=units, activation=activation), pattern)


ARMS = {
    "three layers": Arm(
        blocks("ab", 3),
        lambda: Backprop(0.009),
        "method",
        f"2 blocks, feedforward of three linear layers, {UNITS} hidden units twice. Fewest parameters.",
    ),
    "two layers": Arm(
        blocks("abcde", 2),
        lambda: Backprop(0.009),
        "baseline",
        f"5 blocks with the usual two layers, {UNITS} hidden units. Matched by parameters.",
    ),
    "one layer": Arm(
        blocks("abcdefghijkl", 1),
        lambda: Backprop(0.012),
        "control",
        "12 blocks with one linear layer and no activation. Matched by parameters.",
    ),
    "attention only": Arm(
        blocks("-" * 15, 0),
        lambda: Backprop(0.005),
        "control",
        "15 blocks without a feedforward layer. Matched by parameters.",
    ),
    "three layers, linear": Arm(
        blocks("ab", 3, activation=None),
        lambda: Backprop(0.009),
        "control",
        "The 2 blocks of three layers without activations: three matrices that amount to one.",
    ),
    "two wide layers": Arm(
        blocks("ab", 2, WIDE),
        lambda: Backprop(0.016),
        "control",
        f"2 blocks of two layers, {WIDE} hidden units. Matched by parameters and by blocks: only the third layer is missing.",
    ),
}


def ahead(quantity: str, other: str):
    """By how much the loss of three layers is below another arm's at the end, one number a seed."""
    return lambda data: last(data, quantity, other) - last(data, quantity, "three layers")


def ratio(quantity: str):
    """Three layers over two layers, one number a seed; of a quantity that grows with the steps, at the end."""

    def measure(data: xr.Dataset) -> np.ndarray:
        whole = data[quantity].isel(step=-1) if "step" in data[quantity].dims else data[quantity]
        return (whole.sel(arm="three layers") / whole.sel(arm="two layers")).values

    return measure


CLAIMS = [
    Claim(
        "Fewer blocks with three-layer feedforwards get lower training loss than the usual two-layer ones.",
        Rule(
            "Training loss of 5 blocks of two layers minus that of 2 blocks of three, at the end (mean of the steps since "
            "the last measurement but one), same number of steps and paired by seed, is above 0.",
            ahead("training_loss", "two layers"),
            0.0,
            unit="nats",
        ),
    ),
    Claim(
        "... with fewer parameters.",
        Rule(
            "Parameters of 2 blocks of three layers divided by those of 5 blocks of two are below 1.",
            ratio("parameters"),
            1.0,
            below=True,
            unit="times",
        ),
    ),
    Claim(
        "... in less time.",
        Rule(
            "Time a core spends on the training steps of 2 blocks of three layers divided by that of 5 blocks of two, "
            "paired by seed, is below 1.",
            ratio("training_seconds"),
            1.0,
            below=True,
            unit="times",
        ),
    ),
    Claim(
        "The feedforward network is important to a model's performance.",
        Rule(
            "Held-out loss of 15 blocks of attention only minus that of 5 blocks of two layers, at equal parameters and "
            "paired by seed, is above 0.",
            lambda data: last(data, "test_loss", "attention only") - last(data, "test_loss", "two layers"),
            0.0,
            unit="nats",
        ),
    ),
    Claim(
        "What holds of the training loss holds of held-out text (our control).",
        Rule(
            "Held-out loss of 5 blocks of two layers minus that of 2 blocks of three, paired by seed, is above 0.",
            ahead("test_loss", "two layers"),
            0.0,
            unit="nats",
        ),
    ),
    Claim(
        "The third layer does it, and not that the weights are in fewer blocks (our control).",
        Rule(
            "Held-out loss of 2 blocks of two wide layers minus that of 2 blocks of three, at equal parameters and paired "
            "by seed, is above 0.",
            ahead("test_loss", "two wide layers"),
            0.0,
            unit="nats",
        ),
    ),
    Claim(
        "The activations do it: three layers without any are worse (our control).",
        Rule(
            "Held-out loss of the three layers without activations minus that with them, paired by seed, is above 0.",
            ahead("test_loss", "three layers, linear"),
            0.0,
            unit="nats",
        ),
    ),
    Claim(
        "It holds in the pre-training of language models as they are used, with far more blocks and weights.",
        needs="Training models of tens of blocks on a large corpus, for days on GPUs: here the usual model has five blocks.",
    ),
]

study = Study(
    name="feedforward_depth",
    paper="P123",
    title="How deep should a feedforward layer be?",
    question="Do fewer blocks with three-layer feedforwards beat more blocks with the usual two?",
    task=lambda scale: MaskedCharacters(batch=scale.options["batch"], windows=scale.options["windows"]),
    backbone=lambda task, plan: SharingTransformer(task, plan, width=WIDTH),
    arms=ARMS,
    scales={
        "smoke": Scale(4, 2, 3, {"batch": 4, "windows": 8}),
        "lesson": Scale(150, 3, 6, {"batch": 16, "windows": 128}),
    },
    claims=CLAIMS,
    probes={"test_accuracy": score("accuracy"), "test_loss": score("loss")},
    shows="test_loss",
)
