"""Splits a trained feedforward layer into the few units that say most, which are kept exactly, and the rest, which is compressed.

    FFN(x) = Σ_{u heavy} φ(k_u · x + c_u) w_u  +  compressed( Σ_{u rest} φ(k_u · x + c_u) w_u )  +  b

    heavy       the units of the highest score, E|a_u| · ‖w_u‖: how much a unit adds to the answer on average
    low rank    each matrix of the rest is replaced by the product of two thin ones, the nearest of that rank
    quantised   each weight of the rest is rounded to one of 2^bits - 1 levels; half precision counts as 16 bits
    pruned      the rest is left out

Symbols: x an input, u a hidden unit with ingoing weights k_u, c_u and outgoing weights w_u, a_u what it says, φ the activation
(in a gated layer times a second product), E over a batch, b the bias.

`size` is what the layer's weights may take of what they took, in bits: rank or bits of the rest are the largest that fit beside
the heavy units. With `heavy` 0 the whole layer is compressed alike, which is the baseline. Biases, and the one step between
levels for each output channel, are in no budget.

Source: "FFSplit: Split Feed-Forward Network For Optimizing Accuracy-Efficiency Trade-off in Language Model Inference" (P201).
The observation and the split are confirmed in its abstract; the score as a product of mean modulus and norm, and how the budget
is shared out, are reconstructed.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.carved import ACTIVATIONS, DenseUnits
from labkit.parts.low_rank import low_rank_product, nearest_low_rank
from labkit.parts.rounded_weights import FULL, rounded
from labkit.parts.shapes import shaped
from labkit.parts.unit_scores import Score, best_first, unit_scores
from labkit.recording.dense_blocks import DenseBlock, drawn_batch, regrouped
from labkit.recording.hidden import sampled

Rest = Literal["low rank", "quantised", "pruned"]
RESTS: tuple[Rest, ...] = ("low rank", "quantised", "pruned")
ROWS = 8192
"""Rows at most that units are scored on."""


class LowRank(nn.Module):
    """A linear layer through few numbers. (..., in_features) -> (..., out_features)."""

    def __init__(self, weight: Tensor, bias: Tensor | None, rank: int):
        super().__init__()
        down, up = nearest_low_rank(weight.T.float(), rank)
        self.down, self.up = nn.Parameter(down.to(weight).contiguous()), nn.Parameter(up.to(weight).contiguous())
        self.bias = None if bias is None else nn.Parameter(bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        return low_rank_product(x, self.down, self.up, self.bias)


class Units(nn.Module):
    """Some units of a layer: two linear maps (three in a gated layer) of any form. Without an output bias."""

    def __init__(self, units: DenseUnits):
        super().__init__()
        self.activation = ACTIVATIONS[units.activation]
        self.into = _linear(units.into, units.into_bias)
        self.value = None if units.value is None else _linear(units.value, units.value_bias)
        self.out = _linear(units.out.T, None)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.activation(self.into(x))
        return self.out(hidden if self.value is None else hidden * self.value(x))

    @torch.no_grad()
    def compress(self, how: Rest, amount: int) -> None:
        """Put another form into the place of each linear map: of this rank, or of this many bits."""
        for name in ("into", "value", "out"):
            old = getattr(self, name)
            if old is not None and how == "low rank":
                setattr(self, name, LowRank(old.weight, old.bias, min(amount, *old.weight.shape)).train(self.training))
            elif old is not None:
                old.weight.copy_(rounded(old.weight, amount))


class HeavyAndRest(nn.Module):
    """The heavy units of a layer beside the others. (*batch, in_width) -> (*batch, out_width).

    Source: "FFSplit: Split Feed-Forward Network For Optimizing Accuracy-Efficiency Trade-off in Language Model Inference" (P201).
    """

    def __init__(self, units: DenseUnits, order: Tensor, heavy: int):
        super().__init__()
        self.in_width, self.out_width, self.count = units.into.shape[1], units.out.shape[1], len(order)
        self.heavy = Units(_some(units, order[:heavy])) if heavy else None
        self.rest: Units | None = Units(_some(units, order[heavy:])) if heavy < len(order) else None
        self.bias = None if units.out_bias is None else nn.Parameter(units.out_bias.clone())
        self.bits = 0.0
        """What the weights take, in bits."""

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        parts = [part(x) for part in (self.heavy, self.rest) if part is not None]
        out = parts[0] + parts[1] if len(parts) == 2 else parts[0]
        return out if self.bias is None else out + self.bias

    def compress(self, how: Rest, size: float) -> None:
        """Make the rest small enough for the whole to fit. Raises: ValueError where it does not fit in the smallest form."""
        if self.rest is None:
            self.bits = FULL * _weights(self.heavy)
            return
        heavy, all_of_it = _weights(self.heavy), _weights(self.heavy) + _weights(self.rest)
        left, other = size * all_of_it - heavy, _weights(self.rest)
        if how == "pruned":
            if self.heavy is None:
                raise ValueError("Where the rest is pruned some units must be heavy, and heavy is 0.")
            self.rest, self.bits = None, FULL * heavy
            return
        rank_costs = sum(
            sum(part.weight.shape) for part in (self.rest.into, self.rest.value, self.rest.out) if part is not None
        )
        amount = int(left / rank_costs + 1e-9) if how == "low rank" else int(FULL * left / other + 1e-9)
        if amount < (1 if how == "low rank" else 2):
            raise ValueError(
                f"{size:.1%} of the weights are too little for {heavy:,} heavy ones of {all_of_it:,} and a rest that is {how}: "
                "keep fewer heavy units."
            )
        self.rest.compress(how, min(amount, FULL) if how == "quantised" else amount)
        # full rank through two factors takes more than the matrix; it is what was asked for and is counted as it is
        self.bits = (
            FULL * (heavy + _weights(self.rest)) if how == "low rank" else FULL * heavy + min(amount, FULL) * other
        )


def split_heavy_hitters(
    model: nn.Module,
    batch: Any = None,
    *,
    heavy: float = 0.1,
    rest: Rest = "low rank",
    size: float = 0.6,
    score: Score = "output norm",
    where: str = "*",
    seed: int = 0,
) -> nn.Module:
    """A copy of the model whose dense feedforward blocks that fit `where` keep a share `heavy` of their units exactly.

    Units are scored on `batch`, without one on drawn normal inputs; `score` is one of `labkit.parts.unit_scores.SCORES`.
    Raises: ValueError for shares outside 0 to 1, unknown words, and where the heavy units alone take more than `size`; LabError
    where no block fits.
    """
    if rest not in RESTS or not 0 <= heavy <= 1 or not 0 < size <= 1:
        raise ValueError(
            f"heavy is from 0 to 1, size above 0 and at most 1, and the rest is one of {', '.join(RESTS)}; given were "
            f"{heavy}, {size} and {rest!r}."
        )

    def build(block: DenseBlock) -> HeavyAndRest:
        scores = unit_scores(block.units, sampled(block.inputs, ROWS), score, seed)
        return HeavyAndRest(block.units, best_first(scores), round(heavy * len(scores))).train(model.training)

    # what is put together again is first proved to be the model; then it is compressed
    result = regrouped(model, drawn_batch(model) if batch is None else batch, build, where)
    for layer in result.modules():
        if isinstance(layer, HeavyAndRest):
            layer.compress(rest, size)
    return result


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None).to(weight)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


def _some(units: DenseUnits, which: Tensor) -> DenseUnits:
    def part(held: Tensor | None) -> Tensor | None:
        return None if held is None else held[which]

    into, bias, value, value_bias = units.into[which], part(units.into_bias), part(units.value), part(units.value_bias)
    return DenseUnits(units.activation, into, bias, value, value_bias, units.out[which], None)


def _weights(units: Units | None) -> int:
    """How many weights there are, biases left out."""
    return (
        0 if units is None else sum(one.numel() for name, one in units.named_parameters() if not name.endswith("bias"))
    )


def slowly(model: nn.Module, x: Tensor) -> Tensor:
    """Find the two heavy units by hand; of the others keep as many singular values as fit; add both up."""
    first, last, drawn = model[0], model[2], drawn_batch(model)  # type: ignore[index]
    order = (first(drawn).relu().mean(0) * last.weight.norm(dim=0)).argsort(descending=True)
    heavy, rest = order[:2], order[2:]
    rank = int((0.6 * (5 + 3) * 20 - 2 * (5 + 3)) / (18 + 5 + 18 + 3))

    def thin(weight: Tensor) -> Tensor:
        left, strength, right = torch.linalg.svd(weight, full_matrices=False)
        return left[:, :rank] @ strength[:rank].diag() @ right[:rank]

    out = F.linear(x, first.weight[heavy], first.bias[heavy]).relu() @ last.weight[:, heavy].T
    return (
        out + F.linear(x, thin(first.weight[rest]), first.bias[rest]).relu() @ thin(last.weight[:, rest]).T + last.bias
    )


example = Example(
    lambda: nn.Sequential(nn.Linear(5, 20), nn.ReLU(), nn.Linear(20, 3)),
    inputs=lambda seed: (torch.randn(7, 5, generator=torch.Generator().manual_seed(seed)),),
    reference=slowly,
)
