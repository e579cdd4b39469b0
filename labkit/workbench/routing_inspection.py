"""What a recorded routing tells, without the model: a file of another program, or a recording that was kept.

found = inspect_routing(open_routing("trace.jsonl"))
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from labkit.errors import LabError
from labkit.recording.routings import Routings, joined
from labkit.workbench.inspection import said, short
from labkit.workbench.words_of_tokens import Words, named_classes, named_tokens

OF: Mapping[str, str] = {
    "token_choices": "choices_of",
    "choice_load": "load_of",
    "balance": "balance_of",
    "choice_margin": "margin_of",
    "token_entropy": "token_entropy_of",
    "choice_flow": "flow_of",
    "dropped_tokens": "dropped_of",
    "slot_usage": "slot_usage_of",
}
WITH_LABELS: Mapping[str, str] = {"choice_by_class": "by_class_of", "choice_information": "information_of"}
"""Measurement -> the function in its module that needs nothing but routings (and labels)."""


def inspect_routing(
    routings: Routings,
    *,
    labels: Any = None,
    texts: Sequence[Any] | None = None,
    classes: Sequence[str] | None = None,
) -> tuple[dict[str, xr.DataArray], dict[str, str]]:
    """Every measurement that these routings allow, by name, and what was left out and why.

    `labels` has one integer for each input or each token; `texts` names the tokens, and
    `classes` the labels 0, 1, ...
    Raises: LabError when there is no layer in it, when `texts` does not fit, or when nothing can be measured.
    """
    if not isinstance(routings, Mapping):
        raise LabError(
            f"A routing is a Mapping of layers to Routing, and this is {type(routings).__name__}; see open_routing."
        )
    counts = [len(routing.index) for routing in joined(routings).values()]
    words = None if texts is None else Words.read(texts)
    if words is not None:
        words.check(counts)
    if labels is not None and not isinstance(labels, Tensor):
        labels = torch.as_tensor(labels)
    measurements: dict[str, xr.DataArray] = {}
    left_out: dict[str, str] = {}
    wanted = {**OF, **(WITH_LABELS if labels is not None else {})}
    for name, function in wanted.items():
        measure: Callable[..., xr.DataArray] = getattr(
            importlib.import_module(f"labkit.analysis.routing.{name}"), function
        )
        try:
            found = measure(routings, labels) if name in WITH_LABELS else measure(routings)
        except LabError as error:
            left_out[name] = short(str(error))
        except Exception as error:  # one measurement that fails on a file of anyone's leaves the others
            left_out[name] = f"it did not work on this recording: {said(error)}"
        else:
            measurements[name] = named_tokens(found, words)
    if labels is None:
        left_out["choice_by_class"] = "it compares with labels; give labels=."
    if classes is not None and "choice_by_class" in measurements:
        measurements["choice_by_class"] = named_classes(measurements["choice_by_class"], classes)
    if not measurements:
        raise LabError(f"Nothing could be measured: {next(iter(left_out.values()))}")
    return measurements, left_out
