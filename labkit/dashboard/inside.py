"""What happens inside a model, read from recordings: layers, activations, choices, and the decisions of trees."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.parts.gate import Routing
from labkit.parts.relaxation import binary_entropy
from labkit.parts.tree import Branching
from labkit.recording.observe import observe
from labkit.recording.record import NothingRecorded, Trace

CHANNELS = 16
FOLD = 32


@dataclass(frozen=True)
class Tree:
    """One tree over all inputs: entropy (node) in bits, load (choice), and for each input its nodes, scores and leaf."""

    entropy: xr.DataArray
    load: xr.DataArray
    node: Tensor
    scores: Tensor
    leaf: Tensor

    def path(self, row: int) -> list[tuple[int, bool, float]]:
        """The decisions that an input meets: node, whether it goes right, and its score."""
        return [(int(n), float(s) >= 0, float(s)) for n, s in zip(self.node[row], self.scores[row])]

    def sides(self, node: int) -> tuple[list[int], list[int]]:
        """The inputs that go left and right at a node."""
        here = (self.node == node).nonzero().tolist()
        left = [row for row, place in here if self.scores[row, place] < 0]
        return left, [row for row, place in here if self.scores[row, place] >= 0]


def recorded(model: nn.Module, x: Tensor, what: Any = None, soft: bool = False) -> Trace:
    """One pass in evaluation, or evaluated softly, without gradients. An empty trace where nothing was seen."""
    try:
        return observe(model, x, what, soft=soft)
    except NothingRecorded:
        return Trace()


def layers(model: nn.Module, x: Tensor) -> dict[str, str]:
    """Module name -> what it returns, in words; the whole model has the name ""."""
    found = {}
    for name, value in recorded(model, x[:1]).items():
        value = value[0] if isinstance(value, list) else value
        tensor = _tensor(value)
        if isinstance(value, Routing):
            found[name] = f"chooses {value.index.shape[-1]} of {value.choices}"
        elif isinstance(value, Branching):
            found[name] = f"{value.nodes} decisions"
        elif tensor is not None and tensor.ndim > 1:
            found[name] = " × ".join(map(str, tensor.shape[1:])) + " numbers"
    return dict(sorted(found.items(), key=lambda pair: pair[0]))


def activation(model: nn.Module, x: Tensor, layer: str) -> xr.DataArray:
    """What a layer returns for one input x (1, ...), folded into two dimensions."""
    value = _of(model, x, layer)[0]
    if value.ndim == 0:
        value = value.reshape(1)
    if value.ndim == 1:
        grid, dims = _folded(value.numpy()), ("row", "unit")
    elif value.ndim == 2:
        grid, dims = value.numpy(), ("position", "unit")
    else:
        grid, dims = _mosaic(value.reshape(-1, *value.shape[-2:]).numpy()), ("y", "x")
    return xr.DataArray(grid, dims=dims, attrs={"long_name": "activation", "units": ""}, name="activation")


def side_by_side(model: nn.Module, x: Tensor, layer: str, names: list[str]) -> xr.DataArray:
    """What a layer returns for several inputs, one a row: (input, unit)."""
    values = _of(model, x, layer).flatten(1).numpy()
    return xr.DataArray(
        values,
        dims=("input", "unit"),
        coords={"input": names},
        attrs={"long_name": "activation", "units": ""},
        name="activation",
    )


def choices(trace: Trace, layer: str, row: int) -> list[tuple[int, float]]:
    """What a gate chose for an input: (choice, weight), the largest weight first; without those of no weight."""
    weights = _first(trace, layer).mixture()[row].flatten()
    order = weights.argsort(descending=True, stable=True)
    return [(int(place), float(weights[place])) for place in order if weights[place] > 0]


def by_class(trace: Trace, layer: str, labels: Tensor, classes: tuple[str, ...]) -> xr.DataArray:
    """The share of all inputs that have a class and went to a choice: (choice, class), sums to 1."""
    mixture = _first(trace, layer).mixture().reshape(len(labels), -1, _first(trace, layer).choices).mean(1)
    hot = torch.nn.functional.one_hot(labels, len(classes)).float()
    return xr.DataArray(
        (mixture.float().T @ hot / len(labels)).numpy(),
        dims=("choice", "class"),
        coords={"choice": np.arange(mixture.shape[1]), "class": list(classes)},
        name="leaf_by_class",
        attrs={"long_name": "share of all inputs", "units": "fraction"},
    )


def tree_of(hard: Trace, soft: Trace, layer: str) -> Tree | None:
    """The tree whose gate this layer is, or whose decisions it reports; None where it is no single tree with leaves."""
    gate = layer.removesuffix(".decisions")
    asked = f"{gate}.decisions"
    if gate not in hard or asked not in hard or asked not in soft:
        return None
    routing, met, every = _first(hard, gate), _first(hard, asked), _first(soft, asked)
    if routing.choices != met.nodes + 1 or every.scores.shape[-1] != every.nodes or met.scores.ndim != 2:
        return None
    bits = (binary_entropy(every.scores) / math.log(2)).mean(0).numpy()
    load = routing.mixture().mean(0).numpy()
    return Tree(
        xr.DataArray(bits, dims="node", attrs={"long_name": "entropy of the decision", "units": "bits"}),
        xr.DataArray(load, dims="choice", attrs={"long_name": "share of inputs", "units": "fraction"}),
        met.node,
        met.scores,
        routing.index[:, 0],
    )


def _first(trace: Trace, name: str) -> Any:
    return trace.calls(name)[0]


def _of(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    """The tensor that a layer returns in its first call, or the weights of its choices, or its scores."""
    value = _first(recorded(model, x), layer)
    if isinstance(value, Routing):
        return value.mixture().float()
    if isinstance(value, Branching):
        full = value.scores.new_full((len(x), value.nodes), math.nan)
        return full.scatter(1, value.node.flatten(1), value.scores.flatten(1)).float()
    return _tensor(value).float()


def _tensor(value: Any) -> Tensor | None:
    while isinstance(value, tuple | list) and value:
        value = value[0]
    return value if isinstance(value, Tensor) else None


def _folded(values: np.ndarray) -> np.ndarray:
    wide = min(FOLD, len(values))
    padded = np.full(-(-len(values) // wide) * wide, np.nan, dtype=np.float32)
    padded[: len(values)] = values
    return padded.reshape(-1, wide)


def _mosaic(channels: np.ndarray) -> np.ndarray:
    """The first channels (channel, rows, columns) as tiles with a gap between them."""
    shown = channels[:CHANNELS]
    across = math.ceil(math.sqrt(len(shown)))
    down = math.ceil(len(shown) / across)
    tall, wide = shown.shape[1] + 1, shown.shape[2] + 1
    canvas = np.full((down * tall - 1, across * wide - 1), np.nan, dtype=np.float32)
    for place, channel in enumerate(shown):
        y, x = place // across * tall, place % across * wide
        canvas[y : y + tall - 1, x : x + wide - 1] = channel
    return canvas
