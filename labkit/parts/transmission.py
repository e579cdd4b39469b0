"""What a layer sends on to a dearer part of a network, as a type that a recording finds."""

from typing import NamedTuple

from torch import Tensor, nn


class Transmitted(NamedTuple):
    """The values that were sent for each input, and how many there would have been.

    Shapes: values (..., channels, places); 0 is not sent.
    """

    values: Tensor
    before: int
    """Values of one input before it was compressed."""


class Sender(nn.Module):
    """Weighs what is sent by how likely it is wanted, and says what it sent: a recording finds it by its type."""

    def forward(self, code: Tensor, weight: Tensor, before: int) -> Transmitted:
        """Shapes: code (..., channels, places), weight (...)."""
        return Transmitted(code * weight[..., None, None], before)
