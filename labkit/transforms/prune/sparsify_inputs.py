"""Lets linear layers read only the inputs that matter for this token, without training: weight informed activation.

    y = Σ_{i in S(x)} x_i W_:i + b,          S(x) the K inputs of the highest score s_i

    WINA         s_i = |x_i| · ‖W_:i‖₂             what dropping input i alone would change in y
    magnitude    s_i = |x_i|                       TEAL's: the weights are not asked
    fixed        s_i = √E[x_i²] · ‖W_:i‖₂          Wanda's score for whole inputs: the same ones for every x
    random       a number by chance                the control

Symbols: x what enters a layer, i one of its inputs, W_:i the column of weights that multiplies it, b the bias, K the share of the
inputs that is kept, E over a batch.

Where the columns are orthogonal, the squared error is Σ_{dropped} s_i² with WINA's s: no other K inputs do better. Elsewhere
dropped inputs may cancel or add up, and that is no longer sure. `rotate` makes every layer orthogonal: with the singular value
decomposition W = U Σ Vᵀ it reads z = Vᵀ x by the weights U Σ, whose columns are orthogonal with norms σ_i. The answer with all
inputs is the same. The rotation itself is a dense product here; in the paper rotations are absorbed into the weights before.

Source: "WINA: Weight Informed Neuron Activation for Accelerating Large Language Model Inference" (P281); score, top-k and the
condition on the columns are confirmed, its greedy allotment of shares to layers is left out: all layers keep the same share.
TEAL is Liu et al., "Training-Free Activation Sparsity in Large Language Models" (2024); "fixed" is after Sun et al., "A Simple
and Effective Pruning Approach for Large Language Models" (2024), which prunes single weights.
"""

import copy
import re
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.fewer_units import FEW_ROWS, GRID
from labkit.parts.gathered import gathered_rows
from labkit.parts.shapes import traced
from labkit.parts.threshold import above, calibrated, scores, strongest
from labkit.recording.batches import answer, evaluating
from labkit.recording.dense_blocks import drawn_batch
from labkit.recording.following import weight_of

Rule = Literal["WINA", "magnitude", "fixed", "random"]
RULES: tuple[Rule, ...] = ("WINA", "magnitude", "fixed", "random")
By = Literal["top-k", "threshold"]


