"""A matrix product that touches only the weights of active units: gather their rows, multiply, add up.

    y = W a + b = Σ_{u: a_u ≠ 0} a_u W_:u + b

W is kept with a row for each unit, so that what is needed lies together in memory. Finding the active units is part of
the work. For one input the rows are copied side by side and multiplied at once; for many inputs, of which each has other
active units, `embedding_bag` adds the rows up without a copy.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def gathered_row(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The product for one input. Shapes: values (units,), weight (units, outputs), bias (outputs,) -> (outputs,)."""
    active = values.nonzero().squeeze(1)
    rows, said = weight.index_select(0, active), values.index_select(0, active)
    return rows.T @ said if bias is None else torch.addmv(bias, rows.T, said)


def gathered_rows(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The product for many inputs. Shapes: values (rows, units), weight (units, outputs) -> (rows, outputs)."""
    row, active = values.nonzero(as_tuple=True)
    starts = torch.searchsorted(row, torch.arange(len(values), device=values.device))
    out = F.embedding_bag(active, weight, starts, mode="sum", per_sample_weights=values[row, active])
    return out if bias is None else out + bias
