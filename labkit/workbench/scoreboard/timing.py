"""Fair timing on a machine that others use too: contestants in turns, in shuffled order, by a clock that cannot be robbed.

On one thread the clock is the processor time of that thread: whoever else computes meanwhile is not counted. On several
threads it is the wall time, and a slot in which our threads had to wait for a processor is thrown away (Linux tells; on
other systems every slot counts, and the result says so). The first call of a contestant, which may compile, is not timed, and
at each turn it first computes as long untimed: then its data lie in the caches where they lie when it is called again and
again.
Ratios are taken round by round, so that what slows a whole round slows both.
"""

import gc
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from math import nan
from threading import Event
from typing import Any

import torch

from labkit.errors import LabError
from labkit.workbench.fit import Stopped

SLOT, WIDE_SLOT = 0.012, 0.02
"""Seconds that a contestant computes in one round: on one thread, on several."""
SLOW = 0.1
"""Seconds of a call from which on the caches that it finds no longer matter: it is not called once more to fill them."""
LEAST, TRIES, TOLERANCE = 3, 5, 0.03
PATIENCE = 0.5
"""Seconds that finding the number of calls in a slot may take with one number."""
TASKS = "/proc/self/task"


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles, over so many rounds."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
        return cls(middle, low, high, len(values))


@dataclass
class Times:
    """What one contestant took: seconds of one call in each round, NaN where it sat the round out.

    `waited` is the share of a slot that our threads spent waiting for a processor. `error` is the sentence of a
    contestant that failed, `note` what else there is to know.
    """

    seconds: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    error: str = ""
    note: str = ""

    @property
    def clean(self) -> list[bool]:
        """Which rounds count: those that were not disturbed; where fewer than two are left, the three calmest."""
        there = [seconds == seconds for seconds in self.seconds]
        calm = [one and waited <= TOLERANCE for one, waited in zip(there, self.waited)]
        if sum(calm) >= 2:
            return calm
        order = sorted((place for place, one in enumerate(there) if one), key=lambda place: self.waited[place])
        return [place in order[:LEAST] for place in range(len(there))]

    def spread(self) -> Spread:
        """The seconds of one call. Raises: LabError where nothing was measured."""
        if self.error:
            raise LabError(self.error)
        return Spread.of([seconds for seconds, counts in zip(self.seconds, self.clean) if counts])


def ratio(of: Times, to: Times) -> Spread:
    """How many times as long `of` takes as `to`, round by round, over the rounds in which both count."""
    both = [place for place, pair in enumerate(zip(of.clean, to.clean)) if all(pair)]
    if not both:  # every common round was disturbed for one of them
        both = [
            place for place, pair in enumerate(zip(of.seconds, to.seconds)) if pair[0] == pair[0] and pair[1] == pair[1]
        ]
    return Spread.of([of.seconds[place] / to.seconds[place] for place in both])


def varied(compute: Callable[..., object], inputs: Sequence[Any]) -> Callable[[], object]:
    """A contestant that takes another input at each call, so that no cache knows the answer's path."""
    turn = cycle(inputs)
    return lambda: compute(next(turn))


