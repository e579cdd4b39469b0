"""A thread that takes one step after the other as long as it may, and does other jobs only between two steps.

So whatever touches the model, a change, a copy, a jump to another step, never meets half a step.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import Condition, Thread, current_thread
from typing import Any

from labkit.errors import LabError

Job = Callable[[], Any]


class Stepping:
    """Whether steps may be taken, and jobs that wait. Whoever steps calls `serve` before each step."""

    def __init__(self) -> None:
        self.door = Condition()
        self.on = False
        self.closed = False
        self._jobs: deque[tuple[Job, Future]] = deque()
        self._held = 0
        self._stepper: Thread | None = None

    def allow(self) -> None:
        """Let it take steps from now on."""
        with self.door:
            self.on = not self.closed
            self.door.notify_all()

    def forbid(self) -> None:
        """Let it take no more steps; one that is under way comes to its end."""
        with self.door:
            self.on = False

    def soon(self, job: Job) -> Future:
        """Do the job between two steps; the answer's `result()` waits for it. Raises: LabError when all has ended."""
        done: Future = Future()
        with self.door:
            if self.closed:
                raise LabError("This run has been stopped: begin a new one.")
            self._jobs.append((job, done))
            self.door.notify_all()
        return done

    def now(self, job: Job) -> Any:
        """Do the job between two steps and return what it returns."""
        if current_thread() is self._stepper:
            return job()
        return self.soon(job).result()

    def hold(self) -> None:
        """Wait until it stands between two steps, and keep it there until `free` is called."""
        arrived: Future = Future()

        def stand() -> None:
            with self.door:
                self._held += 1
            arrived.set_result(None)

        self.soon(stand)
        arrived.result()

    def free(self) -> None:
        """Let it go on; each `hold` has one `free`."""
        with self.door:
            self._held -= 1
            self.door.notify_all()

    def close(self) -> None:
        """Take no further step; jobs that wait are still done by whoever steps."""
        with self.door:
            self.closed, self.on = True, False
            self.door.notify_all()

    def join(self, seconds: float | None = None) -> None:
        """Wait until the thread that steps has ended, where it is one of ours."""

    def serve(self) -> bool:
        """Do the jobs that wait; whether a step may be taken now."""
        while self._jobs:
            job, done = self._jobs.popleft()
            try:
                answer = job()
            except BaseException as error:  # it belongs to whoever asked
                done.set_exception(error)
            else:
                done.set_result(answer)
        return self.on and not self._held

    def rest(self, seconds: float | None = None) -> None:
        """Wait until there is something to do."""
        with self.door:
            if not self._jobs and not self.closed and (self._held or not self.on):
                self.door.wait(seconds)


class StepThread(Stepping):
    """Takes the steps in a daemon thread of its own, which begins with the first thing there is to do."""

    def __init__(self, step: Job, name: str, begin: Job):
        super().__init__()
        self._step, self._name, self._begin = step, name, begin

    def allow(self) -> None:
        super().allow()
        self._wake()

    def soon(self, job: Job) -> Future:
        done = super().soon(job)
        self._wake()
        return done

    def join(self, seconds: float | None = None) -> None:
        if self._stepper is not None and self._stepper is not current_thread():
            self._stepper.join(seconds)

    def _wake(self) -> None:
        with self.door:
            if self._stepper is None and not self.closed:
                self._stepper = Thread(target=self._go, name=self._name, daemon=True)
                self._stepper.start()

    def _go(self) -> None:
        self._begin()
        while not self.closed:
            if self.serve():
                self._step()
            else:
                self.rest()
        self.serve()
