"""A whole class: the journal, what it looks like now, the way to MLflow, and the door that students' notebooks knock at.

Two doors, one process. Students reach three addresses on the network and nothing else (`student_door.py`). The teacher's
pages are on another port of this machine, which nobody else's machine reaches.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from labkit.errors import LabError
from labkit.workshop.classroom.codes import PORT, digest
from labkit.workshop.classroom.journal import Journal, Message, Student
from labkit.workshop.classroom.ledger import Ledger
from labkit.workshop.classroom.recorder import Recorder
from labkit.workshop.classroom.room import Room
from labkit.workshop.classroom.student_door import Door, Guard, application
from labkit.workshop.classroom.tracking_server import TrackingServer, checked_store

NOTICE = 400
SAYINGS = ("place", "notice", "end")
log = logging.getLogger(__name__)


class Classroom:
    """One class in a folder. `open` lets students in; `close` ends the program's part and keeps everything on disk.

    Raises: LabError where the folder cannot be used, or the store cannot.
    """

    def __init__(self, folder: Path, store: str | None = None, tracked: bool = True):
        self.folder = folder
        self.journal = Journal(folder)
        try:
            url = checked_store(store, folder)
        except BaseException:
            self.journal.close()
            raise
        self.given_store, self.store = store is not None, url
        self.opening = secrets.token_hex(8)
        """Another one each time that the class is started: a page of an earlier time knows by it that it is old."""
        self.room = Room()
        self.by_digest = self.journal.students()
        for student in self.by_digest.values():
            self.room.arrive(student)
        self.room.add(list(self.journal.everything()), live=False)
        self.sayings = self.journal.said()
        self.recorder = Recorder(self.journal, self._new)
        self.server = TrackingServer(url, folder) if tracked else None
        self.ledger = Ledger(self.journal, self.server) if self.server is not None else None
        self._lock, self._changing = Lock(), Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._closed = False
        self.host, self.port, self.guard = "", 0, Guard()
        self.ended = any(kind == "end" for _, kind, _ in self.sayings)

    @property
    def address(self) -> str:
        """What students join with, as the board shows it."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/{self.journal.code}"

    def open(self, host: str, port: int = PORT) -> None:
        """Let students in at this address, in a thread. Raises: LabError when the port is taken."""
        opened, problem = Event(), list[Exception]()

        async def serve() -> None:
            door = Door(application(self))
            try:
                door.listen(port, host)
            except OSError as error:
                problem.append(error)
                return
            finally:
                opened.set()
            self._loop, self._leave = asyncio.get_running_loop(), asyncio.Event()
            ready.set()
            await self._leave.wait()
            door.stop()
            await door.close_all_connections()

        ready = Event()
        self._thread = Thread(target=lambda: asyncio.run(serve()), name="labkit-class-door", daemon=True)
        self._thread.start()
        opened.wait()
        if problem:
            reason = getattr(problem[0], "strerror", None) or problem[0]
            raise LabError(
                f"The class cannot be at {host}:{port} ({reason}): name another port with --port, or another address of "
                "this machine with --address."
            )
        ready.wait()
        self.host, self.port = host, port
        if self.server is not None and self.ledger is not None:
            self.server.start()
            if self.given_store:
                self.server.wait(90)
            self.ledger.ended = self.ended
            self.ledger.start()

    def _new(self, fresh: list[Message]) -> None:
        with self._changing:
            self.room.add(fresh)

    def student(self, token: str) -> Student | None:
        """Whose token this is."""
        return self.by_digest.get(digest(token)) if token else None

    def seat(self, name: str) -> tuple[Student, str]:
        """A new student."""
        with self._lock:
            student, token = self.journal.seat(name)
            self.by_digest[digest(token)] = student
            self.room.arrive(student)
        return student, token

    def say(self, kind: str, what: dict[str, Any]) -> int:
        """Say something to all students. Raises: LabError for a kind that nobody listens for."""
        if kind not in SAYINGS:
            raise LabError(f"A teacher says {', '.join(SAYINGS)}, and not {kind!r}.")
        with self._lock:
            number = self.journal.say(kind, what)
            kept = [one for one in self.sayings if one[1] != kind]
            self.sayings = [*kept, (number, kind, what)]
        return number

    def said_after(self, number: int) -> list[list[Any]]:
        """What was said after a number: of each kind the newest."""
        return [list(one) for one in self.sayings if one[0] > number]

    def end(self) -> None:
        """End the class: nobody new comes in, and the seats hear it once they have delivered what they keep."""
        if not self.ended:
            self.ended = True
            self.say("end", {})
            if self.ledger is not None:
                self.ledger.ended = True

    def clear(self) -> None:
        """Forget what was told; the students stay."""
        with self._changing:
            self.journal.clear()
            self.room.clear()
            if self.ledger is not None:
                self.ledger.clear()

    def close(self) -> None:
        """Close the door, write what is left, and carry it to MLflow as far as there is time."""
        if self._closed:
            return
        self._closed = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._leave.set)
        if self._thread is not None:
            self._thread.join(5)
        steps: list[Callable[[], Any]] = [self.recorder.close]
        steps += [self.ledger.close] if self.ledger is not None else []
        steps += [self.server.close] if self.server is not None else []
        for step in (*steps, self.journal.close):
            try:
                step()
            except Exception as error:  # the next step must still be taken
                log.warning("while the class was closed: %s", error)
