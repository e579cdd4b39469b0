"""In the same few steps, does a memory learn more by heart than layers that cost as much? P098 on a table of random pairs.

16,384 random keys, each with one of 64 random answers: nothing can be guessed, so accuracy is how much of the table a network
knows. All networks have residual blocks of a normalisation and a layer; the arms differ in these layers. The method has one
dense block and a product-key memory of 64 x 64 slots where the other dense block would be.

The steps are few, so this is about how soon a network knows the table, not about how much it can hold: in a trial with four
times the steps the network twice as deep knew all of it. The time of whole networks is measured for the claim about depth, and
the time of a search of the best slots by the number of slots: among all keys, and by product keys.
"""

from functools import partial

import numpy as np
import torch
import xarray as xr
from torch import nn

from labkit.analysis.routing.choice_load import choice_load
from labkit.analysis.routing.slot_usage import slot_usage
from labkit.layers.memory.product_key_memory import ProductKeyMemory
from labkit.parts.product_keys import ProductKeyGate
from labkit.workbench.backbones.hidden_layers import HiddenLayers
from labkit.workbench.baselines import DenseFeedforward
from labkit.workbench.budget import latency, latency_by_width, parameters
from labkit.workbench.claim import Claim, Rule, last
from labkit.workbench.matching import matched
from labkit.workbench.probes import on_test_data, score
from labkit.workbench.quick_values import QuickValues
from labkit.workbench.residual import blocks
from labkit.workbench.slot_search import FlatSearch, Search
from labkit.workbench.study import Arm, Scale, Study
from labkit.workbench.tasks.recall_table import RecallTable

WIDTH, KEYS, HEADS, CHOSEN = 64, 64, 4, 16
WIDTHS = (WIDTH, 512)  # of the networks that are trained, and of others that are only timed
DENSE, RATE, VALUES = 256, 1e-2, 10.0
"""Tried with one seed, on the table itself (there is nothing to hold out): rates 0.005 and 0.01 with the memory, 0.005, 0.01
and 0.02 for dense, twice as deep and as many parameters: 0.01 was best for each. On a table half as large also 0.003 and 0.03
for dense and memory, which were worse, and values that learn 1, 3 and 10 times as quickly as the rest: with 3 and with 10 the
memory held the whole table. (The paper, too, gives values a higher rate.) The table was then doubled, and the steps lowered from
500, where every memory with quick values knew all of it. The other arms take over these rates."""


def memory(norm: str = "batch"):
    return lambda i, o: ProductKeyMemory(i, o, keys=KEYS, heads=HEADS, chosen=CHOSEN, norm=norm)


def dense(width: int = DENSE):
    return lambda i, o: DenseFeedforward(i, o, width=width)


def cost(layer: nn.Module) -> float:
    """Multiplications and additions of one input in the matrix products and sums of a layer, by its sizes.

    The counter of the workbench does not see into the memory's own loops, so they are counted by hand.
    """
    if isinstance(layer, ProductKeyMemory):
        half = layer.half_width
        search = 2 * layer.heads * layer.gate.keys * half
        return 2.0 * (layer.query.weight.numel() + search + layer.heads * layer.gate.chosen * layer.out_width)
    return 2.0 * sum(weight.numel() for weight in layer.parameters() if weight.ndim == 2)


def as_wide(by):
    """A dense layer whose cost `by` is that of the memory."""
    return lambda i, o: matched(lambda width: DenseFeedforward(i, o, width=width), to=memory()(i, o), by=by)


def frozen(i: int, o: int) -> ProductKeyMemory:
    """The half keys stay as they were drawn; queries and values learn."""
    layer = memory()(i, o)
    layer.gate.weight.requires_grad_(False)
    return layer


NETWORKS = {
    "memory": blocks(dense(), memory()),
    "dense": blocks(dense(), dense()),
    "as many operations": blocks(dense(), as_wide(cost)),
    "as many parameters": blocks(dense(), as_wide(parameters)),
    "twice as deep": blocks(*[dense()] * 4),
    "frozen keys": blocks(dense(), frozen),
    "norm of each query": blocks(dense(), memory("layer")),
    "no norm": blocks(dense(), memory("none")),
    "values no quicker": blocks(dense(), memory()),
}
SAYS = {
    "memory": f"A dense block, then a memory of {KEYS} x {KEYS} slots: {HEADS} heads read {CHOSEN} slots each; queries "
    "normalised over the batch.",
    "dense": f"Two dense blocks of {DENSE} neurons: the network without the memory.",
    "as many operations": "The second dense block so wide that it costs as many operations as the memory.",
    "as many parameters": "The second dense block so wide that it has as many parameters as the memory: far more operations.",
    "twice as deep": f"Four dense blocks of {DENSE} neurons.",
    "frozen keys": "The memory with half keys that stay as they were drawn.",
    "norm of each query": "The memory with each half query normalised for itself.",
    "no norm": "The memory with queries that are not normalised.",
    "values no quicker": "The memory trained as the dense networks are, with one learning rate for everything.",
}
BASELINES = ("dense", "as many operations", "as many parameters", "twice as deep")
ROLES = {"memory": "method"} | dict.fromkeys(BASELINES, "baseline")


