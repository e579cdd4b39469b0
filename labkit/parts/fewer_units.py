"""Three ways for a trained feedforward layer to run fewer of its units, behind one door: a fixed mask, a mask for each input,
experts.

    BestUnits    the units of the highest score, the same for every input     W₂ and W₁ shrink; nothing is decided later
    EachInput    the units that speak loudest for this input                  W₁ is dense, W₂ is read where they are
    Experts      groups of units, of which a router chooses some              W₁ and W₂ are read where the groups are

Each way has `layer(units, rows, share, seed)`: it makes a layer out of a dense layer's own weights, fitted on what enters it.
With `share` 1 the layer says what the dense one said. `keep(model, share)` changes the share later, without fitting again.

Symbols: W₁ the ingoing weights of all units (in a gated layer two of them), W₂ the outgoing ones; the share is that of the units.

Source: the per-input rules are those of "WINA: Weight Informed Neuron Activation for Accelerating Large Language Model
Inference" (P281) and of TEAL; experts are those of "MoEfication: Transformer Feed-forward Layers are Mixtures of Experts" (P209).
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.parts.carved import ACTIVATIONS, CarvedExperts, DenseUnits, carved, choose
from labkit.parts.carved_gates import Router, routed
from labkit.parts.gathered import gathered_rows
from labkit.parts.partition import Split, divided, members
from labkit.parts.shapes import shaped, traced
from labkit.parts.threshold import above, calibrated, scores, strongest
from labkit.parts.unit_scores import Score, best_first, unit_scores

Rule = Literal["WINA", "magnitude", "random"]
By = Literal["threshold", "top-k"]
FEW_ROWS = 64
"""Up to so many rows at once only the weights of kept units are read; with more of them a dense product is faster anyway."""
GRID = 201
"""At how many shares a threshold is calibrated; between two of them the nearest counts."""


class Way(Protocol):
    """A way to run fewer units."""

    def layer(self, units: DenseUnits, rows: Tensor, share: float, seed: int = 0) -> nn.Module: ...


class UnitsInOrder(nn.Module):
    """A dense layer whose units stand in an order of which the first `kept` run. (*batch, in_width) -> (*batch, out_width).

    Source: structured pruning by a score, as in FFSplit (P201) where the rest is dropped.
    """

    into: Tensor
    into_bias: Tensor | None
    value: Tensor | None
    value_bias: Tensor | None
    out: Tensor
    out_bias: Tensor | None

    def __init__(self, units: DenseUnits, order: Tensor, share: float):
        super().__init__()
        self.in_width, self.out_width = units.into.shape[1], units.out.shape[1]
        self.activation = ACTIVATIONS[units.activation]
        for name in ("into", "into_bias", "value", "value_bias", "out"):
            given = getattr(units, name)
            setattr(self, name, None if given is None else nn.Parameter(given[order].clone()))
        self.out_bias = None if units.out_bias is None else nn.Parameter(units.out_bias.clone())
        self.keep(share)

    def keep(self, share: float) -> None:
        self.kept = _count(share, len(self.out))

    def hidden(self, x: Tensor, kept: int) -> Tensor:
        """What the first units say. Shapes: x (..., in_width) -> (..., kept)."""
        said = self.activation(F.linear(x, self.into[:kept], None if self.into_bias is None else self.into_bias[:kept]))
        if self.value is None:
            return said
        return said * F.linear(x, self.value[:kept], None if self.value_bias is None else self.value_bias[:kept])

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        out = self.hidden(x, self.kept) @ self.out[: self.kept]
        return out if self.out_bias is None else out + self.out_bias

    def active(self, x: Tensor) -> float:
        """The share of the units that take part."""
        return self.kept / len(self.out)


class UnitsOfEachInput(UnitsInOrder):
    """All units are computed, and those of the highest score of this input are multiplied by what follows.

    For a few inputs at a time only the outgoing weights of these units are read. "threshold" keeps more for an input with many
    loud units and fewer for another; "top-k" keeps as many for each. A unit at exactly 0 is never kept.
    """

    def __init__(self, units: DenseUnits, rows: Tensor, share: float, rule: Rule, by: By, seed: int):
        nn.Module.__init__(self)
        everyone = torch.arange(len(units.into), device=units.into.device)
        super().__init__(units, everyone, 1.0)
        self.rule, self.by, self.seed = rule, by, seed
        self.register_buffer("norms", units.out.norm(dim=1) if rule == "WINA" else torch.ones_like(units.out[:, 0]))
        found = scores(units.hidden(rows), self.norms)
        levels = [calibrated(found, place / (GRID - 1)) for place in range(GRID)]
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.float32))
        self.norms: Tensor
        self.levels: Tensor
        self.keep(share)

    def keep(self, share: float) -> None:
        self.share, self.kept = share, len(self.out)

    def mask(self, hidden: Tensor) -> Tensor:
        """Which units are kept. Shapes: hidden (..., units) -> (..., units) bool."""
        count = _count(self.share, hidden.shape[-1])
        if self.rule == "random":
            chance = torch.rand(hidden.shape, generator=torch.Generator().manual_seed(self.seed)).to(hidden)
            return strongest(chance * (hidden != 0), count)
        if self.by == "top-k":
            return strongest(hidden, count, self.norms)
        return above(hidden, float(self.levels[round((1 - self.share) * (GRID - 1))]), self.norms)

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        hidden = self.hidden(x, self.kept)
        if self.share < 1:
            hidden = hidden * self.mask(hidden)
            rows = hidden.reshape(-1, hidden.shape[-1])
            if not (traced() or torch.is_grad_enabled()) and len(rows) <= FEW_ROWS:
                return gathered_rows(rows, self.out, self.out_bias).reshape(*x.shape[:-1], self.out_width)
        out = hidden @ self.out
        return out if self.out_bias is None else out + self.out_bias

    @torch.no_grad()
    def active(self, x: Tensor) -> float:
        """The share of the units that take part, over these inputs: what is exactly 0 does not."""
        hidden = self.hidden(x, self.kept)
        kept = hidden != 0 if self.share >= 1 else self.mask(hidden) & (hidden != 0)
        return float(kept.float().mean())


@dataclass(frozen=True)
class BestUnits:
    """The same units for every input: structured pruning. `score` is one of `labkit.parts.unit_scores.SCORES`."""

    score: Score = "output norm"

    def layer(self, units: DenseUnits, rows: Tensor, share: float, seed: int = 0) -> UnitsInOrder:
        return UnitsInOrder(units, best_first(unit_scores(units, rows, self.score, seed)), share)


@dataclass(frozen=True)
class EachInput:
    """The units that matter for this input, by |a_u| · ‖w_u‖ ("WINA"), by |a_u| ("magnitude"), or by chance."""

    rule: Rule = "WINA"
    by: By = "threshold"

    def __post_init__(self) -> None:
        if self.rule not in ("WINA", "magnitude", "random") or self.by not in ("threshold", "top-k"):
            raise ValueError(
                f"units are kept by WINA, magnitude or random, with threshold or top-k, not by {self.rule!r} and {self.by!r}."
            )

    def layer(self, units: DenseUnits, rows: Tensor, share: float, seed: int = 0) -> UnitsOfEachInput:
        return UnitsOfEachInput(units, rows, share, self.rule, self.by, seed)


@dataclass(frozen=True)
class Experts:
    """Groups of units of one size, of which a router chooses some: see `partition` and `carved_gates` for the words.

    `experts` is how many there are; where the units do not make so many of one size, the next smaller number that fits.
    """

    experts: int = 32
    split: Split = "co-activation"
    router: Router = "network"

    def layer(self, units: DenseUnits, rows: Tensor, share: float, seed: int = 0) -> CarvedExperts:
        count = next(fits for fits in range(min(self.experts, len(units.into)), 0, -1) if len(units.into) % fits == 0)
        groups = members(divided(units.into, lambda: units.hidden(rows), count, self.split, seed))
        layer = carved(units, groups, groups.new_empty(0), chosen=count, gate=None)
        layer.gate = routed(layer, rows, count, self.router, seed)
        choose(layer, share)
        return layer


def keep(model: nn.Module, share: float) -> None:
    """Let every layer of a model that can do so run about this share of its units.

    Raises: ValueError for a share outside 0 to 1, or where no layer can.
    """
    if not 0 < share <= 1:
        raise ValueError(f"The share of the units that is kept is above 0 and at most 1, not {share}.")
    layers = [one for one in model.modules() if isinstance(one, UnitsInOrder | CarvedExperts)]
    if not layers:
        raise ValueError(f"This {type(model).__name__} has no layer that can run fewer units; see fewer_units.")
    for layer in layers:
        if isinstance(layer, CarvedExperts):
            choose(layer, share)
        else:
            layer.keep(share)


def active_share(layer: nn.Module, x: Tensor) -> float:
    """The share of its units that a layer uses for these inputs; exact zeros among them count where they are seen."""
    return layer.used if isinstance(layer, CarvedExperts) else layer.active(x)  # type: ignore[operator]


def _count(share: float, units: int) -> int:
    return max(1, min(units, round(share * units)))
