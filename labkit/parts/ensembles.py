"""Which units of a layer belong to the ensemble of a class: those whose answers to it stand out from the layer's.

By distribution:    i ∈ E_c   where   mean over j ≠ i of p(i, j | c) < α          and i answers to c at all
By strength:        i ∈ E_c   where   m_ic > κ max_j m_jc

Symbols: E_c the ensemble of class c, p(i, j | c) the p-value of the two-sample Kolmogorov-Smirnov test between the activations
of the units i and j over the inputs of class c, α the level (0.05), m_ic the mean activation of unit i on class c, κ a share.

The first works because in a sparse layer most units are silent and so are alike: whoever speaks differs from nearly all of
them. In a layer where every unit says something of its own, every unit differs from the others, and the "ensemble" is the
whole layer. The test statistic D = max_a |F_i(a) - F_j(a)| of the cumulative shares F is taken at 0 and at `PLACES` quantiles
of the layer's activations, which makes it at most a little smaller, and p by Kolmogorov's limit.

Source: the first is the function that the authors of "Emergent representations in networks trained with the Forward-Forward
algorithm" (P199) published with their code; theirs compares a unit only with those of a higher number, here with all others, and
that an ensemble's units must answer is ours. The second is reconstructed: a plain reading of "active units", to compare with.
"""

from typing import Literal

import torch
from torch import Tensor

Rule = Literal["distribution", "strength"]
LEVEL, SHARE, PLACES, ROWS = 0.05, 0.1, 32, 200


def class_means(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean activation of every unit on every class, NaN for a class without rows. Shapes: (rows, units) -> (classes, units)."""
    total = torch.zeros(classes, values.shape[-1], dtype=values.dtype).index_add_(0, labels, values)
    count = torch.bincount(labels, minlength=classes).unsqueeze(-1)
    return torch.where(count > 0, total / count.clamp_min(1), torch.nan)


def members(values: Tensor, labels: Tensor, classes: int, by: Rule = "distribution") -> Tensor:
    """The ensembles of a layer. Shapes: values (rows, units), labels (rows,) -> (classes, units) True and False.

    A class with fewer than two rows has an empty ensemble. At most `ROWS` rows of a class are looked at.
    Raises: ValueError for a rule that does not exist.
    """
    if by == "strength":
        means = class_means(values, labels, classes)
        return means > SHARE * means.max(-1, keepdim=True).values
    if by != "distribution":
        raise ValueError(f"ensembles are found by distribution or by strength, not by {by!r}.")
    found = [standing_out(values[labels == one][:ROWS]) for one in range(classes)]
    return torch.stack(found) if found else torch.zeros(0, values.shape[-1], dtype=torch.bool)


def standing_out(values: Tensor, level: float = LEVEL) -> Tensor:
    """The units whose activations differ from those of the other units, on average over these. (rows, units) -> (units,)."""
    rows, units = values.shape
    answers = values.abs().sum(0) > 0
    found = torch.zeros(units, dtype=torch.bool)
    if rows < 2 or units < 2 or not answers.any():
        return found
    silent = int((~answers).sum())  # all alike: one stands for all of them
    several = torch.cat([values[:, answers], torch.zeros(rows, 1, dtype=values.dtype)], -1)
    chance = p_values(several)
    others = (chance[:-1, :-1].sum(-1) - chance.diagonal()[:-1] + silent * chance[:-1, -1]) / (units - 1)
    found[answers] = others < level
    return found


def p_values(values: Tensor) -> Tensor:
    """Of the Kolmogorov-Smirnov test between each two units. Shapes: (rows, units) -> (units, units)."""
    rows = len(values)
    speaking = values[values != 0]
    places = torch.zeros(1, dtype=values.dtype)
    if len(speaking):
        ordered = speaking.sort().values
        places = torch.cat([places, ordered[torch.linspace(0, len(ordered) - 1, PLACES).long()]])
    below = torch.stack([(values <= place).sum(0) for place in places], -1).float()
    apart = torch.cdist(below, below, p=torch.inf).round().long()  # in rows: both samples have equally many
    table = limit(torch.arange(rows + 1, dtype=torch.float64) / rows * (rows / 2) ** 0.5)
    return table[apart]


def limit(size: Tensor, terms: int = 8) -> Tensor:
    """Kolmogorov's limit: how likely chance alone makes two samples differ by more, of the scaled statistic."""
    order = torch.arange(1, terms + 1, dtype=size.dtype)
    sign = 1 - 2 * ((order + 1) % 2)
    said = 2 * (sign * torch.exp(-2 * (order * size.unsqueeze(-1)) ** 2)).sum(-1)
    return torch.where(size < 0.3, 1.0, said.clamp(0, 1))  # the series converges slowly near 0, where the limit is 1


def jaccard(ensembles: Tensor) -> Tensor:
    """Shared units over all units of each two ensembles, NaN where both are empty.

    Shapes: (..., classes, units) -> (..., classes, classes).
    """
    there = ensembles.to(torch.float64)
    shared = there @ there.transpose(-1, -2)
    size = there.sum(-1)
    return shared / (size.unsqueeze(-1) + size.unsqueeze(-2) - shared)
