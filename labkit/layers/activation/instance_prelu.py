"""A PReLU whose kink is at a place that depends on the input itself, through a moment of its own channel.

After a layer of one-bit weights the values of a channel sit somewhere, and where differs from input to input. A PReLU bends at 0.
ReActNet's bends at a learnt place, the same for all inputs; here that place, and what is added afterwards, follow the input.

    m_c = mean over places p of x_cp^k,    γ_c = α_c m_c + β_c,    y_cp = f_c(x_cp - γ_c) + η_c m_c + ζ_c,
    f_c(u) = u for u > 0, else a_c u

Symbols: x the activations of one input, normalised over the batch; c a channel, p a place; k the moment; α, β, η, ζ and the slope
a learnt, one each a channel. α = η = 0, as at the start, is ReActNet's RPReLU.

Source: "INSTA-BNN: Binary Neural Network with INSTAnce-aware Threshold" (P322), there INSTA-PReLU. That its learnt numbers follow
the input is stated in summaries; which of them do, and how, is reconstructed.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.binary import kinked, moment
from labkit.parts.shapes import shaped


class InstancePReLU(nn.Module):
    """A PReLU whose kink and height follow a moment of each input's own channel.

    Shapes: x (rows, channels, height, width) -> the same.
    Raises: ShapeError for an input of another shape or type; ValueError for a moment that is not odd.
    Source: "INSTA-BNN: Binary Neural Network with INSTAnce-aware Threshold" (P322).
    """

    def __init__(self, channels: int, *, power: int = 3):
        super().__init__()
        if power < 1 or power % 2 == 0:
            raise ValueError(f"The moment of a kink is odd, 1 or 3, and not {power}.")
        self.channels, self.power = channels, power
        self.place, self.follow_place = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))
        self.height, self.follow_height = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.full((channels,), 0.25))

    @shaped
    def forward(
        self, x: Float[Tensor, "rows {self.channels} height width"]
    ) -> Float[Tensor, "rows {self.channels} height width"]:
        said = moment(x, self.power)
        place, height = self.follow_place * said + self.place, self.follow_height * said + self.height
        return kinked(x - place[..., None, None], self.slope) + height[..., None, None]


def slowly(layer: InstancePReLU, x: Tensor) -> Tensor:
    """One input and one channel at a time."""
    rows = []
    for row in x:
        said = []
        for channel, values in enumerate(row):
            mean = sum(value**layer.power for value in values.flatten()) / values.numel()
            moved = values - layer.follow_place[channel] * mean - layer.place[channel]
            bent = torch.relu(moved) - layer.slope[channel] * torch.relu(-moved)
            said.append(bent + layer.follow_height[channel] * mean + layer.height[channel])
        rows.append(torch.stack(said))
    return torch.stack(rows)


def one() -> InstancePReLU:
    """With a kink that has moved."""
    layer = InstancePReLU(3)
    with torch.no_grad():
        for parameter in layer.parameters():
            nn.init.normal_(parameter).mul_(0.3)
    return layer


example = Example(one, reference=slowly)
