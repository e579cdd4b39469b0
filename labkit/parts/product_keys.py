"""Product keys: of n² memory slots the best few, found by comparing a query with 2n half keys only.

Slot (i, j) has the key (c_i, c'_j): the score of a query q = (q_1, q_2) is q_1·c_i + q_2·c'_j. The k best slots are among
the pairs of the k best i with the k best j; and when both are sorted, among the pairs of an a-th and a b-th best with
a b ≤ k, since the a b pairs of at least as good halves all score at least as high. So few sums are left to be compared:
119 instead of 32 x 32.

    index, score = top-k of {s_i + s'_j},     w = softmax(score),     y = Σ_heads Σ_k w_k V_{index_k}

Symbols: n half keys on each side, k chosen slots, V the table of values, one row for each slot.

Source: "Large Memory Layers with Product Keys" (P098). That a b ≤ k suffices is well known of sums of sorted lists.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.parts.gate import Routing
from labkit.parts.kernels import product_keys, weighted_rows
from labkit.parts.kernels.engine import suits
from labkit.parts.shapes import traced


def best_pairs(query: Tensor, keys: Tensor, chosen: int) -> tuple[Tensor, Tensor]:
    """The best slots of each head and their scores, best first; slot n i + j has the half keys i and j.

    Shapes: query (..., heads, 2, half_width), keys (heads, 2, n, half_width) -> scores and index (..., heads, chosen).
    """
    if not suits(query, keys, worth=chosen <= product_keys.MOST):
        return product_keys.plain(query, keys, chosen)
    scores, index = product_keys.best_pairs(query.reshape(-1, *query.shape[-3:]), keys, chosen)
    return scores.view(*query.shape[:-2], chosen), index.view(*query.shape[:-2], chosen)


def read_rows(table: Tensor, index: Tensor, weights: Tensor, *, sparse: bool = False) -> Tensor:
    """Sums of rows of a table, each input with its own rows and weights; an index of -1 reads nothing.

    Shapes: table (slots, width), index and weights (..., reads) -> (..., width). With `sparse` the gradient of the table
    holds only the rows that were read, which is what `torch.optim.SparseAdam` takes.
    Raises: IndexError for an index that the table does not have (plain torch: RuntimeError).
    """
    weights = weights.to(table.dtype)  # under autocast they may differ
    flat, each = index.reshape(-1, index.shape[-1]), weights.reshape(-1, weights.shape[-1])
    if suits(table, weights, worth=index.numel() < 2**31):
        rows = weighted_rows.weighted_rows(table, flat, each, sparse)
    elif traced():
        return torch.einsum("...k,...kw->...w", weights * (index >= 0), table[index.clamp_min(0)])
    else:
        rows = weighted_rows.plain(table, flat, each, sparse)
    return rows.view(*index.shape[:-1], table.shape[1])


class RowNorm(nn.BatchNorm1d):
    """Batch normalisation of vectors with any leading axes; fewer than two of them are normalised as in evaluation.

    Shapes: x (..., width) -> (..., width).
    """

    def forward(self, input: Tensor) -> Tensor:
        rows = input.reshape(-1, self.num_features)
        if self.training and len(rows) > 1:
            return super().forward(rows).view(input.shape)
        known = self.running_mean, self.running_var, self.weight, self.bias
        return F.batch_norm(rows, *known, training=False, eps=self.eps).view(input.shape)


class ProductKeyGate(nn.Module):
    """Chooses slots of a memory by product keys: for each head the best few, weighted by a softmax of their scores.

    The heads read the same memory. Their choices stand one after the other, each head's best first, and a head has an
    equal share of the weight: all weights of an input sum to 1. A slot may be chosen by several heads.

    Shapes: query (..., heads, 2, half_width) -> routing over keys² slots with heads x chosen places.
    """

    def __init__(self, half_width: int, *, keys: int, heads: int, chosen: int):
        super().__init__()
        self.keys, self.heads, self.chosen = keys, heads, chosen
        bound = 1 / math.sqrt(half_width)
        self.weight = nn.Parameter(torch.empty(heads, 2, keys, half_width).uniform_(-bound, bound))

    def forward(self, query: Tensor) -> Routing:
        scores, index = best_pairs(query, self.weight, self.chosen)
        weights = scores.softmax(-1) / self.heads
        return Routing(index.flatten(-2), weights.flatten(-2), self.keys**2)
