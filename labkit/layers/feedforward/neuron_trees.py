"""A feedforward layer in which the questions are the neurons: of thousands, each input meets only a dozen.

Each tree holds one neuron a node and no leaves. An input meets the root, adds what that neuron has to say to the
output, goes left or right by the sign of its score, and so on: D of the tree's 2^D - 1 neurons are used. Several
trees run side by side and their outputs add up.

    s_n = w_n·x + b_n,     y = Σ_trees Σ_{n on the path} gelu(s_n) v_n,     the path turns right where s_n ≥ 0

Symbols: D depth (neurons met in each tree), n a node, w_n its input weights, v_n its output weights; there is no
output bias. The path is hard in training too: only the neurons met by an input learn from it.

Source: "Exponentially Faster Language Modelling" (P135). Its layer of 4095 neurons of which 12 are used is depth=12.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.gate import Routing
from labkit.parts.kernels.engine import heard, suits
from labkit.parts.kernels.neuron_trees import few_enough, neuron_trees, paths_said, through_neurons
from labkit.parts.kernels.shortcut import Shortcut, parameters_of, shortcut
from labkit.parts.shapes import shaped, traced
from labkit.parts.tree import Decisions, descend


class PathGate(nn.Module):
    """Turns the paths through the trees into a routing over neurons: each neuron met has an equal share."""

    def __init__(self, neurons: int):
        super().__init__()
        self.neurons = neurons

    def forward(self, index: Tensor, like: Tensor) -> Routing:
        shares = torch.full(index.shape, 1 / index.shape[-1], dtype=like.dtype, device=like.device)
        return Routing(index, shares, self.neurons)


class NeuronTrees(nn.Module):
    """Parallel trees of neurons: each input uses `depth` neurons of every tree, in training and in evaluation.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError for a depth or a number of trees below 1.
    Source: "Exponentially Faster Language Modelling" (P135).
    """

    def __init__(self, in_width: int, out_width: int, *, depth: int, trees: int = 1):
        super().__init__()
        if depth < 1 or trees < 1:
            raise ValueError(f"NeuronTrees needs at least one level and one tree, not depth={depth}, trees={trees}.")
        self.in_width, self.out_width, self.depth, self.trees = in_width, out_width, depth, trees
        self.nodes = 2**depth - 1
        first, second = 1 / math.sqrt(in_width), 1 / math.sqrt(depth * trees)
        self.in_weight = nn.Parameter(torch.empty(trees, self.nodes, in_width).uniform_(-first, first))
        self.in_bias = nn.Parameter(torch.empty(trees, self.nodes).uniform_(-first, first))
        self.out_weight = nn.Parameter(torch.empty(trees, self.nodes, out_width).uniform_(-second, second))
        self.decisions = Decisions()
        self.gate = PathGate(trees * self.nodes)
        self.shortcut = Shortcut()

    @shortcut
    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        weights = parameters_of(self, "in_weight", "in_bias", "out_weight")
        heard_by = heard(self.decisions, self.gate)
        compiled = few_enough(self.trees * self.depth) and suits(x, *weights, learns=False)
        if compiled and not heard_by:
            if not torch.is_grad_enabled() and not traced():
                self.shortcut.remember(self, through_neurons(*weights), weights, self.in_width, self.out_width)
            return neuron_trees(x, *weights)
        node, scores, _ = descend(x, self.in_weight, self.in_bias, self.depth)
        neuron = node + self.nodes * torch.arange(self.trees, device=x.device).unsqueeze(-1)
        neuron, scores = neuron.flatten(-2), scores.flatten(-2)
        self.decisions(scores, neuron, self.trees * self.nodes)
        self.gate(neuron, x)
        table = self.out_weight.flatten(0, 1)
        if compiled:
            return paths_said(neuron, scores, table)
        if traced():
            return torch.einsum("...k,...ko->...o", F.gelu(scores), table[neuron])
        paths, said = neuron.reshape(-1, neuron.shape[-1]), F.gelu(scores).to(table.dtype).reshape(-1, neuron.shape[-1])
        summed = F.embedding_bag(paths, table, per_sample_weights=said, mode="sum")
        return summed.reshape(*x.shape[:-1], self.out_width)


def slowly(layer: NeuronTrees, x: Tensor) -> Tensor:
    """One input, one tree, one neuron at a time."""
    rows = []
    for row in x:
        total = torch.zeros(layer.out_width, dtype=x.dtype)
        for tree in range(layer.trees):
            node = 0
            for _ in range(layer.depth):
                score = layer.in_weight[tree, node] @ row + layer.in_bias[tree, node]
                total = total + F.gelu(score) * layer.out_weight[tree, node]
                node = 2 * node + (2 if score >= 0 else 1)
        rows.append(total)
    return torch.stack(rows)


example = Example(
    lambda: NeuronTrees(6, 5, depth=3, trees=2),
    reference=slowly,
    exempt={},
)
