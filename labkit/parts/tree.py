"""A binary tree of decisions: soft (every leaf gets a share) or hard (one path from the root to a leaf).

Nodes are numbered level by level: the root is 0, the children of n are 2n+1 (left) and 2n+2 (right). An input goes
right where its score s = w_n·x + b_n is at least 0; softly, it goes right with probability σ(s). A tree of depth D
has 2^D - 1 nodes and 2^D leaves, numbered from left to right.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.parts.experts import Experts
from labkit.parts.gate import Routing, everything, only
from labkit.parts.kernels.card import on_card
from labkit.parts.kernels.engine import heard, suits
from labkit.parts.kernels.shortcut import Run, parameters_of
from labkit.parts.kernels.soft_tree import leaf_shares, weighted_hidden
from labkit.parts.kernels.tree import hard_leaves, hard_tree, through_tree, way_down
from labkit.parts.relaxation import RegionLeak
from labkit.parts.shapes import traced


class Branching(NamedTuple):
    """The decisions of a tree, for whoever records it. A positive score means right.

    Shapes: scores and node (..., M), where M is every node in order, or the nodes on each input's own path.
    """

    scores: Tensor
    node: Tensor
    nodes: int


class Decisions(nn.Module):
    """Says which decisions a tree took: an identity that the recorder can find by its output type."""

    def forward(self, scores: Tensor, node: Tensor | None, nodes: int) -> Branching:
        if node is None:
            node = torch.arange(nodes, device=scores.device).expand(scores.shape)
        return Branching(scores, node, nodes)


def leaf_probabilities(scores: Tensor, depth: int) -> Tensor:
    """The share of each input that reaches each leaf: scores (..., 2^depth - 1) -> (..., 2^depth), summing to 1."""
    if depth and suits(scores):
        return leaf_shares(scores)
    right, left = torch.sigmoid(scores), torch.sigmoid(-scores)
    reach = torch.ones_like(scores[..., :1]) if depth else scores.new_ones(*scores.shape[:-1], 1)
    for level in range(depth):
        nodes = slice(2**level - 1, 2 ** (level + 1) - 1)
        reach = torch.stack((reach * left[..., nodes], reach * right[..., nodes]), -1).flatten(-2)
    return reach


def descend(x: Tensor, weight: Tensor, bias: Tensor, depth: int) -> tuple[Tensor, Tensor, Tensor]:
    """Follow each input down each tree: the nodes it met, their scores, and where it ended.

    Shapes: x (..., width), weight (trees, nodes, width), bias (trees, nodes) -> node, scores (..., trees, depth) and
    end (..., trees), which counts from the left among the places below the last level.

    Compiled code walks where it suits. Else there are two ways with the same result: a few nodes are scored all at once by
    one matrix product; of many nodes only the rows on the path are read, so the cost grows with the depth and not with
    the 2^depth nodes. The path is found without gradients; where they are wanted the scores on it are computed once
    more, in one piece.
    """
    trees, nodes, width = weight.shape
    if depth == 0:
        empty = x.new_zeros(*x.shape[:-1], trees, 0)
        return empty.long(), empty, empty.sum(-1).long()
    rows, offsets = weight.reshape(-1, width), bias.reshape(-1)
    first = torch.arange(trees, device=x.device) * nodes
    with torch.no_grad():
        card = on_card("tree", "way_down", x, weight, bias)
        compiled = card is not None or suits(x, weight, bias)
    few = nodes <= 32 * depth and (torch.is_grad_enabled() or not compiled)
    every = F.linear(x, rows, offsets) if few else None
    with torch.no_grad():
        if compiled:
            path, scores, place = (card or way_down)(x, weight, bias, depth)
        elif x.numel() == width and not traced():
            path, scores, place = _walk(x, rows, offsets, trees, depth, every)
        else:
            path, scores, place = _all_at_once(x, rows, offsets, first, depth, every)
    if not torch.is_grad_enabled():
        return path, scores, place
    flat = (path + first.unsqueeze(-1)).flatten(-2)
    if every is not None:
        wanted = every.gather(-1, flat)
    else:
        wanted = torch.einsum("...kw,...w->...k", F.embedding(flat, rows), x) + offsets[flat]
    return path, wanted.unflatten(-1, (trees, depth)), place


def _all_at_once(x: Tensor, rows: Tensor, offsets: Tensor, first: Tensor, depth: int, every: Tensor | None):
    """Every input takes one step down at a time."""
    place = torch.zeros(*x.shape[:-1], len(first), dtype=torch.long, device=x.device)
    met, scores = [], []
    for level in range(depth):
        node = place + (2**level - 1)
        at = node + first
        if every is not None:
            score = every.gather(-1, at)
        else:
            score = (F.embedding(at, rows) * x.unsqueeze(-2)).sum(-1) + offsets[at]
        place = 2 * place + (score >= 0)
        met.append(node)
        scores.append(score)
    return torch.stack(met, -1), torch.stack(scores, -1), place


def _walk(x: Tensor, rows: Tensor, offsets: Tensor, trees: int, depth: int, every: Tensor | None):
    """One input: Python keeps the place, which saves a dozen small tensor operations a level."""
    known, alone, nodes = every.flatten().tolist() if every is not None else None, x.reshape(-1), len(rows) // trees
    met, scores, ends = [], [], []
    for start in range(0, len(rows), nodes):
        place = 0
        for level in range(depth):
            node = place + 2**level - 1
            at = start + node
            score = known[at] if known else (torch.dot(rows[at], alone) + offsets[at]).item()
            place = 2 * place + (score >= 0)
            met.append(node)
            scores.append(score)
        ends.append(place)
    shape = (*x.shape[:-1], trees, depth)
    path = torch.tensor(met, device=x.device).view(shape)
    return (
        path,
        torch.tensor(scores, dtype=x.dtype, device=x.device).view(shape),
        torch.tensor(ends, device=x.device).view(shape[:-1]),
    )


class TreeGate(nn.Module):
    """Chooses a leaf for each input: softly while training, one leaf by the signs of `depth` scores in evaluation.

    Shapes: x (..., width) -> Routing over 2^depth leaves.
    """

    relaxed = True  # `softened` may ask for the soft mixture outside training

    def __init__(self, width: int, *, depth: int, leak: float = 0.0):
        super().__init__()
        if depth < 0:
            raise ValueError(f"a tree's depth is 0 or more, not {depth}.")
        self.width, self.depth, self.nodes, self.leaves = width, depth, 2**depth - 1, 2**depth
        bound = 1 / math.sqrt(width)
        self.weight = nn.Parameter(torch.empty(self.nodes, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(self.nodes).uniform_(-bound, bound))
        self.leak = RegionLeak(leak)
        self.decisions = Decisions()

    def forward(self, x: Tensor) -> Routing:
        if self.training:
            scores = F.linear(x, self.weight, self.bias)
            if heard(self.decisions):
                self.decisions(scores, None, self.nodes)
            shares = leaf_probabilities(scores, self.depth)
            leaked = leaf_probabilities(self.leak(scores), self.depth) if self.leak.active else shares
            return everything(leaked, shares)
        with torch.no_grad():  # a hard choice has no gradient
            node, scores, leaf = descend(x, self.weight.unsqueeze(0), self.bias.unsqueeze(0), self.depth)
        self.decisions(scores.squeeze(-2), node.squeeze(-2), self.nodes)
        return only(leaf.squeeze(-1), self.leaves, x)


class Leaves(Experts):
    """The small networks at the end of a tree: in evaluation each input runs through the one where it ended.

    Shapes: x (..., in_width), routing over `count` leaves -> (..., out_width).
    """

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        if routing.index.shape[-1] == 1 and not routing.soft and self.activation is F.relu:
            bank = self._bank()
            card = on_card("tree", "hard_leaves", x, *bank)
            if card or suits(x, *bank, learns=False):
                return (card or hard_leaves)(x, routing.index.squeeze(-1), *bank) * routing.weights
        return super().forward(x, routing)

    def reached(
        self, x: Tensor, gate: TreeGate, keep: Callable[[Run, tuple[Tensor, ...]], None] | None = None
    ) -> Tensor:
        """`self(x, gate(x))`: in one compiled go in evaluation, where nobody listens to the gate or the leaves.

        Where it went that way, `keep` is given what would do it at once, and the parameters on which that depends.
        """
        if not gate.training and self.activation is F.relu and not heard(gate, self):
            weights = *parameters_of(gate, "weight", "bias"), *self._bank()
            card = on_card("tree", "hard_tree", x, *weights)
            if card:
                return card(x, *weights)
            if suits(x, *weights, learns=False):
                if keep and not torch.is_grad_enabled() and not traced():
                    keep(through_tree(*weights), weights)
                return hard_tree(x, *weights)
        return self(x, gate(x))

    def mixed(self, x: Tensor, weights: Tensor) -> Tensor:
        if self.activation is F.relu and suits(x, weights, *self._bank()):
            hidden = weighted_hidden(F.linear(x, self.in_weight.flatten(0, 1), self.in_bias.flatten()), weights)
            return hidden @ self.out_weight.flatten(0, 1) + weights @ self.out_bias
        return super().mixed(x, weights)

    def _bank(self) -> tuple[Tensor, ...]:
        return parameters_of(self, "in_weight", "in_bias", "out_weight", "out_bias")
