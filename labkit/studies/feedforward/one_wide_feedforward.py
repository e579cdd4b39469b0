"""One feedforward layer for all blocks? P182 in a character transformer that guesses hidden characters.

Four blocks. Each has a feedforward layer of its own, or all use the same one, or none has any. Then the shared layer is
widened until the parameters are those of the usual model. The paper shares in the encoder and leaves the decoder without;
the nearest to that in a model without a decoder is an arm whose lower half shares the wide layer and whose upper half has
none.

A shared wide layer has the parameters of the usual model and several times its operations. So there are three controls:
narrow layers of their own with the parameters of the shared one, wide layers of their own with the operations
of the wide shared one, and no layer at all.

That the representations of the one wide model are less alike from layer to layer is taken from a summary of the paper;
here it is measured between the blocks' outputs on the test text, as linear CKA, and averaged over all pairs of blocks.

Learning rates were chosen with two seeds that the study does not use, by the loss on windows of the training text; the test
text was not looked at. Best were, of 0.005, 0.009 and 0.016: 0.009 for a layer each and 0.016 for one shared; of 0.009 and
0.016: 0.009 for narrow layers; of 0.005 and 0.009: 0.009 for the wide shared one. The half of it, wide layers of their own
and no layer take over 0.009.
"""

import numpy as np
import torch
import xarray as xr
from torch import nn

from labkit.analysis.geometry.similarity import similarity_of
from labkit.layers.feedforward.deep_feedforward import DeepFeedforward
from labkit.recording.record import record
from labkit.workbench.backbones.sharing_transformer import Plan, SharingTransformer
from labkit.workbench.backprop import Backprop
from labkit.workbench.budget import latency
from labkit.workbench.claim import Claim, Rule, last
from labkit.workbench.probes import score
from labkit.workbench.study import Arm, Scale, Study
from labkit.workbench.tasks.masked_characters import MaskedCharacters

WIDTH, UNITS, BLOCKS = 64, 256, 4
WIDE = (BLOCKS * (UNITS * (2 * WIDTH + 1) + WIDTH) - WIDTH) // (2 * WIDTH + 1)
"""Hidden units of one layer that holds as many numbers as the four: with the biases one more than four times as many."""
SEEN = 64


def blocks(pattern: str, units: int = UNITS) -> Plan:
    return Plan(lambda i, o: DeepFeedforward(i, o, layers=2, units=units), pattern)


