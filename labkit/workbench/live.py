"""A study that runs in the background: start it, watch it from any thread, stop it. Notebook and dashboard share it.

The training thread only writes plain values here; whoever paints reads them when it likes. An error in the thread is
kept and shown, never lost.
"""

from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Any

from labkit.errors import LabError
from labkit.workbench.fit import Stopped
from labkit.workbench.run import Run
from labkit.workbench.study import Progress, Study

Work = Callable[[Callable[[Progress], None], Event], Any]


class Live:
    """Runs a study, or any callable `work(watch, stop)`, once in a daemon thread.

    States: ready, running, stopping, stopped, done, failed.
    """

    def __init__(self, work: Study | Work, scale: str = "lesson", *, seeds: int | None = None):
        self._work = (
            (lambda watch, stop: work.run(scale, seeds=seeds, watch=watch, stop=stop))
            if isinstance(work, Study)
            else work
        )
        self._stop, self._lock = Event(), Lock()
        self._thread: Thread | None = None
        self._points: dict[tuple[str, int], tuple[list[int], list[float]]] = {}
        self.state, self.fraction, self.label = "ready", 0.0, ""
        self.result: Run | Any = None
        self.error: str | None = None

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
        """Ask it to stop; it does so after the step it is at."""
        with self._lock:
            if self.state == "running":
                self.state = "stopping"
        self._stop.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end; whether it has ended."""
        if self._thread is not None:
            self._thread.join(seconds)
        return self.state in ("stopped", "done", "failed")

    @property
    def points(self) -> dict[tuple[str, int], tuple[list[int], list[float]]]:
        """Test accuracy so far by (arm, seed): steps and values. A copy."""
        with self._lock:
            return {key: (list(steps), list(values)) for key, (steps, values) in self._points.items()}

    def _go(self) -> None:
        try:
            self.result = self._work(self._hear, self._stop)
            self.fraction, self.label, self.state = 1.0, "finished", "done"
        except Stopped:
            self.state, self.label = "stopped", "stopped; nothing was saved"
        except LabError as error:
            self.error, self.state = str(error), "failed"
        except Exception as error:  # whatever a user's own work raises must reach the screen, not the thread's end
            self.error, self.state = f"{type(error).__name__}: {error}", "failed"

    def _hear(self, progress: Progress) -> None:
        self.fraction = progress.done
        self.label = f"{progress.arm}, seed {progress.seed}, step {progress.step} of {progress.steps}"
        value = progress.values.get("test_accuracy")
        if value is not None:
            with self._lock:
                steps, values = self._points.setdefault((progress.arm, progress.seed), ([], []))
                steps.append(progress.step)
                values.append(value)
