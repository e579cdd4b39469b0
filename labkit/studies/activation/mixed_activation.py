"""Does it help when every neuron chooses its own activation function? P161 on handwritten digits.

Networks with two and with six hidden layers, on 5,000 images. Where neurons choose, they do so in the first half of the
training and are frozen for the second, as in the paper (there 50 of 400 epochs). The networks they must beat use one
function everywhere; the control that matters most uses the same six functions, thrown at random, with nothing chosen: a mix
may be good in itself. The others train as many steps, all of them with the functions that they end with.

That layers differ is held against chance twice: against the same neurons dealt out anew to the layers, and against the
other seeds, in which a layer should resemble itself more than it resembles other layers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.layers.activation.mixed_activation import FUNCTIONS, GroupedActivation, MixedActivation
from labkit.workbench.backbones.activation_network import dense_stack
from labkit.workbench.backbones.only_layer import OnlyLayer
from labkit.workbench.backprop import Backprop
from labkit.workbench.budget import latency
from labkit.workbench.claim import Claim, Rule, last
from labkit.workbench.probes import score
from labkit.workbench.study import Arm, Scale, Study
from labkit.workbench.tasks.classification import Classification

WIDTH, SHALLOW, DEEP = 64, 2, 6
RATE = 0.01
"""Tried at depth 6 with 400 steps on 2,000 training images that were held out, two seeds each: 0.003, 0.01 and 0.03 for the
mixed, the random mix, ReLU, tanh and ELU. 0.01 was best for every one of them; depth 2 takes it over. In these trials the
mixed network was behind all others. The rules were written afterwards, with thresholds of 0 or, where the paper says that
it competes, a margin of one point, which is ours. After a first look at six seeds the network with unlearnt scores and its
rule were added, to tell the choice from the noise of choosing; no threshold was changed."""
DEALS = 200
NAMES, ENDS = list(FUNCTIONS), {"first": 0, "last": -1}
POINTS: dict[str, Any] = {"at_least": 0.0, "unit": "points"}


@dataclass
class FreezeHalfway(Backprop):
    """Backprop in two phases: after half of the steps every choosing layer is replaced by one with its choices fixed."""

    learning_rate: float = RATE

    def step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        if self.taken == self.steps // 2:
            for parent in list(model.modules()):
                for name, layer in list(parent.named_children()):
                    if isinstance(layer, MixedActivation):
                        setattr(parent, name, layer.freeze())
        return super().step(model, batch)


def trainer() -> Backprop:
    return Backprop(learning_rate=RATE)


def network(depth: int, activation: Callable[[int], nn.Module]) -> Callable[[int, int], nn.Module]:
    return lambda i, o: dense_stack(i, o, lambda width, _: activation(width), width=WIDTH, depth=depth)


def random_mix(width: int) -> GroupedActivation:
    return GroupedActivation(torch.randint(len(FUNCTIONS), (width,)))


def arms(depth: int, singles: Sequence[type[nn.Module]]) -> dict[str, Arm]:
    same = f"{depth} hidden layers of {WIDTH}; the same weights to train"
    found = {
        f"chosen, depth {depth}": Arm(
            network(depth, MixedActivation), FreezeHalfway, "method", f"Each neuron chooses, then is frozen. {same}."
        ),
        f"random mix, depth {depth}": Arm(
            network(depth, random_mix), trainer, "control", f"Each neuron has one of the six by chance. {same}."
        ),
    }
    for single in singles:
        found[f"{single.__name__}, depth {depth}"] = Arm(
            network(depth, lambda width, single=single: single()), trainer, "baseline", f"One function. {same}."
        )
    return found


def unlearnt(width: int) -> MixedActivation:
    """The two phases without what is to be learnt in the first: functions are drawn, and chance has chosen already."""
    layer = MixedActivation(width)
    layer.scores.requires_grad_(False)
    return layer


UNLEARNT = f"scores unlearnt, depth {DEEP}"
ARMS = arms(DEEP, (nn.ReLU, nn.Tanh, nn.ELU)) | arms(SHALLOW, (nn.ReLU,))
ARMS[UNLEARNT] = Arm(
    network(DEEP, unlearnt),
    FreezeHalfway,
    "control",
    f"Both phases, but the scores stay as they start: draws, then a random mix. {DEEP} hidden layers of {WIDTH}.",
)
SINGLES = [f"{name}, depth {DEEP}" for name in ("ReLU", "Tanh", "ELU")]


def shares(model: nn.Module, task: object) -> xr.DataArray | None:
    """The share of each function among the neurons of each hidden layer: (place, function)."""
    layers = [layer for layer in model.modules() if isinstance(layer, MixedActivation | GroupedActivation)]
    if not layers:
        return None
    counts = np.stack([np.bincount(layer.choice.numpy(), minlength=len(NAMES)) / layer.width for layer in layers])
    return xr.DataArray(
        counts,
        dims=("place", "function"),
        coords={"place": [f"hidden layer {place + 1}" for place in range(len(layers))], "function": NAMES},
        attrs={
            "long_name": "functions that the neurons use",
            "units": "share of neurons",
            "view": "heatmap",
            "mean": "seeds",
            "says": "A row is a hidden layer, a column a function, the colour says how many of the layer's neurons use it. "
            "Move the slider: at step 0 the choice is chance. Where rows differ from each other, the layers do.",
        },
    )


def times(scale: Scale) -> xr.DataArray:
    """128 inputs by width: a dense layer beside it, one function alone, the choice before freezing, and after."""
    rows = []
    for width in scale.options["widths"]:
        torch.manual_seed(0)
        choosing = MixedActivation(width).eval()
        models = {"dense": nn.Linear(width, width), "ReLU": nn.ReLU()}
        models |= {"choosing": choosing, "frozen": choosing.freeze()}
        rows.append(latency(models, torch.randn(128, width), repeats=scale.options["repeats"]))
    return xr.concat(rows, xr.IndexVariable("width", list(scale.options["widths"]))).transpose("arm", "width", "repeat")


def chosen(data: xr.Dataset, at: int = -1) -> np.ndarray:
    """The shares in the deep network that chose, (seed, place, function)."""
    found = data.shares.sel(arm=f"chosen, depth {DEEP}").isel(step=at)
    return found.transpose("seed", "place", "function").values


def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Total variation between shares (..., function): the share of neurons that would have to change. (...)"""
    return np.abs(one - other).sum(-1) / 2


