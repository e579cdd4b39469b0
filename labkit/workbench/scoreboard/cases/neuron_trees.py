"""Trees of neurons against the dense layer of as many neurons, and against the batched form that was published."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.layers.feedforward.neuron_trees import NeuronTrees
from labkit.workbench.baselines import DenseFeedforward
from labkit.workbench.scoreboard.case import Case, Contestants, Goal, Setting, Work
from labkit.workbench.scoreboard.cases.trees import ASTRAY, WIDTH, inputs_of, way_down, written
from labkit.workbench.scoreboard.ceilings import both_ways
from labkit.workbench.scoreboard.floors import moves
from labkit.workbench.scoreboard.timing import varied
from labkit.workbench.scoreboard.ways import plainly, require_alike


def neurons(setting: Setting) -> Contestants:
    """Ours, our plain torch, the published batched form with the same weights, and the dense layer of as many neurons."""
    depth, batch = int(setting["depth"]), int(setting["batch"])
    model, inputs = NeuronTrees(WIDTH, WIDTH, depth=depth), inputs_of(batch)
    ours, published = model.eval(), partial(batched, model)
    require_alike({"ours": ours, "the published form": published}, inputs[0], tolerance=1e-4, astray=ASTRAY)
    dense = DenseFeedforward(WIDTH, WIDTH, width=2**depth - 1).eval()
    return {
        "ours": varied(ours, inputs),
        "reference": varied(plainly(ours), inputs),
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
    down = way_down(depth, batch, 4 * WIDTH, rows=2)
    return Work(down.flops, (*moves(down), written(batch)), down.again, down.scattered)


cases = (
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
