"""Running histogram of a layer's values, a batch at a time, in a range that doubles.

A bin is [i·w, (i+1)·w) with w a power of two. What does not fit into the bins doubles w, which puts neighbouring bins
together: every value stays counted where it belongs, and no bin is ever split by guessing.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FINE = 512
"""Bins that a window is counted in."""


@dataclass(frozen=True)
class Density:
    """Counts of values in bins [i·w, (i+1)·w) with w = 2^exponent, from i = first on. The outermost are not special."""

    exponent: int
    first: int
    counts: np.ndarray

    @property
    def width(self) -> float:
        return math.ldexp(1.0, self.exponent)

    def coarser(self, exponent: int) -> "Density":
        """The same counts in bins of width 2^exponent, which is at least the present one."""
        factor = 2 ** (exponent - self.exponent)
        if factor == 1:
            return self
        at = (self.first + np.arange(len(self.counts), dtype=object)) // factor
        counts = np.zeros(int(at[-1] - at[0]) + 1, dtype=np.int64)
        np.add.at(counts, (at - at[0]).astype(np.int64), self.counts)
        return Density(exponent, int(at[0]), counts)

    def trimmed(self) -> "Density":
        """Without empty bins at the ends."""
        used = np.flatnonzero(self.counts)
        if not len(used):
            return Density(self.exponent, 0, np.zeros(1, np.int64))
        return Density(self.exponent, self.first + int(used[0]), self.counts[used[0] : used[-1] + 1])

    def merged(self, other: "Density") -> "Density":
        """Both counts together, in at most `FINE` bins."""
        one, two = self.trimmed(), other.trimmed()
        exponent = max(one.exponent, two.exponent)
        while True:
            one, two = one.coarser(exponent), two.coarser(exponent)
            first = min(one.first, two.first)
            bins = max(one.first + len(one.counts), two.first + len(two.counts)) - first
            if bins <= FINE:
                break
            exponent += 1
        counts = np.zeros(bins, np.int64)
        for part in (one, two):
            counts[part.first - first :][: len(part.counts)] += part.counts
        return Density(exponent, first, counts)


class RunningDensity:
    """Counts values in bins whose range doubles when a value does not fit: `add` any tensor, then `drain`."""

    def __init__(self) -> None:
        self._density: Density | None = None

    def add(self, values: Tensor) -> None:
        """Count every finite value."""
        if not values.numel():
            return
        table = values.cpu().double().numpy() if values.dtype == torch.float64 else values.cpu().float().numpy()
        low, high = float(table.min()), float(table.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            table = table[np.isfinite(table)]
            if not table.size:
                return
            low, high = float(table.min()), float(table.max())
        exponent, first = _window(low, high, self._density)
        if abs(exponent) > 100:
            table = table.astype(np.float64)  # single precision holds no such scale
        number = np.floor(table * table.dtype.type(math.ldexp(1.0, -exponent))).astype(np.int64).ravel() - first
        found = Density(exponent, first, np.bincount(number, minlength=FINE))
        self._density = found if self._density is None else self._density.merged(found)

    def drain(self) -> Density | None:
        """What was added since the last drain, or None."""
        found, self._density = self._density, None
        return found.trimmed() if found is not None else None


def _window(low: float, high: float, so_far: Density | None) -> tuple[int, int]:
    """Exponent and first bin of a window of `FINE` bins that holds low..high, not finer than what was counted so far."""
    reach = max(abs(low), abs(high), 1e-30)
    exponent = math.frexp((high - low) / FINE)[1] if high > low else -math.inf
    # a bin finer than the rounding of the largest value would promise what the numbers do not hold
    exponent = int(max(exponent, math.frexp(reach)[1] - 18, so_far.exponent if so_far else -1000))
    while math.floor(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent)) >= FINE:
        exponent += 1
    return exponent, math.floor(math.ldexp(low, -exponent))
