"""Replaces each weight matrix of a trained model by a sparse one that should act like it: pruning as matrix sparsification.

A weight matrix stretches each of its own directions by a singular value. Pruning changes all of them at once; how far at most
says the spectral norm of what was taken away, since |σ_k(W) - σ_k(W_s)| <= ||W - W_s||_2 for every k. So keep that small:

    strategy      which weights are kept                          what they become
    "sampling"    w with chance p(w) = min(1, (|w| / τ)^a)        w / p(w), so that E[W_s] = W
    "magnitude"   the largest                                     w
    "rescaled"    the largest                                     w ||W||_F / ||W_s||_F: the squares of the σ_k add up as before
    "random"      any                                             w

Symbols: W a weight matrix, w its entries, W_s the sparse one, σ_k the k-th singular value, a the power (1 or 2), τ what makes
the chances add up to the number of weights that stay. A convolution's kernels are a matrix of (out, in · height · width).

Sampling keeps all large weights (those with |w| >= τ have the chance 1) and draws among the others, with p tied to
magnitude. A weight that is drawn is divided by its chance: it speaks for those that were not. With a = 1 all drawn ones
become ±τ, and the variance of W_s is the smallest that so many unbiased entries can have.

Small weights are drawn seldom and then say much too much: noise. `candidates` cuts them off first: only so many times as many
weights as there are places compete, the largest ones; what is smaller is 0, and E[W_s] is W without it. With as many
candidates as places all have the chance 1 and nothing is drawn: thresholding by magnitude is that special case.

The number of weights that stay is exact, not only expected: places are drawn by systematic sampling in random order.

Source: "Neural Network Pruning as Spectrum Preserving Process" (P069), as its abstract and the catalogue describe it: large
entries stay, others are sampled by magnitude and divided by their chance. The paper's own formula for the chance was not
found in public; ours is reconstructed from what it builds on: a = 2 is that of Achlioptas and McSherry, "Fast computation of
low-rank matrix approximations" (2007), and of Drineas and Zouzias, "A note on element-wise matrix sparsification via a
matrix-valued Bernstein inequality" (2011), who also cut off small entries first; a = 1 that of Arora, Hazan and Kale, "A fast
random sampling algorithm for sparsifying matrices" (2006). Cutting off by number and drawing exactly so many are ours.
"""

import copy
import math
from typing import Literal

import torch
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.mask import Layout, densities, drawn, strongest, strongest_of_all, weights_of

Strategy = Literal["sampling", "magnitude", "rescaled", "random"]
STRATEGIES = ("sampling", "magnitude", "rescaled", "random")


def sparsify_weights(
    model: nn.Module,
    *,
    density: float = 0.5,
    by: Strategy = "sampling",
    layout: Layout | Literal["global"] = "uniform",
    candidates: float | None = None,
    power: int = 1,
    seed: int = 0,
) -> nn.Module:
    """A copy of the model, of whose maskable weights (`parts.mask.weights_of`) only this share is not zero.

    `layout` shares the density out over the layers, as `parts.mask.densities` does; "global" gives each layer as many places
    as it has among the largest weights of all layers. `candidates` and `power` matter to "sampling" only. Biases and norms stay.
    At density 1 the copy is bitwise the model. It shares no memory with the model.
    Raises: ValueError for a density outside (0, 1], or a strategy that is not known.
    """
    if by not in STRATEGIES:
        raise ValueError(f"Weights are pruned by {', '.join(STRATEGIES)}; {by!r} is none of them.")
    result = copy.deepcopy(model)
    draw = torch.Generator().manual_seed(seed)
    weights = weights_of(result)
    share = shares(weights, density, layout)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(sparse(weight.detach(), share[name], draw, by=by, candidates=candidates, power=power))
    return result


def shares(weights: dict[str, Tensor], density: float, layout: Layout | Literal["global"]) -> dict[str, float]:
    """How dense each layer is to be."""
    if layout != "global":
        return densities(weights, density, layout)
    densities(weights, density)  # refuses what is no density
    kept = strongest_of_all({name: weight.abs() for name, weight in weights.items()}, density)
    return {name: mask.double().mean().item() for name, mask in kept.items()}


def sparse(
    weight: Tensor,
    density: float,
    draw: torch.Generator,
    *,
    by: Strategy = "sampling",
    candidates: float | None = None,
    power: int = 1,
) -> Tensor:
    """One weight, sparse: round(density · size) of its entries are not zero, fewer only if it had fewer. Any shape."""
    if by == "sampling":
        chance = chances(weight, density, candidates=candidates, power=power)
        kept = systematic(chance, draw)
        return torch.where(kept, weight.double() / chance.clamp_min(1e-300), 0).to(weight.dtype)
    mask = drawn(weight, density, draw) if by == "random" else strongest(weight.abs(), density)
    found = torch.where(mask, weight, 0)
    if by == "rescaled" and bool(found.any()):
        found = found * (weight.double().norm() / found.double().norm()).to(weight.dtype)
    return found


