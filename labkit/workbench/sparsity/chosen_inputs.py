"""How good a choice of inputs is: against every other choice on a tiny layer, on uneven columns, and in whole models.

A layer y = W x keeps K of its inputs. `against_all_choices` tries all of them, which takes a tiny layer. `uneven_columns` draws
layers whose columns differ more and more in length. `kept_by_rule` sparsifies a model and asks what it still knows.
"""

import copy
import itertools
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.recording.batches import answer, judged
from labkit.recording.timing import side_by_side
from labkit.transforms.prune.sparsify_inputs import SparseInputs, entering, read_share, sparsify_inputs

RULES = {
    "WINA": {"rule": "WINA"},
    "magnitude": {"rule": "magnitude"},
    "fixed": {"rule": "fixed"},
    "random": {"rule": "random"},
    "WINA, rotated": {"rule": "WINA", "rotate": True},
    "magnitude, rotated": {"rule": "magnitude", "rotate": True},
}
"""Ways to choose inputs, as settings of `sparsify_inputs`."""
SHARES = (0.75, 0.6, 0.5, 0.35, 0.2)
"""Shares of the inputs that are kept: the paper's 25, 40, 50 and 65 % sparsity, and one more."""
KINDS = ("orthogonal", "drawn")
QUANTITIES = ("optimal", "times the least error", "off the formula")


