"""Which measurements there are for any model, what each needs, and in which order they are taken."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from labkit.parts.gate import Routing
from labkit.recording.kinds import Activations


@dataclass(frozen=True)
class Measure:
    """One measurement: where its analysis lives below labkit/analysis, what the model must have, and its settings."""

    place: str
    needs: tuple[type, ...] = ()
    labels: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.place.rsplit(".", 1)[-1]

    def analysis(self) -> Callable[..., xr.DataArray]:
        return getattr(importlib.import_module(f"labkit.analysis.{self.place}"), self.name)


MEASURES = (
    Measure("activity.unit_activity", (Activations,)),
    Measure("activity.activation_density", (Activations,)),
    Measure("activity.unit_health", (Activations,)),
    Measure("activity.strongest_inputs", (Activations,)),
    Measure("sparsity.active_fraction", (Activations,)),
    Measure("sparsity.lifetime_sparsity", (Activations,)),
    Measure("sparsity.weight_pattern"),
    Measure("geometry.similarity", (Activations,)),
    Measure("geometry.spectrum", (Activations,)),
    Measure("routing.token_choices", (Routing,)),
    Measure("routing.choice_load", (Routing,)),
    Measure("routing.balance", (Routing,)),
    Measure("routing.choice_margin", (Routing,)),
    Measure("routing.token_entropy", (Routing,)),
    Measure("routing.choice_flow", (Routing,)),
    Measure("routing.dropped_tokens", (Routing,)),
    Measure("routing.dtype_flips", (Routing,)),
    Measure("routing.slot_usage", (Routing,)),
    Measure("routing.choice_by_class", (Routing,), labels=True),
    Measure("routing.choice_information", (Routing,), labels=True),
    Measure("sparsity.coactivation", (Activations,)),
)
"""In the order in which they are taken; what takes longest stands last."""
