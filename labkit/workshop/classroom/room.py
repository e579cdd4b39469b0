"""What the class looks like now: who is here, the newest check of each exercise, guesses, curves, one dot a student.

It is rebuilt from the journal when the class starts again. Everything is bounded by student, so that nobody can crowd out
the others: what is over a bound is kept in the journal and not shown.
"""

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from labkit.workshop.classroom.journal import Message, Student

EXERCISES, QUESTIONS, CURVES, STUDIES, ARMS = 100, 30, 24, 12, 6
"""How many of each are held of one student."""
POINTS = 1024
"""Points held of one curve."""
PRESENT = 15.0
"""Seconds since a student was heard of, who then counts as here."""
PULSE = 60
"""Seconds of arrivals that are shown."""
PARTS = ("people", "checks", "guesses", "studies", "curves")


@dataclass
class Tries:
    """One student at one exercise."""

    right: bool = False
    """Whether it ever was."""
    count: int = 0
    says: str = ""
    """What was wrong the last time; empty where nothing was."""


@dataclass
class Curve:
    """One number of one training along its steps; of a long one every second, fourth, ... point."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    every: int = 1
    seen: int = 0
    last: tuple[int, float] = (0, 0.0)

    def add(self, step: int, value: float) -> None:
        self.last = step, value
        if self.steps and step < self.steps[-1]:  # the training began anew
            self.steps.clear(), self.values.clear()
            self.every, self.seen = 1, 0
        if self.seen % self.every == 0:
            self.steps.append(step)
            self.values.append(value)
            if len(self.steps) > POINTS:
                del self.steps[1::2], self.values[1::2]
                self.every *= 2
        self.seen += 1

    def points(self) -> tuple[list[int], list[float]]:
        """Steps and values, always with the newest."""
        steps, values = list(self.steps), list(self.values)
        if self.seen and steps[-1] != self.last[0]:
            steps.append(self.last[0])
            values.append(self.last[1])
        return steps, values


@dataclass
class Guess:
    """What one student guessed, and once it was revealed, how far off it was."""

    points: list[list[float]]
    area: float | None = None
    truth: list[list[float]] | None = None


class Room:
    """The class as it is now. Thread-safe; `version[part]` counts the changes of each part."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.students: dict[int, Student] = {}
        self.seen: dict[int, float] = {}
        self.version = dict.fromkeys(PARTS, 0)
        self.pulse: deque[tuple[int, int]] = deque(maxlen=PULSE)
        self._empty()

    def _empty(self) -> None:
        self.count = 0
        self.kinds: Counter[str] = Counter()
        self.checks: dict[str, dict[int, Tries]] = {}
        self.wrong: dict[str, Counter[str]] = {}
        self.guesses: dict[str, dict[int, Guess]] = {}
        self.curves: dict[str, dict[tuple[int, str], Curve]] = {}
        self.studies: dict[str, dict[str, dict[int, float]]] = {}
        self._held: Counter[tuple[str, int]] = Counter()

    def arrive(self, student: Student) -> None:
        with self.lock:
            self.students[student.number] = student
            self.version["people"] += 1

    def heard_of(self, number: int) -> None:
        """A notebook asked or told something."""
        self.seen[number] = time.monotonic()

    def present(self) -> set[int]:
        """Who is here now."""
        now = time.monotonic()
        return {number for number, at in list(self.seen.items()) if now - at < PRESENT}

    def beats(self) -> list[int]:
        """How many messages arrived in each of the last sixty seconds, the newest last."""
        with self.lock:
            by_second, now = dict(self.pulse), int(time.time())
        return [by_second.get(second, 0) for second in range(now - PULSE + 1, now + 1)]

    def add(self, messages: list[Message], live: bool = True) -> None:
        """Take in what was told, in order."""
        if not messages:
            return
        with self.lock:
            for one in messages:
                getattr(self, f"_{one.kind}")(one.student, one.what)
                self.kinds[one.kind] += 1
            self.count += len(messages)
            self.version["people"] += 1
            if live:
                second = int(time.time())
                if self.pulse and self.pulse[-1][0] == second:
                    self.pulse[-1] = second, self.pulse[-1][1] + len(messages)
                else:
                    self.pulse.append((second, len(messages)))

    def _may(self, part: str, student: int, most: int, known: bool) -> bool:
        """Whether this student may add one more of these."""
        if known:
            return True
        self._held[part, student] += 1
        return self._held[part, student] <= most

    def _check(self, student: int, what: dict[str, Any]) -> None:
        exercise = what["exercise"]
        by_student = self.checks.get(exercise, {})
        if not self._may("check", student, EXERCISES, student in by_student):
            return
        tries = self.checks.setdefault(exercise, {}).setdefault(student, Tries())
        wrong = self.wrong.setdefault(exercise, Counter())
        tries.count += 1
        if tries.says:  # a student counts once, with what is wrong now
            wrong[tries.says] -= 1
            wrong += Counter()
        tries.right = tries.right or what["right"]
        tries.says = "" if what["right"] else what["says"]
        if tries.says:
            wrong[tries.says] += 1
        self.wrong[exercise] = wrong
        self.version["checks"] += 1

    def _guess(self, student: int, what: dict[str, Any]) -> None:
        question = what["question"]
        if not self._may("guess", student, QUESTIONS, student in self.guesses.get(question, {})):
            return
        guess = Guess(what["points"], what.get("area"), what.get("truth"))
        self.guesses.setdefault(question, {})[student] = guess
        self.version["guesses"] += 1

    def _value(self, student: int, what: dict[str, Any]) -> None:
        name, key = what["name"], (student, what["run"])
        if not self._may("value", student, CURVES, key in self.curves.get(name, {})):
            return
        value = what["value"]
        self.curves.setdefault(name, {}).setdefault(key, Curve()).add(
            what["step"], float(value) if not isinstance(value, str) else float("nan")
        )
        self.version["curves"] += 1

    def _study(self, student: int, what: dict[str, Any]) -> None:
        name, arm, value = what["name"], what["arm"], what["value"]
        if not self._may("study", student, STUDIES * ARMS, student in self.studies.get(name, {}).get(arm, {})):
            return
        number = float("nan") if isinstance(value, str) else float(value)
        self.studies.setdefault(name, {}).setdefault(arm, {})[student] = number
        self.version["studies"] += 1

    def clear(self) -> None:
        """Forget everything but who is here."""
        with self.lock:
            self._empty()
            for part in PARTS:
                self.version[part] += 1
