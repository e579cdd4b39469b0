"""A threshold for each input and channel, moved by what all channels of that input say together: squeeze and excitation.

`InstanceThreshold` moves the threshold of a channel by a moment of the same channel. Here a small network reads the moments of
all channels and adds to it.

    m_c = mean over places p of x_cp^k,       T = α ⊙ m + β + tanh(V max(0, U m)),       b_cp = sign(x_cp - T_c)

Symbols: x the activations of one input, normalised over the batch; c a channel, p a place; k the moment; m the moments of all
channels; U squeezes them to few numbers, V spreads those to one for each channel; α, β learnt, one each a channel; ⊙ multiplies
number by number; T the thresholds; b the bits. V begins at 0, so that the start is the fixed threshold of ReActNet.

Source: "INSTA-BNN: Binary Neural Network with INSTAnce-aware Threshold" (P322), there INSTA-Th+. That a block like squeeze and
excitation is in the threshold is stated in summaries; where it is added, the tanh and the start are reconstructed.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.binary import moment, sign_through
from labkit.parts.shapes import shaped


class ExcitedThreshold(nn.Module):
    """Bits of ±1, by thresholds that follow the moments of all channels of the input.

    Shapes: x (rows, channels, height, width) -> the same, each value 1 or -1.
    Raises: ShapeError for an input of another shape or type; ValueError for a moment that is not odd, or nothing squeezed to.
    Source: "INSTA-BNN: Binary Neural Network with INSTAnce-aware Threshold" (P322).
    """

    def __init__(self, channels: int, *, squeezed: int = 4, power: int = 3):
        super().__init__()
        if power < 1 or power % 2 == 0 or squeezed < 1:
            raise ValueError(f"The moment is odd and the squeezed width 1 or more, not {power} and {squeezed}.")
        self.channels, self.power = channels, power
        self.follow = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.squeeze, self.excite = nn.Linear(channels, squeezed), nn.Linear(squeezed, channels, bias=False)
        nn.init.zeros_(self.excite.weight)

    def threshold(self, x: Tensor) -> Tensor:
        """T of each input and channel. Shapes: -> (rows, channels)."""
        said = moment(x, self.power)
        return self.follow * said + self.shift + torch.tanh(self.excite(F.relu(self.squeeze(said))))

    @shaped
    def forward(
        self, x: Float[Tensor, "rows {self.channels} height width"]
    ) -> Float[Tensor, "rows {self.channels} height width"]:
        return sign_through(x - self.threshold(x)[..., None, None])


def slowly(layer: ExcitedThreshold, x: Tensor) -> Tensor:
    """One input at a time."""
    rows = []
    for row in x:
        said = torch.stack([(values**layer.power).mean() for values in row])
        hidden = [F.relu(weight @ said + bias) for weight, bias in zip(*layer.squeeze.parameters(), strict=True)]
        bits = []
        for channel, values in enumerate(row):
            more = torch.tanh(layer.excite.weight[channel] @ torch.stack(hidden))
            above = values - (layer.follow[channel] * said[channel] + layer.shift[channel] + more)
            slope = above.clamp(-1, 1)
            bits.append(torch.where(above.detach() >= 0, 1.0, -1.0) + slope - slope.detach())
        rows.append(torch.stack(bits))
    return torch.stack(rows).to(x.dtype)


def one() -> ExcitedThreshold:
    """With thresholds that have moved."""
    layer = ExcitedThreshold(4, squeezed=3)
    with torch.no_grad():
        for parameter in (layer.follow, layer.shift, layer.excite.weight):
            nn.init.normal_(parameter).mul_(0.3)
        layer.squeeze.bias.fill_(2.0)
    return layer


example = Example(
    one,
    reference=slowly,
    exempt={"gradients are right": "the gradient goes straight through the sign, whose own slope is zero"},
)
