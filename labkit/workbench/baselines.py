"""What a method must beat: the dense layer, and the mixture of experts that conditional computation began with."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.parts.experts import Experts
from labkit.parts.gate import Routing, everything


class DenseFeedforward(nn.Module):
    """The ordinary two-layer network: every neuron works for every input. (..., in_width) -> (..., out_width)."""

    def __init__(self, in_width: int, out_width: int, *, width: int):
        super().__init__()
        self.into, self.out = nn.Linear(in_width, width), nn.Linear(width, out_width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.into(x)))


class NoisyTopK(nn.Module):
    """Scores every expert and keeps the best few; in training the scores get trained noise. (..., width) -> Routing.

    `temperature` divides the scores and `noise_scale` multiplies the noise: 1 is the ordinary gate, and both may be
    changed while it trains.
    """

    def __init__(self, width: int, experts: int, chosen: int):
        super().__init__()
        self.experts, self.chosen = experts, chosen
        self.temperature, self.noise_scale = 1.0, 1.0
        self.clean, self.noise = nn.Linear(width, experts, bias=False), nn.Linear(width, experts, bias=False)
        nn.init.zeros_(self.clean.weight)
        nn.init.zeros_(self.noise.weight)

    def forward(self, x: Tensor) -> Routing:
        clean = self.clean(x)
        scores = clean
        if self.training and self.noise_scale:
            scores = clean + torch.randn_like(clean) * F.softplus(self.noise(x)) * self.noise_scale
        scores = scores / self.temperature
        if self.chosen == self.experts:
            return everything(scores.softmax(-1), clean)
        best, index = scores.topk(self.chosen, -1)
        # With one expert chosen a softmax over the chosen would be 1 whatever the score, and nothing would be learnt.
        weights = best.softmax(-1) if self.chosen > 1 else scores.softmax(-1).gather(-1, index)
        return Routing(index, weights, self.experts, clean)


class MixtureOfExperts(nn.Module):
    """The sparsely gated mixture: a linear gate scores all experts, the best `chosen` run. (..., in) -> (..., out)."""

    def __init__(self, in_width: int, out_width: int, *, experts: int, expert_width: int, chosen: int = 1):
        super().__init__()
        self.gate = NoisyTopK(in_width, experts, chosen)
        self.experts = Experts(experts, in_width, expert_width, out_width)

    def forward(self, x: Tensor) -> Tensor:
        return self.experts(x, self.gate(x))


def frozen_gate(layer: nn.Module) -> nn.Module:
    """The control of every learnt routing: the gate stays as it was drawn, with its scores made sharp."""
    gate: nn.Module = layer.gate  # type: ignore[assignment]
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.mul_(math.sqrt(1000.0)).requires_grad_(False)
    return layer