def chances(weight: Tensor, density: float, *, candidates: float | None = None, power: int = 1) -> Tensor:
    """The chance of each entry to stay: they add up to round(density · size). Shapes: weight any -> float64 of the same."""
    if candidates is not None and candidates < 1:
        raise ValueError(f"There are at least as many candidates as places: 1 or more times as many, not {candidates}.")
    size = weight.detach().double().abs().flatten()
    there = int((size > 0).sum())
    places = min(round(density * size.numel()), there)
    if not places:
        return torch.zeros_like(size).view_as(weight)
    compete = there if candidates is None else min(round(candidates * places), there)
    order = size.argsort(descending=True)[:compete]
    strength = size[order] ** power
    chance, sure = torch.ones_like(strength), 0
    while sure < places < compete:
        chance[sure:] = (places - sure) * strength[sure:] / strength[sure:].sum()
        over = int((chance[sure:] >= 1).sum())  # the first ones: strengths fall
        if not over:
            break
        chance[sure : sure + over] = 1.0
        sure += over
    full = torch.zeros_like(size)
    full[order] = chance
    return full.view_as(weight)


def systematic(chance: Tensor, draw: torch.Generator) -> Tensor:
    """A draw of exactly Σ chance entries, each with its own chance: every whole number that the running sum passes.

    The running sum goes through the entries in a random order from a random start. Shapes: chance any -> bool of the same.
    """
    flat = chance.flatten()
    kept = flat >= 1
    rest = ((flat > 0) & ~kept).nonzero().flatten()
    many = round(float(flat[rest].sum()))
    if many:
        rest = rest[torch.randperm(len(rest), generator=draw).to(rest.device)]
        total = flat[rest].cumsum(0)
        total = total * (many / total[-1])  # what rounding has added or lost
        start = torch.rand((), generator=draw, dtype=torch.float64).item()
        passed = torch.floor(total + start)
        passed[-1] = many + math.floor(start)
        before = torch.cat((passed.new_full((1,), math.floor(start)), passed[:-1]))
        kept[rest[passed > before]] = True
    return kept.view_as(chance)


def matrix(weight: Tensor) -> Tensor:
    """A weight as the matrix whose spectrum counts: (out, everything that an output reads)."""
    return weight.flatten(1)


def spectrum(weight: Tensor) -> Tensor:
    """The singular values of a weight as a matrix, descending, in double precision: from its smaller Gram matrix."""
    wide = matrix(weight.detach()).double()
    wide = wide if wide.shape[0] <= wide.shape[1] else wide.T
    return torch.linalg.eigvalsh(wide @ wide.T).clamp_min(0).sqrt().flip(0)


def spectral_error(before: Tensor, after: Tensor) -> float:
    """||W - W_s||_2 / ||W||_2: by how much of the largest singular value any of them can have moved."""
    return spectrum(before - after)[0].item() / max(spectrum(before)[0].item(), 1e-300)


def error_bound(weight: Tensor, density: float, *, candidates: float | None = None, power: int = 1) -> float:
    """What ||W - W_s||_2 is at most on average for "sampling", by the matrix Bernstein inequality (Tropp, 2012).

        E||W - W_s||_2 <= √(2 v ln(m + n)) + L ln(m + n) / 3

    with v the largest sum of the variances w² (1/p - 1) of a row or a column and L the largest change of an entry. It is
    proved for entries that are drawn one by one; ours are drawn for an exact number, which should vary less.
    """
    chance = matrix(chances(weight, density, candidates=candidates, power=power))
    size = matrix(weight).double().abs()
    drawn_for = (chance > 0) & (chance < 1)
    variance = torch.where(drawn_for, size**2 * (1 / chance.clamp_min(1e-300) - 1), 0)
    most = torch.where(drawn_for, size * torch.maximum(1 / chance.clamp_min(1e-300) - 1, torch.ones_like(chance)), 0)
    sums = max(variance.sum(0).max().item(), variance.sum(1).max().item())
    wide = math.log(sum(chance.shape))
    return math.sqrt(2 * sums * wide) + most.max().item() * wide / 3


def _small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 6), nn.ReLU(), nn.Linear(6, 3))


def slowly(model: nn.Module, x: Tensor) -> Tensor:
    """One weight at a time, from the same draw: kept ones divided by their chance."""
    twin, draw = copy.deepcopy(model), torch.Generator().manual_seed(0)
    for layer in (twin[0], twin[3], twin[5]):  # type: ignore[index]
        values = layer.weight.data.flatten()
        many, sure = round(0.5 * len(values)), set()
        while True:
            rest = [place for place in range(len(values)) if place not in sure]
            total = sum(abs(values[place].item()) for place in rest)
            more = {place for place in rest if (many - len(sure)) * abs(values[place].item()) >= total}
            if not more:
                break
            sure |= more
        chance = [
            1.0 if place in sure else (many - len(sure)) * abs(values[place].item()) / total
            for place in range(len(values))
        ]
        kept = systematic(torch.tensor(chance, dtype=torch.float64), draw)
        for place, stays in enumerate(kept.tolist()):
            values[place] = values[place].item() / chance[place] if stays else 0.0
    return twin(x)


example = Example(
    _small,
    inputs=lambda seed: (torch.randn(7, 1, 5, 5, generator=torch.Generator().manual_seed(seed)),),
    reference=slowly,
)
