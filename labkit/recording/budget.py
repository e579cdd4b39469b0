"""How often a watch may look: it pays for its looks out of a fixed share of the time that training itself takes.

Every step adds `share` times its own duration to a purse. A look is taken when the purse is not in debt, and is paid
with what it really cost; then it is in debt until enough steps have passed. So the share holds on any machine and for
any model, whatever a look costs there. The first two looks, which allocate and compile, are counted but not charged:
in a training of a second they alone may pass the budget, later they do not matter.

Both are measured while training runs: the time spent in the watch's own code (exact, but blind to what it causes
elsewhere, such as values pushed out of the cache), and the difference between steps with and without a look (sees
everything, but drowns in noise where steps differ). The larger of the two is charged, the second one only where it
stands clear of its own noise.
"""

import math
import statistics
from collections import deque
from dataclasses import dataclass

AIM = 0.5
"""Share of the budget that is spent on looks: the rest is for waiting hooks and for what cannot be seen."""
COLD = 2
SELDOM = 16
"""A look in so many steps at least, if need be at fewer rows."""
WARMING = 3
"""Steps that are left out of comparisons: the first ones allocate and compile."""


@dataclass(frozen=True)
class Overhead:
    """What watching cost. `float(overhead)` is the fraction."""

    fraction: float
    """Time in the watch's own code / time of the training without it."""
    seconds: float
    """Time in the watch's own code."""
    training: float
    """Time of the training without it, in seconds."""
    difference: float | None
    """The same fraction from comparing steps with and without a look, or None where one of them is missing."""
    noise: float | None
    """Standard error of `difference`."""
    looks: int
    steps: int
    budget: float | None
    """The share that was allowed; None where `every` fixed the sampling."""

    def __float__(self) -> float:
        return self.fraction

    def __str__(self) -> str:
        if not self.steps:
            return "no overhead was measured: no training step ran."
        says = (
            f"{self.fraction:.1%} overhead: {self.seconds:.3g} s in the watch's own code beside {self.training:.3g} s of "
            f"training, with a look in {self.looks:,} of {self.steps:,} steps"
        )
        if self.difference is not None and self.noise is not None:
            says += f"; steps with a look against steps without: {self.difference:.1%} ± {self.noise:.1%}"
        elif self.looks >= self.steps:
            says += "; every step was looked at, so there is nothing to compare with"
        return says + (f"; allowed were {self.budget:.1%}." if self.budget is not None else "; `every` was fixed.")


class Budget:
    """Decides at which steps to look and at how many rows, and keeps the books."""

    def __init__(self, share: float, every: int | None = None):
        self.share, self.every = share, every
        self.stride, self.seconds, self.training = 1, 0.0, 0.0
        self.steps = self.looks = 0
        self._purse = self._price = self._row_price = self._usual = 0.0
        self._plain: deque[float] = deque(maxlen=256)
        self._looked: deque[float] = deque(maxlen=256)  # a looked step with its own time
        self._own: deque[float] = deque(maxlen=256)  # of that, the own time

    def step(self, number: int, seconds: float, own: float, looked: bool) -> None:
        """Step `number` has ended: it took `seconds` in all, of which `own` were the watch's."""
        self.steps = number
        self.looks += looked
        self.seconds += own
        self.training += max(0.0, seconds - own)
        if self.steps > WARMING:
            if looked:
                self._looked.append(seconds)
                self._own.append(own)
            else:
                self._plain.append(seconds)
        if number % SELDOM == 0 or not self._usual:
            self._usual = statistics.median(self._plain) if self._plain else seconds - own
        earned = self.share * min(seconds - own, 5 * self._usual)  # a pause pays for nothing
        self._purse += AIM * earned
        if looked and self.looks <= COLD:
            return
        if looked:
            self._price = own if not self._price else 0.7 * self._price + 0.3 * own
            self._purse -= own * self._hidden()
        else:
            self._purse -= max(0.0, own - (1 - AIM) * earned)  # being there comes out of what looks leave over
        if self._purse > self._price:  # what a rest has saved is not spent all at once
            self._purse = self._price

    def due(self) -> bool:
        """Whether to look at the next step."""
        if self.every is not None:
            return self.steps % self.every == 0
        return self.looks < COLD or self._purse >= 0

    def looks_per_row(self, seconds: float) -> float:
        """How many looks to put into a row that took `seconds` to make, so that rows cost no more than looks do."""
        if self.every is not None or not self._price:
            return 1.0
        self._row_price = seconds if not self._row_price else 0.7 * self._row_price + 0.3 * seconds
        return min(16.0, self._row_price / self._price)

    def stride_for(self, rows: int) -> int:
        """Look at each how-many-th of so many rows: all of them, unless looks would then become rarer than `SELDOM`."""
        if self.every is not None or not self._plain or not self._price:
            return self.stride
        gap = self._price / max(AIM * self.share * self._usual, 1e-9)
        if gap > SELDOM and rows // self.stride > 64:
            self.stride, self._price = self.stride * 2, self._price * 0.6
        elif gap < SELDOM / 8 and self.stride > 1:
            self.stride, self._price = self.stride // 2, self._price * 1.6
        return self.stride

    def _hidden(self) -> float:
        """What a look costs in all, as a multiple of its own time; 1 where that cannot be told."""
        found = self._differences()
        if found is None or len(self._own) < 8:
            return 1.0
        extra, noise = found
        own = statistics.fmean(self._own)
        return min(4.0, extra / own) if extra - 2 * noise > own else 1.0

    def _differences(self) -> tuple[float, float] | None:
        """Seconds that a step with a look takes more than one without, by the medians, and the standard error."""
        if len(self._plain) < 8 or len(self._looked) < 4:
            return None
        extra = statistics.median(self._looked) - statistics.median(self._plain)
        noise = math.hypot(*(1.25 * _spread(times) / math.sqrt(len(times)) for times in (self._looked, self._plain)))
        return extra, noise

    def overhead(self) -> Overhead:
        """What it has cost until now."""
        found, per = self._differences(), self.looks / max(self.training, 1e-12)
        return Overhead(
            fraction=self.seconds / max(self.training, 1e-12) if self.steps else 0.0,
            seconds=self.seconds,
            training=self.training,
            difference=found[0] * per if found else None,
            noise=found[1] * per if found else None,
            looks=self.looks,
            steps=self.steps,
            budget=None if self.every is not None else self.share,
        )


def _spread(times: deque[float]) -> float:
    """Standard deviation of the bulk: from the quartiles, which a few pauses do not move."""
    low, _, high = statistics.quantiles(times, n=4)
    return (high - low) / 1.349
