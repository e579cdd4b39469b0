"""One look into a model at a time: a look changes the model for moments, and two at once would see each other's changes.

Switches of torch that a recording sets hold for the whole program, so there is one `TURNS` for all models.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from threading import Lock, RLock


class Turns:
    """Lets one thread look at a time; a thread that looks already may look again."""

    def __init__(self) -> None:
        self._turn, self._state = RLock(), Lock()
        self._depth = 0
        self._waiting: dict[Hashable, Callable[[], None]] = {}

    @contextmanager
    def mine(self) -> Iterator[None]:
        """Wait for the turn, and keep it while the block runs."""
        self._turn.acquire()
        self._depth += 1
        try:
            yield
        finally:
            self._done()

    def soon(self, name: Hashable, job: Callable[[], None]) -> bool:
        """Do the job now; or, where another thread looks, when it is done: then False. Of one name only the last is done."""
        with self._state:
            if not self._turn.acquire(blocking=False):
                self._waiting.pop(name, None)
                self._waiting[name] = job
                return False
            self._waiting.pop(name, None)
            self._depth += 1
        try:
            job()
        finally:
            self._done()
        return True

    def _done(self) -> None:
        """Give the turn away, and do what was put off meanwhile."""
        self._depth -= 1
        last = self._depth == 0
        self._turn.release()
        while last:
            with self._state:
                if not self._waiting or not self._turn.acquire(blocking=False):
                    return
                job = self._waiting.pop(next(iter(self._waiting)))
                self._depth += 1
            try:
                job()
            finally:
                self._depth -= 1
                self._turn.release()


TURNS = Turns()
