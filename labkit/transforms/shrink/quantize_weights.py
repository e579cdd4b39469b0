"""Makes the weights of chosen modules coarse: each is rounded to the nearest of a few levels, without any training.

    ŵ_ji = s_j clip(round(w_ji / s_j), -(2^(b-1) - 1), 2^(b-1) - 1),      s_j = max_i |w_ji| / (2^(b-1) - 1)

Symbols: w a weight, j the output channel that it feeds, i the input, b the bits of a weight, s_j the step between levels, one
for each output channel. With b bits there are 2^b - 1 levels, zero among them and as many above as below: with b = 2 a
weight is -s, 0 or s.

The largest weight of a channel sets the step of all its others. So a matrix with a few far-off weights loses more than one whose
weights are alike: see `kurtosis`. Biases, norms and embeddings stay as they are.

The result is a model whose weights hold the rounded numbers in the old type, so that it runs as before and its answers are those
of the quantised model. `weight_bytes` says what the numbers would take if they were stored in b bits.

Source: "Mixture of Quantized Experts (MoQE): Complementary Effect of Low-bit Quantization and Robustness" (P149), which does
this to the experts alone. That the levels are symmetric about zero and equally far apart is reconstructed.
"""

import copy
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.experts import Experts
from labkit.parts.rounded_weights import FULL, rounded

idempotent = True
"""What stands on its levels stays there."""


def quantize_weights(model: nn.Module, *, bits: int = 4, where: str = "") -> nn.Module:
    """A copy of the model, the weights of the modules whose name `where` matches rounded to `bits` bits.

    `where` is a regular expression, searched in the names of the linear layers and expert banks; empty takes all. The copy
    shares no memory with the model.
    Raises: ValueError for fewer than 2 bits, or where no module fits.
    """
    if bits < 2:
        raise ValueError(f"Levels on both sides of zero take 2 bits or more, not {bits}.")
    result = copy.deepcopy(model)
    found = weights_in(result, where)
    if not found:
        raise ValueError(f"No linear layer and no bank of experts has a name in which {where!r} occurs.")
    with torch.no_grad():
        for weight, channel in found.values():
            weight.copy_(rounded(weight, bits, channel))
    return result


def weights_in(model: nn.Module, where: str = "") -> Mapping[str, tuple[nn.Parameter, int]]:
    """The weight matrices of linear layers and expert banks by name, each with the axis of its output channels."""
    found: dict[str, tuple[nn.Parameter, int]] = {}
    for name, module in model.named_modules():
        if not re.search(where, name):
            continue
        if isinstance(module, nn.Linear):
            found[f"{name}.weight"] = module.weight, -2
        elif isinstance(module, Experts):
            found[f"{name}.in_weight"] = module.in_weight, -2
            found[f"{name}.out_weight"] = module.out_weight, -1
    return found


def kurtosis(weight: Tensor, channel: int = -2) -> Tensor:
    """How heavy the tails of the weights are, each channel in units of its own spread: 3 for a normal distribution."""
    inputs = -1 if channel == -2 else -2
    centred = weight - weight.mean(inputs, keepdim=True)
    spread = centred.square().mean(inputs, keepdim=True).clamp_min(1e-12)
    return (centred.square() / spread).square().mean()


def weight_bytes(model: nn.Module, *, bits: int = FULL, where: str = "") -> float:
    """What the model's numbers take, those of the chosen modules in `bits` bits, all others and each channel's step in 16."""
    total = sum(parameter.numel() for parameter in model.parameters())
    chosen = weights_in(model, where).values() if bits < FULL else ()
    few = sum(weight.numel() for weight, _ in chosen)
    steps = sum(weight.numel() // weight.shape[-1 if channel == -2 else -2] for weight, channel in chosen)
    return (FULL * (total - few + steps) + bits * few) / 8


def _small() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))


def slowly(model: nn.Module, x: Tensor) -> Tensor:
    """One weight at a time, in four bits: the nearest of the fifteen levels of its channel."""
    twin = copy.deepcopy(model)
    for layer in (twin[0], twin[2]):  # type: ignore[index]
        for row in layer.weight.data:
            levels = torch.arange(-7, 8) * row.abs().max() / 7
            for place, value in enumerate(row.tolist()):
                row[place] = levels[(levels - value).abs().argmin()]
    return twin(x)


example = Example(
    _small, inputs=lambda seed: (torch.randn(7, 5, generator=torch.Generator().manual_seed(seed)),), reference=slowly
)
