"""What a network that stops early does with a stream: what it stops, what it loses by it, what it sends, what it saves.

For networks such as `labkit.workbench.backbones.stopping_network` and tasks such as `wanted_garments`, as probes of a study.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.parts.gate import Routing
from labkit.parts.transmission import Transmitted
from labkit.recording.record import NothingRecorded, record
from labkit.workbench.backbones.stopping_network import StoppingNetwork
from labkit.workbench.budget import flops, latency
from labkit.workbench.probes import score

QUOTAS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
"""What each gate may stop of the wanted inputs, in a trade-off."""
WHERE = ("gate 1", "gate 2", "end: no", "reported")
BINS = 20


@torch.no_grad()
def answers(model: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Log-odds of each picture, and the cut that answered it."""
    training = model.training
    found = model.eval().followed(x)
    model.train(training)
    return found


def accuracy(model: Any, task: Any) -> xr.DataArray:
    return score("accuracy", "every")(model, task).assign_attrs(long_name="balanced accuracy")


def stopped(of: int) -> Callable[[nn.Module, Any], xr.DataArray | None]:
    """The share of wanted (1) or other (0) pictures that a cut answers with no."""

    def probe(model: Any, task: Any) -> xr.DataArray | None:
        if not model.gates():
            return None
        x, label = task.every()
        said, where = answers(model, x)
        share = ((where < 2) & (said < 0))[label == of].float().mean().item()
        name = "wanted pictures lost at a cut" if of else "other pictures stopped at a cut"
        return xr.DataArray(share, attrs={"long_name": name, "units": "fraction"})

    return probe


def precision(model: Any, task: Any) -> xr.DataArray:
    """Average precision, weighed as in the stream: how pure the list of reports is, from the surest down."""
    x, label = task.every()
    said = answers(model, x)[0]
    share = task.test_y.float().mean()
    weight = torch.where(label == 1, share / (label == 1).sum(), (1 - share) / (label == 0).sum())
    order = said.argsort(descending=True, stable=True)
    found, all_of = (weight * label)[order].cumsum(0), weight[order].cumsum(0)
    area = ((found / all_of) * (weight * label)[order]).sum() / share
    return xr.DataArray(area.item(), attrs={"long_name": "average precision", "units": "fraction"})


def sent(model: Any, task: Any) -> xr.DataArray | None:
    """Of the values that wanted pictures would carry over the cuts, the share that is sent."""
    x, label = task.every()
    training = model.training
    try:
        with torch.no_grad(), record(model.eval(), Transmitted) as trace:
            model(x[label == 1])
    except NothingRecorded:
        return None
    finally:
        model.train(training)
    shares = [(one.values != 0).sum() / (max(1, len(one.values)) * one.before) for one in trace.every(Transmitted)]
    share = torch.stack(shares).mean().item()
    return xr.DataArray(share, attrs={"long_name": "values sent for a wanted picture", "units": "fraction"})


def ends(model: Any, task: Any) -> xr.DataArray | None:
    """Where the pictures of each kind are answered: (kind, end)."""
    if not model.gates():
        return None
    said, where = answers(model, task.every()[0])
    end = torch.where(said >= 0, 3, where)
    shares = [[((end == place) & (task.garments() == kind)).sum() for place in range(4)] for kind in range(10)]
    table = np.array(shares, dtype=float)
    attrs = {"long_name": "where each kind ends", "units": "fraction", "view": "heatmap", "mean": "seeds"}
    attrs["says"] = (
        f"A row is a kind of garment, and {task.wanted} is wanted. Far left is cheap: stopped by the first gate."
    )
    names = [f"{kind} (wanted)" if kind == task.wanted else kind for kind in task.kinds]
    table /= np.maximum(table.sum(1, keepdims=True), 1)
    return xr.DataArray(table, {"kind": names, "end": list(WHERE)}, ("kind", "end"), attrs=attrs)


@torch.no_grad()
def gate_values(model: Any, task: Any) -> xr.DataArray | None:
    """How the gates' values are spread, for wanted pictures and for others that get to the gate: (group, value)."""
    if not model.gates():
        return None
    x, label = task.every()
    kept = model.thresholds()
    rows, names = [], []
    training = model.training
    with record(model.eval(), Routing) as trace:
        model.set_open()
        model(x)
    for gate, threshold in zip(model.gates(), kept, strict=True):
        gate.threshold.fill_(threshold)
    model.train(training)
    for place, routing in enumerate(trace.every(Routing)):
        value = torch.sigmoid(routing.scores[:, 1])
        if len(value) != len(label):  # an exit answers some even where its gate is open
            return None
        for number, name in ((0, "others"), (1, "wanted")):
            count = torch.histc(value[label == number], BINS, 0, 1)
            rows.append((count / count.sum()).numpy())
            names.append(f"gate {place + 1}, {name}")
    attrs = {"long_name": "values of the gates", "units": "fraction", "view": "heatmap", "mean": "seeds"}
    attrs["says"] = (
        "A good gate gives wanted pictures values near 1 and others values near 0. All pictures, gates open."
    )
    coords = {"group": names, "gate value": [f"{(one + 0.5) / BINS:.3g}" for one in range(BINS)]}
    return xr.DataArray(np.stack(rows), coords, ("group", "gate value"), attrs=attrs)


def tradeoff(model: Any, task: Any) -> xr.DataArray | None:
    """Thresholds set by other rules: what each allowed loss stops, costs and saves: (allowed, quantity)."""
    if not model.gates():
        return None
    kept, rows = model.thresholds(), []
    stream, (x, label) = task.test()[0], task.every()
    for quota in QUOTAS:
        model.set_thresholds(*task.setting(), quota)
        said, where = answers(model, x)
        no, right = (where < 2) & (said < 0), (said >= 0) == (label == 1)
        shares = [one[label == of].float().mean().item() for one, of in ((no, 0), (no, 1), (right, 0), (right, 1))]
        rows.append([*shares[:2], sum(shares[2:]) / 2, flops(model, stream) / len(stream)])
    with torch.no_grad():
        for gate, threshold in zip(model.gates(), kept, strict=True):
            gate.threshold.fill_(threshold)
    quantities = ["others stopped", "wanted lost", "balanced accuracy", "operations"]
    coords = {"allowed": list(QUOTAS), "quantity": quantities}
    return xr.DataArray(
        np.array(rows), coords, ("allowed", "quantity"), attrs={"long_name": "what an allowed loss saves"}
    )


def seconds(model: Any, task: Any) -> xr.DataArray:
    """Time a picture of the stream, in turns with a network without cuts, some and many at once: (way, at_once, turn)."""
    training, plain = model.training, StoppingNetwork(lambda _channels, _places: None).eval()
    ways, stream = {"this": model.eval(), "without cuts": plain}, task.test()[0]
    timed = [latency(ways, few, repeats=5) / len(few) for few in (stream[:64], stream)]
    model.train(training)
    found = xr.concat(timed, xr.IndexVariable("at_once", [64, 1000]))
    return found.rename(arm="way", repeat="turn").assign_attrs(long_name="time of a picture", units="s")
