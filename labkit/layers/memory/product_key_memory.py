"""A memory of n² slots that is read by content: each input finds its few best slots by comparing with 2n half keys.

The input is turned into one query a head. Each half of a query is compared with n half keys of its own; every pair of
half keys is the key of a slot, and its score is the sum of both. The values of the best slots are added up, weighted by a
softmax of the scores. So a layer may hold a million values and yet compute with some dozens of them.

    q_h = norm(W_h x) = (q_1, q_2),     s_{(i,j)} = q_1·c_i + q_2·c'_j,     y = Σ_h Σ_{t in top-k} softmax(s)_t V_t

Symbols: h head, n half keys on each side, c_i and c'_j half keys (each head has its own), k chosen slots a head, V values
(all heads share them). A half query is in_width / heads numbers wide.

The paper normalises queries over the batch, and finds that more slots are then used: norm="batch". In training it makes
every input see the others, later tokens too; so the default normalises each half query for itself (norm="layer"), as the
package product-key-memory does.

Source: "Large Memory Layers with Product Keys" (P098).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.product_keys import ProductKeyGate, RowNorm, read_rows
from labkit.parts.shapes import shaped

NORMS = {"layer": nn.LayerNorm, "batch": RowNorm, "none": nn.Identity}


class ProductKeyMemory(nn.Module):
    """A table of keys² values, of which each input reads `heads` x `chosen`.

    Set `sparse_gradient` to True for a gradient that holds only the values that were read (`torch.optim.SparseAdam`).

    Shapes: x (*batch, in_width) -> (*batch, out_width).
    Raises: ShapeError for inputs of another shape or type; ValueError for an unknown norm, for more chosen slots than
    half keys, and for an in_width that the heads do not divide.
    Source: "Large Memory Layers with Product Keys" (P098).
    """

    sparse_gradient = False

    def __init__(
        self, in_width: int, out_width: int, *, keys: int, heads: int = 4, chosen: int = 32, norm: str = "layer"
    ):
        super().__init__()
        if not 1 <= chosen <= keys:
            raise ValueError(f"ProductKeyMemory chooses between 1 and keys={keys} slots, not chosen={chosen}.")
        if heads < 1 or in_width % heads:
            raise ValueError(f"ProductKeyMemory needs heads that divide in_width={in_width}, not heads={heads}.")
        if norm not in NORMS:
            raise ValueError(f"ProductKeyMemory takes norm as one of {', '.join(NORMS)}, not {norm!r}.")
        self.in_width, self.out_width, self.heads, self.half_width = in_width, out_width, heads, in_width // heads
        self.query = nn.Linear(in_width, 2 * in_width, bias=False)
        self.norm = NORMS[norm](2 * in_width if norm == "batch" else self.half_width)
        self.over_batch = norm == "batch"
        self.gate = ProductKeyGate(self.half_width, keys=keys, heads=heads, chosen=chosen)
        self.values = nn.Parameter(torch.empty(keys**2, out_width).normal_(std=out_width**-0.5))

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        query = self.query(x)
        query = self.norm(query) if self.over_batch else query
        query = query.unflatten(-1, (self.heads, 2, self.half_width))
        routing = self.gate(query if self.over_batch else self.norm(query))
        weights = routing.weights * self.heads  # in a routing, all heads together have the weight 1
        return read_rows(self.values, routing.index, weights, sparse=self.sparse_gradient)


def slowly(layer: ProductKeyMemory, x: Tensor) -> Tensor:
    """One input and head at a time, with the scores of all slots written out."""
    rows, keys = [], layer.gate.weight
    for row in x:
        total = torch.zeros(layer.out_width, dtype=x.dtype)
        queries = (layer.query.weight @ row).view(layer.heads, 2, layer.half_width)
        for head in range(layer.heads):
            first, second = layer.norm(queries[head, 0]), layer.norm(queries[head, 1])
            scores = ((keys[head, 0] @ first).unsqueeze(1) + keys[head, 1] @ second).flatten()
            best = scores.topk(layer.gate.chosen)
            for weight, slot in zip(best.values.softmax(0), best.indices, strict=True):
                total = total + weight * layer.values[slot]
        rows.append(total)
    return torch.stack(rows)


example = Example(lambda: ProductKeyMemory(6, 5, keys=7, heads=2, chosen=4), reference=slowly)
