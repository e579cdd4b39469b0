"""Looks at a run while it trains, in a thread of its own: on a copy of the model, as often as the load allows.

The training only copies its weights now and then, between two steps. Everything that is measured is measured on the copy,
so no measurement meets half a step, leaves a hook in the model that trains, or costs the training's own time.
"""

import atexit
import copy
import logging
import math
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock, Thread, current_thread
from typing import TYPE_CHECKING, Any, Protocol

import torch
import xarray as xr
from torch import nn

from labkit.errors import LabError
from labkit.recording.batches import some_of
from labkit.recording.once import once
from labkit.workbench.arithmetic import compute_plainly
from labkit.workbench.hold.checkpoint import State, put_back, weights
from labkit.workbench.hold.interventions import Interventions
from labkit.workbench.hold.training import Training

if TYPE_CHECKING:
    from labkit.workbench.hold.live_run import LiveRun

log = logging.getLogger(__name__)
_threads: "weakref.WeakSet[Observer]" = weakref.WeakSet()

RATE, SHARE = 12.0, 0.35
"""Rounds a second at most, and the share of one core that all rounds together may take."""
IDLE, SHORTEST = 0.5, 0.01
"""Seconds between two rounds while nothing moves, and at least."""
PROBE, TEST, TESTING = 256, 1000, 1.0
"""Inputs that are looked at, test rows for the accuracy, and seconds at least between two accuracies."""


class Lens(Protocol):
    """Something to look at: measure(model, batch) -> array."""

    name: str
    measure: Callable[[nn.Module, Any], xr.DataArray]


class Look:
    """One lens that is kept up to date. `latest` is (step, array) or None; `error` a sentence where it cannot be measured."""

    def __init__(self, lens: Lens, close: Callable[["Look"], None]):
        self.lens, self.wanted = lens, True
        self.latest: tuple[int, xr.DataArray] | None = None
        self.error: str | None = None
        self._close = close

    def close(self) -> None:
        """Measure it no more."""
        self._close(self)


@dataclass(frozen=True)
class Photo:
    """Weights and interventions of the model at one moment."""

    branch: str
    step: int
    weights: dict[str, torch.Tensor]
    touched: list


