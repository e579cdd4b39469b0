"""One plane of an array, as large as it likes, made small enough for a screen: blocks, eight-bit codes, and back.

A block of `tall x wide` values becomes one cell, which shows their mean, the value of largest modulus, or the lowest
value. A value v is sent as the code c = 1 + round(254 t(v)) in one byte; 0 means that there is no value. With the
limits a <= v <= b, t(v) = (v - a) / (b - a), or in the root scale t(v) = sqrt((v - a) / (b - a)); of values of both
signs, a = -b and the root is taken of the modulus on either side of zero.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

HOW = {"strongest": "the value of largest modulus", "mean": "the mean", "lowest": "the lowest value"}
CELLS = 262_144
"""Cells of one picture at most: a byte each, so that a picture stays below 300 kB even where nothing compresses."""
READ = 2**24
"""Values read for one picture at most; of a larger plane each block is told from its first rows."""
BAND = 2**20
Read = Callable[[slice, slice], np.ndarray]
"""(rows, columns) -> the values there."""


@dataclass(frozen=True)
class Blocks:
    """A window of a plane in blocks: what each holds, and where the window lies.

    Shapes: low, high, total, count (down, across); the window is rows top..bottom and columns left..right, and each
    block was read from its first `read` rows of `tall`.
    """

    low: np.ndarray
    high: np.ndarray
    total: np.ndarray
    count: np.ndarray
    top: int
    bottom: int
    left: int
    right: int
    tall: int
    wide: int
    read: int

    def shown(self, how: str) -> np.ndarray:
        """One number a block, NaN where it holds none: `how` is strongest, mean or lowest."""
        if how == "mean":
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.where(self.count > 0, self.total / self.count, np.nan)
        return self.low if how == "lowest" else np.where(self.high >= -self.low, self.high, self.low)


def fitted(rows: int, columns: int, high: int, wide: int) -> tuple[int, int]:
    """The smallest block so that rows x columns fit into high x wide pixels and into the cells of one picture."""
    block = [max(1, -(-rows // max(1, high))), max(1, -(-columns // max(1, wide)))]
    while -(-rows // block[0]) * -(-columns // block[1]) > CELLS:
        block[int(-(-columns // block[1]) > -(-rows // block[0]))] += 1
    return block[0], block[1]


def blocks_of(read: Read, window: tuple[int, int, int, int], block: tuple[int, int]) -> Blocks:
    """Reduce the window (top, bottom, left, right) band by band; never more than a band is in memory.

    Infinite values count as missing. `read` is called with slices that follow each other, and may read from a file.
    """
    top, bottom, left, right = window
    tall, wide = block
    down, columns = -(-(bottom - top) // tall), right - left
    taken = min(tall, max(1, READ // (down * columns)))
    group = max(1, BAND // (columns * tall)) if taken == tall else 1
    parts = []
    for start in range(top, bottom, group * tall):
        stop = min(bottom, start + (group * tall if taken == tall else taken))
        parts.append(_reduced(real(read(slice(start, stop), slice(left, right))), taken if group == 1 else tall, wide))
    low, high, total, count = (np.concatenate(kind) for kind in zip(*parts))
    return Blocks(low, high, total, count, top, bottom, left, right, tall, wide, taken)


def real(values: np.ndarray) -> np.ndarray:
    """The values as float32 where that is exact, else as float64."""
    values = np.asarray(values)
    if values.dtype.kind == "f":
        return values if values.dtype.itemsize in (4, 8) else values.astype(np.float32)
    return values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)


def _reduced(values: np.ndarray, tall: int, wide: int) -> tuple[np.ndarray, ...]:
    """Lowest, highest, sum and count of each block of some whole rows of blocks; the last block may be lower."""
    whole = bool(np.isfinite(values.sum()))
    there = None if whole else np.isfinite(values)
    if tall == wide == 1:
        kept = values if there is None else np.where(there, values, np.nan)
        return kept, kept, kept, np.ones(values.shape, np.uint8) if there is None else there.astype(np.uint8)
    low = _over(np.minimum, values if there is None else np.where(there, values, np.inf), tall, wide)
    high = _over(np.maximum, values if there is None else np.where(there, values, -np.inf), tall, wide)
    total = _over(np.add, values if there is None else np.where(there, values, 0), tall, wide)
    if there is None:
        sizes = [np.diff([*range(0, size, step), size]) for size, step in zip(values.shape, (tall, wide))]
        return low, high, total, np.outer(*sizes)
    count = _over(np.add, there.astype(np.float32), tall, wide)
    return np.where(count > 0, low, np.nan), np.where(count > 0, high, np.nan), total, count


def _over(join: np.ufunc, values: np.ndarray, tall: int, wide: int) -> np.ndarray:
    """The blocks joined, first down the rows and then along the columns; sums end in float64."""
    if tall > 1:
        whole = len(values) // tall * tall
        parts = [join.reduce(values[:whole].reshape(-1, tall, values.shape[1]), axis=1)] if whole else []
        if whole < len(values):
            parts.append(join.reduce(values[whole:], axis=0)[None])
        values = np.concatenate(parts)
    if wide > 1:
        kind = np.float64 if join is np.add else values.dtype
        values = join.reduceat(values, np.arange(0, values.shape[1], wide), axis=1, dtype=kind)
    return values


def bounds(low: float, high: float) -> tuple[float, float, bool]:
    """The ends of the colours for values in low..high, and whether they have zero in the middle.

    Values that begin close above zero have zero as their low end.
    """
    signed = low < 0 < high
    if signed:
        return -max(-low, high), max(-low, high), True
    if 0 < low < high / 20:
        return 0.0, high, False
    return low, high if high > low else low + 1.0, False


def coded(values: np.ndarray, low: float, high: float, root: bool = False) -> np.ndarray:
    """The values as codes of one byte, as the head of this module says; values beyond the limits take the last code."""
    _, _, signed = bounds(low, high)
    share = np.subtract(values, low, dtype=np.float32) / np.float32(high - low)
    if root and signed:
        side = 2 * share - 1
        share = (1 + np.sign(side) * np.sqrt(np.abs(side))) / 2
    elif root:
        share = np.sqrt(np.maximum(share, 0))
    missing = np.isnan(share)
    code = 1 + np.rint(254 * np.clip(np.where(missing, 0, share), 0, 1))
    return np.where(missing, 0, code).astype(np.uint8)
