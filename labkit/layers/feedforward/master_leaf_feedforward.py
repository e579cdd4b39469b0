"""A fast feedforward tree with a master leaf: one leaf that always runs, blended with the one the tree chooses.

The tree alone can give an input only what its own leaf has learnt. The master leaf sees every input, carries what all
regions share, and leaves the rest to the tree; a trained number k decides how much each says. Trained together with
a loss that spreads the inputs over the leaves (`losses.load_balance`, on a recording).

    y = k · tree(x) + (1 - k) · master(x),      k = σ(blend)

Symbols: tree a fast feedforward tree of depth D with leaves of width h, master a two-layer network of width m.

Source: "Enhancing Fast Feed Forward Networks with Load Balancing and a Master Leaf Node" (P124). That k is trained is
stated by the paper; that it is kept between 0 and 1 by a sigmoid and starts at 1/2 is reconstructed.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.shapes import shaped
from labkit.parts.tree import Leaves, TreeGate


class MasterLeafFeedforward(nn.Module):
    """A tree of small networks plus one network that sees every input, blended by a trained number.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError for a negative depth or a leak outside [0, 1).
    Source: "Enhancing Fast Feed Forward Networks with Load Balancing and a Master Leaf Node" (P124).
    """

    def __init__(
        self, in_width: int, out_width: int, *, depth: int, leaf_width: int, master_width: int, leak: float = 0.0
    ):
        super().__init__()
        self.in_width, self.out_width = in_width, out_width
        self.gate = TreeGate(in_width, depth=depth, leak=leak)
        self.leaves = Leaves(2**depth, in_width, leaf_width, out_width)
        self.master = nn.Sequential(nn.Linear(in_width, master_width), nn.ReLU(), nn.Linear(master_width, out_width))
        self.blend = nn.Parameter(torch.zeros(()))

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        tree = torch.sigmoid(self.blend)
        return tree * self.leaves.reached(x, self.gate) + (1 - tree) * self.master(x)


def slowly(layer: MasterLeafFeedforward, x: Tensor) -> Tensor:
    """Each leaf on each input, weighted by its share (training) or by whether it was reached (evaluation)."""
    gate, leaves, tree = layer.gate, layer.leaves, torch.sigmoid(layer.blend)
    total = (1 - tree) * layer.master(x)
    for number in range(gate.leaves):
        share, node = torch.ones(len(x), dtype=x.dtype), number + gate.nodes
        while node:
            parent = (node - 1) // 2
            score = x @ gate.weight[parent] + gate.bias[parent]
            right = torch.sigmoid(score) if layer.training else (score >= 0).to(x)
            share = share * (right if node == 2 * parent + 2 else 1 - right)
            node = parent
        hidden = F.relu(x @ leaves.in_weight[number].T + leaves.in_bias[number])
        total = total + tree * share[:, None] * (hidden @ leaves.out_weight[number] + leaves.out_bias[number])
    return total


example = Example(lambda: MasterLeafFeedforward(6, 5, depth=2, leaf_width=3, master_width=4), reference=slowly)
