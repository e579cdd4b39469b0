"""Where the zeros of a model's weights lie, and which of these patterns a kernel can use.

Each weight is looked at as the matrix (outputs, inputs) of its product; of a convolution, (outputs, places x inputs).

- *zeros*: the share of weights that are exactly 0. On its own it saves time only with an unstructured kernel, and on
  most machines not before nine in ten are 0.
- *2:4*, *4:8*: the share of groups of 4 (8) successive inputs of an output with at most 2 (4) non-zeros. Sparse tensor
  cores need all groups to fit.
- *empty rows*, *empty columns*: outputs and inputs that can be cut out, which makes the dense product smaller.
- *empty 16x16 blocks*: what block-sparse kernels skip.

Source: "Ten Lessons We Have Learned in the New 'Sparseland': A Short Handbook for Sparse Neural Network Researchers"
(P420), which tells nominal from usable sparsity.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example

PATTERNS = ("zeros", "2:4", "4:8", "empty rows", "empty columns", "empty 16x16 blocks")
BLOCK, WORTHWHILE = 16, 0.9


def weight_pattern(model: nn.Module, batch: Any = None) -> xr.DataArray:
    """The share of each pattern of zeros in every weight matrix and convolution kernel of a model.

    Weights under `torch.nn.utils.prune` or a parametrisation are looked at as the model uses them. Embedding tables,
    biases and norms are left out. The batch is not needed.

    Shapes: -> (parameter, pattern), 0 to 1; NaN where a matrix is too small for a pattern. Coordinates (parameter):
    `usable`, in words, and `size`, the number of weights.
    Raises: LabError when the model has no weight matrix.
    """
    return weight_pattern_of(matrices(model))


def weight_pattern_of(weights: Mapping[str, Tensor]) -> xr.DataArray:
    """The same of matrices (outputs, inputs) or kernels (outputs, inputs, places...) that are at hand."""
    if not weights:
        raise LabError("The model has no weight matrix and no convolution kernel, so there is no pattern to look for.")
    table = np.stack([_shares(as_matrix(weight)) for weight in weights.values()])
    return xr.DataArray(
        table.astype(np.float32),
        dims=("parameter", "pattern"),
        coords={
            "parameter": list(weights),
            "pattern": list(PATTERNS),
            "usable": ("parameter", [_usable(dict(zip(PATTERNS, row))) for row in table]),
            "size": ("parameter", [weight.numel() for weight in weights.values()]),
        },
        name="weight_pattern",
        attrs={"long_name": "share of the weights, groups, rows or blocks", "units": "fraction"},
    )


def matrices(model: nn.Module) -> dict[str, Tensor]:
    """Every weight matrix and kernel as the model uses it: name -> (outputs, inputs).

    A bank of matrices in one tensor, as experts have, is taken as one matrix with the outputs of all.
    """
    found: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            continue
        held = dict(module.named_parameters(recurse=False))
        pruned = {
            name.removesuffix("_orig") for name in held if f"{name.removesuffix('_orig')}_mask" in module._buffers
        }
        names = [name for name in held if not name.endswith("_orig") or name.removesuffix("_orig") not in pruned]
        inner = path.split(".")
        if "parametrizations" in inner:
            continue  # the originals: the module above has the weights in use
        names += [*pruned, *getattr(module, "parametrizations", {})]
        for name in names:
            with torch.no_grad():
                weight = getattr(module, name)
            if isinstance(weight, Tensor) and weight.dim() >= 2 and weight.numel():
                found[f"{path}.{name}" if path else name] = _outputs_first(module, weight.detach())
    return found


def as_matrix(weight: Tensor) -> Tensor:
    """A kernel (outputs, inputs, places...) as (outputs, places x inputs), the inputs of a place side by side."""
    return weight if weight.dim() == 2 else weight.flatten(2).transpose(1, 2).flatten(1)


def _outputs_first(module: nn.Module, weight: Tensor) -> Tensor:
    if isinstance(module, nn.modules.conv._ConvNd):
        return as_matrix(weight.transpose(0, 1) if module.transposed else weight)
    if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):  # Hugging Face's, of GPT-2: (inputs, outputs)
        return weight.T
    return weight.flatten(0, -2)


def _shares(weight: Tensor) -> list[float]:
    zero = weight == 0
    return [
        float(zero.float().mean()),
        _grouped(zero, 4),
        _grouped(zero, 8),
        float(zero.all(1).float().mean()),
        float(zero.all(0).float().mean()),
        _blocks(zero),
    ]


def _grouped(zero: Tensor, size: int) -> float:
    """The share of groups of `size` successive inputs with at least half of them 0; what is left over is no group."""
    groups = zero.shape[1] // size
    if not groups:
        return float("nan")
    return float((zero[:, : groups * size].unflatten(1, (groups, size)).sum(-1) >= size // 2).float().mean())


def _blocks(zero: Tensor) -> float:
    tall, wide = (size // BLOCK for size in zero.shape)
    if not tall * wide:
        return float("nan")
    whole = zero[: tall * BLOCK, : wide * BLOCK].unflatten(0, (tall, BLOCK)).unflatten(-1, (wide, BLOCK))
    return float(whole.all(-1).all(1).float().mean())


def _usable(share: dict[str, float]) -> str:
    """Which kernels profit, in words; "nothing" where none does."""
    uses = []
    if share["empty rows"] or share["empty columns"]:
        uses.append("smaller dense product")
    if share["2:4"] == 1:
        uses.append("2:4 tensor cores")
    if share["empty 16x16 blocks"] > 0:
        uses.append("block-sparse kernel")
    if share["zeros"] >= WORTHWHILE:
        uses.append("unstructured (CSR) kernel")
    return ", ".join(uses) or "nothing"


example = Example(
    lambda: nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3)),
    inputs=lambda seed: (torch.randn(9, 16), torch.arange(9) % 3),
)
