"""Takes the smallest weights out of recurrent layers: of what a layer reads, of what it tells itself, or of both together.

A recurrent layer has two matrices: one from its input to the hidden state, one from the hidden state to the next one.

    m_ij = 1 if |w_ij| > θ, else 0,        w ← m ⊙ w,        θ the q-th percentile of all |w| of the group

Symbols: w the weights of the group (input-hidden, hidden-hidden or both, of all recurrent layers), m their mask, q the share
that goes. The threshold is one for the whole group; a gated layer's matrices hold those of all its gates.

Exactly so many weights go: where several are equally large at the threshold, some stay. Nothing is trained here; what is 0
stays so under `parts.kept.Kept` in a masked training.

Source: "Investigating Sparsity in Recurrent Neural Networks" (P074); percentile and group as in its published code. That
"random" takes out any of them is our control.
"""

import copy
import re
from typing import Literal

import torch
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.mask import drawn, strongest_of_all, weights_of

GROUPS = {"input-hidden": "weight_ih", "hidden-hidden": "weight_hh", "both": "weight_[ih]h"}


def threshold_recurrent_weights(
    model: nn.Module,
    *,
    share: float = 0.5,
    of: Literal["input-hidden", "hidden-hidden", "both"] = "both",
    by: Literal["magnitude", "random"] = "magnitude",
    seed: int = 0,
) -> nn.Module:
    """A copy of the model without this share (0 to 1) of a group of its recurrent weights. It shares no memory with it.

    Raises: ValueError for a share or a group that there is not, or a model without recurrent layers.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"The share of the weights that goes is from 0 to 1, not {share}.")
    if of not in GROUPS:
        raise ValueError(f"The weights are {', '.join(GROUPS)}; {of!r} is none of them.")
    result = copy.deepcopy(model)
    group = recurrent_weights(result, of)
    if not group:
        raise ValueError(f"This {type(model).__name__} has no recurrent layer to prune.")
    sizes = {name: weight.detach().abs() for name, weight in group.items()}
    if by == "random":
        draw = torch.Generator().manual_seed(seed)
        masks = {name: drawn(size, 1 - share, draw) for name, size in sizes.items()}
    else:
        masks = strongest_of_all(sizes, 1 - share)
    with torch.no_grad():
        for name, weight in group.items():
            weight.masked_fill_(~masks[name], 0)
    return result


def recurrent_weights(model: nn.Module, of: str = "both") -> dict[str, Tensor]:
    """The weights of one group by name."""
    wanted = re.compile(rf"(^|\.){GROUPS[of]}(_l\d+(_reverse)?)?$")
    return {name: weight for name, weight in weights_of(model).items() if wanted.search(name)}


class _Last(nn.Module):
    """The last output of a recurrent layer. (rows, places, 5) -> (rows, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(5, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0][:, -1]


def slowly(model: nn.Module, x: Tensor) -> Tensor:
    """One weight at a time: all that are not above the median of both matrices go."""
    twin = copy.deepcopy(model)
    tensors = [weight.data for name, weight in twin.named_parameters() if "weight" in name]
    sizes = sorted(abs(value) for tensor in tensors for value in tensor.flatten().tolist())
    for tensor in tensors:
        for row in tensor:
            for place, value in enumerate(row.tolist()):
                if abs(value) < sizes[len(sizes) // 2]:
                    row[place] = 0.0
    return twin(x)


example = Example(
    _Last, inputs=lambda seed: (torch.randn(7, 4, 5, generator=torch.Generator().manual_seed(seed)),), reference=slowly
)
