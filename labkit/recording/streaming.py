"""Running statistics of hidden units, a batch at a time: what a training may be watched with for days.

Sums. Of each unit x the three numbers n, Σ(x - c) and Σ(x - c)² are kept, where c is close to the unit's mean:

    mean = c + Σ(x - c)/n        variance = Σ(x - c)²/n - (Σ(x - c)/n)²

Σx² - (Σx)²/n in single precision would lose a small variance beside a large mean. Here the sums of one batch are taken
in single precision of numbers that are already centred, and batches are added in double precision. Two windows are put
together with the formula of Chan, Golub and LeVeque.

Histograms. A bin is [i·w, (i+1)·w) with w a power of two. What does not fit into the bins doubles w, which puts
neighbouring bins together: every value stays counted, and no bin is ever split by guessing.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FINE = 512
"""Bins that a window is counted in."""
CHUNK = 131_072
"""Values that are summed at once: small enough to stay in the processor's cache."""
BLOCK = 256
"""Units that are compared with all earlier ones at once."""
SHIFT_FROM = 25.0
"""mean²/variance above which a layer's values are centred before they are squared."""


def rows_of(values: Tensor, stride: int = 1, offset: int = 0) -> Tensor:
    """Every `stride`-th row of values (..., units), as (rows, units). Copies only what it keeps.

    The first row is `offset`; shifting it from look to look makes sure that no position is left out for good.
    """
    if values.ndim == 1:
        values = values.unsqueeze(0)
    try:
        return values.view(-1, values.shape[-1])[offset % stride :: stride]
    except RuntimeError:  # channels of an image come last by a permutation, and cannot be laid flat without a copy
        pass
    for axis in range(values.ndim - 1):
        step = min(stride, values.shape[axis])
        if step > 1:
            values = values[(slice(None),) * axis + (slice(offset % step, None, step),)]
            stride = max(1, stride // step)
    return values.reshape(-1, values.shape[-1])


class Scratch:
    """Memory for intermediate values that is used again and again: asking for it anew costs more than filling it."""

    def __init__(self) -> None:
        self._kept: dict[tuple, Tensor] = {}

    def like(self, values: Tensor, place: int = 0) -> Tensor:
        """An uninitialised tensor of this shape, type and device."""
        key = (place, values.dtype, values.device)
        kept = self._kept.get(key)
        if kept is None or kept.numel() < values.numel():
            kept = self._kept[key] = values.new_empty(max(values.numel(), CHUNK))
        return kept[: values.numel()].view(values.shape)

    def ones(self, values: Tensor) -> Tensor:
        """As many ones as values has rows: a product with them is the fastest sum over rows."""
        key = ("ones", values.dtype, values.device)
        kept = self._kept.get(key)
        if kept is None or len(kept) < len(values):
            kept = self._kept[key] = values.new_ones(max(len(values), 1024))
        return kept[: len(values)]


@dataclass(frozen=True)
class Moments:
    """Count, mean and variance of units over a window, and how often each was active. Arrays (units,)."""

    count: int
    active: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    def merged(self, later: "Moments") -> "Moments":
        """Both windows as one."""
        if not self.count or not later.count:
            return later if later.count else self
        count = self.count + later.count
        share = later.count / count
        gap = later.mean - self.mean
        return Moments(
            count,
            self.active + later.active,
            self.mean + gap * share,
            self.variance * (1 - share) + later.variance * share + gap * gap * share * (1 - share),
        )


class RunningMoments:
    """Adds up a window batch by batch: `add` values (rows, units), then `drain` the window.

    A unit counts as active where its modulus is above `threshold`.
    """

    def __init__(self, scratch: Scratch | None = None):
        self._scratch = scratch or Scratch()
        self._count = 0
        self._sums: Tensor | None = None  # (3, units) in double precision: centred, centred squares, active
        self._centre: Tensor | None = None

    def add(self, values: Tensor, threshold: float = 0.0) -> None:
        """Count in the rows of values (rows, units)."""
        if not len(values):
            return
        if values.dtype not in (torch.float32, torch.float64):
            values = values.float()
        if self._sums is None or self._sums.shape[1] != values.shape[1]:
            self._count = 0
            self._sums = torch.zeros(3, values.shape[1], dtype=torch.float64, device=_exact(values.device))
            self._centre = _centre_of(values)
        self._add(values, threshold, self._sums)
        self._count += len(values)

    def _add(self, values: Tensor, threshold: float, sums: Tensor) -> None:
        """Products with a vector of ones are the fastest sums over rows; a chunk at a time stays in the cache."""
        rows = max(1, CHUNK // values.shape[1])
        first = values[:rows]
        ones, room = self._scratch.ones(first), self._scratch.like(first)
        centre = self._centre
        centred = self._scratch.like(first, 1) if centre is not None else None
        batch = values.new_zeros(3, values.shape[1])
        total, squares, active = batch
        for at, chunk in enumerate(values.split(rows)):
            if at and at % 16 == 0:
                sums += batch.to(sums)
                batch.zero_()
            if len(chunk) < len(ones):
                ones, room, centred = (
                    ones[: len(chunk)],
                    room[: len(chunk)],
                    None if centred is None else centred[: len(chunk)],
                )
            if threshold:
                torch.gt(torch.abs(chunk, out=room), threshold, out=room)
            else:
                torch.ne(chunk, 0, out=room)
            active.addmv_(room.T, ones)
            if centred is not None and centre is not None:
                chunk = torch.sub(chunk, centre, out=centred)
            total.addmv_(chunk.T, ones)
            squares.addmv_(torch.mul(chunk, chunk, out=room).T, ones)
        sums += batch.to(sums)

    def drain(self) -> Moments | None:
        """What was added since the last drain, or None; the next window begins empty."""
        if not self._count or self._sums is None:
            return None
        total, squares, active = self._sums.cpu().numpy().copy()
        total /= self._count
        squares /= self._count
        centre = self._centre.double().cpu().numpy() if self._centre is not None else None
        with np.errstate(invalid="ignore", over="ignore"):
            variance = np.maximum(squares - total * total, 0)
            mean = total if centre is None else centre + total
            far = bool((mean * mean > SHIFT_FROM * variance).any())
        window = Moments(self._count, active, mean, variance)
        self._centre = None
        if far and np.isfinite(mean).all():
            self._centre = torch.from_numpy(mean).to(self._sums.device).float()
        self._count = 0
        self._sums.zero_()
        return window


def _exact(device: torch.device) -> torch.device:
    """Where sums in double precision are kept: on the device itself, if it has such numbers."""
    return torch.device("cpu") if device.type == "mps" else device


def _centre_of(values: Tensor) -> Tensor | None:
    """The mean of some rows of the first batch, where their variance is small beside it: close enough to centre with."""
    some = values[:: max(1, len(values) // 64)].to(_exact(values.device), torch.float64)
    mean = some.mean(0)
    variance = (some - mean).square().mean(0)
    far = (mean.square() > SHIFT_FROM * variance).any() & mean.isfinite().all()
    return mean.to(values.device, values.dtype) if bool(far) else None


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
        values = values.float() if values.dtype not in (torch.float32, torch.float64) else values
        low, high = torch.stack(torch.aminmax(values)).tolist()
        if not (math.isfinite(low) and math.isfinite(high)):
            values = values[values.isfinite()]
            if not values.numel():
                return
            low, high = torch.stack(torch.aminmax(values)).tolist()
        new = Density(*_window(low, high, self._density), np.zeros(0, np.int64))
        edges = new.first * new.width, (new.first + FINE) * new.width
        counts = torch.histc(values, FINE, *edges).double().cpu().numpy().astype(np.int64)
        found = Density(new.exponent, new.first, counts)
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


def duplicates(values: Tensor, *, alike: float = 0.98, often: int = 8, threshold: float = 0.0) -> Tensor:
    """Which units say again what an earlier unit of the layer says: correlation of modulus `alike` or more.

    Units that were active in fewer than `often` rows, or that never changed, are no duplicates of anything: so few
    rows cannot tell. Rows with values that are no numbers are left out.

    Shapes: values (rows, units) -> (units,) of bool
    """
    with torch.autocast(values.device.type, enabled=False):
        return _duplicates(values.float(), alike, often, threshold)


def _duplicates(values: Tensor, alike: float, often: int, threshold: float) -> Tensor:
    values = values[values.isfinite().all(1)]
    found = torch.zeros(values.shape[1], dtype=torch.bool, device=values.device)
    if len(values) < often:
        return found
    centred = values - values.mean(0)
    norm = centred.norm(dim=0)
    able = ((values.abs() > threshold).sum(0) >= often) & (norm > 1e-5 * values.norm(dim=0).clamp_min(1e-30))
    place = able.nonzero().squeeze(1)
    unit = (centred[:, place] / norm[place]).T.contiguous()
    for start in range(0, len(place), BLOCK):
        block = unit[start : start + BLOCK]
        earlier = unit[: start + len(block)]
        alike_earlier = (block @ earlier.T).abs_().tril_(start - 1).amax(1) >= alike
        found[place[start : start + len(block)]] = alike_earlier
    return found