class Observer:
    """The thread that looks at one run. It begins with the first look or callback."""

    def __init__(self, run: "LiveRun", training: Training, probe: Any):
        self._run, self._training, self._probe_of = run, training, probe
        self._looks: list[Look] = []
        self._callbacks: list[Callable[[], None]] = []
        self._wake, self._lock = Event(), Lock()
        self._thread: Thread | None = None
        self._closed = False
        self._copy: tuple[nn.Module, Interventions] | None = None
        self._seen: Any = None
        self._tested = 0.0
        self.rounds = 0

    def look(self, lens: Lens) -> Look:
        """Begin to keep a lens up to date."""
        look = Look(lens, lambda one: self._looks.remove(one) if one in self._looks else None)
        self._looks.append(look)
        self._start()
        return look

    def on_round(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call this after each round; call what is returned to stop that."""
        self._callbacks.append(callback)
        self._start()
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def wake(self) -> None:
        """Something has changed: look now."""
        self._wake.set()

    def close(self) -> None:
        """Take one last round and end."""
        self._closed = True
        self._wake.set()

    def join(self, seconds: float) -> None:
        """Wait for the end of its thread."""
        if self._thread is not None and self._thread is not current_thread():
            self._thread.join(seconds)

    def copy_at(self, step: int | None, branch: str) -> nn.Module:
        """A copy of the model in eval mode, at the kept step nearest to this one, or as it is now."""
        if step is None:
            photo = self._photo()
        else:
            at, state = self._training.past.find(branch, self._training.past.nearest(branch, step))
            photo = _of(branch, at, state)
        model, touches = self._new_copy()
        _develop(photo, model, touches)
        return model

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                _threads.add(self)
                self._thread = Thread(target=self._go, name=f"labkit-look {self._run.name}", daemon=True)
                self._thread.start()
        self._wake.set()

    def _go(self) -> None:
        compute_plainly()
        while True:
            last, going = self._closed, self._run.going
            began, busy = time.perf_counter(), time.thread_time()
            with torch.no_grad():
                self._round()
            if last:
                return
            busy, passed = time.thread_time() - busy, time.perf_counter() - began
            rest = max(1 / RATE - passed, busy * (1 / SHARE - 1), SHORTEST)
            if not going and self._seen == self._moment():
                rest = max(rest, IDLE)
            time.sleep(SHORTEST)
            self._wake.wait(rest - SHORTEST)
            self._wake.clear()

    def _round(self) -> None:
        self.rounds += 1
        looks = [look for look in self._looks if look.wanted]
        testing = self._can_test() and time.monotonic() - self._tested > TESTING
        try:
            if looks or testing:
                self._measure(looks, testing)
        except Exception as error:  # the run was stopped, its model cannot be copied, or has changed its shape
            for look in looks:
                look.error = str(error)
        for callback in list(self._callbacks):
            try:
                callback()
            except Exception:  # a picture that cannot be painted leaves the others
                log.exception("a picture of %s could not be painted", self._run.name)

    def _measure(self, looks: list[Look], testing: bool) -> None:
        moment, viewing = self._moment(), self._run.viewing
        new = moment != self._seen
        if not new and all(look.latest or look.error for look in looks):
            return
        photo = self._photo() if viewing is None else self._old_photo(viewing)
        if self._copy is None:
            self._copy = self._new_copy()
        _develop(photo, *self._copy)
        model = self._copy[0]
        with once():
            for look in looks:
                try:
                    look.latest, look.error = (photo.step, look.lens.measure(model, self.inputs(model))), None
                except Exception as error:  # one lens that fails leaves the others
                    look.error = f"{look.lens.name} cannot be measured: {error}"
        if testing and viewing is None and new:
            self._test(photo, self._copy[0])
        self._seen = moment

    def _moment(self) -> tuple:
        """What is looked at: it is measured again when this has changed."""
        training, viewing = self._training, self._run.viewing
        return training.branch, training.at if viewing is None else viewing, training.version, viewing is None

    def _photo(self) -> Photo:
        """The model as it is between two steps; while the run is stopped it stands still anyway."""
        training = self._training

        def take() -> Photo:
            return Photo(training.branch, training.at, weights(self._run.model), training.machine.touches.to_list())

        return take() if training.stepping.closed else training.stepping.now(take)

    def _old_photo(self, step: int) -> Photo:
        branch = self._training.branch
        return _of(branch, *self._training.past.find(branch, step))

    def _new_copy(self) -> tuple[nn.Module, Interventions]:
        training = self._training

        def take() -> nn.Module:
            return copy.deepcopy(self._run.model)

        model = take() if training.stepping.closed else training.stepping.now(take)
        model.eval()
        return model, Interventions(model)

    def inputs(self, model: nn.Module) -> Any:
        """The inputs that are looked at: some of the task's own, as this model takes them.

        Raises: LabError when there are none.
        """
        if self._probe_of is None:
            raise LabError("there are no inputs to look at: give the run some with probe=(inputs, labels).")
        if callable(self._probe_of):
            self._probe_of = some_of(model, self._probe_of(), PROBE)[0]
        return self._probe_of

    def _can_test(self) -> bool:
        task = self._run.task
        return task is not None and hasattr(task, "test") and hasattr(task, metric_of(task))

    def _test(self, photo: Photo, model: nn.Module) -> None:
        task = self._run.task
        x, target = task.test()
        metric = metric_of(task)
        found = float(getattr(task, metric)(model(x[:TEST]), target[:TEST]))
        self._tested = time.monotonic()
        if math.isfinite(found) and not self._training.stepping.closed:
            journal = self._training.past.journal
            self._training.stepping.soon(lambda: journal.add(photo.branch, photo.step, {f"test_{metric}": found}))


def metric_of(task: object) -> str:
    """What a task is judged by: accuracy, or loss where nothing can be right or wrong."""
    return getattr(task, "metric", "accuracy")


def _of(branch: str, step: int, state: State) -> Photo:
    return Photo(branch, step, state["weights"], state["touched"])


def _develop(photo: Photo, model: nn.Module, touches: Interventions) -> None:
    """Make the copy what the photo shows."""
    put_back(model, photo.weights)
    if touches.to_list() != photo.touched:
        touches.restore(photo.touched)


@atexit.register
def _end_all() -> None:
    """A thread that is inside torch when Python ends would abort the whole program."""
    observers = list(_threads)
    for observer in observers:
        observer.close()
    for observer in observers:
        observer.join(2)
