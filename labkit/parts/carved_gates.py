"""Who runs in a carved layer: a gate over any score, and the scores that need no training or little.

    MassScore            m_e = Σ_{u in e} |a_u|                      the truth, which takes all units to know
    FixedScore           the same for every input                    what choosing for each input has to beat
    RepresentativeScore  s_e = |silu(k_e · x) (v_e · x)|             one unit of each expert speaks for it
    a linear layer       s_e = κ_e · x                               κ_e the mean key of an expert, or anything learnt

`routed` makes the gate of a carved layer by a word: "network" (taught to predict the masses), "mean key", "truth", "fixed" or
"random" (a random linear map).

Symbols: a_u what unit u says, e an expert; k_e, v_e gate and value weights of the unit that represents it.

Source: ground truth and similarity are two of the selections of "MoEfication" (P209); the representative is the router of
"CMoE" (P226).
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.parts.choosing import strongest
from labkit.parts.gate import Routing

Router = Literal["network", "mean key", "truth", "fixed", "random"]
ROUTERS: tuple[Router, ...] = ("network", "mean key", "truth", "fixed", "random")
HIDDEN = 64
"""The width of the router network."""


class ScoreGate(nn.Module):
    """The `chosen` best of what `score` says. (..., width) -> Routing; weights are the softmax of all scores.

    With `balance` above 0 there is a bias for each expert, which is added to the softmax for the selection alone. After each
    training batch it goes up by so much for experts that got too little, and down for the others.
    """

    def __init__(self, score: Callable[[Tensor], Tensor], chosen: int, *, balance: float = 0.0, experts: int = 0):
        super().__init__()
        self.score, self.chosen, self.balance = score, chosen, balance
        self.register_buffer("bias", torch.zeros(experts) if balance else None)
        self.bias: Tensor | None

    def forward(self, x: Tensor) -> Routing:
        scores = self.score(x)
        # what is preferred is added to the scores: taking them off again leaves softmax + bias to choose by
        prefer = None if self.bias is None else scores.softmax(-1) + self.bias - scores
        routing = strongest(scores, self.chosen, prefer=prefer)
        if self.training and self.bias is not None and not routing.soft:
            with torch.no_grad():
                load = F.one_hot(routing.index, routing.choices).flatten(0, -2).sum(0).to(self.bias)
                self.bias = self.bias + self.balance * torch.sign(load.mean() - load)
        return routing


class MassScore(nn.Module):
    """How much the units of each expert say in all: it runs every unit, and shows what a perfect choice would do."""

    def __init__(self, hidden: Callable[[Tensor], Tensor]):
        super().__init__()
        self.hidden = (hidden,)  # in a tuple it is no part of this module: the layer holds it already

    def forward(self, x: Tensor) -> Tensor:
        return self.hidden[0](x).abs().sum(-1)


class FixedScore(nn.Module):
    """The same scores for every input. scores (experts,)."""

    def __init__(self, scores: Tensor):
        super().__init__()
        self.register_buffer("scores", scores.clone())
        self.scores: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return self.scores.to(x).expand(*x.shape[:-1], -1)


class RepresentativeScore(nn.Module):
    """How loudly one unit of each expert speaks. Shapes: gate and value (experts, in_width), x (..., in_width)."""

    def __init__(self, gate: Tensor, value: Tensor | None, activation: Callable[[Tensor], Tensor]):
        super().__init__()
        self.activation = activation
        self.gate = nn.Parameter(gate.detach().clone())
        self.value = None if value is None else nn.Parameter(value.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        said = self.activation(F.linear(x, self.gate))
        return (said if self.value is None else said * F.linear(x, self.value)).abs()


def small_network(in_width: int, experts: int, hidden: int) -> nn.Sequential:
    """Two linear layers with tanh between, as MoEfication's trained routers."""
    return nn.Sequential(nn.Linear(in_width, hidden, bias=False), nn.Tanh(), nn.Linear(hidden, experts, bias=False))


def linear_score(keys: Tensor) -> nn.Linear:
    """x · κ_e, a linear layer without bias. Shapes: keys (experts, in_width)."""
    layer = nn.Linear(keys.shape[1], len(keys), bias=False).to(keys)
    with torch.no_grad():
        layer.weight.copy_(keys)
    return layer


def learnt_mass(
    score: nn.Module, x: Tensor, mass: Tensor, *, steps: int = 400, batch: int = 256, rate: float = 3e-3, seed: int = 0
) -> nn.Module:
    """Teach a score to predict each expert's share of the activation mass, by cross-entropy; in place, and returned.

    Shapes: x (rows, in_width), mass (rows, experts) not negative.
    """
    chance = torch.Generator().manual_seed(seed)
    share = mass / mass.sum(-1, keepdim=True).clamp_min(1e-12)
    optimizer = torch.optim.Adam(score.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    with torch.enable_grad():
        for _ in range(steps):
            rows = torch.randint(len(x), (min(batch, len(x)),), generator=chance).to(x.device)
            loss = F.cross_entropy(score(x[rows]), share[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    return score


@torch.no_grad()
def routed(layer: Any, rows: Tensor, chosen: int, router: Router, seed: int = 0) -> ScoreGate:
    """A gate by one of `ROUTERS` for a `CarvedExperts` layer, fitted on what enters it. Shapes: rows (rows, in_width)."""
    count, width = layer.experts.groups, layer.in_width
    if router == "truth":
        return ScoreGate(MassScore(layer.experts.hidden), chosen)
    if router == "mean key":
        return ScoreGate(linear_score(F.normalize(layer.experts.into.mean(1), dim=-1)), chosen)
    if router == "random":
        keys = torch.randn(count, width, generator=torch.Generator().manual_seed(seed)).to(rows)
        return ScoreGate(linear_score(keys), chosen)
    mass = layer.experts.hidden(rows).abs().sum(-1)
    if router == "fixed":
        return ScoreGate(FixedScore(mass.mean(0)), chosen)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = small_network(width, count, HIDDEN).to(rows)
    return ScoreGate(learnt_mass(network, rows, mass, seed=seed), chosen)