def race(
    contestants: Mapping[str, Callable[[], object]],
    *,
    threads: int = 1,
    rounds: int = 15,
    seconds: float = 3.0,
    seed: int = 0,
    stop: Event | None = None,
) -> dict[str, Times]:
    """Time the contestants against each other; whoever raises is reported with its sentence.

    A contestant that is too slow for its share of the `seconds` runs in fewer rounds, in three at least.
    Raises: Stopped when `stop` is set.
    """
    with torch_threads(threads):
        clock = time.thread_time if threads == 1 else time.perf_counter
        slot = SLOT if threads == 1 else WIDE_SLOT
        found = {name: Times() for name in contestants}
        plan: dict[str, int] = {}
        warm: dict[str, int] = {}
        turns: dict[str, int] = {}
        for name, call in contestants.items():
            _look(stop)
            with _reported(found[name]):
                plan[name], single = _calibrated(call, clock, slot)
                warm[name] = plan[name] if single < SLOW else 0
                turns[name] = min(rounds, max(LEAST, int(seconds / len(contestants) / max(plan[name] * single, 1e-9))))
                if threads == 1 and single < 0.2:
                    _require_alone(call, plan[name])
        order, deadline = random.Random(seed), time.perf_counter() + 3 * seconds
        for number in range(rounds):
            if number >= LEAST and time.perf_counter() > deadline:
                break
            for name in order.sample(list(contestants), len(contestants)):
                _look(stop)
                taken, waited = nan, nan
                if not found[name].error and number < turns[name]:
                    with _reported(found[name]):
                        taken, waited = _slot(contestants[name], plan[name], warm[name], clock, threads)
                found[name].seconds.append(taken)
                found[name].waited.append(waited)
    return found


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """So many threads for torch, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def sentence_of(error: BaseException) -> str:
    """An error in one sentence."""
    said = str(error).strip().split("\n")[0][:300]
    return said if isinstance(error, LabError) else f"{type(error).__name__}: {said}" if said else type(error).__name__


@contextmanager
def _reported(times: Times) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a contestant may be anybody's code; what it raises is its result
        times.error = sentence_of(error)


def _look(stop: Event | None) -> None:
    if stop is not None and stop.is_set():
        raise Stopped("Stopped; nothing was saved.")


def _calibrated(call: Callable[[], object], clock: Callable[[], float], slot: float) -> tuple[int, float]:
    """How many calls fill a slot, and the seconds of one. The first call compiles and fills the caches."""
    call()
    count = 1
    while True:
        began = time.perf_counter()
        taken = _timed(call, count, clock)
        if taken < slot:
            taken = min(taken, _timed(call, count, clock))
        passed = max(time.perf_counter() - began, 1e-9)
        if taken > slot / 2 or passed > PATIENCE or count >= 1_000_000:
            return max(1, round(count * slot / max(taken, slot / 2))), taken / count
        wanted = max(2 * count, int(0.6 * count * slot / max(taken, 1e-7)))
        count = min(wanted, max(count + 1, int(count * PATIENCE / passed)))  # a call that waits takes no processor time


def _timed(call: Callable[[], object], count: int, clock: Callable[[], float]) -> float:
    collecting = gc.isenabled()
    gc.disable()  # a collection would be paid by whoever happens to run
    try:
        began = clock()
        for _ in range(count):
            call()
        return clock() - began
    finally:
        if collecting:
            gc.enable()


def _slot(
    call: Callable[[], object], count: int, warm: int, clock: Callable[[], float], threads: int
) -> tuple[float, float]:
    """Seconds of one call, and the share of the slot that our threads waited for a processor; `warm` calls come before."""
    best = (nan, 2.0)
    for _ in range(TRIES if threads > 1 else 1):
        for _ in range(warm):
            call()  # the contestant before it has left other things in the caches
        before = waited()
        taken = _timed(call, count, clock)
        share = (waited() - before) / max(taken, 1e-9) if threads > 1 else 0.0
        if share < best[1]:
            best = (taken / count, share)
        if share <= TOLERANCE:
            break
        time.sleep(0.004)
    return best


def waited() -> float:
    """Seconds that the threads of this process have waited for a processor so far; 0 where the system does not say."""
    total = 0
    try:
        tasks = os.listdir(TASKS)
    except OSError:
        return 0.0
    for task in tasks:
        try:
            with open(f"{TASKS}/{task}/schedstat") as file:
                total += int(file.read().split()[1])
        except (OSError, IndexError):
            continue
    return total * 1e-9


def clock_in_words(threads: int) -> str:
    """What the clock of so many threads is, for the legend of a board."""
    if threads == 1:
        return "processor time of one thread"
    if os.path.exists(f"{TASKS}/{os.getpid()}/schedstat"):
        return f"wall time on {threads} threads, slots that others disturbed thrown away"
    return f"plain wall time on {threads} threads: this system does not tell which slots others disturbed"


def _require_alone(call: Callable[[], object], count: int) -> None:
    """Raises where a contestant of a race on one thread lets others compute, whose time would not be counted."""
    excess = []
    for _ in range(LEAST):
        mine, every = time.thread_time(), time.process_time()
        for _ in range(count):
            call()
        mine, every = time.thread_time() - mine, time.process_time() - every
        excess.append((every - mine) / max(mine, 1e-6))
        if excess[-1] < 0.25:
            return
    raise LabError(
        f"it lets other threads compute ({1 + min(excess):.1f} times the processor time of its own), where one was asked for."
    )
