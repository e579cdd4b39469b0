"""Many small images in one picture: where each one lies, in greys or on a colour scale, with gaps between them."""

from dataclasses import dataclass

import numpy as np

from labkit.views.theme import Look
from labkit.views.thinning import blocks

GREYS, GAP = 250, 255  # grey levels, and the value of what lies between the images
LARGEST = 48  # pixels a side of an image; larger ones are averaged down


@dataclass(frozen=True)
class Mosaic:
    """Images in rows: `across` of them side by side, each `tall` x `wide` pixels, `gap` pixels apart, and below each
    row room for words as high as `words` pixels.
    """

    count: int
    across: int
    tall: int
    wide: int
    gap: int
    words: int

    @property
    def down(self) -> int:
        """Rows of images."""
        return -(-self.count // self.across)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the whole picture in pixels of the images."""
        return self.down * (self.tall + self.words) + (self.down - 1) * self.gap, self.across * (
            self.wide + self.gap
        ) - self.gap

    def corner(self, place: int) -> tuple[int, int]:
        """Row and column of the upper left pixel of an image."""
        row, column = divmod(place, self.across)
        return row * (self.tall + self.words + self.gap), column * (self.wide + self.gap)

    def foot(self, place: int) -> tuple[float, float]:
        """x and y of the middle of the words below an image."""
        row, column = self.corner(place)
        return column + self.wide / 2 - 0.5, row + self.tall + self.words / 2 - 0.5

    def laid(self, images: np.ndarray, gap: float) -> np.ndarray:
        """The picture, with the value `gap` between the images."""
        picture = np.full(self.size, gap, images.dtype)
        for place, image in enumerate(images):
            row, column = self.corner(place)
            picture[row : row + self.tall, column : column + self.wide] = image
        return picture


def smaller(images: np.ndarray, largest: int = LARGEST) -> tuple[np.ndarray, int]:
    """Images (n, rows, columns) of at most 48 x 48 pixels, and how many pixels a side went into one."""
    size = -(-max(images.shape[1:]) // largest)
    if size == 1:
        return images.astype(np.float64), 1
    tall, wide = (-(-side // size) for side in images.shape[1:])
    return np.array([blocks(image.astype(np.float64), tall, wide)[0] for image in images]), size


def grey(images: np.ndarray) -> np.ndarray:
    """Bytes for the grey scale: 0 is the darkest value of all images (0 of uint8 ones), 250 the brightest."""
    finite = images[np.isfinite(images)]
    low, high = min(0.0, float(finite.min())), float(finite.max())
    return (np.nan_to_num(images - low) * GREYS / ((high - low) or 1)).clip(0, GREYS).round().astype(np.uint8)


def greys(colors: Look) -> list[list]:
    """Plotly's colour scale for `grey` images: dark for low, bright for high, the gaps in the colour of the page."""
    black, white = sorted((colors.surface, colors.ink))
    return [[0, black], [GREYS / GAP, white], [(GREYS + 1) / GAP, colors.surface], [1, colors.surface]]
