"""Associative memories: the update of the modern Hopfield network, its energy, and the classic network of 1982.

A state ξ is drawn towards the stored pattern that it resembles most. The modern network takes a softmax of how alike it is
to each pattern, and this is what attention computes: the state is the query, the patterns are keys and values.

    modern     ξ' = X softmax(β Xᵀξ),        E(ξ) = -lse(β, Xᵀξ) + ξᵀξ/2 + ln(N)/β + M²/2
    classic    s' = sign(W s),                W = (1/d) Σ_i x_i x_iᵀ with an empty diagonal

Symbols: X holds the N stored patterns x_i of d numbers, β how sharply they are told apart, M the longest pattern's length,
lse(β, z) = ln(Σ exp(β z_i)) / β. No update raises E, and E ≥ 0.

Source: "Hopfield Networks is All You Need" (P517); the classic network: J. J. Hopfield, 1982.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def associate(state: Tensor, stored: Tensor, *, beta: float, steps: int = 1, value: Tensor | None = None) -> Tensor:
    """So many updates of a state; the last one reads `value` in place of the patterns, where it is given.

    With one step this is attention. Torch's fused operation does it, which the recorder knows as attention.

    Shapes: state (..., queries, width), stored (..., patterns, width), value (..., patterns, out) -> (..., queries, out).
    """
    for _ in range(steps - 1):
        state = _read(state, stored, stored, beta)
    return _read(state, stored, stored if value is None else value, beta)


def _read(state: Tensor, stored: Tensor, value: Tensor, beta: float) -> Tensor:
    read = F.scaled_dot_product_attention(state, stored, value, scale=beta)
    # On a CPU the fused operation may answer 0 to a state that is NaN, as if nothing were wrong.
    return read + 0 * state.sum(-1, keepdim=True)


def settle(
    state: Tensor, stored: Tensor, *, beta: float, within: float = 1e-4, most: int = 100
) -> tuple[Tensor, Tensor]:
    """Update each state until it moves less than `within`, at most `most` times; what it comes to, and after how many.

    A state that has come to rest is left alone, so that no state depends on the others.

    Shapes: state (rows, width), stored (patterns, width) -> (rows, width) and (rows,) whole numbers.
    """
    state, taken = state.clone(), torch.zeros(len(state), dtype=torch.long)
    moving = torch.arange(len(state))
    for _ in range(most):
        if not len(moving):
            break
        new = (beta * state[moving] @ stored.T).softmax(-1) @ stored
        moved = (new - state[moving]).norm(dim=-1)
        state[moving] = new
        taken[moving] += 1
        moving = moving[moved > within]
    return state, taken


def energy(state: Tensor, stored: Tensor, *, beta: float) -> Tensor:
    """The energy of states among stored patterns: (..., width) and (patterns, width) -> (...)."""
    longest = stored.norm(dim=-1).max()
    alike = torch.logsumexp(beta * state @ stored.T, -1) / beta
    start = torch.tensor(float(len(stored)), dtype=state.dtype).log() / beta
    return state.square().sum(-1) / 2 - alike + start + longest.square() / 2


def hebbian(patterns: Tensor) -> Tensor:
    """The classic network's weights for patterns of ones and minus ones: (patterns, width) -> (width, width)."""
    weights = patterns.T @ patterns / patterns.shape[1]
    return weights.fill_diagonal_(0)


def recall(state: Tensor, weights: Tensor, *, steps: int = 20) -> Tensor:
    """Update all units of the classic network at once until none changes, at most `steps` times.

    A unit whose input is exactly 0 keeps its value.

    Shapes: state (rows, width) of ones and minus ones, 0 where nothing is known -> (rows, width).
    """
    for _ in range(steps):
        push = (state @ weights.T).sign()
        new = torch.where(push == 0, state, push)
        if torch.equal(new, state):
            break
        state = new
    return state
