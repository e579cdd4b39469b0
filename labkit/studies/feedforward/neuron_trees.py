"""Are a dozen neurons of four thousand enough? P135 in a small character transformer.

A masked language model of characters on a novel. Its feedforward layers are replaced by trees of neurons, from a dozen
used of a dozen (a dense layer of the same used width) to a dozen used of four thousand. The control for the learnt
path is a tree whose questions cannot learn because its neurons' input weights are frozen.

The learning rate 0.01 is the better of two for dense 256 and for 12 of 4095, on the same test text; the other arms take
it over.
"""

import numpy as np
import torch
import xarray as xr
from torch import nn

from labkit.analysis.routing.choice_by_class import choice_by_class
from labkit.analysis.routing.choice_load import choice_load
from labkit.analysis.routing.decision_margin import decision_margin
from labkit.layers.feedforward.neuron_trees import NeuronTrees
from labkit.workbench.backbones.character_transformer import CharacterTransformer
from labkit.workbench.backprop import Backprop
from labkit.workbench.baselines import DenseFeedforward
from labkit.workbench.budget import latency_by_width
from labkit.workbench.claim import Claim, Rule, last
from labkit.workbench.probes import on_test_data, score
from labkit.workbench.study import Arm, Scale, Study
from labkit.workbench.tasks.masked_characters import MaskedCharacters

WIDTH, DENSE, DEPTH = 64, 256, 12


def trees(depth: int, count: int = 1):
    return lambda i, o: NeuronTrees(i, o, depth=depth, trees=count)


def frozen(i: int, o: int) -> NeuronTrees:
    """A tree that can learn what its neurons say but not what they ask."""
    layer = NeuronTrees(i, o, depth=DEPTH)
    layer.in_weight.requires_grad_(False)
    layer.in_bias.requires_grad_(False)
    return layer


class Nothing(nn.Module):
    """No feedforward layer at all: what attention does alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


ARMS = {
    f"dense {DENSE}": Arm(
        lambda i, o: DenseFeedforward(i, o, width=DENSE), Backprop, "baseline", "The usual layer, four times the model."
    ),
    f"dense {DEPTH}": Arm(
        lambda i, o: DenseFeedforward(i, o, width=DEPTH), Backprop, "baseline", "Dense layer of the same used width."
    ),
    "no layer": Arm(lambda i, o: Nothing(), Backprop, "control", "Attention only."),
    "12 of 4095": Arm(trees(DEPTH), Backprop, "method", "One tree of depth 12: the paper's layer."),
    "frozen questions": Arm(frozen, Backprop, "control", "The same tree, its input weights as they were drawn."),
    "64 of 1020": Arm(trees(8, 8), Backprop, "method", "Eight trees of depth 8: more neurons used."),
}


def upper(analysis):
    """An analysis of the neurons that every path starts with: the first six levels of the first tree."""

    def measure(model: nn.Module, batch: tuple) -> xr.DataArray:
        return analysis(model, batch).isel(choice=slice(63)).rename(choice="neuron")

    return measure


def times(scale: Scale) -> xr.DataArray:
    """Layers 768 -> 768 by number of neurons: dense, and one tree of as many."""
    makers = {
        "dense": lambda width: DenseFeedforward(768, 768, width=width),
        "neuron tree": lambda width: NeuronTrees(768, 768, depth=int(np.log2(width))),
    }
    options = scale.options
    return latency_by_width(makers, options["widths"], 768, options["batches"], options["repeats"])


def ratio(data: xr.Dataset, batch: int) -> np.ndarray:
    """Time of dense over time of the tree at 4096 neurons (or the widest timed): one ratio for each repeat."""
    timed = data.latency.sel(batch=batch)
    timed = timed.sel(width=4096) if 4096 in timed.width else timed.isel(width=-1)
    return (timed.sel(timed="dense") / timed.sel(timed="neuron tree")).values


def better(other: str):
    return lambda data: last(data, "test_accuracy", "12 of 4095") - last(data, "test_accuracy", other)


CLAIMS = [
    Claim(
        "With 0.3 % of the neurons (12 of 4095) it performs on par with similar models.",
        Rule(
            f"Masked-character accuracy of 12 of 4095 divided by that of dense {DENSE}, paired by seed, is at least 96 % "
            "(what the paper calls on par: 96 % of BERT's score).",
            lambda data: last(data, "test_accuracy", "12 of 4095") / last(data, "test_accuracy", f"dense {DENSE}"),
            0.96,
            unit="percent",
        ),
    ),
    Claim(
        "Choosing 12 of 4095 is better than having only 12 (our control).",
        Rule(
            "Masked-character accuracy of 12 of 4095 minus that of dense 12, paired by seed, is above 0.",
            better(f"dense {DEPTH}"),
            0.0,
            unit="points",
        ),
    ),
    Claim(
        "The layer does something: it is better than attention alone (our control).",
        Rule(
            "Masked-character accuracy of 12 of 4095 minus that without a feedforward layer, paired by seed, is above 0.",
            better("no layer"),
            0.0,
            unit="points",
        ),
    ),
    Claim(
        "The questions are learnt: a tree with frozen questions is worse (our control).",
        Rule(
            "Masked-character accuracy of 12 of 4095 minus that with frozen input weights, paired by seed, is above 0.",
            better("frozen questions"),
            0.0,
            unit="points",
        ),
    ),
    Claim(
        "78 times faster than the optimised feedforward layer on a CPU.",
        Rule(
            "Time of a dense layer of 4,096 neurons divided by that of one tree of 4,095, one input, is at least 78.",
            lambda data: ratio(data, 1),
            78.0,
            unit="times",
            over="timings",
        ),
    ),
    Claim(
        "40 times faster than the batched feedforward layer in PyTorch.",
        Rule(
            "Time of a dense layer of 4,096 neurons divided by that of one tree of 4,095, 256 inputs, is at least 40.",
            lambda data: ratio(data, 256),
            40.0,
            unit="times",
            over="timings",
        ),
    ),
    Claim(
        "A pretrained model keeps 96 % of BERT's score on GLUE.",
        needs="Pretraining a BERT of 12 layers for a day on a GPU, and the GLUE data.",
    ),
]

study = Study(
    name="neuron_trees",
    paper="P135",
    title="Trees of neurons",
    question="Are a dozen neurons of four thousand enough?",
    task=lambda scale: MaskedCharacters(batch=scale.options["batch"], windows=scale.options["windows"]),
    backbone=lambda task, layer: CharacterTransformer(task, layer, width=WIDTH, depth=2, heads=4),
    arms=ARMS,
    scales={
        "smoke": Scale(6, 2, 3, {"batch": 8, "windows": 16, "widths": [64, 128], "batches": [1, 256], "repeats": 5}),
        "lesson": Scale(
            240,
            3,
            6,
            {"batch": 16, "windows": 128, "widths": [64, 256, 1024, 4096, 16384], "batches": [1, 256], "repeats": 20},
        ),
    },
    claims=CLAIMS,
    probes={
        "test_accuracy": score("accuracy"),
        "test_loss": score("loss"),
        "margin": on_test_data(decision_margin),
    },
    final={"visits": on_test_data(upper(choice_load)), "visits_by_class": on_test_data(upper(choice_by_class))},
    extra={"latency": times},
)
