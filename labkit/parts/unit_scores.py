"""Which hidden units matter over many inputs: one number for each unit, the same whatever the next input is.

    output norm     E|a_u| · ‖w_u‖          how much a unit adds to what the layer says, on average: E‖a_u w_u‖
    how active      E|a_u|                  the unit alone, without what is made of it
    how often       P(u is active)          active is what is not 0; without zeros, the loudest fifth of an input
    weights         ‖k_u‖ · ‖w_u‖           no input is looked at; in a gated layer times ‖v_u‖
    random          a number by chance      the control

Symbols: a_u what unit u says, E and P over recorded rows, k_u and v_u its ingoing weights, w_u its outgoing ones.

Scores for one input at a time are in `labkit.parts.threshold`: there the same unit may matter now and not later.

Source: the output norm is the score of "FFSplit: Split Feed-Forward Network For Optimizing Accuracy-Efficiency Trade-off in
Language Model Inference" (P201); the others are what it is compared with.
"""

from typing import Literal

import torch
from torch import Tensor

from labkit.parts.carved import DenseUnits
from labkit.parts.threshold import counted_active

Score = Literal["output norm", "how active", "how often", "weights", "random"]
SCORES: tuple[Score, ...] = ("output norm", "how active", "how often", "weights", "random")


@torch.no_grad()
def unit_scores(units: DenseUnits, rows: Tensor, score: Score = "output norm", seed: int = 0) -> Tensor:
    """How much each unit matters, by one of `SCORES`. Shapes: rows (rows, in_width) -> (units,), not negative.

    Raises: ValueError for a word that is not known.
    """
    if score not in SCORES:
        raise ValueError(f"units are scored by one of {', '.join(SCORES)}, not by {score!r}.")
    if score == "random":
        return torch.rand(len(units.into), generator=torch.Generator().manual_seed(seed)).to(units.into)
    if score == "weights":
        ingoing = units.into.norm(dim=1) * (1 if units.value is None else units.value.norm(dim=1))
        return ingoing * units.out.norm(dim=1)
    hidden = units.hidden(rows)
    if score == "how often":
        # a tie between two units that are always active is decided by how active they are
        size = hidden.abs().mean(0)
        return counted_active(hidden).to(hidden).mean(0) + 1e-6 * size / size.max().clamp_min(1e-12)
    norm = units.out.norm(dim=1) if score == "output norm" else 1
    return hidden.abs().mean(0) * norm


def best_first(scores: Tensor) -> Tensor:
    """The units from the highest score to the lowest. Shapes: (units,) -> (units,) integers."""
    return scores.argsort(descending=True, stable=True)
