"""Matrix products that touch only the weights of active units: gather their rows, multiply, add up.

    y = W a + b = Σ_{u: a_u ≠ 0} a_u W_:u + b                       `gathered_row`, `gathered_rows`: what is not 0 is searched
    y = Σ_{u chosen} a_u W_:u + b                                   `chosen_sum`
    y = Σ_{u chosen} φ(k_u · x + c_u) W_:u + b                      `active_units`: both layers, nothing else is computed

W is kept with a row for each unit, so that what is needed lies together in memory. Compiled code does it where that pays:
of a batch it reads each row of the weight once. Elsewhere one input's rows are copied side by side and multiplied at once,
`embedding_bag` adds up the rows of many inputs without a copy, and where most units are needed by some input all are
computed.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.parts.kernels import active_units as compiled
from labkit.parts.kernels.card import on_card
from labkit.parts.kernels.engine import suits
from labkit.parts.shapes import traced


def gathered_row(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The product for one input. Shapes: values (units,), weight (units, outputs), bias (outputs,) -> (outputs,)."""
    if _evaluated(values, weight, bias):
        return compiled.rows_product(values.unsqueeze(0), weight, bias).squeeze(0)
    active = values.nonzero().squeeze(1)
    rows, said = weight.index_select(0, active), values.index_select(0, active)
    return rows.T @ said if bias is None else torch.addmv(bias, rows.T, said)


def gathered_rows(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The product for many inputs. Shapes: values (rows, units), weight (units, outputs) -> (rows, outputs)."""
    if _evaluated(values, weight, bias):
        return compiled.rows_product(values, weight, bias)
    return gathered_rows_plainly(values, weight, bias)


def gathered_rows_plainly(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    row, active = values.nonzero(as_tuple=True)
    starts = torch.searchsorted(row, torch.arange(len(values), device=values.device))
    out = F.embedding_bag(active, weight, starts, mode="sum", per_sample_weights=values[row, active])
    return out if bias is None else out + bias


def _evaluated(values: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    return suits(values, weight, learns=False) if bias is None else suits(values, weight, bias, learns=False)


def chosen_sum(values: Tensor, index: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The sum of the rows of a weight that each input chose, times its values; what it chose twice counts twice.

    Shapes: values and index (..., K) with -1 for nothing, weight (units, outputs), bias (outputs,) -> (..., outputs).
    Raises: IndexError for an index that is not from -1 to units - 1.
    """
    if values.dim() != 2:
        places = index.reshape(-1, index.shape[-1])
        rows = chosen_sum(values.reshape(places.shape), places, weight, bias)
        return rows.reshape(*index.shape[:-1], weight.shape[1])
    given = (values, weight) if bias is None else (values, weight, bias)
    if suits(*given, worth=_pays(index, weight, _learning(given))):
        return compiled.chosen_sums(values, index, weight, bias)
    return chosen_sum_plainly(values, index, weight, bias)


def chosen_sum_plainly(values: Tensor, index: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`chosen_sum` in plain torch. Shapes: values and index (rows, K) -> (rows, outputs)."""
    kept = torch.where(index >= 0, values, 0)
    if not traced() and 4 * index.numel() <= len(weight):
        out = torch.einsum("nk,nko->no", kept, weight[index.clamp_min(0)])
    else:
        out = values.new_zeros(len(values), len(weight)).scatter_add(1, index.clamp_min(0), kept) @ weight
    return out if bias is None else out + bias


def known_units(hidden: Tensor, index: Tensor, x: Tensor, in_weight: Tensor, in_bias: Tensor) -> Tensor:
    """The rectified units that an index names, out of all of them; 0 where it names nothing.

    While the gradient is wanted, it goes back through the chosen units alone where that is quicker.

    Shapes: hidden (..., units) the rectified x W1ᵀ + b1, index (..., K), x (..., in_width), in_weight (units, in_width),
    in_bias (units,) -> (..., K).
    """
    short = (
        _learning((x, in_weight, in_bias))
        and not torch.compiler.is_compiling()
        and suits(x, in_weight, in_bias, worth=_pays(index, in_weight, True))
    )
    if not short:
        return torch.where(index < 0, 0, hidden.gather(-1, index.clamp_min(0)))
    known, rows, places = (one.reshape(-1, one.shape[-1]) for one in (hidden.detach(), x, index))
    return F.relu(compiled.recalled(known, rows, places, in_weight, in_bias)).reshape(index.shape)


def active_units(
    x: Tensor,
    index: Tensor,
    in_weight: Tensor,
    in_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    activation: Callable[[Tensor], Tensor] = F.relu,
) -> Tensor:
    """A two-layer network of which each input runs the units that its index names; a unit named twice counts twice.

    Shapes: x (..., in_width), index (..., K) with -1 for nothing, in_weight (units, in_width), in_bias (units,),
    out_weight (units, out_width), out_bias (out_width,) -> (..., out_width).
    Raises: IndexError for an index that is not from -1 to units - 1.
    """
    if x.dim() != 2:
        rows, places = x.reshape(-1, x.shape[-1]), index.reshape(-1, index.shape[-1])
        out = active_units(rows, places, in_weight, in_bias, out_weight, out_bias, activation)
        return out.reshape(*x.shape[:-1], out_weight.shape[1])
    weights = (in_weight, in_bias, out_weight, out_bias)
    given = [one for one in (x, *weights) if one is not None]
    learning = _learning(given)
    card = on_card("active_units", "feedforward", *given) if activation is F.relu else None
    if card:
        return card(x, index, *weights, True)
    if not suits(*given, worth=_pays(index, in_weight, learning)):
        return active_units_plainly(x, index, *weights, activation)
    if activation is F.relu and not learning:
        return compiled.feedforward(x, index, *weights, True)
    hidden = activation(compiled.chosen_dots(x, index, in_weight, in_bias))
    return compiled.chosen_sums(hidden, index, out_weight, out_bias)


def _pays(index: Tensor, weight: Tensor, learning: bool) -> bool:
    return compiled.pays(index.shape[:-1].numel(), index.shape[-1], weight.shape[0], learning)


def _learning(given: Sequence[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)


def active_units_plainly(
    x: Tensor,
    index: Tensor,
    in_weight: Tensor,
    in_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    activation: Callable[[Tensor], Tensor] = F.relu,
) -> Tensor:
    """`active_units` in plain torch. Shapes: x (rows, in_width), index (rows, K) -> (rows, out_width)."""
    chosen = index.clamp_min(0)
    if not traced() and 4 * index.numel() <= len(in_weight):
        hidden = torch.einsum("nd,nkd->nk", x, in_weight[chosen])
        hidden = hidden if in_bias is None else hidden + in_bias[chosen]
    else:
        hidden = F.linear(x, in_weight, in_bias).gather(1, chosen)
    return chosen_sum_plainly(activation(hidden), index, out_weight, out_bias)


def units_of(mask: Tensor) -> Tensor:
    """The index of what a mask names, ascending, filled up with -1. Shapes: mask (..., units) bool -> (..., K)."""
    counts = mask.sum(-1)
    most = int(counts.max()) if counts.numel() else 0
    order = mask.to(torch.uint8).sort(stable=True, dim=-1, descending=True).indices[..., :most]
    return torch.where(torch.arange(most, device=mask.device) < counts.unsqueeze(-1), order, -1)
