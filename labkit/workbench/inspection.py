"""What one batch tells of a model: every measurement that fits it, taken once and kept together with what was left out.

    found = inspect(model, x)          # or (x, labels), or a Mapping as tokenizers give it
    found.measurements["unit_activity"]

The pictures of the notebooks, of the dashboard and of exported pages are all drawn from this.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.recording.anatomy import Anatomy, anatomy
from labkit.recording.batches import _tensors as tensors_of
from labkit.recording.batches import inputs_of, labels_of
from labkit.recording.hidden import hidden
from labkit.recording.kinds import Activations
from labkit.recording.observe import observe
from labkit.recording.once import once
from labkit.recording.record import NothingRecorded
from labkit.recording.routing_arrays import routed
from labkit.recording.routings import joined
from labkit.workbench.looked_at import LARGEST, LookedAt, looked_at
from labkit.workbench.measures import MEASURES
from labkit.workbench.turns import TURNS
from labkit.workbench.words_of_tokens import named_classes, named_tokens

__all__ = ["LARGEST", "Inspection", "inspect"]
ABSENT = {
    Activations: ("everything on hidden units", "no block with hidden units was found in this model"),
    Routing: ("everything on routing", "no router was found in this model"),
}
PATIENCE = 60.0
"""Seconds after which no further measurement is begun; what was not is said."""
LONGEST = 300
"""Letters of another program's message that are shown."""


@dataclass(frozen=True)
class Inspection:
    """Measurements of one model on one batch, by the name of the analysis; what was left out, and why, in a sentence."""

    model: str
    anatomy: Anatomy
    inputs: int
    measurements: dict[str, xr.DataArray]
    left_out: dict[str, str]
    of: int = 0
    """Of how many inputs these were taken."""
    remarks: tuple[str, ...] = ()
    """What a reader of the numbers must know, as sentences."""

    def __repr__(self) -> str:
        return f"Inspection({self.model}, {self.inputs} inputs: {', '.join(self.measurements) or 'nothing measured'})"


def inspect(
    model: nn.Module,
    batch: Any,
    *,
    texts: Sequence[Any] | None = None,
    only: Sequence[str] = (),
    classes: Sequence[str] | None = None,
    watch: Callable[[float, str], None] | None = None,
) -> Inspection:
    """Measure everything that fits this model on this batch, in evaluation; the model is afterwards as before.

    `batch` is what the model takes: a tensor, (x, labels), or a Mapping. Of more than 512 inputs that many are taken.
    `texts` names every token, as one list or a list for each input, "" where there is padding. `classes` are the
    names of the labels 0, 1, ... `only` restricts to these measurements. `watch(fraction, name)` is told how far it is.

    Raises: LabError when the batch is empty, holds NaN or does not fit the model, when `texts` does not fit the batch,
    when `only` names something unknown, or when nothing could be measured.
    """
    return inspected(model, looked_at(batch, texts=texts), only=only, classes=classes, watch=watch)


def inspected(
    model: nn.Module,
    looked: LookedAt,
    *,
    only: Sequence[str] = (),
    classes: Sequence[str] | None = None,
    watch: Callable[[float, str], None] | None = None,
) -> Inspection:
    """The same of inputs that were chosen before."""
    known = [measure.name for measure in MEASURES]
    unknown = [name for name in only if name not in known]
    if unknown:
        raise LabError(f"There is no measurement {unknown[0]!r}; there is {', '.join(known)}.")
    if not isinstance(model, nn.Module):
        raise LabError(f"A model is looked at as a torch.nn.Module, and this is {type(model).__name__}.")
    with TURNS.mine(), once():
        missing = {kind: _missing(model, looked.batch, kind) for kind in ABSENT}
        if looked.words is not None:
            looked.words.check(_tokens(model, looked, missing), f" in {looked.size:,} inputs")
        measurements, left_out = _measured(model, looked, missing, only, watch)
        remarks = () if missing[Activations] else _remarks(model, looked.batch)
    if classes is not None and "choice_by_class" in measurements:
        measurements["choice_by_class"] = named_classes(measurements["choice_by_class"], classes)
    if not measurements:
        reason = next(iter(left_out.values()))
        raise LabError(
            f"Nothing could be measured in this model: {reason} labkit.anatomy(model) says what it is made of."
        )
    return Inspection(
        type(model).__name__, anatomy(model), looked.size, measurements, left_out, looked.of, tuple(remarks)
    )


