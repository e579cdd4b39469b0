"""How many pictures can be stored and found again? P517 without any gradient: to train is to store.

Handwritten digits of ones and minus ones are stored one after the other; a training step stores one more, so that the axis of
steps is the number of stored pictures (beside the first, which is there from the start). Now and then up to 128 of the
pictures stored so far are asked for by damaged copies: with the lower half masked, and with 30 % of all pixels turned over. A
picture counts as retrieved when at most 2 % of its pixels are wrong.

The modern network is compared with the classic one of 1982 (weights by Hebb's rule), with the projection rule (L. Personnaz,
I. Guyon, G. Dreyfus, 1985, without self-coupling), which makes every stored pattern a fixed point as long as the patterns are
independent, and with looking up the nearest stored pattern, which is what sharp softmax comes to. Nothing is
tuned: beta is what attention would take, 1/√pixels, and 1. The limits of 1 point are margins chosen beforehand.

Energy and capacity are measured on random patterns: "capacity" is the largest number of random patterns of d signs such that
at least 90 % of 200 (or all) are found again, to the last sign, from copies with d/8 signs turned over.
"""

import math
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.parts.hopfield import associate, energy, hebbian, recall
from labkit.workbench.backbones.only_layer import OnlyLayer
from labkit.workbench.claim import Claim, Rule, last
from labkit.workbench.memories import MANY, Classic, Modern, Nearest, Projection, Storing
from labkit.workbench.study import Arm, Scale, Study
from labkit.workbench.tasks.stored_digits import DAMAGES, StoredDigits

SHARP = 1.0
BETAS, UPDATES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0], 8
DIMENSIONS, ENOUGH, ASKED = (8, 16, 32), 0.9, 200


ARMS = {
    "one step": Arm(
        lambda i, o: Modern(i, beta=SHARP, most=1), Storing, "method", "Softmax update with beta 1, a single time."
    ),
    "to rest": Arm(
        lambda i, o: Modern(i, beta=SHARP, most=MANY),
        Storing,
        "method",
        f"The same, until the state moves by less than 0.0001, at most {MANY} times.",
    ),
    "one step, beta of attention": Arm(
        lambda i, o: Modern(i, beta=i**-0.5, most=1), Storing, "control", "A single update with beta 1/√pixels."
    ),
    "to rest, beta of attention": Arm(
        lambda i, o: Modern(i, beta=i**-0.5, most=MANY), Storing, "control", "To rest with beta 1/√pixels."
    ),
    "classic": Arm(
        lambda i, o: Classic(i), Storing, "baseline", "The network of 1982: Hebb's rule, signs; pixels² weights."
    ),
    "projection rule": Arm(
        lambda i, o: Projection(i),
        Storing,
        "baseline",
        "A stronger rule for the classic network, of 1985, without self-coupling: pixels² weights.",
    ),
    "nearest picture": Arm(
        lambda i, o: Nearest(i), Storing, "control", "No network: the stored picture with the largest inner product."
    ),
}


def retrieved(how: str):
    """A probe: the share of pictures found again from copies damaged in this way."""

    def probe(model: nn.Module, task: StoredDigits) -> xr.DataArray:
        memory: Any = model.slot
        damaged, wanted = task.damaged(memory.pictures, how)
        with torch.no_grad():
            share = task.accuracy(model(damaged), wanted)
        return xr.DataArray(share, attrs={"long_name": f"pictures found again, {how}", "units": "fraction"})

    return probe


def error_by_beta(model: nn.Module, task: StoredDigits) -> xr.DataArray | None:
    """The share of wrong pixels after each update, for many betas: (beta, updates). None but for the arm of one step."""
    memory = model.slot
    if not isinstance(memory, Modern) or memory.beta != SHARP or memory.most > 1:
        return None
    damaged, wanted = task.damaged(memory.pictures, "half masked")
    rows = []
    for beta in BETAS:
        state, row = damaged, []
        for _ in range(UPDATES):
            state = associate(state, memory.patterns, beta=beta)
            row.append(task.loss(state, wanted).item())
        rows.append(row)
    return xr.DataArray(
        rows,
        dims=("beta", "updates"),
        coords={"beta": BETAS, "updates": range(1, UPDATES + 1)},
        attrs={
            "long_name": "wrong pixels by beta and updates",
            "units": "fraction",
            "view": "heatmap",
            "mean": "seeds",
            "says": "All pictures are stored; half of each is masked. Look down for the beta that tells the pictures apart, and "
            "along a row for what more updates change.",
        },
    )


def energy_rise(model: nn.Module, task: StoredDigits) -> xr.DataArray | None:
    """The largest rise of the energy in one update, over damaged pictures and updates; below 0 when it always falls."""
    memory = model.slot
    if not isinstance(memory, Modern):
        return None
    patterns, rise = memory.patterns.double(), -math.inf
    for how in DAMAGES:
        state = task.damaged(memory.pictures, how)[0].double()
        now = energy(state, patterns, beta=memory.beta)
        for _ in range(UPDATES):
            state = associate(state, patterns, beta=memory.beta)
            before, now = now, energy(state, patterns, beta=memory.beta)
            rise = max(rise, (now - before).max().item())
    return xr.DataArray(rise, attrs={"long_name": "largest rise of the energy in an update", "units": "energy"})


NETWORKS = {
    "modern": lambda state, stored: associate(state, stored, beta=SHARP),
    "classic": lambda state, stored: recall(state, hebbian(stored)),
    "nearest": lambda state, stored: stored[(state @ stored.T).argmax(-1)],
}


