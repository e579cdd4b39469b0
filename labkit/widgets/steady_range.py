"""The ends of a scale that does not jump: round numbers that stay as long as they fit.

They grow as soon as a value lies beyond, and shrink when the values needed less than half of them 20 times in a row.
"""

import math
from dataclasses import dataclass, field

import numpy as np

PATIENCE = 20


@dataclass
class Range:
    """The ends of the colours or of the bars' axis, which stay as long as they fit."""

    low: float = 0.0
    high: float = 0.0
    _spare: int = field(default=0, repr=False)

    def fit(self, values: np.ndarray, signed: bool = False, zero: bool = False) -> tuple[float, float]:
        """The ends for these values, NaN left out. `signed` puts zero in the middle, `zero` keeps it at an end."""
        there = values if np.isfinite(values.sum()) else values[np.isfinite(values)]
        if there.size:
            wanted = _round_ends(float(there.min()), float(there.max()), signed, zero)
            beyond = wanted[0] < self.low or wanted[1] > self.high or self.low == self.high
            roomy = wanted[1] - wanted[0] < 0.5 * (self.high - self.low)
            self._spare = self._spare + 1 if roomy else 0
            changed = (wanted[0] < 0 < wanted[1]) != (self.low < 0 < self.high)
            if beyond or changed or self._spare >= PATIENCE:
                self.low, self.high, self._spare = *wanted, 0
        if self.low == self.high:
            return self.low, self.low + 1.0
        return self.low, self.high


def _round_ends(low: float, high: float, signed: bool, zero: bool) -> tuple[float, float]:
    if signed or low < 0 < high:
        most = rounded_up(max(-low, high)) or 1.0
        return -most, most
    if zero or low == high or not 0 < low > 0.5 * high:
        return (0.0, rounded_up(high) or 1.0) if high > 0 else (-rounded_up(-low), 0.0) if low < 0 else (0.0, 1.0)
    step = 10.0 ** math.floor(math.log10(high - low))
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def rounded_up(value: float) -> float:
    """The smallest of 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8 times a power of ten that is at least this value; 0 for 0."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(
        step * power for step in (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * power >= value * (1 - 1e-9)
    )
