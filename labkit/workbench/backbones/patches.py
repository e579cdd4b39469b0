"""Square images cut into square patches, for networks that read them as a sequence."""

from torch import Tensor


def side_of(width: int, patch: int) -> int:
    """The side of a square image of so many pixels. Raises: ValueError where patches of this side do not divide it."""
    side = round(width**0.5)
    if side**2 != width or side % patch:
        raise ValueError(f"{width} features are no square image that patches of side {patch} divide.")
    return side


def cut(images: Tensor, side: int, patch: int) -> Tensor:
    """(rows, side * side) -> (rows, patches, patch * patch), row by row of the image."""
    across = side // patch
    parts = images.reshape(-1, across, patch, across, patch).transpose(2, 3)
    return parts.reshape(len(images), across * across, -1)
