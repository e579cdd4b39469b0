"""Every neuron chooses its own activation function out of six while it learns; afterwards the choices are fixed.

Usually all neurons of a network use one function that somebody chose. Here each neuron n owns six scores. While training,
one function is drawn for each neuron and used, and the scores learn from how well it would have gone with the others; in
evaluation every neuron uses the function of its best score. `freeze()` then makes a layer that no longer chooses: it sorts
the neurons by their function, so that each function runs once, on its own neurons only.

    training:     y_n = Σ_k z_nk f_k(x_n),   z_n one-hot, drawn with probability softmax(s_n)
    evaluation:   y_n = f_k*(x_n),           k* = argmax_k s_nk
    gradient of the scores: as if z_n were softmax((s_n + noise_n) / temperature)

Symbols: x_n, y_n neuron n before and after its function; f_1 ... f_6 ReLU, sigmoid, tanh, LeakyReLU, ELU, SELU; s_n the
six learnt scores of neuron n. The draw is the same for all inputs of one pass.

Source: "SmartMixed: A Two-Phase Training Strategy for Adaptive Activation Function Learning in Neural Networks" (P161). The
draw, the temperature 0.5 and the start (scores of 0, a random one of the six at 0.001) are those of the author's code,
which in addition cuts all values off at ±10; here nothing is cut off.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.selection import drawn
from labkit.parts.shapes import shaped

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "ReLU": F.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "LeakyReLU": F.leaky_relu,
    "ELU": F.elu,
    "SELU": F.selu,
}
NUDGE = 0.001


class GroupedActivation(nn.Module):
    """Fixed functions, one for each neuron, evaluated in groups: each function runs once, on its neurons only.

    `choice` says for each neuron the place of its function in FUNCTIONS. Nothing here is learnt.

    Shapes: x (*batch, width) -> the same.
    Raises: ShapeError for inputs of another shape or type; ValueError for a choice that is none of the functions.
    """

    elementwise = True

    def __init__(self, choice: Sequence[int] | Tensor):
        super().__init__()
        choice = torch.as_tensor(choice, dtype=torch.long).cpu()
        if not len(choice) or choice.min() < 0 or choice.max() >= len(FUNCTIONS):
            raise ValueError(f"a neuron's choice is a number from 0 to {len(FUNCTIONS) - 1}, not {choice.tolist()}.")
        self.width = len(choice)
        self.counts = torch.bincount(choice, minlength=len(FUNCTIONS)).tolist()
        self.choice: Tensor
        self.order: Tensor
        self.place: Tensor
        order = choice.argsort(stable=True)
        for name, values in {"choice": choice, "order": order, "place": order.argsort()}.items():
            self.register_buffer(name, values)

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.width}"]) -> Float[Tensor, "*batch {self.width}"]:
        if max(self.counts) == self.width:
            return list(FUNCTIONS.values())[self.counts.index(self.width)](x)
        groups = x.index_select(-1, self.order).split(self.counts, -1)
        said = [function(part) for function, part in zip(FUNCTIONS.values(), groups, strict=True) if part.shape[-1]]
        return torch.cat(said, -1).index_select(-1, self.place)


class MixedActivation(nn.Module):
    """A learnt choice among six functions for each neuron: drawn in training, the best one in evaluation.

    Shapes: x (*batch, width) -> the same.
    Raises: ShapeError for inputs of another shape or type; ValueError for a temperature that is not positive.
    Source: "SmartMixed: A Two-Phase Training Strategy for Adaptive Activation Function Learning in Neural Networks" (P161).
    """

    elementwise = True

    def __init__(self, width: int, *, temperature: float = 0.5):
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"the temperature of MixedActivation is above 0, not {temperature}.")
        self.width, self.temperature = width, temperature
        first = torch.randint(len(FUNCTIONS), (width,))
        self.scores = nn.Parameter(NUDGE * F.one_hot(first, len(FUNCTIONS)).float())

    @property
    def choice(self) -> Tensor:
        """The place of each neuron's best function in FUNCTIONS. Shapes: -> (width,) integers."""
        return self.scores.detach().argmax(-1)

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.width}"]) -> Float[Tensor, "*batch {self.width}"]:
        said = torch.stack([function(x) for function in FUNCTIONS.values()], -1)
        if self.training:
            return (said * drawn(self.scores, self.temperature)).sum(-1)
        return said.gather(-1, self.choice.unsqueeze(-1).expand(*x.shape, 1)).squeeze(-1)

    def freeze(self) -> GroupedActivation:
        """The second phase: a layer with these choices, fixed, which says what this one says in evaluation."""
        return GroupedActivation(self.choice).to(self.scores.device)


def slowly(layer: MixedActivation, x: Tensor) -> Tensor:
    """One neuron at a time, with the functions written out."""
    scale, alpha = 1.0507009873554805, 1.6732632423543772

    def say(function: int, value: Tensor) -> Tensor:
        below = value.clamp(max=0).exp() - 1
        return (
            value.clamp_min(0),
            1 / (1 + (-value).exp()),
            1 - 2 / ((2 * value).exp() + 1),
            torch.where(value > 0, value, 0.01 * value),
            torch.where(value > 0, value, below),
            scale * torch.where(value > 0, value, alpha * below),
        )[function]

    weights = drawn(layer.scores, layer.temperature)
    units = []
    for unit in range(layer.width):
        if layer.training:
            parts = [weights[unit, place] * say(place, x[..., unit]) for place in range(len(FUNCTIONS))]
            units.append(torch.stack(parts).sum(0))
        else:
            units.append(say(int(layer.choice[unit]), x[..., unit]))
    return torch.stack(units, -1)


example = Example(
    lambda: MixedActivation(9),
    reference=slowly,
    exempt={
        "gradients are right": "the gradient of a hard choice is that of the soft one by design: slopes by differences are 0"
    },
)
