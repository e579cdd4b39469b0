"""A cap on how long the ingoing weights of a unit may be: too long ones are scaled back, shorter ones stay as they are.

    w_u ← w_u · min(1, c / ‖w_u‖₂)

w_u are the ingoing weights of unit u, a row of the matrix; c is the cap. Unlike a penalty it does nothing below c and cannot be
outweighed by the loss, so that a large learning rate may be tried.

Source: "Improving neural networks by preventing co-adaptation of feature detectors" (P158), which caps the squared length at 15.
"""

import torch
from torch import Tensor, nn


@torch.no_grad()
def capped(weight: Tensor, cap: float) -> Tensor:
    """The rows of a weight, none longer than the cap. Shapes: weight (units, ...) -> (units, ...)."""
    length = weight.flatten(1).norm(dim=1)
    scale = (cap / length.clamp_min(torch.finfo(weight.dtype).tiny)).clamp(max=1)
    return weight * scale.view(-1, *[1] * (weight.dim() - 1))


def matrices(model: nn.Module) -> dict[str, Tensor]:
    """The weights of the linear and convolutional layers by name: each row of them is what one unit reads."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return {name: part.weight for name, part in model.named_modules() if isinstance(part, kinds)}
