"""Which weights of a network exist: masks that are drawn, pruned, dropped from and grown, one tensor of 0 and 1 a weight.

    density = (number of ones) / (number of weights)

Symbols: ε the constant of an Erdős-Rényi graph, n_in and n_out what a layer reads and says, ζ the share that is dropped.
All functions are pure: a mask comes in, a new one comes out, and what is random is drawn from a given generator.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

Layout = Literal["uniform", "erdos_renyi", "scale_free"]
Masks = dict[str, Tensor]


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The weights that can be masked, by name; a shared one once. No biases, no norms, no embeddings.

    Those of linear and convolutional layers ("into.weight"), and of recurrent layers and cells, input-hidden and hidden-hidden
    ("layer.weight_ih_l0", "layer.weight_hh_l0"), where a gated layer has those of all its gates in one.
    """
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, module in model.named_modules():
        own: dict[str, object] = {}
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            own = {"weight": getattr(module, "weight", None)}
        elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
            own = {key: value for key, value in module.named_parameters(recurse=False) if key.startswith("weight_")}
        for key, weight in own.items():
            if isinstance(weight, nn.Parameter) and id(weight) not in seen:
                seen.add(id(weight))
                found[f"{name}.{key}" if name else key] = weight
    if not found:
        raise ValueError(f"This {type(model).__name__} has no linear, convolutional or recurrent layer to mask.")
    return found


def densities(weights: Mapping[str, Tensor], density: float, layout: Layout = "uniform") -> dict[str, float]:
    """How dense each layer is, so that all of them together have this density.

    "uniform" gives all layers the same; "erdos_renyi" gives (n_in + n_out) / (n_in n_out) times a constant ε, so that small
    layers are denser; where that would exceed 1 a layer is dense and ε grows for the others. "scale_free" has the same
    densities, and `drawn` shares them out unevenly.
    Raises: ValueError unless 0 < density <= 1.
    """
    if not 0 < density <= 1:
        raise ValueError(f"A density is above 0 and 1 at most, not {density}.")
    if layout == "uniform":
        return dict.fromkeys(weights, density)
    sizes = {name: weight.numel() for name, weight in weights.items()}
    raw = {name: _connections(weight) for name, weight in weights.items()}
    dense: set[str] = set()
    while True:
        left = density * sum(sizes.values()) - sum(sizes[name] for name in dense)
        epsilon = left / max(sum(raw[name] * sizes[name] for name in weights if name not in dense), 1e-12)
        over = {name for name in weights if name not in dense and epsilon * raw[name] > 1}
        if not over:
            return {name: 1.0 if name in dense else epsilon * raw[name] for name in weights}
        dense |= over


def _connections(weight: Tensor) -> float:
    out, into = weight.shape[0], weight.shape[1]
    return (into + out) / (into * out)


def drawn(weight: Tensor, density: float, draw: torch.Generator, layout: Layout = "uniform") -> Tensor:
    """A random mask with exactly round(density · size) ones, all places alike; or, "scale_free", with hubs.

    There the chance of a place is the product of those of its ends, and the chance of the r-th most popular end is that of
    a random graph whose degrees fall off with the power 3, r^(-1/2); who is popular is drawn, too.
    """
    chance = torch.rand(weight.shape, generator=draw, dtype=torch.float64)
    if layout == "scale_free":
        # the largest of log p + Gumbel noise are a draw without replacement with chances p
        chance = -torch.log(-torch.log(chance.clamp(1e-12, 1 - 1e-12)))
        for axis in (0, 1):
            rank = 1 + torch.randperm(weight.shape[axis], generator=draw)
            shape = [-1 if place == axis else 1 for place in range(weight.ndim)]
            chance = chance - 0.5 * rank.to(torch.float64).log().view(shape)
    return strongest(chance, density).to(weight.device)


def strongest(score: Tensor, density: float) -> Tensor:
    """Ones where the score is among the largest. Shapes: score any -> bool of the same."""
    kept = round(density * score.numel())
    mask = torch.zeros(score.numel(), dtype=torch.bool, device=score.device)
    mask[score.detach().flatten().topk(kept).indices] = True
    return mask.view_as(score)


def strongest_of_all(scores: Mapping[str, Tensor], density: float) -> Masks:
    """The same over all layers at once: layers whose scores are larger keep more."""
    flat = torch.cat([score.detach().flatten() for score in scores.values()])
    mask = strongest(flat, density)
    parts = mask.split([score.numel() for score in scores.values()])
    return {name: part.view_as(scores[name]) for name, part in zip(scores, parts, strict=True)}


def without_smallest(weight: Tensor, mask: Tensor, share: float) -> Tensor:
    """The mask without this share of its weights: those closest to zero, of the positive and of the negative ones each."""
    kept = mask.clone()
    for sign in (1, -1):
        own = mask & (weight * sign > 0)
        many = int(share * int(own.sum()))
        if many:
            size = torch.where(own, weight.detach().abs(), torch.inf).flatten()
            kept.view(-1)[size.topk(many, largest=False).indices] = False
    zero = mask & (weight == 0)
    if bool(zero.any()):
        # a weight that is exactly 0 says nothing: it goes with the smallest
        rows = zero.flatten().nonzero().flatten()
        kept.view(-1)[rows[: max(1, int(share * len(rows)))]] = False
    return kept


def grown(mask: Tensor, many: int, score: Tensor, banned: Tensor | None = None) -> Tensor:
    """The mask with `many` more ones where it is 0 and the score is largest; not where `banned`, as long as there is room."""
    free = ~mask if banned is None else ~mask & ~banned
    if int(free.sum()) < many:
        free = ~mask
    many = min(many, int(free.sum()))
    ranked = torch.where(free, score.detach().to(torch.float64), -torch.inf).flatten()
    more = mask.clone()
    more.view(-1)[ranked.topk(many).indices] = True
    return more


def density_of(masks: Mapping[str, Tensor]) -> float:
    """The share of ones over all layers."""
    return sum(int(mask.sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """Hamming distance: the share of places of all layers at which two masks differ."""
    moved = sum(int((before[name] != after[name]).sum()) for name in before)
    return moved / sum(mask.numel() for mask in before.values())
