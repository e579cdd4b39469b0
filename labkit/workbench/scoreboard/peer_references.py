"""What the equations behind the peers say, in the obvious slow way and with the peer's own weights.

`(layer, x) -> y`, differentiable, one row, one expert or one token at a time. What a peer computes must equal it.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def fast_feedforward(layer: Any, x: Tensor) -> Tensor:
    """A tree of networks: the leaves' mixture in training, the leaf that the signs reach in evaluation."""

    def leaf(number: int, row: Tensor) -> Tensor:
        hidden = F.relu(row @ layer.w1s[number] + layer.b1s[number])
        return hidden @ layer.w2s[number] + layer.b2s[number]

    def below(node: int, row: Tensor) -> Tensor:
        if node >= layer.n_nodes:
            return leaf(node - layer.n_nodes, row)
        score = layer.node_weights[node] @ row + layer.node_biases[node, 0]
        if layer.training:
            right = torch.sigmoid(score)
            return (1 - right) * below(2 * node + 1, row) + right * below(2 * node + 2, row)
        return below(2 * node + 2, row) if score >= 0 else below(2 * node + 1, row)

    return torch.stack([below(0, row) for row in x])


def top_two_of_experts(layer: Any, x: Tensor) -> Tensor:
    """GShard's two choices, the second by lot; an expert takes what comes first until it is full."""
    gate, experts = layer.gate, layer.experts
    factor = gate.capacity_factor_train if layer.training else gate.capacity_factor_eval
    tokens = x.shape[1]
    places = max(min(tokens, int(tokens * factor / gate.num_gates)), 4)
    lots = torch.zeros(x.shape[:2], dtype=x.dtype).uniform_(0.0, 1.0)
    answer = []
    for sequence, lot in zip(x, lots, strict=True):
        shares = (sequence @ gate.w_gating).softmax(-1)
        weights, chosen = shares.topk(2)
        weights = weights / (weights.sum(-1, keepdim=True) + gate.eps)
        taken, said = [0] * gate.num_gates, [torch.zeros_like(token) for token in sequence]
        for choice in (0, 1):
            for number, token in enumerate(sequence):
                expert = int(chosen[number, choice])
                if choice and not lot[number] < weights[number, 1] / 0.2:
                    continue
                if taken[expert] < places:
                    hidden = experts.act(token @ experts.w1[expert])
                    said[number] = said[number] + weights[number, choice] * (hidden @ experts.w2[expert])
                taken[expert] += 1
            taken = [min(places, number) for number in taken]
        answer.append(torch.stack(said))
    return torch.stack(answer)