def errors_of_all(weight: Tensor, x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Every choice of `count` inputs and its squared error. Shapes: x (inputs,) -> (choices, inputs) bool, (choices,)."""
    inputs = weight.shape[1]
    choices = torch.tensor(list(itertools.combinations(range(inputs), count)))
    masks = torch.zeros(len(choices), inputs, dtype=torch.bool).scatter_(1, choices, True)
    return masks, ((~masks * x) @ weight.T).square().sum(1)


def against_all_choices(
    seeds: int, *, draws: int = 40, inputs: int = 10, outputs: int = 12, kept: int = 5
) -> xr.DataArray:
    """WINA and magnitude against every choice of inputs, on drawn layers. -> (columns, rule, quantity, seed)

    Columns differ in length by a lognormal factor (deviation 1); "orthogonal" ones are then at right angles. Quantities: the
    share of draws in which no choice is better, the error as a multiple of the least one (geometric mean), and how far the
    squared error is from the sum of x_i² ‖W_:i‖² over what was dropped, as a share of ‖y‖² (the largest).
    """
    table = np.full((len(KINDS), 2, len(QUANTITIES), seeds), np.nan)
    for seed in range(seeds):
        chance = torch.Generator().manual_seed(seed)
        for kind, (row, rule) in itertools.product(range(2), enumerate(("WINA", "magnitude"))):
            best, times, off = 0, [], 0.0
            for _ in range(draws):
                weight = torch.randn(outputs, inputs, generator=chance, dtype=torch.float64)
                if KINDS[kind] == "orthogonal":
                    weight = torch.linalg.qr(weight).Q
                weight = weight / weight.norm(dim=0) * torch.randn(inputs, generator=chance, dtype=torch.float64).exp()
                x = torch.randn(inputs, generator=chance, dtype=torch.float64)
                layer = SparseInputs(weight, None, x[None], kept / inputs, rule, "top-k", False)
                mask, (masks, errors) = layer.keeps(x), errors_of_all(weight, x, kept)
                mine = float(errors[(masks == mask).all(1)])
                best += mine <= float(errors.min()) * (1 + 1e-9)
                times.append(mine / float(errors.min()))
                formula = float((x * weight.norm(dim=0))[~mask].square().sum())
                off = max(off, abs(mine - formula) / float((weight @ x).square().sum()))
            table[kind, row, :, seed] = [best / draws, np.exp(np.log(times).mean()), off]
    return xr.DataArray(
        table,
        dims=("columns", "rule", "quantity", "seed"),
        coords={
            "columns": list(KINDS),
            "rule": ["WINA", "magnitude"],
            "quantity": list(QUANTITIES),
            "seed": list(range(seeds)),
        },
        attrs={"long_name": f"{kept} of {inputs} inputs, against all choices", "units": ""},
    )


def uneven_columns(
    seeds: int,
    *,
    spreads: Sequence[float] = (0.0, 0.25, 0.5, 1.0, 1.5),
    inputs: int = 256,
    outputs: int = 256,
    rows: int = 128,
    share: float = 0.35,
) -> xr.DataArray:
    """The relative error of y on drawn layers, by how unequal the columns are. -> (arm, spread, seed)

    The lengths of the columns are lognormal; `spread` is the deviation of their logarithm, 0 where all are equally long. The
    inputs are normal.
    """
    rules = ("WINA", "magnitude", "fixed", "random")
    table = np.empty((len(rules), len(spreads), seeds))
    for seed, (column, spread) in itertools.product(range(seeds), enumerate(spreads)):
        chance = torch.Generator().manual_seed(seed)
        weight = torch.nn.functional.normalize(torch.randn(outputs, inputs, generator=chance), dim=0)
        weight = weight * (spread * torch.randn(inputs, generator=chance)).exp()
        x = torch.randn(rows, inputs, generator=chance)
        for row, rule in enumerate(rules):
            layer = SparseInputs(weight, None, x, share, rule, "top-k", False)
            with torch.no_grad():
                table[row, column, seed] = float((layer(x) - x @ weight.T).norm() / (x @ weight.T).norm())
    return xr.DataArray(
        table,
        dims=("arm", "spread", "seed"),
        coords={
            "arm": list(rules),
            "spread": ("spread", list(spreads), {"long_name": "how unequal the columns are"}),
            "seed": list(range(seeds)),
        },
        attrs={"long_name": f"relative error with {share:.0%} of the inputs", "units": "fraction"},
    )


@torch.no_grad()
def kept_by_rule(
    model: nn.Module,
    fitted: Any,
    measured: Any,
    *,
    rules: Sequence[str] = tuple(RULES),
    shares: Sequence[float] = SHARES,
    where: str = "",
    loss: Any = None,
) -> xr.DataArray:
    """Loss and accuracy of a model whose linear layers read a share of their inputs. -> (rule, kept, quantity)

    The first entry of `kept` is 1, the model as it is.
    """
    whole = copy.deepcopy(model).eval()
    first = judged(answer(whole, measured), measured, loss)
    table = np.empty((len(rules), len(shares) + 1, 2))
    table[:, 0] = first
    for row, rule in enumerate(rules):
        sparse = sparsify_inputs(whole, fitted, where=where, **RULES[rule])  # type: ignore[arg-type]
        for column, share in enumerate(shares):
            read_share(sparse, share)
            table[row, column + 1] = judged(answer(sparse, measured), measured, loss)
    return xr.DataArray(
        table,
        dims=("rule", "kept", "quantity"),
        coords={
            "rule": list(rules),
            "kept": ("kept", [1.0, *shares], {"long_name": "share of the inputs that is kept"}),
            "quantity": ["loss", "accuracy"],
        },
        attrs={"long_name": "what is left", "units": "nats; fraction"},
    )


@torch.no_grad()
def error_by_layer(
    model: nn.Module, fitted: Any, measured: Any, *, rules: Sequence[str], share: float, where: str = ""
) -> xr.DataArray:
    """The relative error of each layer's answer to what enters it in the whole model. -> (rule, layer)"""
    whole, table = copy.deepcopy(model).eval(), []
    seen = entering(whole, measured, where)
    for rule in rules:
        sparse, row = sparsify_inputs(whole, fitted, share=share, where=where, **RULES[rule]), []  # type: ignore[arg-type]
        for name, x in seen.items():
            wanted, said = (one.get_submodule(name)(x) for one in (whole, sparse))
            alone = wanted - whole.get_submodule(name)(torch.zeros_like(x[:1]))  # without the bias, which nobody drops
            row.append(float((said - wanted).norm() / alone.norm()))
        table.append(row)
    return xr.DataArray(
        np.array(table),
        dims=("rule", "layer"),
        coords={"rule": list(rules), "layer": list(seen)},
        attrs={"long_name": f"relative error of a layer with {share:.0%} of its inputs", "units": "fraction"},
    )


def unevenness(model: nn.Module, where: str = "") -> dict[str, float]:
    """How unequal the columns of each linear layer are: the deviation of the logarithm of their lengths."""
    named = {
        name: part for name, part in model.named_modules() if isinstance(part, nn.Linear) and re.search(where, name)
    }
    return {name: float(part.weight.detach().norm(dim=0).clamp_min(1e-12).log().std()) for name, part in named.items()}


def rescaled(model: nn.Module, pairs: Sequence[tuple[str, str]], spread: float = 1.0, seed: int = 0) -> nn.Module:
    """The same function with other units: the gain of each norm is divided by random factors and the next weight multiplied.

    `pairs` names norms with the linear layer that reads them. A copy is returned; its answers are the model's.
    """
    result, chance = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for norm, layer in pairs:
            before: Any = result.get_submodule(norm)
            after: Any = result.get_submodule(layer)
            factor = (spread * torch.randn(len(before.weight), generator=chance)).exp().to(before.weight)
            before.weight.div_(factor)
            before.bias.div_(factor)
            after.weight.mul_(factor)
    return result


def times_of_layer(width: int, shares: Sequence[float], batches: Sequence[int], repeats: int) -> xr.DataArray:
    """How many times as fast as dense a linear layer width -> width is that chooses its inputs by WINA's score.

    -> (gate, batch, kept, repeat); the time to score and to choose is in it.
    """
    chance = torch.Generator().manual_seed(0)
    weight = torch.randn(width, width, generator=chance) / width**0.5
    plain = nn.Linear(width, width, bias=False)
    plain.weight = nn.Parameter(weight.clone())
    ways = {"top-k": "top-k", "threshold": "threshold"}
    table = np.empty((len(ways), len(batches), len(shares), repeats))
    for (row, by), (place, count), (column, share) in itertools.product(
        enumerate(ways), enumerate(batches), enumerate(shares)
    ):
        x = torch.randn(count, width, generator=chance)
        layer = SparseInputs(weight, None, x, share, "WINA", by, False).eval()  # type: ignore[arg-type]
        for repeat in range(repeats):
            with torch.no_grad():
                ours, theirs = side_by_side((partial(layer, x), partial(plain, x)), seconds=0.02)
            table[row, place, column, repeat] = theirs / ours
    return xr.DataArray(
        table,
        dims=("gate", "batch", "kept", "repeat"),
        coords={
            "gate": list(ways),
            "batch": ("batch", list(batches), {"long_name": "inputs at once"}),
            "kept": ("kept", list(shares), {"long_name": "share of the inputs that is kept"}),
        },
        attrs={"long_name": f"speed of a linear layer of {width}", "units": "times as fast as dense"},
    )
