"""What a data set is once it is loaded: tensors to train and test on, the names of the classes, source and licence."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import Tensor

from labkit.errors import LabError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs with their classes, split into a training part and a test part that share no example.

    Shapes: train_x (n, 1, rows, columns) float32 in 0..1 for images, (n, features) float32 for tables and points in
    the plane; train_y (n,) int64, the place of the class in `classes`; test_x, test_y alike. Every `load` hands out
    new tensors, so writing into them changes no later load.
    """

    name: str
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: tuple[str, ...]
    source: str
    licence: str
    features: tuple[str, ...] = ()
    train_pixels: np.ndarray | None = field(default=None, repr=False)
    test_pixels: np.ndarray | None = field(default=None, repr=False)

    def images(
        self, indices: int | slice | Sequence[int] | np.ndarray | Tensor, part: Literal["train", "test"] = "test"
    ) -> np.ndarray:
        """These inputs as pictures, to be shown: by default inputs of the test part.

        Shapes: (n, rows, columns) uint8, 0 black to 255 white; 28 x 28 for fashion_mnist and mnist, 8 x 8 for digits.
        Raises: LabError where the inputs are no pictures, or an index lies outside the part.
        """
        if part not in ("train", "test"):
            raise LabError(f"a data set has the parts 'train' and 'test', not {part!r}; name one of these")
        pixels = self.train_pixels if part == "train" else self.test_pixels
        if pixels is None:
            with_images = "fashion_mnist, mnist or digits"
            raise LabError(f"the inputs of {self.name} are no pictures; take {with_images} to look at inputs as images")
        if isinstance(indices, slice):
            return np.array(pixels[indices])
        chosen = np.atleast_1d(np.asarray(indices.detach().cpu() if isinstance(indices, Tensor) else indices))
        # numpy takes an empty list for floats, which are no indices
        chosen = chosen.astype(np.int64) if chosen.size == 0 else chosen
        try:
            return pixels[chosen]
        except IndexError as reason:
            raise LabError(
                f"the {part} part of {self.name} has the images 0 to {len(pixels) - 1}: {reason}; choose among these"
            ) from reason