ARMS = {
    "a layer each": Arm(
        blocks("abcd"),
        lambda: Backprop(0.009),
        "baseline",
        f"The usual model: {UNITS} hidden units in each of 4 blocks.",
    ),
    "one shared": Arm(
        blocks("aaaa"), lambda: Backprop(0.016), "method", f"All blocks use one layer of {UNITS} hidden units."
    ),
    "one wide, shared": Arm(
        blocks("aaaa", WIDE),
        lambda: Backprop(0.009),
        "method",
        f"All blocks use one layer of {WIDE} hidden units. Parameters of the usual model, and more operations.",
    ),
    "one wide, lower half": Arm(
        blocks("aa--", WIDE),
        lambda: Backprop(0.009),
        "method",
        f"Two blocks use one layer of {WIDE} hidden units, two have none. Parameters of the usual model.",
    ),
    "a narrow layer each": Arm(
        blocks("abcd", UNITS // BLOCKS),
        lambda: Backprop(0.009),
        "control",
        f"{UNITS // BLOCKS} hidden units in each block. Parameters of the one shared layer.",
    ),
    "a wide layer each": Arm(
        blocks("abcd", WIDE),
        lambda: Backprop(0.009),
        "control",
        f"{WIDE} hidden units in each block. Operations of the one wide layer that all share.",
    ),
    "no layer": Arm(blocks("----"), lambda: Backprop(0.009), "control", "Four blocks of attention only."),
}


def block_similarity(model: nn.Module, task) -> xr.DataArray:
    """Linear CKA between what the blocks say about the characters of the test text: (block, other)."""
    model.eval()
    with torch.no_grad(), record(model, None, "blocks.?") as trace:
        model(task.test()[0][:SEEN])
    outputs = {f"block {place + 1}": trace[name].flatten(0, -2) for place, name in enumerate(trace)}
    found = similarity_of(outputs).rename(layer="block")
    return found.assign_attrs(
        long_name="similarity between blocks (linear CKA)",
        view="heatmap",
        mean="seeds",
        says="How alike two blocks describe the same characters: 1 is the same up to a rotation. Where all cells are "
        "near 1, the later blocks add little to what the earlier ones said.",
    )


def times(scale: Scale) -> xr.DataArray:
    """Latency (arm, batch, width, repeat) of whole models by the usual model's hidden units; `dense` is a layer each."""
    options, task = scale.options, MaskedCharacters(windows=1)
    plans = {
        "dense": lambda units: blocks("abcd", units),
        "one shared": lambda units: blocks("aaaa", units),
        "one wide, shared": lambda units: blocks("aaaa", BLOCKS * units),
        "one wide, lower half": lambda units: blocks("aa--", BLOCKS * units),
        "no layer": lambda units: blocks("----", units),
    }
    by_width = []
    for units in options["widths"]:
        models = {name: SharingTransformer(task, plan(units), width=WIDTH).eval() for name, plan in plans.items()}
        inputs = [task.test()[0].expand(batch, -1) for batch in options["batches"]]
        rows = [latency(models, x, repeats=options["repeats"]) for x in inputs]
        by_width.append(xr.concat(rows, xr.IndexVariable("batch", options["batches"])))
    return xr.concat(by_width, xr.IndexVariable("width", options["widths"])).transpose(
        "arm", "batch", "width", "repeat"
    )


def faster(arm: str):
    """Time of the usual model over that of another, one window: one ratio for each repeat."""

    def measure(data: xr.Dataset) -> np.ndarray:
        timed = data.latency.isel(batch=0).sel(width=data.width.values[np.abs(data.width.values - UNITS).argmin()])
        return (timed.sel(timed="dense") / timed.sel(timed=arm)).values

    return measure


def gain(quantity: str, arm: str, other: str):
    """By how much an arm is better than another at the end: a higher accuracy or a lower loss, one number a seed."""
    sign = 1 if quantity == "test_accuracy" else -1
    return lambda data: sign * (last(data, quantity, arm) - last(data, quantity, other))


def alike(data: xr.Dataset, arm: str) -> np.ndarray:
    """The mean similarity of two different blocks, one number a seed."""
    found = data.block_similarity.sel(arm=arm).transpose("seed", "block", "other").values
    return found[:, ~np.eye(found.shape[-1], dtype=bool)].mean(-1)


CLAIMS = [
    Claim(
        "One shared feedforward layer has substantially fewer parameters ...",
        Rule(
            "Parameters of the model with one shared layer divided by those with a layer each are at most 75 % (our margin).",
            lambda data: (data.parameters.sel(arm="one shared") / data.parameters.sel(arm="a layer each")).values,
            0.75,
            below=True,
            unit="percent",
        ),
    ),
    Claim(
        "... at a modest drop of accuracy.",
        Rule(
            "Masked-character accuracy with one shared layer divided by that with a layer each, paired by seed, is at least "
            "95 % (our margin for modest).",
            lambda data: last(data, "test_accuracy", "one shared") / last(data, "test_accuracy", "a layer each"),
            0.95,
            unit="percent",
        ),
    ),
    Claim(
        "Scaled back to the original size, the shared layer gains in accuracy.",
        Rule(
            "Masked-character accuracy with one wide shared layer minus that with a layer each, at equal parameters and "
            "paired by seed, is above 0.",
            gain("test_accuracy", "one wide, shared", "a layer each"),
            0.0,
            unit="points",
        ),
    ),
    Claim(
        "... also where half of the blocks have none, as the paper's decoder.",
        Rule(
            "Masked-character accuracy with one wide layer in the lower half minus that with a layer each, at equal "
            "parameters and paired by seed, is above 0.",
            gain("test_accuracy", "one wide, lower half", "a layer each"),
            0.0,
            unit="points",
        ),
    ),
    Claim(
        "... and in latency (of one pass that reads all characters at once; the paper's gain is in a decoder).",
        Rule(
            f"Time of the usual model with {UNITS} hidden units in each block divided by that with one wide layer in the "
            "lower half, one window, is at least 1.",
            faster("one wide, lower half"),
            1.0,
            unit="times",
            over="timings",
        ),
    ),
    Claim(
        "The blocks of the one wide model are less alike: it is less redundant.",
        Rule(
            "Mean linear CKA between two blocks' outputs with one wide shared layer minus that with a layer each, paired by "
            "seed, is below 0.",
            lambda data: alike(data, "one wide, shared") - alike(data, "a layer each"),
            0.0,
            below=True,
        ),
    ),
    Claim(
        "A shared layer is worth more than narrow ones of the same parameters (our control).",
        Rule(
            "Held-out loss with a narrow layer each minus that with one shared layer, at equal parameters and paired by "
            "seed, is above 0.",
            gain("test_loss", "one shared", "a narrow layer each"),
            0.0,
            unit="nats",
        ),
    ),
    Claim(
        "The shared layer does something: it is better than attention alone (our control).",
        Rule(
            "Held-out loss without a layer minus that with one shared layer, paired by seed, is above 0.",
            gain("test_loss", "one shared", "no layer"),
            0.0,
            unit="nats",
        ),
    ),
    Claim(
        "Sharing costs something: with the same operations, wide layers of their own are better (our control).",
        Rule(
            "Held-out loss with one wide shared layer minus that with a wide layer each, at equal operations and paired by "
            "seed, is above 0.",
            gain("test_loss", "a wide layer each", "one wide, shared"),
            0.0,
            unit="nats",
        ),
    ),
    Claim(
        "In translation the one wide model is more accurate and faster than a Transformer Big of the same size.",
        needs="An encoder and a decoder that writes word by word, millions of pairs of sentences, and days on GPUs.",
    ),
]

study = Study(
    name="one_wide_feedforward",
    paper="P182",
    title="One wide feedforward layer",
    question="Can all blocks of a transformer share one feedforward layer?",
    task=lambda scale: MaskedCharacters(batch=scale.options["batch"], windows=scale.options["windows"]),
    backbone=lambda task, plan: SharingTransformer(task, plan, width=WIDTH),
    arms=ARMS,
    scales={
        "smoke": Scale(4, 2, 3, {"batch": 4, "windows": 8, "widths": [32, 256], "batches": [1], "repeats": 5}),
        "lesson": Scale(
            150, 3, 5, {"batch": 16, "windows": 128, "widths": [64, 256], "batches": [1, 16], "repeats": 20}
        ),
    },
    claims=CLAIMS,
    probes={"test_accuracy": score("accuracy"), "test_loss": score("loss")},
    final={"block_similarity": block_similarity},
    extra={"latency": times},
    shows="test_loss",
)