def soft_slots(layer: Any, x: Tensor) -> Tensor:
    """Every slot is a soft average of the tokens, every token's answer a soft average of what the slots say."""

    def normed(norm: Any, values: Tensor) -> Tensor:
        return values / values.norm(dim=-1, keepdim=True) * norm.scale * norm.gamma

    answer = []
    for sequence in normed(layer.norm, x):
        slots = normed(layer.slot_norm, layer.slot_embeds)
        logits = torch.stack([sequence @ slot for slot in slots.flatten(0, 1)], -1)
        mixed = logits.softmax(0).T @ sequence
        said = [layer.experts.experts[place // slots.shape[1]](slot) for place, slot in enumerate(mixed)]
        answer.append(logits.softmax(-1) @ torch.stack(said))
    return torch.stack(answer)


def product_key_memory(layer: Any, x: Tensor) -> Tensor:
    """All n² keys are scored, the best are kept: what the two halves find faster."""
    queries = layer.to_queries(x).unflatten(-1, (2, layer.heads, -1))
    total = torch.zeros_like(x)
    for head in range(layer.heads):
        halves = [layer.norm(queries[..., half, head, :]) @ layer.keys[head, :, half].T for half in (0, 1)]
        scores = (halves[0].unsqueeze(-1) + halves[1].unsqueeze(-2)).flatten(-2)
        best, chosen = scores.topk(layer.topk)
        total = total + (best.softmax(-1).unsqueeze(-1) * layer.values.weight[chosen]).sum(-2)
    return total


def single_neuron_experts(layer: Any, x: Tensor) -> Tensor:
    """PEER: the best of a million experts of one neuron each, weighted by a softmax over the chosen."""
    queries = layer.to_queries[0](x).unflatten(-1, (2, layer.heads, -1))
    total = torch.zeros_like(x)
    for head in range(layer.heads):
        halves = [queries[..., half, head, :] @ layer.keys[head, :, half].T for half in (0, 1)]
        scores = (halves[0].unsqueeze(-1) + halves[1].unsqueeze(-2)).flatten(-2)
        best, chosen = scores.topk(layer.num_experts_per_head_topk)
        hidden = F.gelu((layer.weight_down_embed.weight[chosen] * x.unsqueeze(-2)).sum(-1)) * best.softmax(-1)
        total = total + (hidden.unsqueeze(-1) * layer.weight_up_embed.weight[chosen]).sum(-2)
    return total


def splines(layer: Any, x: Tensor) -> Tensor:
    """A Kolmogorov-Arnold layer: on each edge a SiLU and a B-spline by the recursion of de Boor and Cox."""

    def basis(value: Tensor, knots: Tensor, place: int, order: int) -> Tensor:
        if order == 0:
            return ((value >= knots[place]) & (value < knots[place + 1])).to(value)
        left = (value - knots[place]) / (knots[place + order] - knots[place])
        right = (knots[place + order + 1] - value) / (knots[place + order + 1] - knots[place + 1])
        return left * basis(value, knots, place, order - 1) + right * basis(value, knots, place + 1, order - 1)

    total = torch.zeros(len(x), layer.out_dim, dtype=x.dtype)
    for source in range(layer.in_dim):
        value, knots = x[:, source], layer.grid[source]
        bases = torch.stack([basis(value, knots, place, layer.k) for place in range(layer.num + layer.k)], -1)
        for target in range(layer.out_dim):
            edge = layer.scale_sp[source, target] * (bases @ layer.coef[source, target])
            edge = edge + layer.scale_base[source, target] * F.silu(value)
            total = total + F.one_hot(torch.tensor(target), layer.out_dim) * edge.unsqueeze(-1)
    return total


def butterfly(layer: Any, x: Tensor) -> Tensor:
    """A product of log2(n) sparse matrices: each mixes pairs of entries that stand 1, 2, 4, … apart."""
    size = x.shape[-1]
    for level, factors in enumerate(layer.twiddle[0, 0]):
        stride, rows = 2**level, []
        for place in range(size):
            side = place // stride % 2
            pair = place - side * stride
            number = pair // (2 * stride) * stride + pair % stride
            mixed = factors[number, side, 0] * x[:, pair] + factors[number, side, 1] * x[:, pair + stride]
            rows.append(mixed)
        x = torch.stack(rows, -1)
    return x + layer.bias


def monarch(layer: Any, x: Tensor) -> Tensor:
    """Two block-diagonal matrices with a transposition of the blocks' entries before, between and after."""
    first = torch.block_diag(*layer.w1)
    second = torch.block_diag(*layer.w2)
    blocks = layer.w2.shape[0]
    middle = (x @ first.T).unflatten(-1, (-1, blocks)).transpose(-1, -2).flatten(-2)
    return (middle @ second.T).unflatten(-1, (blocks, -1)).transpose(-1, -2).flatten(-2) + layer.bias


def gated_experts(layer: Any, x: Tensor) -> Tensor:
    """Each token's best experts, y = Σ w · down(silu(gate x) * up x), with their shares of the softmax over all."""
    gate, experts = layer.gate, layer.experts
    answer = []
    for token in x.flatten(0, -2):
        shares, chosen = (gate.weight @ token).softmax(-1).topk(gate.top_k)
        if getattr(gate, "norm_topk_prob", True):
            shares = shares / shares.sum()
        said = torch.zeros_like(token)
        for share, expert in zip(shares, chosen.tolist(), strict=True):
            opened, up = (experts.gate_up_proj[expert] @ token).chunk(2)
            said = said + share * (experts.down_proj[expert] @ (F.silu(opened) * up))
        answer.append(said)
    return torch.stack(answer).view_as(x)


def clamped_experts(layer: Any, x: Tensor) -> Tensor:
    """gpt-oss: a softmax over the chosen only, clamped gates, y = Σ w · down((up + 1) * gate · σ(1.702 gate))."""
    router, experts = layer.router, layer.experts
    answer = []
    for token in x.flatten(0, -2):
        best, chosen = (router.weight @ token + router.bias).topk(router.top_k)
        said = torch.zeros_like(token)
        for share, expert in zip(best.softmax(-1), chosen.tolist(), strict=True):
            both = token @ experts.gate_up_proj[expert] + experts.gate_up_proj_bias[expert]
            opened, up = both[::2].clamp(max=7.0), both[1::2].clamp(-7.0, 7.0)
            hidden = (up + 1) * opened * torch.sigmoid(1.702 * opened)
            said = said + share * (hidden @ experts.down_proj[expert] + experts.down_proj_bias[expert])
        answer.append(said)
    return torch.stack(answer).view_as(x)