def between_layers(found: np.ndarray) -> np.ndarray:
    """The mean distance of two layers. Shapes: (..., place, function) -> (...)"""
    first, second = np.triu_indices(found.shape[-2], 1)
    return apart(found[..., first, :], found[..., second, :]).mean(-1)


def dealt_out(found: np.ndarray) -> np.ndarray:
    """The mean distance of two layers when each seed's neurons are dealt out to its layers by chance: one a seed."""
    chance, means = np.random.default_rng(0), []
    for seed in found:
        pool = np.repeat(np.arange(len(NAMES)), np.round(seed.sum(0) * WIDTH).astype(int))
        deals = [chance.permutation(pool)[: len(seed) * WIDTH].reshape(len(seed), -1) for _ in range(DEALS)]
        counts = (np.stack(deals)[..., None] == np.arange(len(NAMES))).mean(-2)
        means.append(between_layers(counts).mean())
    return np.array(means)


def itself(data: xr.Dataset) -> np.ndarray:
    """How much nearer a layer is to itself in the next seed than to that seed's other layers, one number a seed.

    Half of each layer's neurons, drawn once, are compared and the other half are compared with: no neuron counts twice.
    """
    found, chance, halves = chosen(data), np.random.default_rng(0), []
    for counts in np.round(found.reshape(-1, len(NAMES)) * WIDTH).astype(int):
        drawn = chance.multivariate_hypergeometric(counts, WIDTH // 2)
        halves.append(np.stack([drawn, counts - drawn]) / (WIDTH // 2))
    here, there = np.moveaxis(np.stack(halves).reshape(*found.shape[:2], 2, -1), 2, 0)
    grid = apart(here[:, :, None], np.roll(there, -1, 0)[:, None])  # (seed, place here, place in the next seed)
    same = np.eye(found.shape[1], dtype=bool)
    return grid[:, ~same].mean(-1) - grid[:, same].mean(-1)


def prefers(who: str, names: Sequence[str], here: str, there: str) -> Claim:
    def more(data: xr.Dataset) -> np.ndarray:
        part = chosen(data)[..., [NAMES.index(name) for name in names]].sum(-1)
        return part[:, ENDS[here]] - part[:, ENDS[there]]

    rule = f"Their share in the {here} hidden layer minus that in the {there}, depth {DEEP}, is above 0."
    return Claim(f"{who} prefer {' and '.join(names)}.", Rule(rule, more, **POINTS))


def gain(arm: str, over: str) -> Callable[[xr.Dataset], np.ndarray]:
    return lambda data: last(data, "test_accuracy", arm) - last(data, "test_accuracy", over)


def best_single(data: xr.Dataset) -> np.ndarray:
    found = np.stack([last(data, "test_accuracy", name) for name in SINGLES])
    return found[found.mean(1).argmax()]


def faster(data: xr.Dataset) -> np.ndarray:
    timed = data.latency.isel(width=-1)
    return (timed.sel(timed="choosing") / timed.sel(timed="frozen")).values


def choice_helps(depth: int) -> Claim:
    rule = "Test accuracy of the chosen mix minus that of the random one, paired by seed, is above 0."
    measure = gain(f"chosen, depth {depth}", f"random mix, depth {depth}")
    says = f"What helps is the choice: a random mix is worse (our control, depth {depth})."
    return Claim(says, Rule(rule, measure, **POINTS))


CLAIMS = [
    Claim(
        "Neurons of different layers settle on different functions.",
        Rule(
            "The mean total variation between two layers' shares of the functions, minus the same with the seed's neurons "
            f"dealt out to the layers by chance ({DEALS} deals), at the end, depth {DEEP}, is above 0.",
            lambda data: between_layers(chosen(data)) - dealt_out(chosen(data)),
            **POINTS,
        ),
    ),
    Claim(
        "They differ more than they did before training (our control).",
        Rule(
            f"The mean total variation between two layers' shares at the end minus that at step 0, depth {DEEP}, is above 0.",
            lambda data: between_layers(chosen(data)) - between_layers(chosen(data, 0)),
            **POINTS,
        ),
    ),
    Claim(
        "What a layer prefers belongs to the layer and not to one training's luck (our control).",
        Rule(
            "The mean total variation to the other layers of the next seed minus that to the same layer of it, depth "
            f"{DEEP}, is above 0. (Half of a layer's neurons are compared with the other half of the next seed's.)",
            itself,
            **POINTS,
        ),
    ),
    prefers("Early layers", ("ReLU", "LeakyReLU"), "first", "last"),
    prefers("Late layers", ("ELU", "SELU"), "last", "first"),
    Claim(
        "It competes with networks of one function.",
        Rule(
            f"Test accuracy of the chosen mix minus that of the single function that is best on the mean of the seeds "
            f"({', '.join(SINGLES)}), paired by seed, is above -1 point.",
            lambda data: last(data, "test_accuracy", f"chosen, depth {DEEP}") - best_single(data),
            -0.01,
            unit="points",
        ),
    ),
    choice_helps(DEEP),
    choice_helps(SHALLOW),
    Claim(
        "The scores learn something that helps: without learning them the same two phases end worse (our control).",
        Rule(
            f"Test accuracy of the chosen mix minus that with unlearnt scores, depth {DEEP}, paired by seed, is above 0.",
            gain(f"chosen, depth {DEEP}", UNLEARNT),
            **POINTS,
        ),
    ),
    Claim(
        "A mix is better than ReLU alone, whoever mixed it (our control).",
        Rule(
            f"Test accuracy of the random mix minus that of ReLU, depth {DEEP}, paired by seed, is above 0.",
            gain(f"random mix, depth {DEEP}", f"ReLU, depth {DEEP}"),
            **POINTS,
        ),
    ),
    Claim(
        "Freezing makes it fast: neurons are grouped by their function.",
        Rule(
            "Time of the choosing layer in evaluation divided by that of the frozen one, 128 inputs, at the widest layer "
            "timed, is at least 1.",
            faster,
            1.0,
            unit="times",
            over="timings",
        ),
    ),
    Claim(
        "Over many architectures it reaches the accuracy of the best single function on the whole of MNIST.",
        needs="Hundreds of epochs on 60,000 images for each of many architectures: days of a GPU.",
    ),
]

study = Study(
    name="mixed_activation",
    paper="P161",
    title="Neurons that choose their activation",
    question="Does it help when every neuron chooses its own activation function?",
    task=lambda scale: Classification("mnist", rows=scale.options["rows"], test_rows=scale.options["test_rows"]),
    backbone=OnlyLayer,
    arms=ARMS,
    scales={
        "smoke": Scale(6, 2, 3, {"rows": 300, "test_rows": 200, "widths": [16, 64], "repeats": 5}),
        "lesson": Scale(400, 6, 8, {"rows": 5000, "test_rows": None, "widths": [64, 256, 1024], "repeats": 20}),
    },
    claims=CLAIMS,
    probes={"test_accuracy": score("accuracy"), "test_loss": score("loss"), "shares": shares},
    extra={"latency": times},
)
