"""Running mean and variance of hidden units, a batch at a time, and how often each was active.

Of each unit x the three numbers n, Σ(x - c) and Σ(x - c)² are kept, where c is close to the unit's mean:

    mean = c + Σ(x - c)/n        variance = Σ(x - c)²/n - (Σ(x - c)/n)²

Σx² - (Σx)²/n in single precision would lose a small variance beside a large mean. Here short stretches of numbers that
are already centred are summed in single precision, and the stretches in double precision. Two windows are put together
with the formula of Chan, Golub and LeVeque. On the processor all sums of many values are one pass over them
(`labkit.parts.kernels.unit_sums`). Where that is not compiled, and for a few values, each sum is a pass of its own, by
`np.einsum`: torch's own operations would write intermediate tables and take twice as long.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from labkit.parts.kernels.unit_sums import pays, unit_sums

STRETCH, BYTE = 65_536, 255
"""Values that are summed at once, few enough to stay in the cache for all three sums; and rows that a byte can count."""
SHIFT_FROM = 25.0
"""mean²/variance above which a layer's values are centred before they are squared."""


@dataclass(frozen=True)
class Moments:
    """Count, mean and variance of units over a window, and how often each was active. Arrays (units,)."""

    count: int
    active: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    def merged(self, later: "Moments") -> "Moments":
        """Both windows as one; the later one alone where the layer was given other units in between."""
        if not self.count or not later.count:
            return later if later.count else self
        if len(self.mean) != len(later.mean):
            return later
        count = self.count + later.count
        share = later.count / count
        gap = later.mean - self.mean
        return Moments(
            count,
            self.active + later.active,
            self.mean + gap * share,
            self.variance * (1 - share) + later.variance * share + gap * gap * share * (1 - share),
        )


def some_rows(values: Tensor, stride: int = 1, offset: int = 0) -> Tensor:
    """Every `stride`-th row of values (..., units), as (rows, units). Copies only what it keeps.

    The first row is `offset`; shifting it from look to look makes sure that no position is left out for good.
    """
    if values.ndim == 1:
        values = values.unsqueeze(0)
    try:
        flat = values.view(-1, values.shape[-1])
        return flat if stride == 1 else flat[offset % stride :: stride]
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
        self._kept: dict[np.dtype, np.ndarray] = {}

    def like(self, values: np.ndarray, dtype: type | np.dtype) -> np.ndarray:
        """An array of this shape with anything in it."""
        kept = self._kept.get(np.dtype(dtype))
        if kept is None or kept.size < values.size:
            kept = self._kept[np.dtype(dtype)] = np.empty(values.size, dtype)
        return kept[: values.size].reshape(values.shape)


class RunningMoments:
    """Adds up a window batch by batch: `add` values (rows, units), then `drain` the window.

    A unit counts as active where its modulus is above `threshold`.
    """

    def __init__(self, scratch: Scratch | None = None):
        self._scratch = scratch or Scratch()
        self._count = 0
        self._sums: Tensor | None = None  # (3, units) in double precision: centred, centred squares, active
        self._centre: Tensor | None = None  # (units,) in the type and on the device of the values

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
        if self._centre is not None and self._centre.dtype != values.dtype:
            self._centre = self._centre.to(values)
        if pays(values, self._centre):
            unit_sums(values, self._centre, threshold, onto=self._sums)
        elif values.device.type == "cpu":
            with np.errstate(all="ignore"):
                self._add_up(values.numpy(), threshold, self._sums.numpy())
        else:
            self._sums += _sums_of(values, self._centre, threshold).to(self._sums)
        self._count += len(values)

    def _add_up(self, values: np.ndarray, threshold: float, sums: np.ndarray) -> None:
        """Stretch by stretch, each sum in one pass."""
        centre = None if self._centre is None else self._centre.numpy()
        height = min(BYTE, max(1, STRETCH // values.shape[1]))
        first = values[:height]
        flags, room = self._scratch.like(first, np.bool_), self._scratch.like(first, first.dtype)
        bytes_of_flags, total, squares, active = flags.view(np.uint8), *sums
        for start in range(0, len(values), height):
            rows = values[start : start + height]
            if len(rows) < height:
                flags, room, bytes_of_flags = flags[: len(rows)], room[: len(rows)], bytes_of_flags[: len(rows)]
            if threshold:
                np.greater(np.abs(rows, out=room), threshold, out=flags)
            else:
                np.not_equal(rows, 0, out=flags)
            if centre is not None:
                rows = np.subtract(rows, centre, out=room)
            total += np.einsum("ij->j", rows)
            squares += np.einsum("ij,ij->j", rows, rows)
            active += np.einsum("ij->j", bytes_of_flags)

    def drain(self) -> Moments | None:
        """What was added since the last drain, or None; the next window begins empty."""
        if not self._count or self._sums is None:
            return None
        total, squares, active = self._sums.cpu().numpy().copy()
        total /= self._count
        squares /= self._count
        with np.errstate(invalid="ignore", over="ignore"):
            variance = np.maximum(squares - total * total, 0)
            mean = total if self._centre is None else self._centre.double().cpu().numpy() + total
            far = bool((mean * mean > SHIFT_FROM * variance).any()) and np.isfinite(mean).all()
        if far or self._centre is not None:
            device = self._sums.device if self._centre is None else self._centre.device
            self._centre = torch.from_numpy(mean).float().to(device) if far else None
        window = Moments(self._count, active, mean, variance)
        self._count = 0
        self._sums.zero_()
        return window


def _sums_of(values: Tensor, centre: Tensor | None, threshold: float) -> Tensor:
    """The same three sums by torch's own operations, on any device: (3, units)."""
    active = (values.abs() > threshold).sum(0).to(values.dtype)
    values = values if centre is None else values - centre.to(values.device)
    return torch.stack((values.sum(0), values.square().sum(0), active))


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
