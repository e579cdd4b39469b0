"""At most N runs train at a time in one process; whoever comes later waits in a queue that can be seen.

Who asks for a place is started when one is free, in the order of asking; but nobody's second run goes before another's
first. A run that trains in several processes takes as many places, at most all. Nobody overtakes a run that waits for
several places, so it waits no longer than those before it train.

A paused run keeps its place for `patience` seconds, and for as long as nobody else waits; then the first of the queue
gets it, and the paused run queues again when it is to go on. A run that ended, whose owner is gone, or that cannot be
asked any more gives its place back by itself: a watching thread looks five times a second while anybody holds a place.
"""

import logging
import os
import time
import weakref
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import RLock, Thread
from typing import Literal

from labkit.errors import LabError

Doing = Literal["busy", "resting", "over"]
PATIENCE = 120.0
"""Seconds that a paused run keeps its place while others wait."""
LOOK = 0.2
log = logging.getLogger(__name__)


class Place:
    """What one run asked for; the owner keeps it. `state`: waiting, held, lost (it was paused too long), left.

    `error` is a sentence where the run could not be started.
    """

    def __init__(self, places: "Places", entry: "_Entry", start: Callable[[], object], doing: Callable[[], Doing]):
        self._places, self._entry, self._start, self._doing = places, entry, start, doing
        self.error: str | None = None

    @property
    def state(self) -> str:
        return self._entry.state

    @property
    def ahead(self) -> int:
        """How many runs must end before this one starts; 0 when it has its place."""
        return self._places._ahead(self._entry)

    @property
    def says(self) -> str:
        """What there is to know about this place, as a sentence for people; empty when there is nothing."""
        if self.state == "waiting":
            return f"{_runs(self.ahead)} before yours; it starts by itself."
        if self.state == "lost":
            return f"It was paused for {_long(self._places.patience)} while others waited: they train now. Run queues again."
        left = self._places._seconds_left(self._entry)
        if left is None:
            return ""
        return f"Others wait: a paused run keeps its place for {_long(self._places.patience)}, and yours has {left:.0f} s left."

    def wake(self) -> bool:
        """Say that the run goes on now. False when it has no place any more: then ask for a new one."""
        return self._places._wake(self._entry)

    def leave(self) -> bool:
        """Give the place back, or leave the queue; whether there was anything to give."""
        return self._places._leave(self._entry)


@dataclass(eq=False)
class _Entry:
    """One line of the book: it must not keep the owner of the place alive."""

    name: str
    who: Hashable
    takes: int
    state: str = "waiting"
    place: Callable[[], Place | None] = lambda: None
    woken: float = 0.0
    """When it was last told to go on."""
    rests: float | None = None
    """Since when it has been resting."""
    begun: bool = False
    """Whether it has been started."""


