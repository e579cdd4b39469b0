"""How a training is told to the class: at most twenty numbers a second, always with the last one."""

import inspect
import random
from collections.abc import Callable, Mapping
from threading import Event, Lock, Thread, Timer
from typing import TYPE_CHECKING, Any
from weakref import ref

from labkit.errors import LabError
from labkit.workshop.classroom.allowance import Allowance

if TYPE_CHECKING:
    from labkit.workshop.seat import Seat

RATE = 20.0
"""Numbers a second."""
LOOK = 0.5
"""Seconds between two looks at a run that is shared."""


class Telling:
    """Tells one training: call it with a step and numbers by name, or give it to `fit` or a study as `watch`.

    Of faster trainings some steps are left out; the newest is never left out for longer than a moment.
    """

    def __init__(self, seat: "Seat", name: str):
        self._seat, self.name = seat, name
        self._lock, self._allowed = Lock(), Allowance(RATE, RATE)
        self._held: dict[tuple[str, str], tuple[int, Any]] = {}
        self._timer: Timer | None = None

    def __call__(self, step: Any, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        run = self.name
        if hasattr(step, "values") and hasattr(step, "step"):  # the progress of a study
            run, values, step = f"{self.name}: {step.arm}, seed {step.seed}", step.values, step.step
        with self._lock:
            for name, value in {**(values or {}), **more}.items():
                self._held[run, str(name)] = int(step), value
            self._send()

    def _send(self) -> None:
        if self._held and self._allowed.take(len(self._held)) == 0:
            for (run, name), (step, value) in self._held.items():
                self._seat.tell("value", run=run, name=name, step=step, value=value)
            self._held.clear()
        if self._held and self._timer is None:
            self._timer = Timer(0.25, self._later)
            self._timer.daemon = True
            self._timer.start()

    def _later(self) -> None:
        with self._lock:
            self._timer = None
            self._send()

    def close(self) -> None:
        """Tell what is still held back."""
        with self._lock:
            for (run, name), (step, value) in self._held.items():
                self._seat.tell("value", run=run, name=name, step=step, value=value)
            self._held.clear()


def follow(seat: "Seat", live_run: Any, name: str | None = None) -> Callable[[], None]:
    """Tell the class what a `LiveRun` records, in a thread that looks twice a second. Returns what ends it."""
    if not all(hasattr(live_run, needed) for needed in ("quantities", "curve", "branches", "state")):
        raise LabError(
            f"seat.share takes a LiveRun, and got {type(live_run).__name__}; for a training loop of your own there is "
            'tell = seat.run("name"), then tell(step, loss=...).'
        )
    told: dict[tuple[str, str], int] = {}
    stop, watched, called = Event(), ref(live_run), name or getattr(live_run, "name", "run")

    def look() -> None:
        while not stop.is_set():
            run = watched()
            if run is None:
                return
            over = run.state in ("stopped", "failed")
            _tell_new(seat, run, called, told)
            del run
            if over:
                return
            stop.wait(LOOK)

    Thread(target=look, name="labkit-share", daemon=True).start()
    return stop.set


def _tell_new(seat: "Seat", run: Any, called: str, told: dict[tuple[str, str], int]) -> None:
    """The steps that were not told yet: evenly spread ones where there are more than may be told."""
    first, new = None, []
    for branch in run.branches:
        first = first or branch.name
        title = called if branch.name == first else f"{called}, {branch.name}"
        for quantity in run.quantities:
            steps, values = run.curve(quantity, branch.name)
            after = told.get((branch.name, quantity), -1)
            fresh = [(int(step), float(value)) for step, value in zip(steps, values) if step > after]
            if fresh:
                told[branch.name, quantity] = fresh[-1][0]
                new.append((title, quantity, fresh))
    most = max(1, int(RATE * LOOK / max(1, len(new))))
    for title, quantity, fresh in new:
        count = min(most, len(fresh))
        places = sorted({len(fresh) - 1 - round(at * len(fresh) / count) for at in range(count)})
        for step, value in (fresh[max(0, place)] for place in places):
            seat.tell("value", run=title, name=quantity, step=step, value=value)


def one_seed(seat: "Seat", name: str, train: Callable | Mapping[str, Callable]) -> Any:
    """Train once with the seat's seed, tell the class each arm's number, and return what the training returned."""
    arms = dict(train) if isinstance(train, Mapping) else {"": train}
    if not arms or not all(callable(one) for one in arms.values()):
        raise LabError("seat.study takes a function train(seed) that gives a number, or several of them by arm.")
    results: dict[str, Any] = {}
    for arm, work in arms.items():
        _fix_chance(seat.seed)
        telling = seat.run(f"{name}: {arm}" if arm else name)
        result = work(seat.seed, telling) if _takes_two(work) else work(seat.seed)
        telling.close()
        results[arm] = result
        numbers = result if isinstance(result, Mapping) else {arm or "result": result}
        for label, value in numbers.items():
            try:
                seat.tell("study", name=name, seed=seat.seed, arm=str(label), value=float(value))
            except (TypeError, ValueError):
                raise LabError(
                    f"The training of {name!r} must give a number, or numbers by arm, and gave {type(value).__name__}."
                ) from None
    return results if isinstance(train, Mapping) else results[""]


def _takes_two(work: Callable) -> bool:
    try:
        inspect.signature(work).bind(0, None)
    except (TypeError, ValueError):
        return False
    return True


def _fix_chance(seed: int) -> None:
    """Random numbers begin at the seed, of torch too where it is there."""
    try:
        from labkit.workbench.crew.worker import fix_chance
    except ImportError:
        random.seed(seed)
    else:
        fix_chance(seed)
