"""What quantised weights do to a trained character model: its loss, its bytes, its routing, and what the weights look like."""

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.parts.gate import Routing
from labkit.parts.rounded_weights import FULL
from labkit.recording.record import NothingRecorded, record
from labkit.transforms.shrink.quantize_weights import kurtosis, quantize_weights, weight_bytes, weights_in

GROUPS: Mapping[str, str] = {
    "feedforward": r"\.slot\.(layer\.)?(experts|into|out)$",
    "attention": r"\.(look|gather)$",
    "all": r"\.slot\.(layer\.)?(experts|into|out)$|\.(look|gather)$",
}
"""Which modules are quantised, by their names: the slot (experts, or the dense layer), attention, or both."""
BITS = [2, 3, 4, 8]
NAMES = {
    "in_weight": "feedforward, in",
    "out_weight": "feedforward, out",
    "into": "feedforward, in",
    "out": "feedforward, out",
}


def coarsened(model: nn.Module, group: str, bits: int) -> nn.Module:
    """The model with this group of weights in so many bits; the model itself with all of them."""
    return model if bits >= FULL else quantize_weights(model, bits=bits, where=GROUPS[group])


def table(values: np.ndarray, bits: list[int], name: str, units: str, says: str) -> xr.DataArray:
    return xr.DataArray(
        values,
        dims=("quantised", "bits"),
        coords={"quantised": list(GROUPS), "bits": bits},
        attrs={"long_name": name, "units": units, "view": "heatmap", "says": says, "mean": "seeds"},
    )


@torch.no_grad()
def loss_by_bits(model: nn.Module, task) -> xr.DataArray:
    """The test loss with each group in 2, 3, 4, 8 and 16 bits; 16 stands for the trained model as it is."""
    x, target = task.test()
    bits = [*BITS, FULL]
    model.eval()
    found = [[float(task.loss(coarsened(model, group, few).eval()(x), target)) for few in bits] for group in GROUPS]
    says = (
        "The test loss when the weights of one group are rounded to so many bits and nothing is trained again. Choose an arm: "
        "which row turns dark first?"
    )
    return table(np.array(found), bits, "loss by bits", "nats", says)


def kilobytes(model: nn.Module, task) -> xr.DataArray:
    """What the whole model takes when one group is stored in so many bits."""
    bits = [*BITS, FULL]
    found = [[weight_bytes(model, bits=few, where=GROUPS[group]) / 1000 for few in bits] for group in GROUPS]
    return table(
        np.array(found), bits, "size of the model", "kB", "What the whole model takes when one group has so many bits."
    )


def routing_changed(model: nn.Module, task) -> xr.DataArray | None:
    """The share of tokens that another expert serves after quantising, over all layers."""
    x = task.test()[0]
    before = _chosen(model, x)
    if before is None:
        return None
    found = []
    for group in GROUPS:
        after = [_chosen(coarsened(model, group, few), x) for few in BITS]
        found.append([float((one != before).float().mean()) for one in after])
    says = "The gates are never quantised, but what they read is. The share of characters that go to another expert than before."
    return table(np.array(found), BITS, "characters that change their expert", "fraction", says)


@torch.no_grad()
def _chosen(model: nn.Module, x: Tensor) -> Tensor | None:
    try:
        with record(model.eval(), Routing) as trace:
            model(x)
    except NothingRecorded:
        return None
    return torch.stack([routing.index[..., 0] for routing in trace.every(Routing)])


def tails(model: nn.Module, task) -> xr.DataArray:
    """The kurtosis of each weight matrix, over its channels."""
    places: dict[str, list[float]] = {}
    for name, (weight, channel) in weights_in(model, GROUPS["all"]).items():
        parts = name.split(".")
        kind = parts[-1] if parts[-1] != "weight" else parts[-2]
        label = {"look": "attention, look", "gather": "attention, gather"}.get(kind) or NAMES[kind]
        places.setdefault(label, []).append(float(kurtosis(weight.detach(), channel)))
    values = np.array(list(places.values()))
    return xr.DataArray(
        values,
        dims=("matrix", "block"),
        coords={"matrix": list(places), "block": [f"block {place + 1}" for place in range(values.shape[1])]},
        attrs={
            "long_name": "tails of the weights",
            "units": "kurtosis",
            "view": "heatmap",
            "says": "How heavy the tails of the trained weights are: 1.8 for a uniform distribution, 3 for a normal one. One "
            "far-off weight sets the step of its whole channel, so heavy tails make rounding coarse.",
            "mean": "seeds",
        },
    )