TRAINERS = {"values no quicker": lambda: QuickValues(learning_rate=RATE)}
TRAIN = partial(QuickValues, learning_rate=RATE, times=VALUES)
ARMS = {name: Arm(NETWORKS[name], TRAINERS.get(name, TRAIN), ROLES.get(name, "control"), SAYS[name]) for name in SAYS}


def used(quantity: str, says: str, units: str):
    """A probe of one quantity of the slots' use on the probed keys; None for a network without a memory."""

    def probe(model: nn.Module, task: RecallTable) -> xr.DataArray | None:
        found = on_test_data(slot_usage)(model, task)
        if found is None:
            return None
        value = found.isel(layer=0).sel(quantity=quantity).item()
        return xr.DataArray(value, attrs={"long_name": says, "units": units})

    return probe


def reads(model: nn.Module, task: RecallTable) -> xr.DataArray | None:
    """How much of all reading falls on each slot, times the number of slots, by its two half keys: (first, second)."""
    if not any(isinstance(module, ProductKeyGate) for module in model.modules()):
        return None
    load = choice_load(model, task.probe()).isel(layer=0).values.reshape(KEYS, KEYS)
    return xr.DataArray(
        load / load.mean(),
        dims=("first half key", "second half key"),
        coords={"first half key": np.arange(KEYS), "second half key": np.arange(KEYS)},
        attrs={
            "long_name": "reads of each slot",
            "units": "times the mean",
            "view": "heatmap",
            "says": "Each cell is a slot. Bright rows or columns are half keys that many queries share.",
        },
    )


def times(scale: Scale) -> xr.DataArray:
    """Time of a search of the best slots, by the number of slots; "dense" looks at all of them."""
    ways = {"dense": FlatSearch, "product keys": Search}
    makers = {name: partial(way, WIDTH, chosen=CHOSEN) for name, way in ways.items()}
    found = latency_by_width(makers, scale.options["slots"], WIDTH, [1, 64], scale.options["repeats"])
    found["width"].attrs.update(long_name="memory slots")
    return found


def network_times(scale: Scale) -> xr.DataArray:
    """Time of a forward pass of whole networks, 256 inputs, as wide as those trained and eight times as wide."""
    task, found = RecallTable(pairs=256), []
    for width in WIDTHS:
        layers = {"memory": [dense(4 * width), memory()]} | {
            name: [dense(4 * width)] * depth for name, depth in (("dense", 2), ("twice as deep", 4))
        }
        models = {
            name: HiddenLayers(task, blocks(*stack), width=width, depth=1).eval() for name, stack in layers.items()
        }
        found.append(latency(models, task.keys, repeats=scale.options["repeats"]))
    whole = xr.concat(found, xr.IndexVariable("size", list(WIDTHS), {"long_name": "width of the network"}))
    return whole.rename(arm="network").assign_attrs(long_name="time of a whole network, 256 inputs")


def exactness(scale: Scale) -> xr.DataArray:
    """The share of random queries for which product keys find the best of all slots, for each seed."""
    shares = []
    for seed in range(scale.seeds):
        torch.manual_seed(seed)
        flat, queries = FlatSearch(WIDTH, KEYS**2, CHOSEN).double(), torch.randn(1000, WIDTH).double()
        fast = Search.forward(flat, queries).sort(-1).values
        shares.append((fast == flat(queries).sort(-1).values).all(-1).double().mean().item())
    attrs = {"long_name": "searches that find exactly the best slots", "units": "fraction"}
    return xr.DataArray(shares, dims="seed", coords={"seed": range(scale.seeds)}, attrs=attrs)


def better(other: str, quantity: str = "test_accuracy", arm: str = "memory"):
    return lambda data: last(data, quantity, arm) - last(data, quantity, other)


def versus(other: str, arm: str = "memory") -> Rule:
    return Rule(
        f"Share of the table recalled by the network {arm!r} minus that by {other!r}, paired by seed, is above 0.",
        better(other, arm=arm),
        0.0,
        unit="points",
    )


