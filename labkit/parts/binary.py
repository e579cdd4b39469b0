"""Numbers of one bit: the sign with a gradient that goes straight through, weights of one bit with a scale, and their layers.

    sign:        b = 1 where x >= 0, else -1;        gradient of x: that of b where |x| <= 1, else 0
    weights:     Ŵ_o = mean |W_o| · sign(W_o)        o an output channel; gradient of W: that of Ŵ, clipped in the same way
    shift:       b = sign(x - β_c)                   c a channel, β learnt ("RSign")
    shifted PReLU:   y = x - γ_c + ζ_c for x > γ_c, else a_c (x - γ_c) + ζ_c          ("RPReLU"; γ, ζ, a learnt, a channel each)

A product of such a weight with such an input adds and subtracts, and on hardware that counts bits is one XNOR and one count for
32 or 64 of them. In torch it is an ordinary product of numbers that happen to be ±1.

Source: Hubara, Courbariaux, Soudry, El-Yaniv and Bengio, "Binarized Neural Networks" (2016), the clipped gradient; Rastegari,
Ordonez, Redmon and Farhadi, "XNOR-Net" (2016), the scale; Liu, Shen, Savvides and Cheng, "ReActNet: Towards Precise Binary
Neural Network with Generalized Activation Functions" (2020), RSign and RPReLU.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sign_through(x: Tensor) -> Tensor:
    """1 or -1 for each number, 1 for 0, with the gradient of clip(x, -1, 1). What is no number stays none."""
    slope = x.clamp(-1, 1)
    hard = torch.where(x >= 0, torch.ones_like(x), torch.where(x < 0, -torch.ones_like(x), x))
    return hard.detach() + (slope - slope.detach())


def one_bit(weight: Tensor) -> Tensor:
    """Weights of one bit, times the mean size of their output channel, the first axis. Any shape, the same out."""
    size = weight.detach().abs().flatten(1).mean(1).view(-1, *[1] * (weight.dim() - 1))
    return size * sign_through(weight)


class BinaryConv2d(nn.Conv2d):
    """A convolution without bias whose weights are one bit each, times a scale for each output channel.

    What it pads with is 0, neither 1 nor -1, as in published code.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3):
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, one_bit(self.weight), padding=self.padding)


class ShiftedSign(nn.Module):
    """The sign of each value after a learnt shift of its channel: the same threshold for every input. (rows, channels, h, w)"""

    def __init__(self, channels: int):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return sign_through(x - self.shift[:, None, None])


class ShiftedPReLU(nn.Module):
    """A PReLU whose kink is at a learnt place, for each channel. (rows, channels, h, w) -> the same."""

    def __init__(self, channels: int):
        super().__init__()
        self.place, self.height = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.full((channels,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return kinked(x - self.place[:, None, None], self.slope) + self.height[:, None, None]


def kinked(x: Tensor, slope: Tensor) -> Tensor:
    """x where it is above 0, else a slope of its channel times x."""
    return torch.where(x > 0, x, slope[:, None, None] * x)


def moment(x: Tensor, power: int) -> Tensor:
    """Mean over all places of x^power, for each input and channel. Shapes: (rows, channels, h, w) -> (rows, channels)."""
    return x.pow(power).mean((-2, -1))