class SparseInputs(nn.Linear):
    """A linear layer that reads the `share` of its inputs that scores highest. (..., in_features) -> (..., out_features).

    For a few rows at a time only the columns of these inputs are read. With many rows, or while gradients are wanted, the others
    are multiplied by 0. The norms are those that the weights had when the layer was made.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, seen: Tensor, share: float, rule: Rule, by: By, rotate: bool
    ):
        super().__init__(weight.shape[1], weight.shape[0], bias is not None, device=weight.device, dtype=weight.dtype)
        left, rotation = weight, None
        if rotate:
            left, strength, right = torch.linalg.svd(weight, full_matrices=False)
            left, rotation = left * strength, right.T.contiguous()
        with torch.no_grad():
            self.weight = nn.Parameter(left.clone(memory_format=torch.contiguous_format))
            if bias is not None:
                self.bias.copy_(bias)
        self.rule, self.by, self.share = rule, by, share
        norms = self.weight.detach().norm(dim=0)
        read = seen if rotation is None else seen @ rotation
        self.register_buffer("rotation", rotation)
        self.register_buffer("norms", torch.ones_like(norms) if rule == "magnitude" else norms)
        self.register_buffer("usual", read.square().mean(0).sqrt())
        levels = [
            calibrated(scores(read, self.norms), place / (GRID - 1))
            for place in range(GRID if by == "threshold" else 1)
        ]
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.float32))
        self.rotation: Tensor | None
        self.norms: Tensor
        self.usual: Tensor
        self.levels: Tensor

    def keeps(self, x: Tensor) -> Tensor:
        """Which inputs are read, after the rotation where there is one. Shapes: x (..., inputs) -> (..., inputs) bool."""
        count = max(1, round(self.share * x.shape[-1]))
        if self.rule == "random":
            chance = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
            return strongest(chance * (x != 0), count)
        if self.rule == "fixed":
            return strongest(self.usual, count, self.norms).expand(x.shape)
        if self.by == "top-k":
            return strongest(x, count, self.norms)
        return above(x, float(self.levels[round((1 - self.share) * (GRID - 1))]), self.norms)

    def forward(self, x: Tensor) -> Tensor:
        read = x if self.rotation is None else x @ self.rotation
        if self.share >= 1:
            return F.linear(read, self.weight, self.bias)
        kept = read * self.keeps(read)
        rows = kept.reshape(-1, kept.shape[-1])
        if traced() or torch.is_grad_enabled() or len(rows) > FEW_ROWS:
            return F.linear(kept, self.weight, self.bias)
        return gathered_rows(rows, self._columns(), self.bias).reshape(*x.shape[:-1], self.out_features)

    def _columns(self) -> Tensor:
        """The weights with a row for each input, laid out once for as long as they stay as they are."""
        known = self.__dict__.get("_laid_out")
        if known is None or known[0] != (self.weight.data_ptr(), self.weight._version):
            known = (self.weight.data_ptr(), self.weight._version), self.weight.detach().T.contiguous()
            self.__dict__["_laid_out"] = known
        return known[1]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_laid_out"}


def sparsify_inputs(
    model: nn.Module,
    batch: Any = None,
    *,
    share: float = 0.5,
    rule: Rule = "WINA",
    by: By = "top-k",
    rotate: bool = False,
    where: str = "",
) -> nn.Module:
    """A copy of the model whose linear layers read this share of their inputs, for each token those of the highest score.

    `where` is a regular expression, searched in the names of the layers; empty takes all that run. `by` "threshold" keeps what
    scores above a number that is calibrated on the batch, so that some tokens keep more than others. `batch` is what
    thresholds and the fixed choice are measured on; without it drawn normal inputs are taken.
    Raises: ValueError for a share outside 0 to 1, for words that are not known, or where no layer fits.
    """
    if not 0 < share <= 1:
        raise ValueError(f"The share of the inputs that is kept is above 0 and at most 1, not {share}.")
    if rule not in RULES or by not in ("top-k", "threshold"):
        raise ValueError(
            f"inputs are kept by one of {', '.join(RULES)}, with top-k or threshold, not by {rule!r} and {by!r}."
        )
    seen = entering(model, drawn_batch(model) if batch is None else batch, where)
    if not seen:
        raise ValueError(f"No linear layer that runs has a name in which {where!r} occurs.")
    result = copy.deepcopy(model)
    for name, rows in seen.items():
        old = result.get_submodule(name)
        weight, bias = weight_of(old), getattr(old, "bias", None)
        assert weight is not None
        new = SparseInputs(weight.detach(), None if bias is None else bias.detach(), rows, share, rule, by, rotate)
        holder, _, last = name.rpartition(".")
        setattr(result.get_submodule(holder), last, new.train(old.training))
    for module in result.modules():
        if hasattr(module, "activation_relu_or_gelu"):
            module.activation_relu_or_gelu = 0  # type: ignore[assignment]  # the fused path reads the weights past the layers
    return result


def read_share(model: nn.Module, share: float) -> None:
    """Let the sparse layers of a model read this share of their inputs from now on. Raises: ValueError where it has none."""
    layers = [one for one in model.modules() if isinstance(one, SparseInputs)]
    if not layers or not 0 < share <= 1:
        raise ValueError(
            f"The share is above 0 and at most 1, not {share}, and the model needs sparse layers; it has {len(layers)}."
        )
    for layer in layers:
        layer.share = share


def entering(model: nn.Module, batch: Any, where: str = "") -> dict[str, Tensor]:
    """What enters each linear layer that runs and whose name fits: layer -> (rows, in_features), at most 4,096 rows."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple], None]:
        def hear(_module: nn.Module, given: tuple) -> None:
            rows = given[0].detach().flatten(0, -2)
            seen[name] = rows[:: -(-len(rows) // 4096)].clone()

        return hear

    handles = [
        module.register_forward_pre_hook(keep(name))
        for name, module in model.named_modules()
        if name and re.search(where, name) and _plain(module)
    ]
    try:
        with evaluating(model):
            answer(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _plain(module: nn.Module) -> bool:
    """A layer that is called for its product; others of its kind are read by the module that holds them."""
    weight = weight_of(module)
    return weight is not None and weight.dim() == 2 and (type(module) is nn.Linear or type(module).__name__ == "Conv1D")


def slowly(model: nn.Module, x: Tensor) -> Tensor:
    """One row at a time and one layer after the other: sort the inputs by what each adds alone, add up the best half."""
    outs = []
    for row in x:
        for layer in model:  # type: ignore[attr-defined]
            if isinstance(layer, nn.Linear):
                parts = row * layer.weight  # (outputs, inputs)
                order = parts.norm(dim=0).argsort(descending=True)
                row = parts[:, order[: max(1, round(len(row) / 2))]].sum(1) + layer.bias
            else:
                row = layer(row)
        outs.append(row)
    return torch.stack(outs)


example = Example(
    lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)),
    inputs=lambda seed: (torch.randn(7, 6, generator=torch.Generator().manual_seed(seed)),),
    reference=slowly,
)