def capacity(scale: Scale) -> xr.DataArray:
    """How many random patterns each network holds by their dimension, as log2, the mean of some draws for each seed."""
    draws, found = scale.options["draws"], np.zeros((len(NETWORKS), len(DIMENSIONS), scale.seeds))
    for seed in range(scale.seeds):
        for place, width in enumerate(DIMENSIONS):
            for draw in range(draws):
                generator = torch.Generator().manual_seed(1000 * seed + 10 * draw + place)
                stored = torch.randint(2, (scale.options["most"], width), generator=generator) * 2.0 - 1
                flips = torch.rand(ASKED, width, generator=generator).argsort(-1) >= width // 8
                for row, network in enumerate(NETWORKS.values()):
                    found[row, place, seed] += math.log2(_holds(network, stored, flips * 2.0 - 1)) / draws
    return xr.DataArray(
        found,
        dims=("network", "dimension", "seed"),
        coords={"network": list(NETWORKS), "dimension": list(DIMENSIONS), "seed": range(scale.seeds)},
        attrs={
            "long_name": "capacity for random patterns",
            "units": "log2 of how many",
            "view": "heatmap",
            "mean": "seeds",
            "says": "From left to right the dimension doubles. One more in a cell is twice as many patterns: where capacity were "
            "a power of the dimension, each step to the right would add the same.",
        },
    )


def _holds(network, stored: Tensor, flips: Tensor) -> int:
    """The largest number, on a grid of factors √2 and going up, of which enough are found again to the last sign."""
    held = 1
    for power in range(2, 2 * int(math.log2(len(stored))) + 1):
        count = round(2 ** (power / 2))
        asked = torch.linspace(0, count - 1, min(count, ASKED)).long()
        wanted = stored[asked]
        right = (network(wanted * flips[: len(asked)], stored[:count]).sign() == wanted).all(-1)
        if right.float().mean() < ENOUGH:
            break
        held = count
    return held


def bend(data: xr.Dataset) -> np.ndarray:
    """How much more the second doubling of the dimension adds to the modern network's log2 capacity than the first."""
    first, second, third = (data.capacity.sel(network="modern", dimension=width) for width in DIMENSIONS)
    return ((third - second) - (second - first)).values


def beats(other: str, quantity: str = "test_accuracy", arm: str = "one step"):
    return lambda data: last(data, quantity, arm) - last(data, quantity, other)


CLAIMS = [
    Claim(
        "It can store exponentially many patterns (with the dimension).",
        Rule(
            "From dimension 16 to 32 the log2 capacity for random patterns grows by more than from 8 to 16: the difference "
            "is above 0. (For a capacity that is a power of the dimension it is 0.)",
            bend,
            0.0,
            unit="doublings",
        ),
    ),
    Claim(
        "It retrieves a pattern with one update.",
        Rule(
            "Pictures found again after one update minus those found when at rest, half masked, all pictures stored, paired "
            "by seed, is at least -1 point.",
            beats("to rest"),
            -0.01,
            unit="points",
        ),
    ),
    Claim(
        "The update never raises the energy.",
        Rule(
            "The largest rise of the energy over damaged pictures and updates, at both betas, is at most 1e-9 (rounding).",
            lambda data: data.energy_rise.max("arm").values,
            1e-9,
            below=True,
            unit="energy",
        ),
    ),
    Claim(
        "It holds more than the classic binary network.",
        Rule(
            "Pictures found again after one update minus those of the classic network, half masked, all pictures stored, "
            "paired by seed, is at least 1 point.",
            beats("classic"),
            0.01,
            unit="points",
        ),
    ),
    Claim(
        "It holds more than the projection rule, a stronger classic network (our baseline).",
        Rule(
            "Pictures found again after one update minus those of the projection rule, half masked, all pictures stored, "
            "paired by seed, is at least 1 point.",
            beats("projection rule"),
            0.01,
            unit="points",
        ),
    ),
    Claim(
        "It retrieves better than a search for the nearest stored picture (our control).",
        Rule(
            "Pictures found again after one update minus those found by the nearest picture, noisy, all pictures stored, "
            "paired by seed, is at least 1 point.",
            beats("nearest picture", "noisy"),
            0.01,
            unit="points",
        ),
    ),
    Claim(
        "The scale of attention, beta = 1/√d, is sharp enough to tell the pictures apart (our control).",
        Rule(
            "Pictures found again after one update with beta 1/√d minus those with beta 1, half masked, all pictures stored, "
            "paired by seed, is at least -1 point.",
            beats("one step", arm="one step, beta of attention"),
            -0.01,
            unit="points",
        ),
    ),
    Claim(
        "The first layers of BERT mostly average, the later ones work in states between an average and a single pattern.",
        needs="A pretrained BERT and text to run it on: the analysis labkit/analysis/attention/metastability.py would answer it.",
    ),
]

study = Study(
    name="hopfield_retrieval",
    paper="P517",
    title="Retrieval by modern Hopfield networks",
    question="How many pictures can an associative memory hold and find again?",
    task=lambda scale: StoredDigits(pictures=scale.steps + 1),
    backbone=OnlyLayer,
    arms=ARMS,
    scales={
        "smoke": Scale(30, 2, 4, {"draws": 1, "most": 2**10}),
        "lesson": Scale(1000, 3, 12, {"draws": 8, "most": 2**15}),
    },
    claims=CLAIMS,
    probes={"test_accuracy": retrieved("half masked"), "noisy": retrieved("noisy")},
    final={"error_by_beta": error_by_beta, "energy_rise": energy_rise},
    extra={"capacity": capacity},
)