class Places:
    """A fair queue for `count` places; by default LABKIT_RUNS, else the cores of this machine. Thread-safe.

    `patience` is in seconds, and so is what `clock` returns.
    """

    def __init__(
        self, count: int | None = None, *, patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic
    ):
        self._count, self.patience, self._clock = count, patience, clock
        self._lock = RLock()
        self._entries: list[_Entry] = []
        self._watcher: Thread | None = None

    @property
    def count(self) -> int:
        """How many places there are. Raises: LabError when LABKIT_RUNS is no whole number above 0."""
        if self._count is None:
            self._count = _allowed(os.environ.get("LABKIT_RUNS"))
        return self._count

    @property
    def held(self) -> list[str]:
        """The names of those that have a place."""
        with self._lock:
            return [entry.name for entry in self._entries if entry.state == "held"]

    @property
    def waiting(self) -> list[str]:
        """The names of those that wait, the next one first."""
        with self._lock:
            return [entry.name for entry in self._queue()]

    def ask(
        self,
        name: str,
        start: Callable[[], object],
        *,
        doing: Callable[[], Doing] = lambda: "busy",
        who: Hashable = None,
        takes: int = 1,
    ) -> Place:
        """Ask for a place: `start` is called as soon as there is one, here or in another thread; it must be quick.

        `doing` says what the run does now: busy, resting (paused), or over; where it raises, the run counts as over.
        `who` is whose run it is (None: nobody's in particular); `takes` is how many places it needs.
        """
        entry = _Entry(name, who, max(1, min(takes, self.count)))
        place = Place(self, entry, start, doing)
        entry.place = weakref.ref(place)
        with self._lock:
            self._entries.append(entry)
            if self._watcher is None:
                self._watcher = Thread(target=self._watch, name="labkit-places", daemon=True)
                self._watcher.start()
        self.attend()
        return place

    def attend(self) -> None:
        """Take back what is not used any more and start whoever can start now."""
        with self._lock:
            held = [entry for entry in self._entries if entry.state == "held"]
        # the runs are asked outside the lock: an answer may take a lock of their own
        seen: list[tuple[float, _Entry, Doing]] = [(self._clock(), entry, _does(entry.place())) for entry in held]
        started = []
        with self._lock:
            for when, entry, does in seen:
                if entry.state == "held" and entry.woken <= when:
                    self._heed(entry, does, when)
            self._entries = [one for one in self._entries if one.place() is not None]
            while queue := self._queue():
                first = queue[0]
                if self._used() + first.takes > self.count and not self._evict():
                    break
                if self._used() + first.takes <= self.count and (place := first.place()) is not None:
                    first.state, first.woken = "held", self._clock()
                    started.append(place)
        for place in started:
            self._begin(place)

    def _begin(self, place: Place) -> None:
        try:
            place._start()
            with self._lock:  # what it was seen doing before does not count
                place._entry.begun, place._entry.woken = True, self._clock()
        except Exception as error:  # the owner shows it; the thread that freed the place must go on
            if not isinstance(error, LabError):
                log.error("%s could not be started", place._entry.name, exc_info=error)
            place.error = str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
            place.leave()

    def _heed(self, entry: _Entry, does: Doing, when: float) -> None:
        """Note what a run was seen doing."""
        if does == "over" and entry.begun:
            self._drop(entry, "left")
        elif does == "resting":
            entry.rests = when if entry.rests is None else entry.rests
        elif does == "busy":
            entry.rests = None

    def _evict(self) -> bool:
        """Take the place of the run that has rested longest, if that is too long; whether there was one."""
        now = self._clock()
        resting = [
            (entry.rests, number, entry)
            for number, entry in enumerate(self._entries)
            if entry.state == "held" and entry.rests is not None and now - entry.rests >= self.patience
        ]
        if not resting:
            return False
        self._drop(min(resting, key=lambda one: one[:2])[2], "lost")
        return True

    def _drop(self, entry: _Entry, state: str) -> None:
        entry.state = state
        if entry in self._entries:
            self._entries.remove(entry)

    def _used(self) -> int:
        return sum(entry.takes for entry in self._entries if entry.state == "held")

    def _queue(self) -> list[_Entry]:
        """Those that wait, the next one first: by how many runs of the same visitor go before, then by arrival."""
        mine = Counter(entry.who for entry in self._entries if entry.state == "held" and entry.who is not None)
        ranked = []
        for number, entry in enumerate(self._entries):
            if entry.state == "waiting" and entry.place() is not None:
                ranked.append((mine[entry.who] if entry.who is not None else 0, number, entry))
                mine[entry.who] += 1
        return [entry for _, _, entry in sorted(ranked, key=lambda one: one[:2])]

    def _ahead(self, entry: _Entry) -> int:
        with self._lock:
            if entry.state != "waiting":
                return 0
            held = [one for one in self._entries if one.state == "held"]
            queue = self._queue()
            before = queue[: queue.index(entry)] if entry in queue else queue
            missing = self._used() + sum(one.takes for one in before) + entry.takes - self.count
            ends = 0
            for one in [*held, *before]:
                if missing <= 0:
                    break
                missing -= one.takes
                ends += 1
            return max(ends, 1)

    def _seconds_left(self, entry: _Entry) -> float | None:
        """How long a paused run keeps its place; None where nobody waits or it is not paused."""
        with self._lock:
            if entry.state != "held" or entry.rests is None or not self._queue():
                return None
            return max(0.0, self.patience - (self._clock() - entry.rests))

    def _wake(self, entry: _Entry) -> bool:
        with self._lock:
            if entry.state != "held":
                return False
            entry.rests, entry.woken = None, self._clock()
            return True

    def _leave(self, entry: _Entry) -> bool:
        with self._lock:
            if entry.state not in ("waiting", "held"):
                return False
            self._drop(entry, "left")
        self.attend()
        return True

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK)
            self.attend()
            with self._lock:
                if not self._entries:
                    self._watcher = None
                    return


def _does(place: Place | None) -> Doing:
    if place is None:
        return "over"
    try:
        return place._doing()
    except Exception:  # a run that cannot even be asked must not block the others
        log.exception("%s does not say what it does; its place goes to the next", place._entry.name)
        return "over"


def _allowed(text: str | None) -> int:
    if not text:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return max(1, cores or 1)
    if not text.strip().isdecimal() or int(text) < 1:
        raise LabError(f"LABKIT_RUNS is {text!r}; set it to how many runs may train at a time, 1 or more.")
    return int(text)


def _runs(count: int) -> str:
    return "1 run is" if count == 1 else f"{count} runs are"


def _long(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 120 and seconds % 60 == 0 else f"{seconds:g} seconds"


PLACES = Places()
"""The places of this process."""
