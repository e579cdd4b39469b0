"""A study that runs in the background: start it, watch it from any thread, stop it. Notebook and dashboard share it.

A study trains in worker processes, several seeds at once; any other work trains in a thread of this process. The thread
only writes plain values here; whoever paints reads them when it likes. An error in it is kept and shown, never lost.
"""

from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Any

from labkit.errors import LabError
from labkit.workbench.fit import Stopped
from labkit.workbench.progress import Progress
from labkit.workbench.run import Run
from labkit.workbench.study import Study

Work = Callable[[Callable[[Progress], None], Event], Any]
ENDED = ("stopped", "done", "failed")


class Live:
    """Runs a study, or any callable `work(watch, stop)`, once in a daemon thread.

    A study is trained by `jobs` worker processes at once (default: as many as there are cores; 1 trains in the thread).
    A work may say in its attribute `shows` which quantity `points` are of (None: the first that is told); else it is
    the test accuracy.

    States: ready, running, stopping, stopped, done, failed. `lost` has a sentence for each training whose worker died.
    """

    def __init__(self, work: Study | Work, scale: str = "lesson", *, seeds: int | None = None, jobs: int | None = None):
        self._work = (
            (lambda watch, stop: work.run(scale, seeds=seeds, watch=watch, stop=stop, jobs=jobs))
            if isinstance(work, Study)
            else work
        )
        self.shows: str | None = getattr(work, "shows", "test_accuracy")
        self._stop, self._lock = Event(), Lock()
        self._thread: Thread | None = None
        self._points: dict[tuple[str, int], tuple[list[int], list[float]]] = {}
        self.state, self.fraction, self.label = "ready", 0.0, ""
        self.result: Run | Any = None
        self.error: str | None = None
        self.exception: Exception | None = None
        self.lost: tuple[str, ...] = ()

    def start(self) -> bool:
        """Start once; False when it was started before, so two clicks start one run."""
        with self._lock:
            if self._thread is not None:
                return False
            self.state = "running"
            self._thread = Thread(target=self._go, name="labkit-live", daemon=True)
        self._thread.start()
        return True

    def stop(self) -> None:
        """Ask it to stop: a study's processes end within about a second, other work after the step it is at."""
        with self._lock:
            if self.state == "running":
                self.state = "stopping"
        self._stop.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end; whether it has ended."""
        if self._thread is not None:
            self._thread.join(seconds)
        return self.state in ENDED

    @property
    def points(self) -> dict[tuple[str, int], tuple[list[int], list[float]]]:
        """What is shown (test accuracy) so far by (arm, seed): steps and values. A copy."""
        with self._lock:
            return {key: (list(steps), list(values)) for key, (steps, values) in self._points.items()}

    def _go(self) -> None:
        try:
            self.result = self._work(self._hear, self._stop)
            self.fraction, self.label, self.state = 1.0, "finished", "done"
        except Stopped:
            self.state, self.label = "stopped", "stopped; nothing was saved"
        except LabError as error:
            self.error, self.exception, self.state = str(error), error, "failed"
        except Exception as error:  # whatever a user's own work raises must reach the screen, not the thread's end
            self.error, self.exception, self.state = f"{type(error).__name__}: {error}", error, "failed"

    def _hear(self, progress: Progress) -> None:
        self.fraction, self.label = progress.done, progress.place
        if progress.lost:
            self.lost = progress.lost
        if self.shows is None:
            self.shows = next(iter(progress.values), None)
        value = progress.values.get(self.shows) if self.shows is not None else None
        if value is not None:
            with self._lock:
                steps, values = self._points.setdefault((progress.arm, progress.seed), ([], []))
                steps.append(progress.step)
                values.append(value)
