"""Trees against the dense layer of the width that they train, and against the public package.

Routing is that of random weights on random inputs: nearly even over the leaves, which is the hardest case for caches.
"""

from collections.abc import Callable
from importlib import import_module

import torch
from torch import Tensor, nn

from labkit.layers.feedforward.fast_feedforward import FastFeedforward
from labkit.workbench.baselines import DenseFeedforward
from labkit.workbench.scoreboard.case import Case, Contestants, Goal, Setting, Work
from labkit.workbench.scoreboard.ceilings import both_ways
from labkit.workbench.scoreboard.timing import varied
from labkit.workbench.scoreboard.ways import plainly, require_alike

WIDTH = 768
ASTRAY = 0.01
"""Part of the inputs whose path may differ, as a score next to zero may turn either way."""
POOL = 4096
"""Inputs in all that the calls of a contestant take in turn."""


def _tree(setting: Setting) -> tuple[int, int, int]:
    return int(setting["depth"]), int(setting["leaf"]), int(setting["batch"])


def inputs_of(batch: int, width: int = WIDTH) -> list[Tensor]:
    return [torch.randn(batch, width) for _ in range(max(2, min(64, POOL // batch)))]


def inference(setting: Setting) -> Contestants:
    """Ours, our plain torch, the public package with the same weights, and the dense layer of the width that is trained."""
    depth, leaf, batch = _tree(setting)
    model, inputs = FastFeedforward(WIDTH, WIDTH, depth=depth, leaf_width=leaf), inputs_of(batch)
    nn.init.zeros_(model.leaves.out_bias)  # the package leaves it out in evaluation
    ours, dense = model.eval(), DenseFeedforward(WIDTH, WIDTH, width=2**depth * leaf).eval()
    found: Contestants = {"ours": varied(ours, inputs), "reference": varied(plainly(ours), inputs)}
    found |= both_ways("dense", varied(dense, inputs))
    package = _package(model, depth, leaf)
    if package is not None and batch <= 256:
        require_alike({"ours": ours, "fastfeedforward": package}, inputs[0], tolerance=1e-4, astray=ASTRAY)
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
    after = (met(leaves, batch) * weights, leaves * weights), written(batch)
    flops = 2.0 * batch * WIDTH * 2 * leaf
    last = Work(flops, after[1:], scattered=after[:1]) if leaf == 1 else Work(flops, after)
    return way_down(depth, batch, row), last


def met(places: int, batch: int) -> float:
    """How many of so many places are reached by at least one input, expected where each is as likely."""
    return places * (1 - (1 - 1 / places) ** batch)


def way_down(depth: int, batch: int, row: int, rows: int = 1) -> Work:
    """Each input reads a node's `rows` rows on every level, from where the tree lies down to that level; and itself."""
    sizes = [row * rows * (2 ** (level + 1) - 1) for level in range(depth)]
    first = [met(2**level, batch) for level in range(depth)]
    once = tuple((row * rows * met, size) for met, size in zip(first, sizes, strict=True))
    again = tuple((row * rows * (batch - met), size) for met, size in zip(first, sizes, strict=True))
    inputs = row * batch, row * batch * max(2, min(64, POOL // batch))
    return Work(2.0 * batch * WIDTH * depth * rows, (inputs,), again, once)


def written(batch: int) -> tuple[float, float]:
    """Outputs: what is written is read before, a cache line at a time."""
    return 8.0 * WIDTH * batch, 4.0 * WIDTH * batch


TRAINED = ((5, 8, 784, 10), (3, 384, 768, 768), (5, 96, 768, 768), (7, 24, 768, 768))
"""Depth, leaf width, input width, output width."""


def training(setting: Setting) -> Contestants:
    """A step of the soft tree, and of the dense layer whose matrix products it contains."""
    depth, leaf, into, out = (int(setting[name]) for name in ("depth", "leaf", "in", "out"))
    inputs = inputs_of(int(setting["batch"]), into)
    tree = FastFeedforward(into, out, depth=depth, leaf_width=leaf)
    dense = nn.Sequential(nn.Linear(into, 2**depth * leaf), nn.ReLU(), nn.Linear(2**depth * leaf, out))
    found: Contestants = {
        "ours": varied(_step(tree), inputs),
        "reference": varied(plainly(_step(tree)), inputs),
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
)
