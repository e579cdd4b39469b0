"""Which way the loss pushes the hidden units that are active: up, or down towards silence.

    push_u = (1/|R_u|) Σ_{r ∈ R_u} ∂ℓ_r/∂a_ru,      R_u = {r : a_ru > 0}

a_ru is what unit u says at row r (an input, a token or a pixel), ℓ_r the loss of the input that the row belongs to. Above 0,
a step against the gradient makes the unit weaker where it is active; a ReLU that is weakened far enough is silent, and has no
gradient that could bring it back. Each loss reads its own rows only, so the push of an input does not shrink as the batch
grows.

At birth the sign is no accident. Let a network end in f = V a with independent outgoing weights of mean 0 and variance σ²,
and let ℓ be the cross-entropy of softmax(f) to labels that V does not know. Then E[∂ℓ/∂a_u] = E[v_u · softmax(f)] > 0 for
every a_u > 0: the unit raises exactly those scores that it has positive weights to, and these are charged for. For small f
and K classes

    E[∂ℓ/∂a_u] ≈ σ² (1 - 1/K) a_u.

Source: the explanation of the fall in "The Lazy Neuron Phenomenon: On Emergence of Activation Sparsity in Transformers" (P466).
The inequality is reconstructed from its statement; the approximation is ours and is tested.
"""

from collections.abc import Callable

import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.errors import LabError
from labkit.example import Example
from labkit.recording.batches import answer, evaluating, labels_of, scores_of, size_of
from labkit.recording.kinds import Activations
from labkit.recording.record import record
from labkit.recording.tables import layered

Loss = Callable[[Tensor, Tensor], Tensor]


def summed_cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Over all inputs; of sequences the mean over the places of each, as a training would take it."""
    each = F.cross_entropy(scores.flatten(0, -2), labels.flatten(), reduction="none")
    return each.view(len(scores), -1).mean(1).sum()


def active_push(model: nn.Module, batch: tuple[Tensor, ...], *, loss: Loss = summed_cross_entropy) -> xr.DataArray:
    """The mean gradient of the loss to each hidden unit over the rows where the unit is above 0, in evaluation.

    `loss(scores, labels)` must be a sum over the inputs. Shapes: batch (x, labels) -> (layer, unit) in nats for each unit of
    activation; NaN where a unit is never active, or where a layer has fewer units.
    Raises: NothingRecorded when the model has no block whose hidden units can be read; LabError for a batch without labels.
    """
    labels = labels_of(batch)
    if labels is None:
        raise LabError(
            f"A push comes from a loss, and {size_of(batch):,} inputs without labels have none; give (x, labels)."
        )
    learnt = [weight.requires_grad for weight in model.parameters()]
    rows: dict[str, list[Tensor]] = {}
    with evaluating(model), torch.enable_grad(), record(model, Activations, attached=True) as trace:
        try:
            for weight in model.parameters():  # a frozen network has no graph, and units are asked about, not weights
                weight.requires_grad_(True)
            total = loss(scores_of(answer(model, batch)), labels)
            calls = [(name, call.values) for name in trace for call in trace.calls(name)]
            slopes = torch.autograd.grad(total, [values for _, values in calls], allow_unused=True)
        finally:
            for weight, own in zip(model.parameters(), learnt, strict=True):
                weight.requires_grad_(own)
    for (name, values), slope in zip(calls, slopes, strict=True):
        units = values.shape[-1]
        slope = torch.zeros_like(values) if slope is None else slope
        active = (values.detach() > 0).reshape(-1, units)
        pushed = (slope.reshape(-1, units) * active).double().sum(0)
        before = rows.get(name, [torch.zeros(units, dtype=torch.float64), torch.zeros(units, dtype=torch.float64)])
        rows[name] = [before[0] + pushed, before[1] + active.sum(0)]
    means = {name: torch.where(count > 0, total / count, torch.nan).numpy() for name, (total, count) in rows.items()}
    return layered(
        means, ("unit",), name="active_push", long_name="push of the loss on active units", units="nats per activation"
    )


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
