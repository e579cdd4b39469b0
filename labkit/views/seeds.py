"""Several seeds as one line: mean, how sure it is, smoothed where that is wanted, and the y axis that holds it all."""

from dataclasses import dataclass, replace

import numpy as np

CHUNK = 65_536


@dataclass(frozen=True)
class Line:
    """One arm: mean over the seeds, half the 95 % interval (NaN below two seeds), the seeds, their lowest and highest."""

    name: str
    mean: np.ndarray
    half: np.ndarray
    runs: np.ndarray
    low: float
    high: float

    @property
    def ends(self) -> np.ndarray:
        """The first and the last place that has a value."""
        return np.flatnonzero(np.isfinite(self.mean))[[0, -1]]


def summarised(name: str, runs: np.ndarray, smooth: int = 1) -> Line:
    """Mean and 95 % interval over the rows, place by place, missing values left out.

    With `smooth` both are taken over the running means of so many places; `runs`, `low` and `high` stay as measured.
    """
    from scipy.special import stdtrit

    if smooth > 1:
        low = min(float(row.min(where=np.isfinite(row), initial=np.inf)) for row in runs)
        high = max(float(row.max(where=np.isfinite(row), initial=-np.inf)) for row in runs)
        return replace(summarised(name, smoothed(runs, smooth)), runs=runs, low=low, high=high)
    quantiles = stdtrit(np.maximum(np.arange(len(runs) + 1) - 1, 1), 0.975)
    means, halves, lows, highs = [], [], [np.inf], [-np.inf]
    for start in range(0, runs.shape[1], CHUNK):
        part = runs[:, start : start + CHUNK].astype(np.float64)
        there = np.isfinite(part)
        count = there.sum(0)
        part[~there] = 0
        mean = part.sum(0) / np.maximum(count, 1)
        off = np.where(there, part - mean, 0)
        square = np.einsum("ij,ij->j", off, off)
        half = quantiles[count] * np.sqrt(square / np.maximum(count - 1, 1) / np.maximum(count, 1))
        means.append(np.where(count, mean, np.nan))
        halves.append(np.where(count > 1, half, np.nan))
        lows.append(part.min(where=there, initial=np.inf))
        highs.append(part.max(where=there, initial=-np.inf))
    return Line(name, np.concatenate(means), np.concatenate(halves), runs, float(min(lows)), float(max(highs)))


def smoothed(runs: np.ndarray, window: int) -> np.ndarray:
    """The mean of each value and its neighbours, `window` places in all; fewer at the ends, missing ones left out.

    Shapes: (rows, places) -> (rows, places) float64, NaN where there was no value
    """
    before, after = (window - 1) // 2, window // 2
    places = runs.shape[1]
    start = np.maximum(np.arange(places) - before, 0)
    stop = np.minimum(np.arange(places) + after + 1, places)
    means = np.empty(runs.shape, np.float64)
    for row, values in enumerate(runs):
        there = np.isfinite(values)
        # Sums of differences to the middle stay exact enough: a running total of large values would drown small ones.
        middle = float(np.mean(values, where=there, dtype=np.float64)) if there.any() else 0.0
        total = np.concatenate([[0.0], np.cumsum(np.where(there, values - middle, 0), dtype=np.float64)])
        count = np.concatenate([[0], np.cumsum(there)])
        number = np.maximum(count[stop] - count[start], 1)
        means[row] = np.where(there, middle + (total[stop] - total[start]) / number, np.nan)
    return means


def limits(lines: list[Line]) -> tuple[float, float]:
    """The y axis: the seeds, their bands (a very wide one not all the way, it would squash the rest), a little air."""
    low, high = min(line.low for line in lines), max(line.high for line in lines)
    half = (high - low) / 2
    bands = [end for line in lines for end in (line.mean - line.half, line.mean + line.half) if np.isfinite(end).any()]
    low = max(low - half, min([low, *map(np.nanmin, bands)]))
    high = min(high + half, max([high, *map(np.nanmax, bands)]))
    air = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return low - air, high + air
