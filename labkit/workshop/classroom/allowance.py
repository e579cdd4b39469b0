"""How much anyone may ask for in a while: guesses of the code by address, messages by student.

A class often sits behind one address. Thirty mistyped codes from there cost nobody anything; a program that tries codes
is slowed down to one in a few seconds. A seat that was taken is never affected, and who was asked to wait is let in with
the next try: the notebook tries by itself.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

ADDRESSES = 4096


class Allowance:
    """A bucket of so many turns, of which `refill` come back each second."""

    def __init__(self, most: float, refill: float, clock: Callable[[], float] = monotonic):
        self.most, self.refill, self._clock = most, refill, clock
        self._left, self._at = most, clock()

    def left(self) -> float:
        """How many turns there are now."""
        now = self._clock()
        self._left = min(self.most, self._left + (now - self._at) * self.refill)
        self._at = now
        return self._left

    def take(self, turns: float = 1.0) -> float:
        """Take turns and return 0, or take none and return the seconds to wait until there are as many."""
        left = self.left()
        if left >= min(turns, self.most):
            self._left = left - turns
            return 0.0
        return (min(turns, self.most) - left) / self.refill


class Guessing:
    """Wrong codes by address: thirty are free, then one a second, then fewer and fewer, down to one in eight seconds."""

    FREE, SLOWEST, IN_ALL = 30, 8.0, 240

    def __init__(self, clock: Callable[[], float] = monotonic):
        self._clock = clock
        self._by: OrderedDict[str, tuple[Allowance, int]] = OrderedDict()
        self._all = Allowance(self.IN_ALL, 4.0, clock)
        self.wrong = 0

    def wait(self, address: str) -> float:
        """Seconds until this address may try a code; 0 where it may now. Nothing is compared before."""
        allowed = self._by.get(address)
        own = 0.0 if allowed is None or allowed[0].left() >= 1 else (1 - allowed[0].left()) / allowed[0].refill
        everyone = 0.0 if self._all.left() >= 1 else 0.5
        return max(own, everyone)

    def failed(self, address: str) -> None:
        """A wrong code came from there."""
        self.wrong += 1
        self._all.take()
        bucket, count = self._by.pop(address, None) or (Allowance(self.FREE, 1.0, self._clock), 0)
        bucket.take()
        count += 1
        bucket.refill = 1 / min(self.SLOWEST, 2.0 ** (count // (2 * self.FREE)))
        self._by[address] = bucket, count
        while len(self._by) > ADDRESSES:
            self._by.popitem(last=False)

    @property
    def most_from_one(self) -> int:
        """The most wrong codes that came from one address."""
        return max((count for _, count in self._by.values()), default=0)


def whole_seconds(seconds: float) -> str:
    """As the header Retry-After says it."""
    return str(max(1, math.ceil(seconds)))
