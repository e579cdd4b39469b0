"""What is the feedforward layer for? P204 in a character transformer that guesses hidden characters.

Blocks that compute attention and feedforward one after the other, side by side, or attention only. The paper names two
assumptions under which side by side may take the place of one after the other: the feedforward layer keeps the states of
different tokens apart (isotropy), and attention adds little to what it is added to (share of the residual). Both are measured
after every block and over the training; step 0 is the untrained model.

A control zeroes the feedforward layers of the trained model, which nothing was trained for. That the norm is "substantially
smaller" is taken here as below a half; the margin was set before the first run.

Learning rates were chosen by the loss on windows of the training text, with two seeds that the study does not use: of 0.005,
0.009 and 0.016 the middle one is the best for the series design, the lowest for attention only (the middle one as good).
The parallel design takes over the rate of the series design.
"""

from contextlib import contextmanager

import numpy as np
import torch
import xarray as xr
from torch import nn

from labkit.analysis.geometry.isotropy import isotropy
from labkit.analysis.geometry.residual_share import residual_share
from labkit.layers.feedforward.deep_feedforward import DeepFeedforward
from labkit.workbench.backbones.parallel_transformer import ALONE, PARALLEL, SERIES, Design, ParallelTransformer
from labkit.workbench.backprop import Backprop
from labkit.workbench.claim import Claim, Rule, last
from labkit.workbench.probes import score
from labkit.workbench.study import Arm, Scale, Study
from labkit.workbench.tasks.masked_characters import MaskedCharacters

WIDTH, UNITS, DEPTH, SEEN = 64, 256, 4, 64
HALF = 0.5


def design(order: str) -> Design:
    return Design(lambda i, o: DeepFeedforward(i, o, layers=2, units=UNITS), order, DEPTH)


ARMS = {
    SERIES: Arm(
        design(SERIES),
        lambda: Backprop(0.009),
        "baseline",
        f"{DEPTH} usual blocks: attention, then {UNITS} hidden units.",
    ),
    PARALLEL: Arm(
        design(PARALLEL),
        lambda: Backprop(0.009),
        "method",
        "The same parts, side by side. Parameters and operations equal.",
    ),
    ALONE: Arm(design(ALONE), lambda: Backprop(0.005), "control", f"{DEPTH} blocks without a feedforward layer."),
}


@contextmanager
def zeroed(model: nn.Module):
    """Within this block the feedforward layers say 0."""
    slots = [module for name, module in model.named_modules() if name.endswith(".slot")]
    handles = [slot.register_forward_hook(lambda _module, _inputs, said: torch.zeros_like(said)) for slot in slots]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def token_isotropy(model: nn.Module, task) -> xr.DataArray:
    """Isotropy after each block: (block)."""
    found = isotropy(model, (task.test()[0][:SEEN],))
    return found.rename(layer="block").assign_coords(block=[int(str(name)[-1]) + 1 for name in found.layer.values])


def isotropy_while_training(model: nn.Module, task) -> xr.DataArray:
    return token_isotropy(model, task).assign_attrs(
        view="heatmap",
        mean="seeds",
        says="How differently the model describes the characters of one window after each block: 0 where all look alike. "
        "The first column is the untrained model.",
    )


def shares(model: nn.Module, task) -> xr.DataArray:
    """Norm of each update over the norm of what it is added to: (update)."""
    found = residual_share(model, (task.test()[0][:SEEN],)).rename(layer="update")
    words = [str(name).replace("blocks.", "").split(".add_") for name in found["update"].values]
    kinds = {"attention": "attention", "slot": "feedforward"}
    return found.assign_coords(update=[f"{int(place) + 1} {kinds[kind]}" for place, kind in words]).assign_attrs(
        view="heatmap",
        mean="seeds",
        says="How large each update is beside what it is added to, block by block: 1 is as large. The first column is the "
        "untrained model.",
    )


def zeroed_isotropy(model: nn.Module, task) -> xr.DataArray:
    """Isotropy after each block when the trained feedforward layers say 0."""
    with zeroed(model):
        found = token_isotropy(model, task)
    return found.assign_attrs(long_name="isotropy with feedforward zeroed")


