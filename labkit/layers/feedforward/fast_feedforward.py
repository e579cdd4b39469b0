"""A feedforward layer split by a tree: each input pays for one small leaf instead of the whole width.

A binary tree of depth D asks D questions about the input, each answered by one neuron, and ends in one of 2^D small
two-layer networks, the leaves. While training, the answers are soft and every leaf contributes its share; in
evaluation each answer is its sign and a single leaf of width h runs.

    c_n(x) = σ(w_n·x + b_n)                                   the probability of going right at node n
    y      = Σ_leaf p_leaf(x) f_leaf(x),   p_leaf = Π over its path of c_n or (1 - c_n)            training
    y      = f_leaf*(x),                   leaf* reached by the signs of w_n·x + b_n               evaluation

Symbols: D depth, h leaf width, 2^D·h the width that is trained, n a node, x an input of size in_width.

Two regularisers belong to it: hardening, the entropy of the answers (`losses.hardening`, on a recording), which makes
the soft network that is trained look like the hard one that is used; and the region leak, which swaps left and right
at random so that leaves also learn from their neighbours' inputs.

Source: "Fast Feedforward Networks" (P120). The evaluation adds the leaf's output bias, as the equation says.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.kernels.shortcut import Run, Shortcut, shortcut
from labkit.parts.shapes import shaped
from labkit.parts.tree import Leaves, TreeGate


class FastFeedforward(nn.Module):
    """A tree of small feedforward networks: all of them mixed while training, one of them in evaluation.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError for a negative depth or a leak outside [0, 1).
    Source: "Fast Feedforward Networks" (P120).
    """

    def __init__(self, in_width: int, out_width: int, *, depth: int, leaf_width: int, leak: float = 0.0):
        super().__init__()
        self.in_width, self.out_width = in_width, out_width
        self.gate = TreeGate(in_width, depth=depth, leak=leak)
        self.leaves = Leaves(2**depth, in_width, leaf_width, out_width)
        self.shortcut = Shortcut()

    @shortcut
    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        return self.leaves.reached(x, self.gate, self._keep)

    def _keep(self, run: Run, weights: tuple[Tensor, ...]) -> None:
        depends_on = "gate.training", "leaves.activation"
        self.shortcut.remember(self, run, weights, self.in_width, self.out_width, *depends_on)


def slowly(layer: FastFeedforward, x: Tensor) -> Tensor:
    """One input at a time, one node at a time: what the equation says."""
    return torch.stack([_answer(layer, row) for row in x])


def _answer(layer: FastFeedforward, x: Tensor) -> Tensor:
    gate, leaves = layer.gate, layer.leaves

    def leaf(number: int) -> Tensor:
        hidden = F.relu(leaves.in_weight[number] @ x + leaves.in_bias[number])
        return hidden @ leaves.out_weight[number] + leaves.out_bias[number]

    def below(node: int) -> Tensor:
        if node >= gate.nodes:
            return leaf(node - gate.nodes)
        score = gate.weight[node] @ x + gate.bias[node]
        if layer.training:
            right = torch.sigmoid(score)
            return (1 - right) * below(2 * node + 1) + right * below(2 * node + 2)
        return below(2 * node + 2) if score >= 0 else below(2 * node + 1)

    return below(0)


example = Example(lambda: FastFeedforward(6, 5, depth=3, leaf_width=2), reference=slowly)
