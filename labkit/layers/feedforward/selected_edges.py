"""A layer of curves in which every output chooses, out of five families of functions, what its curves are made of.

In a Kolmogorov-Arnold layer every pair of an input and an output has a curve of its own, and somebody has decided what all
the curves are sums of: splines, waves, bumps. Here every edge has one curve from each family, and every output owns a
handful of scores that say how much each family counts for it. `prune()` then keeps only the strongest families of each
output and drops the curves of the others.

    y_j = Σ_i [ w_ij silu(x_i) + Σ_k α_jk φ_ijk(x_i) ],      φ_ijk(x) = Σ_t c_ijkt b_kt(x),      α_j = softmax(s_j)

Symbols: b_k1 ... b_kT the terms of family k (`labkit/parts/bases.py`), c_ijkt their weights on edge i -> j (`curves`,
(in_width, families, terms, out_width)); s_jk the score of family k for output j (`scores`); w_ij the weight of the silu,
which stands beside the pool as in KAN so that an edge is not mute outside [-1, 1].

α adds nothing that the weights c could not say alone: with α fixed at 1/families, weights c_ijkt α_jk · families give the
same layer. What the scores can change is how it learns, and what is kept.

Source: "Activation Space Selectable Kolmogorov-Arnold Networks" (P187). Its stages (train all, keep the strong, prune) are
public; that α is a softmax of scores of each output, and that pruning leaves the kept curves as they were, is reconstructed.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.bases import BASES, FEWEST, all_terms
from labkit.parts.shapes import shaped


class SelectedEdges(nn.Module):
    """A curve for every pair of an input and an output, from families that each output weighs.

    With one family it is an ordinary Kolmogorov-Arnold layer of that family.

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError for a family that is not known or for too few terms.
    Source: "Activation Space Selectable Kolmogorov-Arnold Networks" (P187).
    """

    def __init__(self, in_width: int, out_width: int, *, families: Sequence[str] = tuple(BASES), terms: int = 8):
        super().__init__()
        unknown = [name for name in families if name not in BASES]
        if unknown or not families:
            raise ValueError(
                f"SelectedEdges takes families out of {', '.join(BASES)}, not {', '.join(unknown) or 'none'}."
            )
        if terms < FEWEST:
            raise ValueError(f"a family of SelectedEdges has at least {FEWEST} terms, not {terms}.")
        self.in_width, self.out_width, self.families, self.terms = in_width, out_width, tuple(families), terms
        bound = 1 / math.sqrt(in_width)
        many = len(self.families)
        self.straight = nn.Parameter(torch.empty(in_width, out_width).uniform_(-bound, bound))
        self.curves = nn.Parameter(torch.randn(in_width, many, terms, out_width) * (bound / math.sqrt(terms)))
        self.scores: Tensor
        self.kept: Tensor
        if many > 1:
            self.scores = nn.Parameter(torch.zeros(out_width, many))
        else:
            self.register_buffer("scores", torch.zeros(out_width, 1))  # nothing to choose, nothing to learn
        self.register_buffer("kept", torch.ones(out_width, many))

    @property
    def selection(self) -> Tensor:
        """α: how much each family counts for each output, 0 where it was dropped. Shapes: -> (out_width, families)."""
        return self.scores.masked_fill(self.kept == 0, -torch.inf).softmax(-1)

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        weights = self.curves * self.selection.T.unsqueeze(1)
        terms = all_terms(x, self.families, self.terms)
        return F.silu(x) @ self.straight + terms.flatten(-3) @ weights.flatten(0, 2)

    @torch.no_grad()
    def prune(self, keep: int = 1, by: Tensor | None = None) -> None:
        """Keep the `keep` strongest families of each output, by α or by a table of your own (out_width, families).

        The curves that are kept say what they said before: the remaining α grow to sum to 1 again, and their weights c
        shrink by as much. What is dropped is multiplied by 0; no time is saved.
        Raises: ValueError for `keep` below 1 or above the number of families.
        """
        if not 1 <= keep <= len(self.families):
            raise ValueError(f"of {len(self.families)} families 1 to {len(self.families)} can be kept, not {keep}.")
        before = self.selection
        strong = (before if by is None else by).masked_fill(self.kept == 0, -torch.inf).topk(keep, -1).indices
        self.kept.copy_(torch.zeros_like(self.kept).scatter(-1, strong, 1.0) * self.kept)
        after = self.selection
        self.curves.mul_((before / after.where(self.kept > 0, 1.0) * self.kept).T.unsqueeze(1))

    def contributions(self, x: Tensor) -> Tensor:
        """How far what a family says to an output moves over the inputs, α included: its standard deviation.

        Shapes: x (rows, in_width) -> (out_width, families).
        """
        terms = all_terms(x, self.families, self.terms)
        return torch.einsum("nikt,ikto,ok->nok", terms, self.curves, self.selection).std(0)

    def numbers_left(self) -> int:
        """How many of its numbers an output still needs: where one family is left, its score is not needed, either."""
        families = self.kept.sum(-1)
        own = families * self.terms * self.in_width + families.where(families > 1, 0) + self.in_width
        return int(own.sum())


def slowly(layer: SelectedEdges, x: Tensor) -> Tensor:
    """One edge and one family at a time."""
    total = x.new_zeros(*x.shape[:-1], layer.out_width)
    strength = layer.scores.exp() * layer.kept
    for j in range(layer.out_width):
        for i in range(layer.in_width):
            said = layer.straight[i, j] * x[..., i] / (1 + torch.exp(-x[..., i]))
            for k, name in enumerate(layer.families):
                curve = BASES[name](x[..., i], layer.terms) @ layer.curves[i, k, :, j]
                said = said + strength[j, k] / strength[j].sum() * curve
            total[..., j] += said
    return total


example = Example(lambda: SelectedEdges(6, 5, terms=5), reference=slowly)
