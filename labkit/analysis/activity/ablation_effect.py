"""What a model loses with one hidden unit: the unit is set to its mean over the batch, and the answers are compared.

    loss      L(without u) - L(with u)                            in nats for the default loss
    output    ‖y(without u) - y(with u)‖ / ‖y(with u)‖            over all inputs and all scores

The mean keeps the unit's usual contribution and takes away only what it tells about the input; set to zero, a unit that
is always on would seem important for its constant alone.

Source: mean ablation as in Wang et al., "Interpretability in the Wild: a Circuit for Indirect Object Identification in
GPT-2 small" (2022).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example
from labkit.recording.batches import answer, evaluating, loss_of, scores_of, some_of
from labkit.recording.hidden import Hidden, blocks, hidden
from labkit.recording.intervene import ablate, changed

QUANTITIES = ("loss", "output")


def ablation_effect(
    model: nn.Module,
    batch: tuple[Tensor, ...],
    *,
    units: Mapping[str, Sequence[int]] | None = None,
    strongest: int = 8,
    inputs: int = 256,
    loss: Callable[[Any, Any], Tensor] | None = None,
) -> xr.DataArray:
    """How much loss and outputs change when single units are set to their mean, in evaluation.

    `units` names them, layer -> numbers; without it the `strongest` of each layer by mean modulus are taken. The model
    runs once for each unit, on at most `inputs` inputs, evenly from the batch. `loss(output, batch)` is by default what
    the output has as `loss`, else the cross-entropy against the batch's integer labels; without these it is NaN.

    Shapes: batch (x, labels) -> (layer, unit, quantity), `unit` counting only units that were tried in some layer; NaN
    where a unit was not tried. attrs: `loss`, the model's loss with all units.
    Raises: NothingRecorded when the model has no block whose hidden units can be read; LabError for unknown names.
    """
    ablation = Ablation(model, batch, inputs=inputs, loss=loss)
    chosen = _chosen(ablation.found, units, strongest)
    known = sorted({unit for numbers in chosen.values() for unit in numbers})
    table = np.full((len(chosen), len(known), len(QUANTITIES)), np.nan, dtype=np.float32)
    for row, (name, numbers) in enumerate(chosen.items()):
        for unit in numbers:
            table[row, known.index(unit)] = ablation.effect(name, unit).values
    return xr.DataArray(
        table,
        dims=("layer", "unit", "quantity"),
        coords={"layer": list(chosen), "unit": known, "quantity": list(QUANTITIES)},
        name="ablation_effect",
        attrs=ablation.attrs,
    )


class Ablation:
    """One unit after the other is set to its mean: what is the same for all of them is measured once, here.

    Raises: as `ablation_effect`.
    """

    def __init__(
        self,
        model: nn.Module,
        batch: Any,
        *,
        inputs: int = 256,
        loss: Callable[[Any, Any], Tensor] | None = None,
    ):
        self.model, self.loss = model, loss
        self.some, count = some_of(model, batch, inputs)
        self.found = hidden(model, self.some)
        self._means = {name: _mean(rows.values) for name, rows in self.found.items()}
        with evaluating(model):
            output = answer(model, self.some)
            self._before, self._whole = scores_of(output), loss_of(output, self.some, loss)
        self._size = _norm(self._before)
        self.attrs = {
            "long_name": "change when a unit is set to its mean",
            "units": "nats of loss; share of the output's norm",
            "loss": self._whole,
            "sampled": f"{count:,} inputs",
        }

    def effect(self, layer: str, unit: int) -> xr.DataArray:
        """What changes without this unit, (quantity) float32; the model runs once."""
        _chosen(self.found, {layer: [unit]}, 0)
        with evaluating(self.model), changed(self.model, {layer: ablate([unit], self._means[layer][[unit]])}):
            output = answer(self.model, self.some)
        moved = _norm(scores_of(output) - self._before)
        loss = loss_of(output, self.some, self.loss) - self._whole
        values = np.array([loss, moved / self._size if self._size else np.nan], dtype=np.float32)
        coords = {"quantity": list(QUANTITIES), "layer": layer, "unit": unit}
        return xr.DataArray(values, dims="quantity", coords=coords, name="ablation_effect", attrs=self.attrs)


def _norm(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values, dtype=torch.float64))


def _mean(values: Tensor) -> Tensor:
    total = torch.zeros(values.shape[-1], dtype=torch.float64)
    for part in blocks(values):
        total += part.sum(0).cpu()
    return (total / max(1, len(values))).float()


def _chosen(
    found: Mapping[str, Hidden], units: Mapping[str, Sequence[int]] | None, strongest: int
) -> dict[str, list[int]]:
    if units is None:
        sizes = {name: sum(part.abs().sum(0) for part in blocks(rows.values)) for name, rows in found.items()}
        return {name: size.topk(min(strongest, len(size))).indices.tolist() for name, size in sizes.items()}
    for name, numbers in units.items():
        if name not in found:
            raise LabError(f"There are no hidden units recorded under {name!r}; the layers are {', '.join(found)}.")
        count = found[name].values.shape[-1]
        wrong = [unit for unit in numbers if not 0 <= unit < count]
        if wrong:
            raise LabError(f"{name} has the units 0 to {count - 1}, and {wrong[0]} was asked for.")
    return {name: list(numbers) for name, numbers in units.items()}


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
