"""Attacks on a trained model: inputs changed a little so that the loss rises most, and how often the model is then right.

    x' = clip(x + ε sign(∂L/∂x), low, high)

Symbols: x the input, L the loss of the true class, ε the strength of the attack; low and high bound the data, so that
an image stays an image.

Source: Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples" (2014), the fast gradient sign method.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn


def fast_gradient_sign(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    target: Tensor,
    strengths: Sequence[float],
    bounds: tuple[float, float] = (0.0, 1.0),
) -> list[Tensor]:
    """The inputs as they are after attacks of these strengths. The model is left as it was, its mode and gradients too.

    Shapes: x (rows, ...), target (rows,) -> one tensor like x for each strength.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.enable_grad():
            given = x.detach().clone().requires_grad_()
            slope = torch.autograd.grad(loss(model(given), target), given)[0].sign()
    finally:
        for module, training in modes:
            module.training = training
    return [(x + strength * slope).clamp(*bounds) for strength in strengths]


def under_attack(strengths: Sequence[float], rows: int | None = None) -> Callable[[nn.Module, object], xr.DataArray]:
    """A probe: the share of test inputs of each class that are named rightly after attacks: (class, strength).

    Every class counts the same in the mean over them; `rows` limits the test inputs.
    """

    def probe(model: nn.Module, task) -> xr.DataArray:
        x, target = (part[:rows] for part in task.test())
        attacked = fast_gradient_sign(model, task.loss, x, target, strengths)
        training = model.training
        with torch.no_grad():
            right = [(model.eval()(one).argmax(-1) == target).numpy() for one in attacked]
        model.train(training)
        labels = list(task.labels)
        # a class without inputs has no share
        share = [
            [float(one[target.numpy() == place].mean()) if (target == place).any() else np.nan for one in right]
            for place in range(len(labels))
        ]
        return xr.DataArray(
            np.array(share),
            dims=("class", "strength"),
            coords={"class": labels, "strength": [float(strength) for strength in strengths]},
            attrs={
                "long_name": "accuracy under attack",
                "units": "fraction",
                "view": "heatmap",
                "says": "How often each class is still named rightly when all pixels are changed by at most the strength of "
                "the attack. Follow a row from left to right: a robust model stays dark longer.",
                "mean": "seeds",
            },
        )

    return probe