def faster(width: int) -> Rule:
    def ratio(data: xr.Dataset) -> np.ndarray:
        times = data.network_time.sel(size=width)
        return (times.sel(network="twice as deep") / times.sel(network="memory")).values

    says = f"Time of the network that is twice as deep divided by that with the memory, width {width}, 256 inputs, is at least 2."
    return Rule(says, ratio, 2.0, unit="times", over="timings")


def growth(data: xr.Dataset) -> np.ndarray:
    """How many times longer a search takes in the largest memory than in the smallest, over how many times √slots grew."""
    times, grown = data.latency.sel(timed="product keys", batch=64), data.width.values[-1] / data.width.values[0]
    return (times.isel(width=-1) / times.isel(width=0)).values / grown**0.5


def sooner(data: xr.Dataset) -> np.ndarray:
    times = data.latency.sel(batch=64).isel(width=-1)
    return (times.sel(timed="dense") / times.sel(timed="product keys")).values


EXACT = Rule(
    "The share of random queries whose chosen slots are the best of all slots is at least 1.",
    lambda data: data.exactness.values,
    1.0,
    unit="percent",
)
CLAIMS = [
    Claim("With a memory a network is better than one of twice its depth.", versus("twice as deep")),
    Claim("It is twice as fast as that deeper network.", faster(WIDTHS[0])),
    Claim("It is twice as fast as a deeper network eight times as wide, as those of the paper are.", faster(WIDTHS[1])),
    Claim("The memory is better than the dense layer that it replaces.", versus("dense")),
    Claim("It is better than a dense layer of as many operations.", versus("as many operations")),
    Claim("It is better than a dense layer of as many parameters (our baseline).", versus("as many parameters")),
    Claim("The search by product keys is exact.", EXACT),
    Claim(
        "More slots cost next to nothing: the search grows with the square root of their number.",
        Rule(
            "From the smallest to the largest memory timed, the time of a search for 64 inputs grows at most as √slots does: "
            "their ratio is at most 1.",
            growth,
            1.0,
            below=True,
            unit="times",
            over="timings",
        ),
    ),
    Claim(
        "It is faster than a search among all keys.",
        Rule(
            "Time of a search among all keys divided by that by product keys, 64 inputs, in the largest memory timed, is at "
            "least 1.",
            sooner,
            1.0,
            unit="times",
            over="timings",
        ),
    ),
    Claim(
        "Normalising queries over the batch makes the memory use more of its slots.",
        Rule(
            "Share of slots read with the norm minus that without any norm, paired by seed, is at least 1 point.",
            better("no norm", "used_slots"),
            0.01,
            unit="points",
        ),
    ),
    Claim(
        "It also spreads the reading more evenly.",
        Rule(
            "Divergence of the reading from uniform without any norm minus that with the norm, paired by seed, is above 0.",
            lambda data: -better("no norm", "divergence")(data),
            0.0,
            unit="nats",
        ),
    ),
    Claim("What it learns is also in its keys: frozen ones are worse (our control).", versus("frozen keys")),
    Claim("Quicker values matter: with one learning rate it is worse (our control).", versus("values no quicker")),
    Claim(
        "It holds more, and does not only learn sooner (our control).",
        needs="A table that no dense network here can hold, and training until nothing improves any more.",
    ),
    Claim(
        "12 layers and a memory beat 24 layers of a language model at twice the speed, with up to a billion parameters more.",
        needs="Language models of 12 and 24 layers trained on 28 billion words of news, on dozens of GPUs.",
    ),
]

study = Study(
    name="product_key_memory",
    paper="P098",
    title="Product-key memories",
    question="In the same few steps, does a memory learn more by heart than layers that cost as much?",
    task=lambda scale: RecallTable(pairs=scale.options["pairs"], batch=scale.options["batch"]),
    backbone=lambda task, layer: HiddenLayers(task, layer, width=WIDTH, depth=1),
    arms=ARMS,
    scales={
        "smoke": Scale(10, 2, 3, {"pairs": 512, "batch": 128, "slots": [256, 1024], "repeats": 4}),
        "lesson": Scale(
            300, 3, 6, {"pairs": 16384, "batch": 512, "slots": [1024, 4096, 16384, 65536, 262144], "repeats": 11}
        ),
    },
    claims=CLAIMS,
    probes={
        "test_accuracy": score("accuracy"),
        "test_loss": score("loss"),
        "used_slots": used("used share", "slots that are read", "fraction"),
        "divergence": used("KL from uniform", "divergence of the reading from uniform", "nats"),
    },
    final={"reads": reads},
    extra={"latency": times, "network_time": network_times, "exactness": exactness},
)
