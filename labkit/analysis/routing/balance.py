"""Is every layer balanced, and would its auxiliary loss tell? Layer by layer, and pooled over all as frameworks do it.

    utilisation    = max_i f_i / mean_i f_i           how much fuller the fullest choice is than it should be
    entropy share  = H(f) / ln E                      1 even, 0 when one choice takes everything
    idle choices   = number of i with f_i = 0
    auxiliary loss = E Σ_i F_i P_i                    K when even, up to E when one choice takes everything

Symbols: E choices, K chosen for each token, F_i how often i was chosen divided by the number of tokens (sums to K), f_i
the same divided by K, P_i the mean probability of i over the tokens (softmax of the scores).

The loss is usually computed once, from the tokens of all layers thrown together. Each layer may then send everything to
one expert: as long as it is another expert in every layer, the pooled loss is that of perfect balance. The last row of
the measurement is this pooled number, to be seen beside the layers that it hides.

Source: the load-balancing loss of sparse layers, "A Review of Sparse Expert Models in Deep Learning" (P369); the pooled
form is `load_balancing_loss_func` of Hugging Face transformers 5.23, which a test compares with.
"""

import math

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.gate import Routing
from labkit.parts.tree import TreeGate
from labkit.recording.routing_arrays import by_layer, routed
from labkit.recording.routings import Routings, assigned, bits, joined, probabilities

POOLED = "all layers pooled"
QUANTITIES = ("utilisation", "entropy share", "idle choices", "auxiliary loss", "loss if even")


def balance(model: nn.Module, batch: tuple[Tensor, ...]) -> xr.DataArray:
    """Balance of every layer in evaluation and, where there are several, of all pooled (the last row).

    Shapes: batch (x, ...) -> (layer, quantity); coordinate `pooled` (layer) is True for the last row. The auxiliary loss
    is NaN where a gate does not tell its scores; the pooled row is NaN where layers choose among different numbers.
    Raises: NothingRecorded when the model has no gate.
    """
    return balance_of(routed(model, batch))


def balance_of(routings: Routings) -> xr.DataArray:
    """The same from routings that were recorded before."""
    layers = joined(routings)
    rows = {name: _balance(routing) for name, routing in layers.items()}
    if len(layers) > 1:
        together = pooled(list(layers.values()))
        rows[POOLED] = _balance(together) if together else np.full(len(QUANTITIES), np.nan)
    found = by_layer(rows, ("quantity",), name="balance", says="balance of the load", units="", routings=routings)
    return found.assign_coords(quantity=list(QUANTITIES), pooled=("layer", [name == POOLED for name in rows]))


def pooled(routings: list[Routing]) -> Routing | None:
    """Flat routings of several layers as if their tokens were all of one layer; None where they differ in choices or K."""
    if len({(each.choices, each.index.shape[-1]) for each in routings}) > 1:
        return None
    scores = [each.scores for each in routings if each.scores is not None]
    return Routing(
        torch.cat([each.index for each in routings]),
        torch.cat([each.weights for each in routings]),
        routings[0].choices,
        torch.cat(scores) if len(scores) == len(routings) else None,
    )


def auxiliary_loss(routing: Routing) -> float:
    """E Σ_i F_i P_i of a flat routing; NaN where its probabilities are not known."""
    found = probabilities(routing)
    if found is None or not len(routing.index):
        return math.nan
    often = assigned(routing) / len(routing.index)
    return float(routing.choices * (often * found.double().mean(0)).sum())


def _balance(routing: Routing) -> np.ndarray:
    often = assigned(routing)
    total = float(often.sum())
    if not total:
        return np.array([math.nan, math.nan, routing.choices, math.nan, math.nan])
    spread = float(bits(often)) / math.log2(routing.choices) if routing.choices > 1 else 1.0
    even = 1.0 if routing.soft else total / len(routing.index)
    return np.array(
        [
            float(often.max()) * routing.choices / total,
            spread,
            float((often == 0).sum()),
            auxiliary_loss(routing),
            even if not math.isnan(auxiliary_loss(routing)) else math.nan,
        ]
    )


example = Example(lambda: TreeGate(4, depth=3), inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3))
