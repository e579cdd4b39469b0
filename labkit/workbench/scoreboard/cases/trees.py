"""Trees against the dense layer of the width that they train, against the public package and against the published code.

Routing is that of random weights on random inputs: nearly even over the leaves, which is the hardest case for caches.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.layers.feedforward.fast_feedforward import FastFeedforward
from labkit.layers.feedforward.neuron_trees import NeuronTrees
from labkit.parts.kernels.engine import kernels
from labkit.workbench.baselines import DenseFeedforward
from labkit.workbench.scoreboard.case import Case, Contestants, Goal, Setting, Work
from labkit.workbench.scoreboard.ceilings import both_ways
from labkit.workbench.scoreboard.floors import moves
from labkit.workbench.scoreboard.timing import varied

WIDTH = 768
POOL = 4096
"""Inputs in all that the calls of a contestant take in turn."""


def _tree(setting: Setting) -> tuple[int, int, int]:
    return int(setting["depth"]), int(setting["leaf"]), int(setting["batch"])


def _inputs(batch: int, width: int = WIDTH) -> list[Tensor]:
    return [torch.randn(batch, width) for _ in range(max(2, min(64, POOL // batch)))]


def _plainly(compute: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def reference(x: Tensor) -> Tensor:
        with kernels("reference"):
            return compute(x)

    return reference


def _agree(one: Tensor, other: Tensor, who: str) -> None:
    wrong = ((one - other).abs().amax(-1) > 1e-4 * other.abs().max()).float().mean()
    if wrong > 0.01:  # a score next to zero may turn either way
        raise AssertionError(f"{who} gives another answer with the same weights.")


def inference(setting: Setting) -> Contestants:
    """Ours, our plain torch, the public package with the same weights, and the dense layer of the width that is trained."""
    depth, leaf, batch = _tree(setting)
    model, inputs = FastFeedforward(WIDTH, WIDTH, depth=depth, leaf_width=leaf), _inputs(batch)
    nn.init.zeros_(model.leaves.out_bias)  # the package leaves it out in evaluation
    ours, dense = model.eval(), DenseFeedforward(WIDTH, WIDTH, width=2**depth * leaf).eval()
    found: Contestants = {"ours": varied(ours, inputs), "reference": varied(_plainly(ours), inputs)}
    found |= both_ways("dense", varied(dense, inputs))
    package = _package(model, depth, leaf)
    if package is not None and batch <= 256:
        _agree(package(inputs[0]), ours(inputs[0]), "fastfeedforward")
        found["fastfeedforward"] = varied(package, inputs)
    return found


def _package(model: FastFeedforward, depth: int, leaf: int) -> Callable[[Tensor], Tensor] | None:
    try:
        package = import_module("fastfeedforward").FFF(WIDTH, leaf, WIDTH, depth)
    except ImportError:
        return None
    with torch.no_grad():
        package.node_weights.copy_(model.gate.weight)
        package.node_biases.copy_(model.gate.bias.unsqueeze(-1))
        package.w1s.copy_(model.leaves.in_weight.transpose(1, 2))
        package.b1s.copy_(model.leaves.in_bias)
        package.w2s.copy_(model.leaves.out_weight)
    return package.eval()


def inference_work(setting: Setting) -> tuple[Work, Work]:
    """The way down, then the leaves: their weights once for all inputs of a call that reach them."""
    depth, leaf, batch = _tree(setting)
    leaves, row = 2**depth, 4 * WIDTH
    weights = row * 2 * leaf
    after = (_met(leaves, batch) * weights, leaves * weights), _written(batch)
    flops = 2.0 * batch * WIDTH * 2 * leaf
    last = Work(flops, after[1:], scattered=after[:1]) if leaf == 1 else Work(flops, after)
    return _way_down(depth, batch, row), last


def _met(places: int, batch: int) -> float:
    """How many of so many places are reached by at least one input, expected where each is as likely."""
    return places * (1 - (1 - 1 / places) ** batch)


def _way_down(depth: int, batch: int, row: int, rows: int = 1) -> Work:
    """Each input reads a node's `rows` rows on every level, from where the tree lies down to that level; and itself."""
    sizes = [row * rows * (2 ** (level + 1) - 1) for level in range(depth)]
    first = [_met(2**level, batch) for level in range(depth)]
    once = tuple((row * rows * met, size) for met, size in zip(first, sizes, strict=True))
    again = tuple((row * rows * (batch - met), size) for met, size in zip(first, sizes, strict=True))
    inputs = row * batch, row * batch * max(2, min(64, POOL // batch))
    return Work(2.0 * batch * WIDTH * depth * rows, (inputs,), again, once)


def _written(batch: int) -> tuple[float, float]:
    """Outputs: what is written is read before, a cache line at a time."""
    return 8.0 * WIDTH * batch, 4.0 * WIDTH * batch


TRAINED = ((5, 8, 784, 10), (3, 384, 768, 768), (5, 96, 768, 768), (7, 24, 768, 768))
"""Depth, leaf width, input width, output width."""


def training(setting: Setting) -> Contestants:
    """A step of the soft tree, and of the dense layer whose matrix products it contains."""
    depth, leaf, into, out = (int(setting[name]) for name in ("depth", "leaf", "in", "out"))
    inputs = _inputs(int(setting["batch"]), into)
    tree = FastFeedforward(into, out, depth=depth, leaf_width=leaf)
    dense = nn.Sequential(nn.Linear(into, 2**depth * leaf), nn.ReLU(), nn.Linear(2**depth * leaf, out))
    found: Contestants = {
        "ours": varied(_step(tree), inputs),
        "reference": varied(_plainly(_step(tree)), inputs),
        **both_ways("dense", varied(_step(dense), inputs)),
    }
    try:
        package = import_module("fastfeedforward").FFF(into, leaf, out, depth)
    except ImportError:
        return found
    if out * 2**depth <= 1000:  # its backward pass is quadratic in the leaves
        found["fastfeedforward"] = varied(_step(package), inputs)
    return found


def _step(model: nn.Module) -> Callable[[Tensor], Tensor]:
    def step(x: Tensor) -> Tensor:
        model.zero_grad(set_to_none=True)
        loss = model(x).square().mean()
        loss.backward()
        return loss

    return step


def training_work(setting: Setting) -> Work:
    """Two matrix products for what looks at the inputs, which have no gradient, and three for what comes after."""
    depth, leaf, into, out = (int(setting[name]) for name in ("depth", "leaf", "in", "out"))
    leaves, batch = 2**depth, int(setting["batch"])
    first, second = (leaves * leaf + leaves - 1) * into, leaves * (leaf + 1) * out
    moved = 4.0 * (2 * (first + second) + 3 * batch * leaves * leaf)
    return Work(2.0 * batch * (2 * first + 3 * second), moved)


def neurons(setting: Setting) -> Contestants:
    """Ours, our plain torch, the published batched form with the same weights, and the dense layer of as many neurons."""
    depth, batch = int(setting["depth"]), int(setting["batch"])
    model, inputs = NeuronTrees(WIDTH, WIDTH, depth=depth), _inputs(batch)
    ours, published = model.eval(), partial(batched, model)
    _agree(published(inputs[0]), ours(inputs[0]), "the published form")
    dense = DenseFeedforward(WIDTH, WIDTH, width=2**depth - 1).eval()
    return {
        "ours": varied(ours, inputs),
        "reference": varied(_plainly(ours), inputs),
        "published form": varied(published, inputs),
        **both_ways("dense", varied(dense, inputs)),
    }


def batched(model: NeuronTrees, x: Tensor) -> Tensor:
    """As the paper's code does it: at each level the rows' own weights are gathered and multiplied in a batch."""
    weight, bias, table = model.in_weight[0], model.in_bias[0], model.out_weight[0]
    node, nodes, scores = torch.zeros(len(x), dtype=torch.int64), [], []
    for _ in range(model.depth):
        score = torch.bmm(x.unsqueeze(1), weight[node].unsqueeze(-1)).flatten() + bias[node]
        nodes.append(node)
        scores.append(score)
        node = 2 * node + 1 + (score >= 0)
    said = F.gelu(torch.stack(scores, 1)).unsqueeze(1)
    return torch.bmm(said, table[torch.stack(nodes, 1)]).squeeze(1)


def neuron_work(setting: Setting) -> Work:
    """At every node met two rows: the question, and what the neuron says."""
    depth, batch = int(setting["depth"]), int(setting["batch"])
    down = _way_down(depth, batch, 4 * WIDTH, rows=2)
    return Work(down.flops, (*moves(down), _written(batch)), down.again, down.scattered)


def _of(depth: int, leaf: int, *batches: int) -> tuple[Setting, ...]:
    return tuple({"depth": depth, "leaf": leaf, "batch": batch} for batch in batches)


SHAPES = ((5, 32), (8, 8), (8, 32), (11, 1), (11, 8), (9, 32))
cases = (
    Case(
        name="tree_inference",
        title="A fast feedforward tree, in evaluation",
        says="768 -> 768, one leaf of 2^depth for each input, against all of them and against the public package.",
        settings=(
            *_of(3, 64, 256, 2048),
            *(one for shape in SHAPES for one in _of(*shape, 1, 8, 64, 256, 2048)),
            *({**one, "threads": 2} for shape in ((5, 32), (8, 32)) for one in _of(*shape, 2048)),
        ),
        contestants=inference,
        work=inference_work,
        learns=False,
        goals=(
            Goal(
                "At least 20 times as fast as the public package at batch 256, for 1,024 to 16,384 neurons in training",
                "fastfeedforward",
                at_least=20,
                where=lambda s: s["batch"] == 256 and 1024 <= 2 ** int(s["depth"]) * int(s["leaf"]) <= 16384,
            ),
            Goal(
                "At least 12 times as fast as the public package at every batch up to 256",
                "fastfeedforward",
                at_least=12,
                where=lambda s: int(s["batch"]) <= 256,
            ),
            Goal(
                "At least 45 times as fast as the public package for one input and leaves of at most 8",
                "fastfeedforward",
                at_least=45,
                where=lambda s: s["batch"] == 1 and int(s["leaf"]) <= 8,
            ),
            Goal(
                "At least 55 % of the floor from batch 256 on",
                "floor",
                at_least=0.55,
                where=lambda s: int(s["batch"]) >= 256,
            ),
            Goal(
                "At least 70 % of the floor for leaves of at least 32 with at least 64 inputs each",
                "floor",
                at_least=0.70,
                where=lambda s: int(s["leaf"]) >= 32 and int(s["batch"]) >= 64 * 2 ** int(s["depth"]),
            ),
            Goal(
                "16,384 neurons: at least 500 times as fast as dense for one input",
                "dense",
                at_least=500,
                where=lambda s: s["batch"] == 1 and (s["depth"], s["leaf"]) == (9, 32),
            ),
            Goal(
                "16,384 neurons: at least 100 times as fast as dense at batch 2,048",
                "dense",
                at_least=100,
                where=lambda s: s["batch"] == 2048 and (s["depth"], s["leaf"]) == (9, 32),
            ),
        ),
        quick=(*_of(5, 32, 1, 256), *_of(8, 8, 1, 256)),
    ),
    Case(
        name="tree_training",
        title="A training step of the soft tree",
        says="Forward and backward, every leaf weighted, against the dense layer of the same width.",
        settings=tuple(
            {"depth": depth, "leaf": leaf, "in": into, "out": out, "batch": 256} for depth, leaf, into, out in TRAINED
        ),
        contestants=training,
        work=training_work,
        goals=(
            Goal(
                "768 outputs: at most 1.15 times the time of dense of the same width",
                "dense",
                at_most=1.15,
                where=lambda s: s["out"] == 768,
            ),
            Goal(
                "10 outputs: at most 1.4 times the time of dense of the same width",
                "dense",
                at_most=1.4,
                where=lambda s: s["out"] == 10,
            ),
        ),
        quick=({"depth": 5, "leaf": 8, "in": 784, "out": 10, "batch": 256},),
    ),
    Case(
        name="neuron_trees",
        title="A tree of neurons, 4095 nodes of which 12 are met",
        says="768 -> 768, against dense of 4095 neurons and against the batched form that was published.",
        settings=tuple({"depth": 12, "batch": batch} for batch in (1, 8, 64, 256, 1024)),
        contestants=neurons,
        work=neuron_work,
        learns=False,
        goals=(
            Goal(
                "At least 78 times as fast as dense for one input (the paper's figure)",
                "dense",
                at_least=78,
                where=lambda s: s["batch"] == 1,
            ),
            Goal(
                "At least 40 times as fast as the published batched form at batch 64 to 1,024",
                "published form",
                at_least=40,
                where=lambda s: int(s["batch"]) >= 64,
            ),
        ),
        quick=({"depth": 12, "batch": 1}, {"depth": 12, "batch": 64}),
    ),
)
