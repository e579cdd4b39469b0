"""A bank of small two-layer networks, run as a routing says: all of them mixed, or only the chosen ones.

Symbols: E experts, h hidden width, d input width, o output width, K chosen per input.
Expert e computes f_e(x) = W2_e φ(W1_e x + b1_e) + b2_e; the bank returns Σ_k weight_k f_{index_k}(x).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.parts.gate import Routing
from labkit.parts.kernels.card import on_card
from labkit.parts.kernels.engine import suits
from labkit.parts.kernels.experts import experts
from labkit.parts.shapes import traced


class Experts(nn.Module):
    """E networks of one hidden layer each, evaluated by routing.

    Shapes: x (..., in_width), routing over `count` choices -> (..., out_width).
    """

    def __init__(
        self,
        count: int,
        in_width: int,
        hidden_width: int,
        out_width: int,
        *,
        activation: Callable[[Tensor], Tensor] = F.relu,
    ):
        super().__init__()
        self.count, self.in_width, self.hidden_width, self.out_width = count, in_width, hidden_width, out_width
        self.activation = activation
        first, second = 1 / math.sqrt(in_width), 1 / math.sqrt(hidden_width)
        self.in_weight = nn.Parameter(torch.empty(count, hidden_width, in_width).uniform_(-first, first))
        self.in_bias = nn.Parameter(torch.empty(count, hidden_width).uniform_(-first, first))
        self.out_weight = nn.Parameter(torch.empty(count, hidden_width, out_width).uniform_(-second, second))
        self.out_bias = nn.Parameter(torch.empty(count, out_width).uniform_(-second, second))

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        if routing.soft:
            return self.mixed(x, routing.weights)
        rows, index, weights = x, routing.index, routing.weights
        if x.dim() != 2:
            rows, index, weights = (part.reshape(-1, part.shape[-1]) for part in (x, index, weights))
        rectified = self.activation is F.relu or self.activation is torch.relu
        given = rows, weights, self.in_weight, self.in_bias, self.out_weight, self.out_bias
        if rectified and (on_card("experts", "experts", *given, learns=True) or suits(*given)):
            way = self.compiled
        elif traced():
            way = self.gathered
        else:
            way = self.one_by_one if index.numel() <= 2 else self.grouped
        out = way(rows, index, weights)
        return out if x.dim() == 2 else out.reshape(*x.shape[:-1], self.out_width)

    def compiled(self, x: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """Both layers of each chosen expert at once, on blocks of its own rows."""
        bank = self.in_weight, self.in_bias, self.out_weight, self.out_bias
        return (on_card("experts", "experts", x, weights, *bank, learns=True) or experts)(x, index, weights, *bank)

    def mixed(self, x: Tensor, weights: Tensor) -> Tensor:
        """Every expert on every input, as two matrix products of the bank's whole width. weights (..., E)."""
        hidden = self.activation(F.linear(x, self.in_weight.flatten(0, 1), self.in_bias.flatten()))
        shares = hidden.unflatten(-1, (self.count, self.hidden_width)) * weights.unsqueeze(-1)
        return shares.flatten(-2) @ self.out_weight.flatten(0, 1) + weights @ self.out_bias

    def gathered(self, x: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """Copies the chosen experts' weights to each row: for where control flow is traced."""
        chosen = index.clamp_min(0)
        hidden = torch.einsum("nkhd,nd->nkh", self.in_weight[chosen], x) + self.in_bias[chosen]
        out = torch.einsum("nkh,nkho->nko", self.activation(hidden), self.out_weight[chosen]) + self.out_bias[chosen]
        return torch.einsum("nko,nk->no", out, weights * (index >= 0))

    def one_by_one(self, x: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """Runs each chosen expert on its row: for one or two rows, where sorting costs more than computing."""
        out = x.new_zeros(len(x), self.out_width)
        for row, chosen in enumerate(index.tolist()):
            for place, expert in enumerate(chosen):
                if expert >= 0:
                    hidden = self.activation(F.linear(x[row], self.in_weight[expert], self.in_bias[expert]))
                    said = hidden @ self.out_weight[expert] + self.out_bias[expert]
                    out[row] += weights[row, place] * said
        return out

    def grouped(self, x: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """Sorts the rows by expert and runs each chosen expert once on its own rows."""
        chosen = index.shape[-1]
        flat = index.flatten() + 1  # -1, nothing chosen, becomes group 0
        order = flat.argsort(stable=True)
        counts = torch.bincount(flat, minlength=self.count + 1).tolist()
        groups = x[order // chosen].split(counts)
        # unbind, not W[e]: the gradient of an index is a whole zero tensor for each expert
        bank = zip(
            groups[1:],
            self.in_weight.unbind(),
            self.in_bias.unbind(),
            self.out_weight.unbind(),
            self.out_bias.unbind(),
            strict=True,
        )
        outs = [groups[0].new_zeros(counts[0], self.out_width)]
        outs += [
            torch.addmm(b2, self.activation(F.linear(rows, w1, b1)), w2) for rows, w1, b1, w2, b2 in bank if len(rows)
        ]
        back = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order), device=order.device))
        parts = torch.cat(outs)[back].unflatten(0, (-1, chosen))
        return (parts * (weights * (index >= 0)).unsqueeze(-1)).sum(-2)
