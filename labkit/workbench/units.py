"""Hidden units one by one: what a unit answers to, how often, and what is lost without it.

The model runs once on a batch; its hidden units are kept, so that turning from unit to unit costs one ablation each.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from labkit.analysis.activity.ablation_effect import Ablation
from labkit.analysis.activity.strongest_inputs import strongest_of
from labkit.analysis.activity.unit_density import unit_density_of
from labkit.errors import LabError
from labkit.recording.hidden import Hidden, blocks, hidden
from labkit.workbench.inspection import said, short, unrunnable
from labkit.workbench.looked_at import Images, LookedAt, looked_at
from labkit.workbench.turns import TURNS

ABLATED = 128
"""An ablation runs the model on so many inputs at most."""


@dataclass(frozen=True)
class UnitFacts:
    """One unit of one layer.

    Shapes: strongest (rank) with the coordinates `input` and `place`, empty for a unit that is silent; density (bin);
    effect (quantity), None where it could not be measured, and then `note` says why; activity (token) with `text` for
    texts; images (input, rows, columns) of the strongest.
    """

    layer: str
    unit: int
    strongest: xr.DataArray
    density: xr.DataArray
    effect: xr.DataArray | None
    activity: xr.DataArray | None
    images: xr.DataArray | None
    note: str = ""


class Units:
    """The hidden units of a model on a batch. `images(indices)` gives pictures of inputs; `texts` their tokens.

    Of more than 512 inputs that many are taken, evenly. `loss(output, batch)` is by default what the output has as `loss`,
    else the cross-entropy against the labels.

    Raises: NothingRecorded when the model has no block whose hidden units can be read; LabError when the batch is empty,
    holds NaN or does not fit the model, and when texts or pictures do not fit the batch.
    """

    def __init__(
        self,
        model: nn.Module,
        batch: Any,
        *,
        texts: Sequence[Any] | None = None,
        images: Images | None = None,
        loss: Callable[[Any, Any], Any] | None = None,
    ):
        self.model, self.loss = model, loss
        self.looked = batch if isinstance(batch, LookedAt) else looked_at(batch, texts=texts, images=images)
        with TURNS.mine():
            try:
                self.found: Mapping[str, Hidden] = hidden(model, self.looked.batch)
            except LabError:
                raise
            except Exception as error:  # the model is the user's and raises what it likes
                raise LabError(unrunnable(model, self.looked.batch, error)) from error
        if self.looked.words is not None:
            counts = [len(rows.values) for rows in self.found.values()]
            self.looked.words.check([*counts, self.looked.size], f" in {self.looked.size:,} inputs")
        self._orders: dict[str, list[int]] = {}
        self._ablation: Ablation | None = None

    @property
    def layers(self) -> dict[str, int]:
        """Layer -> how many units it has."""
        return {name: rows.values.shape[-1] for name, rows in self.found.items()}

    def order(self, layer: str) -> list[int]:
        """The units of a layer, those that say most on average first."""
        if layer not in self._orders:
            size = sum(part.abs().sum(0).double() for part in blocks(self._rows(layer).values))
            self._orders[layer] = torch.as_tensor(size).argsort(descending=True, stable=True).tolist()
        return self._orders[layer]

    def facts(self, layer: str, unit: int, ranks: int = 8) -> UnitFacts:
        """Everything about one unit.

        Raises: LabError for a layer or a unit that is not there, and for one that holds NaN or infinity.
        """
        rows = self.check(layer, unit)
        if not bool(rows.values[:, unit].isfinite().all()):
            raise LabError(
                f"Unit {unit} of {layer} holds NaN or infinity for these inputs, so there is nothing to show."
            )
        strongest = self._strongest(rows, layer, unit, ranks)
        effect, note = self._effect(layer, unit)
        return UnitFacts(
            layer,
            unit,
            strongest,
            unit_density_of(rows.values[:, unit]),
            effect,
            self._activity(rows, layer, unit),
            self._pictures(strongest),
            note,
        )

    def check(self, layer: str, unit: int) -> Hidden:
        """What the units of a layer said.

        Raises: LabError for a layer or a unit that is not there.
        """
        rows = self._rows(layer)
        if not 0 <= unit < self.layers[layer]:
            raise LabError(f"{layer} has the units 0 to {self.layers[layer] - 1}, and {unit} was asked for.")
        return rows

    def _rows(self, layer: str) -> Hidden:
        if layer not in self.found:
            raise LabError(f"There is no layer {layer!r} with hidden units; there is {', '.join(self.found)}.")
        return self.found[layer]

    def _effect(self, layer: str, unit: int) -> tuple[xr.DataArray | None, str]:
        """What changes without the unit, or None and why that is not known."""
        try:
            with TURNS.mine():
                if self._ablation is None:
                    self._ablation = Ablation(self.model, self.looked.batch, inputs=ABLATED, loss=self.loss)
                effect = self._ablation.effect(layer, unit)
        except LabError as error:
            return None, short(str(error))
        except Exception as error:  # the model and the loss are the user's
            return None, said(error)
        if not bool(np.isfinite(effect.values).any()):
            return None, "the model's answer is the same number everywhere, or none at all."
        return effect, ""

    def _strongest(self, rows: Hidden, layer: str, unit: int, ranks: int) -> xr.DataArray:
        """The strongest inputs; of several places of an input the strongest counts."""
        one = {layer: rows._replace(values=rows.values[:, unit : unit + 1])}
        found = strongest_of(one, ranks=ranks).isel(layer=0, unit=0)
        return found.isel(rank=np.isfinite(found.values)).assign_coords(unit=unit)

    def _activity(self, rows: Hidden, layer: str, unit: int) -> xr.DataArray | None:
        words = None if self.looked.words is None else self.looked.words.of(len(rows.values))
        if words is None:
            return None
        return xr.DataArray(
            rows.values[:, unit].float().cpu().numpy(),
            dims="token",
            coords={
                "token": np.arange(len(rows.values)),
                "text": ("token", words),
                "sequence": ("token", rows.input.numpy()),
                "layer": layer,
                "unit": unit,
            },
            attrs={"long_name": "activation", "units": ""},
        )

    def _pictures(self, strongest: xr.DataArray) -> xr.DataArray | None:
        chosen = [int(place) for place in strongest["input"].values if place >= 0]
        if self.looked.images is None or not chosen:
            return None
        return xr.DataArray(self.looked.images(chosen), dims=("input", "rows", "columns"), coords={"input": chosen})