def _measured(
    model: nn.Module, looked: LookedAt, missing: Mapping[type, str], only: Sequence[str], watch: Any
) -> tuple[dict[str, xr.DataArray], dict[str, str]]:
    measurements: dict[str, xr.DataArray] = {}
    left_out: dict[str, str] = {}
    chosen = [measure for measure in MEASURES if not only or measure.name in only]
    start = time.monotonic()
    for place, measure in enumerate(chosen):
        if watch is not None:
            watch(place / len(chosen), measure.name)
        absent = next((kind for kind in measure.needs if missing[kind]), None)
        if absent is not None:
            left_out[ABSENT[absent][0]] = missing[absent]
        elif measure.labels and labels_of(looked.batch) is None:
            left_out[measure.name] = "it compares with labels, and the batch has none; give (x, labels)."
        elif time.monotonic() - start > PATIENCE:
            reason = f"the other measurements took more than {PATIENCE:.0f} seconds; ask for it with only=[...]."
            left_out[measure.name] = reason
        else:
            try:
                found = measure.analysis()(model, looked.batch, **measure.settings)
            except LabError as error:
                left_out[measure.name] = short(str(error))
            except Exception as error:  # one measurement that fails on a model of anyone's leaves the others
                left_out[measure.name] = f"it did not work on this model: {said(error)}"
            else:
                measurements[measure.name] = named_tokens(found, looked.words)
    return measurements, left_out


def _missing(model: nn.Module, batch: Any, kind: type) -> str:
    """Empty where the model shows values of this kind, else a sentence that it does not.

    Raises: LabError where the model cannot be run on this batch.
    """
    try:
        observe(model, inputs_of(batch), kind)
    except NothingRecorded:
        return f"{ABSENT[kind][1]}."
    except LabError:
        raise
    except Exception as error:  # the model is the user's and raises what it likes
        raise LabError(unrunnable(model, batch, error)) from error
    return ""


def unrunnable(model: nn.Module, batch: Any, error: BaseException) -> str:
    """A sentence on a model that could not be run on a batch: what it was given, what it said, and what may help."""
    given = tensors_of(inputs_of(batch))
    shapes = ", ".join(f"{tuple(one.shape)} {str(one.dtype).removeprefix('torch.')}" for one in given[:4])
    hint = ""
    weight = next((one for one in model.parameters() if one.is_floating_point()), None)
    if weight is not None:
        other = next((one for one in given if one.is_floating_point() and one.dtype != weight.dtype), None)
        away = next((one for one in given if one.device != weight.device), None)
        if other is not None:
            hint = f" The model is in {weight.dtype} and the inputs in {other.dtype}: give x.to({weight.dtype})."
        elif away is not None:
            hint = f" The model is on {weight.device} and the inputs on {away.device}: give x.to('{weight.device}')."
    return f"{type(model).__name__} could not be run on this batch ({shapes}): {said(error)}{hint}"


def said(error: BaseException) -> str:
    """What another program's error says, as a sentence that is not too long."""
    text = " ".join(str(error).split())
    whole = short(f"{type(error).__name__}: {text}" if text else type(error).__name__)
    return whole if whole.endswith((".", "…", "!", "?")) else f"{whole}."


def short(text: str) -> str:
    """At most 300 letters of a message."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 2].rsplit(' ', 1)[0]} …"


def _tokens(model: nn.Module, looked: LookedAt, missing: Mapping[type, str]) -> list[int]:
    """Which numbers of tokens were seen in the model, layer by layer."""
    counts = {looked.size}
    if not missing[Activations]:
        counts |= {len(rows.values) for rows in hidden(model, looked.batch).values()}
    if not missing[Routing]:
        counts |= {len(routing.index) for routing in joined(routed(model, looked.batch)).values()}
    starts = looked.starts()
    return sorted(counts | ({starts[-1]} if starts else set()))


def _remarks(model: nn.Module, batch: Any) -> list[str]:
    """Layers whose hidden units are no numbers any more."""
    sick = [name for name, rows in hidden(model, batch).items() if not _finite(rows.values)]
    if not sick:
        return []
    named = ", ".join(sick[:3]) + (f" and {len(sick) - 3} more" if len(sick) > 3 else "")
    return [f"The hidden units of {named} hold NaN or infinity: these numbers are not to be relied on."]


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values.sum(dtype=torch.float32)))
