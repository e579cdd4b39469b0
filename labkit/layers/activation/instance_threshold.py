"""The sign of each activation against a threshold that depends on the input itself, through a moment of its own channel.

In a network of one-bit activations all that is left of a number is on which side of a threshold it lies. A threshold that is
learnt but fixed suits the average input; a bright or a busy one has nearly all its values on one side, and says little. Here
each input's own statistic moves its thresholds.

    m_c = mean over places p of x_cp^k,       T_c = α_c m_c + β_c,       b_cp = sign(x_cp - T_c)

Symbols: x the activations of one input, normalised over the batch; c a channel, p a place; k the moment: 1 the mean, 3 the mean
of cubes, in which mean, spread and skewness are together; α, β learnt, one each a channel; T the threshold; b the bits.
After batch normalisation without shift the batch's mean is 0, so m_c is how far this input is from the batch.
α = 0, as at the start, is the learnt fixed threshold of ReActNet. The gradient of the sign is that of clip(x - T, -1, 1).

Source: "INSTA-BNN: Binary Neural Network with INSTAnce-aware Threshold" (P322), there INSTA-Th. That the threshold follows the
mean of cubes of the normalised activations is stated in summaries; that it is linear in it, and the start, are reconstructed.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.binary import moment, sign_through
from labkit.parts.shapes import shaped


class InstanceThreshold(nn.Module):
    """Bits of ±1, by a threshold for each input and channel that follows the input's own moment.

    Shapes: x (rows, channels, height, width) -> the same, each value 1 or -1.
    Raises: ShapeError for an input of another shape or type; ValueError for a moment that is not odd: the mean of squares
    cannot say on which side the values lie.
    Source: "INSTA-BNN: Binary Neural Network with INSTAnce-aware Threshold" (P322).
    """

    def __init__(self, channels: int, *, power: int = 3):
        super().__init__()
        if power < 1 or power % 2 == 0:
            raise ValueError(f"The moment of a threshold is odd, 1 or 3, and not {power}.")
        self.channels, self.power = channels, power
        self.follow = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def threshold(self, x: Tensor) -> Tensor:
        """T of each input and channel. Shapes: -> (rows, channels)."""
        return self.follow * moment(x, self.power) + self.shift

    @shaped
    def forward(
        self, x: Float[Tensor, "rows {self.channels} height width"]
    ) -> Float[Tensor, "rows {self.channels} height width"]:
        return sign_through(x - self.threshold(x)[..., None, None])


def slowly(layer: InstanceThreshold, x: Tensor) -> Tensor:
    """One input and one channel at a time."""
    rows = []
    for row in x:
        bits = []
        for channel, values in enumerate(row):
            mean = sum(value**layer.power for value in values.flatten()) / values.numel()
            above = values - (layer.follow[channel] * mean + layer.shift[channel])
            slope = above.clamp(-1, 1)
            bits.append(torch.where(above.detach() >= 0, 1.0, -1.0) + slope - slope.detach())
        rows.append(torch.stack(bits))
    return torch.stack(rows).to(x.dtype)


def one() -> InstanceThreshold:
    """With thresholds that have moved."""
    layer = InstanceThreshold(4)
    with torch.no_grad():
        nn.init.normal_(layer.follow).mul_(0.3)
        nn.init.normal_(layer.shift).mul_(0.3)
    return layer


example = Example(
    one,
    reference=slowly,
    exempt={"gradients are right": "the gradient goes straight through the sign, whose own slope is zero"},
)
