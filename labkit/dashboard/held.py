"""One visitor's training of one arm of a study: the run, its place in the queue, and how both end. Pages come and go.

To a deck it is the run itself, only that going on needs one of the places of this machine (`labkit.workbench.hold.places`).
What may take a while, a replay or a wait for the end of a step, is done in a thread of its own, never in the thread that
answers the browsers.
"""

import shutil
import tempfile
from collections.abc import Callable
from itertools import count
from queue import SimpleQueue
from threading import RLock, Thread
from typing import Any

from labkit.dashboard.layout import sentence
from labkit.errors import LabError
from labkit.recording.batches import some_of
from labkit.workbench.hold.lenses import Lens, lenses
from labkit.workbench.hold.live_run import LiveRun
from labkit.workbench.hold.places import PLACES, Doing, Place, Places
from labkit.workbench.hold.randomness import Randomness
from labkit.workbench.study import Scale, Study

MEMORY, DISK = 64e6, 256e6
"""Bytes that the checkpoints of one visitor's run may take."""
LOOKED_AT = 64
"""Inputs on which it is tried out what can be looked at."""
OVER = ("finished", "stopped", "failed")
_numbers = count(1)


class HeldRun:
    """A run that is prepared in the background and then asks for its place. `live` is None until it is prepared.

    `who` is whose run it is, `size` how long it trains and on how much.
    """

    def __init__(self, study: Study, arm: str, seed: int, size: Scale, who: str, places: Places = PLACES):
        self.study, self.arm, self.seed, self.size, self.who = study, arm, seed, size, who
        self.live: LiveRun | None = None
        self.place: Place | None = None
        self.error: str | None = None
        self.lenses: list[Lens] = []
        self.number = next(_numbers)
        self._places, self._lock, self._ended = places, RLock(), False
        self._action: Callable[[], Any] = lambda: None
        self._errands: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._folder: str | None = None

    @property
    def name(self) -> str:
        """Unlike any other run's of this server: a run stops an older one of the same name."""
        return f"{self.study.name} {self.number}: {self.arm}, seed {self.seed}"

    def prepare(self) -> None:
        """Load the data, build the model as the study does, and ask for a place; returns at once."""
        self.errand(self._prepare)

    def errand(self, job: Callable[[], Any]) -> None:
        """Do this in the run's own helping thread, one after the other."""
        with self._lock:
            if self._ended:
                return
            if self._thread is None:
                self._thread = Thread(target=self._run_errands, name=f"labkit-errands {self.number}", daemon=True)
                self._thread.start()
        self._errands.put(job)

    def _run_errands(self) -> None:
        while (job := self._errands.get()) is not None:
            try:
                job()
            except Exception as error:  # said in the page, by whatever shows this run
                self.error = sentence(error)

    def _prepare(self) -> None:
        folder = tempfile.mkdtemp(prefix="labkit-held-")
        try:
            live = self._build(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with self._lock:
            self.live, self._folder = live, folder
            ended = self._ended
        if ended:
            self._discard()
        else:
            self.run()

    def _build(self, folder: str) -> LiveRun:
        chosen = self.study.arms[self.arm]

        def make() -> tuple[Any, Any]:
            task = self.study.task(self.size)
            return task, self.study.backbone(task, chosen.layer)

        # the model that the study would train: drawn with the seed, whatever others draw meanwhile
        task, model = Randomness(self.seed).call(make)
        self.lenses = lenses(model, some_of(model, task.probe(), LOOKED_AT)[0])
        return LiveRun(
            model,
            task,
            chosen.trainer(),
            steps=self.size.steps,
            seed=self.seed,
            name=self.name,
            memory=MEMORY,
            disk=DISK,
            folder=folder,
        )

    # what a deck orders

    def run(self, until: int | None = None) -> bool:
        """Train on as soon as there is a place; False when it trains or waits already."""
        return self._go(lambda: self._live.run(until))

    def step(self, count: int = 1) -> bool:
        """Take so many steps as soon as there is a place; False when it trains or waits already."""
        return self._go(lambda: self._live.step(count))

    def pause(self) -> bool:
        """Pause; who still waits leaves the queue."""
        return self.leave_queue() or self._live.pause()

    def stop(self) -> bool:
        """End the training for good; what was recorded stays to be looked at."""
        if self._live.state == "stopped":
            return False
        self.leave_queue()
        self._live.pause()
        self.errand(self._live.stop)
        return True

    def leave_queue(self) -> bool:
        """Do not wait any more; whether it did."""
        place = self.place
        return place is not None and place.state == "waiting" and place.leave()

    @property
    def waits(self) -> bool:
        """Whether others are before it."""
        return self.place is not None and self.place.state == "waiting"

    def status(self) -> dict[str, Any]:
        """The run's status, with what there is to know about its place."""
        status = dict(self._live.status())
        place = self.place
        if place is None:
            return status
        if place.state == "waiting":
            return {**status, "state": "queued", "ahead": place.ahead, "says": ""}  # the page says it
        ended = status["state"] in OVER
        return {**status, "says": status["says"] or place.error or ("" if ended else place.says)}

    def __getattr__(self, name: str) -> Any:
        """Everything else is the run's own: dials, curves, branches, pictures."""
        live = self.__dict__.get("live")
        if live is None or name.startswith("_"):
            raise AttributeError(f"The run is not prepared yet and has no {name}.")
        return getattr(live, name)

    @property
    def _live(self) -> LiveRun:
        if self.live is None:
            raise LabError("This run is still being prepared; wait a moment.")
        return self.live

    def _go(self, action: Callable[[], bool]) -> bool:
        with self._lock:
            if self._ended or self.waits:
                return False
            if self.place is not None and self.place.wake():
                return action()
            if self._live.state in ("finished", "stopped"):
                return action()
            self._action = action
            self.place = self._places.ask(self.name, self._begin, doing=self._doing, who=self.who)
            return True

    def _begin(self) -> None:
        self._action()

    def _doing(self) -> Doing:
        live = self.live
        if live is None or self._ended:
            return "over"
        state = live.state
        return "over" if state in OVER else "busy" if state == "running" else "resting"

    # how it ends

    def halt(self) -> None:
        """Ask it to end: no further step is taken, and its place goes to the next. Never waits."""
        with self._lock:
            self._ended = True
            place, live = self.place, self.live
        if place is not None:
            place.leave()
        if live is not None:
            live.pause()
        self._errands.put(None)

    def end(self, seconds: float) -> None:
        """End it, wait at most so long, and throw away what it kept in memory and on disk."""
        self.halt()
        closing = Thread(target=self._discard, name=f"labkit-end {self.number}", daemon=True)
        closing.start()
        closing.join(seconds)

    def _discard(self) -> None:
        with self._lock:
            live, folder, self._folder = self.live, self._folder, None
        if live is not None:
            live.stop()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
