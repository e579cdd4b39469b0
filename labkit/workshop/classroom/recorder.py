"""Writes to the journal in a thread of its own: whatever arrived meanwhile goes to the disk in one flush.

Sixty notebooks that tell at once cost one flush and not sixty; each is answered only after it.
"""

from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread

from labkit.workshop.classroom.journal import Journal, Message

GATHER = 200
"""Batches in one flush at most."""
Batch = list[tuple[int, str, dict]]


class Recorder:
    """Takes batches and says when they are on the disk; `then` is called with what was new, in order, before that."""

    def __init__(self, journal: Journal, then: Callable[[list[Message]], None]):
        self._journal, self._then = journal, then
        self._queue: SimpleQueue[tuple[int, Batch, Future] | None] = SimpleQueue()
        self._thread = Thread(target=self._write, name="labkit-class-journal", daemon=True)
        self._thread.start()

    @property
    def behind(self) -> int:
        """How many batches wait to be written."""
        return self._queue.qsize()

    def take(self, student: int, batch: Batch) -> Future:
        """A future that is done when the batch is on the disk."""
        done: Future = Future()
        self._queue.put((student, batch, done))
        return done

    def _write(self) -> None:
        going = True
        while going:
            gathered = [self._queue.get()]
            while len(gathered) < GATHER:
                try:
                    gathered.append(self._queue.get_nowait())
                except Empty:
                    break
            going = None not in gathered
            work = [one for one in gathered if one is not None]
            if not work:
                continue
            try:
                self._then(self._journal.keep([(student, batch) for student, batch, _ in work]))
            except Exception as error:  # the notebooks keep it and send it again
                for _, _, done in work:
                    done.set_exception(error)
            else:
                for _, _, done in work:
                    done.set_result(None)

    def close(self) -> None:
        """Write what is left and end."""
        self._queue.put(None)
        self._thread.join(10)
