"""In how many directions a linear layer acts: the singular values of its whole weight, whatever it is made of.

A layer of two factors, of blocks, or of a guide and a structure is still one matrix W. Its singular values say how much it
stretches each of its own directions; those past the rank are 0.

    W = Σ_k σ_k u_k v_kᵀ,    p_k = σ_k / Σ σ,    effective rank = exp(-Σ p_k ln p_k),    stable rank = Σ σ² / σ_1²

The effective rank is r where r directions are stretched alike, and 1 where one outweighs all others.

Source: Roy and Vetterli, "The effective rank: a measure of effective dimensionality" (2007); followed over the training
of factored layers in "Exploring Low Rank Training of Deep Neural Networks" (P071), whose own definition of the rank was
not confirmed, and in "Building on Efficient Foundations: Effectively Training LLMs with Structured Feedforward Layers"
(P126).
"""

import copy
from collections.abc import Iterator
from fnmatch import fnmatchcase

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example
from labkit.recording.tables import layered

SAYS = (
    "How strongly a linear layer acts in each of its own directions, the strongest on the left. A row that stays bright to "
    "its end uses its rank; one that fades early would do with a smaller rank, and where it is 0 the input is lost."
)


def weight_spectrum(
    model: nn.Module, batch: tuple[Tensor, ...] | None = None, *, of: str = "*", components: int = 64
) -> xr.DataArray:
    """The singular values of every linear layer whose name matches `of`, as it is evaluated. The batch is not looked at.

    A linear layer is an nn.Linear, or a module with `in_width` and `out_width` that is linear but for a bias, which is
    found out by asking it.

    Shapes: -> (layer, component), descending; NaN beyond a layer's smaller width. At most `components` are kept;
    coordinates (layer): `effective_rank` and `stable_rank`, of all of them.
    Raises: LabError when no linear layer has such a name.
    """
    values = {name: singular_values(weight) for name, weight in weights(model) if fnmatchcase(name, of)}
    if not values:
        raise LabError(f"weight_spectrum found no linear layer whose name matches {of!r} in {type(model).__name__}.")
    return layered(
        {name: one[:components] for name, one in values.items()},
        ("component",),
        name="weight_spectrum",
        long_name="singular values of the weight",
        units="",
        coords={
            "effective_rank": ("layer", np.array([effective_rank(one) for one in values.values()], dtype=np.float32)),
            "stable_rank": ("layer", np.array([stable_rank(one) for one in values.values()], dtype=np.float32)),
        },
        view="heatmap",
        mean="seeds",
        says=SAYS,
    )


def weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Name and weight (in, out) of each linear layer, the outermost ones only: what a layer is made of is not listed."""
    inside: set[nn.Module] = set()
    for name, module in model.named_modules():
        if module in inside:
            continue
        weight = dense_weight(module)
        if weight is not None:
            inside.update(module.modules())
            yield name, weight


@torch.no_grad()
def dense_weight(module: nn.Module) -> Tensor | None:
    """The matrix (in, out) that a linear module multiplies with in evaluation; None for a module that is not linear."""
    if isinstance(module, nn.Linear):
        return module.weight.T.double()
    wide, out = getattr(module, "in_width", None), getattr(module, "out_width", None)
    some = next(module.parameters(), None)
    if not isinstance(wide, int) or not isinstance(out, int) or some is None:
        return None
    try:
        asked = copy.deepcopy(module).double().eval()  # in double precision: a bias may be far larger than the rest
        unit = torch.eye(wide, dtype=torch.float64, device=some.device)
        probe = torch.arange(3.0 * wide, dtype=torch.float64, device=some.device).view(3, wide).square().cos()
        bias = asked(0 * unit[:1])
        weight, answer = asked(unit) - bias, asked(probe) - bias
    except (TypeError, ValueError, RuntimeError):  # it takes something else than rows of numbers
        return None
    slack = 1e-6 * float(answer.abs().max()) + 1e-12 * (1 + float(bias.abs().max()))
    return weight if torch.allclose(answer, probe @ weight, rtol=0, atol=slack) else None


def singular_values(weight: Tensor) -> np.ndarray:
    """Descending, in double precision; (min(in, out),)."""
    return torch.linalg.svdvals(weight).cpu().numpy()


def effective_rank(values: np.ndarray) -> float:
    """exp of the entropy of the singular values' shares; 0 for a weight of zeros."""
    if values.sum() == 0:
        return 0.0
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def stable_rank(values: np.ndarray) -> float:
    """The sum of the squares over the largest of them; 0 for a weight of zeros."""
    return float((values**2).sum() / values[0] ** 2) if values[0] > 0 else 0.0


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
