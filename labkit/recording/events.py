"""Notices when something happens in a training: units that die, routers that collapse, gradients that explode.

| kind | when |
| --- | --- |
| units die | the share of dead units of a layer passes 5, 25, 50 or 90 %, each once; the step is where they fell silent |
| layer saturates | the share of saturated units passes 10, 50 or 90 %, each once |
| router collapses | the load is as if fewer than a quarter of the choices shared it evenly (2^entropy); again after a recovery |
| expert dies | a choice got nothing for `ENOUGH` inputs, or 20 times what its fair share would take, if that is more |
| gradient explodes | the norm over all parameters is 10 times the median of the looks before; again after it was back |
| gradient vanishes | it is a thousandth of the median of the looks before, or 0 |
| not a number | a mean, a gradient or the model's answer is infinite or NaN, once for each place |
"""

import math
import statistics
from collections import deque
from collections.abc import Mapping

import numpy as np

from labkit.recording.history import Event, GateRow, Row
from labkit.recording.history_arrays import entropy_of

DEATH = (0.05, 0.25, 0.5, 0.9)
SATURATION = (0.1, 0.5, 0.9)
EXPLODES, VANISHES = 10.0, 1e-3
BEFORE = 5
"""Looks that must lie before until a gradient can be called unusual."""


class Alarms:
    """Reads one row after another and says what is new in each."""

    def __init__(self) -> None:
        self._passed: dict[tuple[str, str], float] = {}
        self._since: dict[str, np.ndarray] = {}
        self._told: dict[str, np.ndarray] = {}
        self._lost: dict[str, set[int]] = {}
        self._on: set[tuple[str, str]] = set()
        self._norms: deque[float] = deque(maxlen=50)

    def check(self, row: Row) -> list[Event]:
        """The events of this row."""
        found: list[Event] = []
        for name, units in row.units.items():
            if units.moments is not None:
                found += self._numbers(row.step, name, np.isfinite(units.moments.mean))
            if units.dead is not None and units.silent is not None and units.saturated is not None:
                found += self._dying(row.step, name, units.dead, units.silent)
                found += self._saturating(row.step, name, units.saturated)
        for name, gate in row.gates.items():
            found += self._routing(row.step, name, gate)
        return found

    def answer(self, step: int, finite: bool) -> list[Event]:
        """What the model's own answer gives away: call it where one was looked at."""
        return (
            []
            if finite
            else self._once(step, "the answer", "not a number", "the model's answer holds NaN or infinity.")
        )

    def _once(self, step: int, where: str, kind: str, says: str) -> list[Event]:
        if (where, kind) in self._on:
            return []
        self._on.add((where, kind))
        return [Event(step, where, kind, says)]

    def _numbers(self, step: int, name: str, finite: np.ndarray) -> list[Event]:
        if finite.all():
            return []
        lost = int((~finite).sum())
        return self._once(
            step, name, "not a number", f"{lost:,} of {len(finite):,} units say NaN or infinity, or too much to add up."
        )

    def _level(self, name: str, kind: str, share: float, levels: tuple[float, ...]) -> bool:
        """Whether the share passes a level for the first time."""
        passed = max((level for level in levels if share >= level), default=0.0)
        if passed <= self._passed.get((name, kind), 0.0):
            return False
        self._passed[name, kind] = passed
        return True

    def _dying(self, step: int, name: str, dead: np.ndarray, silent: np.ndarray) -> list[Event]:
        quiet, since, told = silent > 0, self._since.get(name), self._told.get(name)
        if since is None or told is None or len(since) != len(quiet):
            since, told = np.full(len(quiet), -1), np.zeros(len(quiet), bool)
        self._since[name] = since = np.where(quiet, np.where(since < 0, step, since), -1)
        self._told[name] = told & dead  # who came back may die again
        share = float(dead.mean())
        if not self._level(name, "units die", share, DEATH):
            return []
        self._told[name] = dead
        fell = np.sort(since[dead & ~told])
        start = int(fell[len(fell) // 10])
        count = f"{int(dead.sum()):,} of {len(dead):,} units ({share:.0%}) are dead"
        return [Event(start, name, "units die", f"{count} by step {step:,}; they fell silent from step {start:,} on.")]

    def _saturating(self, step: int, name: str, saturated: np.ndarray) -> list[Event]:
        share = float(saturated.mean())
        if not self._level(name, "layer saturates", share, SATURATION):
            return []
        count = f"{int(saturated.sum()):,} of {len(saturated):,} units ({share:.0%})"
        return [Event(step, name, "layer saturates", f"{count} say the same whatever the input.")]

    def _routing(self, step: int, name: str, gate: GateRow) -> list[Event]:
        found, choices = [], len(gate.load)
        effective = 2 ** entropy_of(gate)
        if choices >= 4 and gate.inputs >= 8 * choices:
            if effective < choices / 4:
                top = int(gate.load.argmax())
                found = self._once(
                    step,
                    name,
                    "router collapses",
                    f"the load is that of {effective:.1f} of {choices:,} choices; choice {top} alone has "
                    f"{gate.load[top] / gate.load.sum():.0%}.",
                )
            elif effective > choices / 2:
                self._on.discard((name, "router collapses"))
        lost = {int(choice) for choice in np.flatnonzero(gate.dead)}
        new = sorted(lost - self._lost.get(name, set()))
        self._lost[name] = lost
        if new:
            which = ", ".join(map(str, new[:8])) + (f" and {len(new) - 8} more" if len(new) > 8 else "")
            left = f"{choices - len(lost):,} of {choices:,} are still in use"
            gets = "choice {} gets" if len(new) == 1 else "choices {} get"
            found.append(Event(step, name, "expert dies", f"{gets.format(which)} nothing any more; {left}."))
        return found

    def gradients(self, step: int, norms: Mapping[str, float]) -> list[Event]:
        """What the norms of the gradients by parameter give away: call it at every look."""
        if not norms:
            return []
        bad = [name for name, norm in norms.items() if not math.isfinite(norm)]
        if bad:
            return self._once(step, bad[0], "not a number", f"the gradients of {len(bad)} parameters are no numbers.")
        norm = math.hypot(*norms.values())
        usual = statistics.median(self._norms) if len(self._norms) >= BEFORE else None
        self._norms.append(norm)
        if usual is None or not usual:
            return []
        largest = max(norms, key=lambda name: norms[name])
        if norm >= EXPLODES * usual:
            says = f"the gradient's norm is {norm:.3g}, {norm / usual:,.0f} times the usual {usual:.3g}; largest in {largest}."
            return self._once(step, largest, "gradient explodes", says) if self._armed("explodes") else []
        if norm <= VANISHES * usual:
            says = f"the gradient's norm is {norm:.3g}, where {usual:.3g} was usual."
            return self._once(step, "all parameters", "gradient vanishes", says)
        if norm < EXPLODES / 3 * usual:
            self._on = {one for one in self._on if one[1] != "gradient explodes"}
        if norm > 3 * VANISHES * usual:
            self._on.discard(("all parameters", "gradient vanishes"))
        return []

    def _armed(self, kind: str) -> bool:
        return not any(one[1] == f"gradient {kind}" for one in self._on)