def zeroed_loss(model: nn.Module, task) -> xr.DataArray:
    with zeroed(model):
        found = score("loss")(model, task).sel(mode="hard", drop=True)
    return found.assign_attrs(long_name="test loss with feedforward zeroed")


def at_the_top(data: xr.Dataset, arm: str, quantity: str = "isotropy") -> np.ndarray:
    """Isotropy after the last block at the end of the training, one number a seed."""
    found = data[quantity].sel(arm=arm).isel(block=-1)
    return (found.isel(step=-1) if "step" in found.dims else found).values


def attention_share(data: xr.Dataset, arm: str) -> np.ndarray:
    """The mean share of attention's updates at the end of the training, one number a seed."""
    found = data.share.sel(arm=arm).isel(step=-1)
    return (
        found.sel(update=[str(name) for name in found["update"].values if "attention" in str(name)])
        .mean("update")
        .values
    )


def above_alone(arm: str) -> Rule:
    return Rule(
        f"Isotropy after the last block, {arm} minus attention only, at the end and paired by seed, is above 0.",
        lambda data: at_the_top(data, arm) - at_the_top(data, ALONE),
        0.0,
    )


CLAIMS = [
    Claim(
        "The feedforward layer keeps the tokens' states apart (isotropy), in the parallel design.",
        above_alone(PARALLEL),
    ),
    Claim("... and in the series design (our control).", above_alone(SERIES)),
    Claim(
        "... and when it is taken out of a trained parallel model, they come closer together.",
        Rule(
            "Isotropy after the last block of the parallel model minus that with its feedforward layers zeroed, paired by "
            "seed, is above 0.",
            lambda data: at_the_top(data, PARALLEL) - at_the_top(data, PARALLEL, "zeroed_isotropy"),
            0.0,
        ),
    ),
    Claim(
        "The residual of attention is substantially smaller in norm than its input, in the parallel design.",
        Rule(
            f"Mean norm of attention's update over the norm of what it is added to is below {HALF} (our margin).",
            lambda data: attention_share(data, PARALLEL),
            HALF,
            below=True,
        ),
    ),
    Claim(
        "Parallel takes the place of series at little loss (our control).",
        Rule(
            "Masked-character accuracy of the parallel design divided by that of the series design, paired by seed, is at "
            "least 95 % (our margin).",
            lambda data: last(data, "test_accuracy", PARALLEL) / last(data, "test_accuracy", SERIES),
            0.95,
            unit="percent",
        ),
    ),
    Claim(
        "The feedforward layer does something: zeroing it in the trained model costs loss (our control).",
        Rule(
            "Held-out loss of the trained parallel model with its feedforward layers zeroed minus that with them, paired by "
            "seed, is above 0.",
            lambda data: data.zeroed_loss.sel(arm=PARALLEL).values - last(data, "test_loss", PARALLEL),
            0.0,
            unit="nats",
        ),
    ),
    Claim(
        "Both assumptions hold in parallel variants of RoBERTa-large and bert-large-uncased.",
        needs="Both models, and training their parallel variants on the text that they were trained on, on GPUs.",
    ),
]

study = Study(
    name="parallel_feedforward",
    paper="P204",
    title="Attention and feedforward side by side",
    question="What does the feedforward layer do to the tokens that attention mixes?",
    task=lambda scale: MaskedCharacters(batch=scale.options["batch"], windows=scale.options["windows"]),
    backbone=lambda task, layer: ParallelTransformer(task, layer, width=WIDTH),
    arms=ARMS,
    scales={
        "smoke": Scale(4, 2, 3, {"batch": 4, "windows": 8}),
        "lesson": Scale(150, 4, 6, {"batch": 16, "windows": 128}),
    },
    claims=CLAIMS,
    probes={
        "test_accuracy": score("accuracy"),
        "test_loss": score("loss"),
        "isotropy": isotropy_while_training,
        "share": shares,
    },
    final={"zeroed_isotropy": zeroed_isotropy, "zeroed_loss": zeroed_loss},
    shows="test_loss",
)
