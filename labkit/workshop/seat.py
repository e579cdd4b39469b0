"""A seat in a class: `labkit.join("192.168.1.20:5010/KITE-7431", "your name")`, with the line that the board shows.

What a notebook tells is first kept on this machine's disk and then delivered by a thread: a cell never waits for the
network, and a killed kernel, a lost network or a class that starts again loses nothing. Only the class is told, and only
what `tell` is called with: checks, guesses, numbers. Importing this module loads nothing but the standard library.
"""

import atexit
import os
import time
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from threading import Lock
from typing import Any

from labkit.errors import LabError
from labkit.workshop.classroom import messages
from labkit.workshop.classroom.codes import place_of
from labkit.workshop.classroom.line import BEAT, Caller, Line, Unreachable
from labkit.workshop.classroom.spool import Known, Spool

JOINING = 25.0
"""Seconds that `join` goes on trying where many join at once."""
_here: "list[Seat]" = []
_left_by_fork: list[Any] = []


def join(address: str, name: str) -> "Seat":
    """Take a seat in the class at this address, as the board shows it. Joining again is the same seat.

    Raises: LabError where the address or the code is wrong, or nobody answers there and this seat was never taken.
    """
    host, port, code = place_of(address)
    try:
        shown = messages.named(name)
    except messages.Refused as error:
        raise LabError(f'{error} Join with join("{host}:{port}/{code}", "your name").') from None
    for before in list(_here):
        before.leave()
    seat = Seat(host, port, code, shown)
    _here.append(seat)
    return seat


def joined() -> "Seat | None":
    """The seat of this program, or None outside a class."""
    return _here[-1] if _here else None


class Seat:
    """A student's place in a class: tells it things, and hears what the teacher says. Made by `join`."""

    def __init__(self, host: str, port: int, code: str, name: str, folder: Path | None = None, beat: float = BEAT):
        self.name, self._where, self._code = name, f"{host}:{port}", code
        self._lock, self._hearers = Lock(), dict[int, tuple[str, Callable[[dict], None]]]()
        self._lost, self._heard, self._count = 0, dict[str, dict](), 0
        self._spool = Spool(folder)
        try:
            known = self._spool.known(code, name)
            self._known, after, said = self._take(Caller(host, port, 5.0), known)
        except BaseException:
            self._spool.close()
            raise
        self._line = Line(Caller(host, port), self._spool, self._known, after, self._hear, beat)
        for kind, what in said:
            self._hear(kind, what)
        self._line.start()

    def _take(self, caller: Caller, known: Known | None) -> tuple[Known, int, list]:
        """Ask the class for a seat, or for the one that was taken before."""
        body = {"code": self._code, "name": self.name} | ({"token": known.token} if known else {})
        end = time.monotonic() + JOINING
        while True:
            try:
                answer = caller.ask("/class/join", body)
            except Unreachable as error:
                if known is not None:
                    return known, 0, []
                raise LabError(
                    f"No class answers at {self._where}: are this machine and the board's in the same network, and is "
                    f"the address the one on the board? ({error})"
                ) from None
            finally:
                caller.close()
            if answer.status == 200:
                said = [(kind, what) for _, kind, what in answer.get("said", [])]
                return self._spool.take(self._code, self.name, answer), int(answer.get("after", 0)), said
            if answer.status not in (429, 503) or time.monotonic() + answer.wait > end:
                raise LabError(str(answer.get("says", f"The class answered {answer.status}.")))
            time.sleep(max(0.3, answer.wait))

    @property
    def number(self) -> int:
        """Which seat of the class this is, from 0 up."""
        return self._known.number

    @property
    def seed(self) -> int:
        """The seed that the class gave to this seat: every student has another one."""
        return self._known.number

    def tell(self, kind: str, **what: Any) -> None:
        """Tell the class something: a check, a guess, a value or one seed of a study. Returns at once.

        Raises: LabError for a kind or a field that no class takes; never for the network.
        """
        try:
            fields = messages.wire(messages.read(kind, what, cut=True))
        except messages.Refused as error:
            raise LabError(str(error)) from None
        if not self._spool.keep(self._known.id, kind, fields):
            self._lost += 1

    def hear(self, kind: str, act: Callable[[dict], None]) -> Callable[[], None]:
        """Call `act` with what the teacher says of this kind (place, notice, end), beginning with the last that was said.

        It is called in a thread of its own. Returns what ends it.
        """
        with self._lock:
            self._count += 1
            place, last = self._count, self._heard.get(kind)
            self._hearers[place] = kind, act
        if last is not None:
            self._call(act, last)
        return lambda: self._hearers.pop(place, None) and None

    def _hear(self, kind: str, what: dict) -> None:
        with self._lock:
            self._heard[kind] = what
            acts = [act for of, act in self._hearers.values() if of == kind]
        for act in acts:
            self._call(act, what)

    def _call(self, act: Callable[[dict], None], what: dict) -> None:
        try:
            act(dict(what))
        except Exception as error:  # what a notebook does with it must not end the line to the class
            self._line_trouble = f"{type(error).__name__}: {error}"

    def run(self, name: str):
        """What tells the class one training: `tell = seat.run("wide")`, then `tell(step, loss=0.3)`, or `fit(watch=tell)`."""
        from labkit.workshop.classroom.sharing import Telling

        return Telling(self, name)

    def share(self, live_run: Any, name: str | None = None):
        """Tell the class how a `LiveRun` goes, from now on. Returns what ends it."""
        from labkit.workshop.classroom.sharing import follow

        return follow(self, live_run, name)

    def study(self, name: str, train: Callable | Mapping[str, Callable]) -> Any:
        """Train with this seat's seed and tell the class the result: one dot of the class study.

        `train(seed)` or `train(seed, tell)` gives a number, or numbers by arm; or give several functions by arm.
        """
        from labkit.workshop.classroom.sharing import one_seed

        return one_seed(self, name, train)

    def wait(self, seconds: float = 10.0) -> bool:
        """Wait until all is delivered; whether it is."""
        end = time.monotonic() + seconds
        while self.waiting and time.monotonic() < end and self._line.is_alive():
            time.sleep(0.05)
        return not self.waiting

    @property
    def waiting(self) -> int:
        """How many messages are kept here because the class does not have them yet."""
        return self._spool.waiting(self._known.id)

    def leave(self) -> None:
        """Leave the class. What is not delivered is kept, and delivered when you join again under the same name."""
        if self in _here:
            _here.remove(self)
        if self._line.is_alive() and self._line.reached:
            self.wait(0.5)
        self._line.stop(3.0)
        if not self._line.is_alive():
            self._spool.close()

    @property
    def says(self) -> str:
        """How it stands, in a sentence."""
        try:
            (delivered, refused), waiting = self._spool.delivered(self._known.id), self.waiting
        except Exception:  # left: the file is closed
            return f"{self._known.shown} has left the class."
        line = self._line
        parts = [f"Joined as {self._known.shown}: {delivered:,} delivered, {waiting:,} waiting."]
        if line.over:
            parts.append(line.over)
        elif line.reached is False:
            parts.append("The class cannot be reached, keeping it here.")
        if refused:
            parts.append(f"{refused:,} not taken: {line.last_refusal}".rstrip(": ") + ".")
        if self._lost:
            parts.append(f"{self._lost:,} were too many at once and not kept.")
        if not self._spool.lasts:
            parts.append("The disk cannot be written, so what waits is lost with this kernel.")
        return " ".join(parts)

    def __repr__(self) -> str:
        return self.says

    def _repr_html_(self) -> str:
        try:
            from labkit.widgets.words import message
        except ImportError:
            return f"<p>{escape(self.says)}</p>"
        return message(self.says, "info" if self._line.reached is not False and not self._line.over else "error")


def _forget() -> None:
    """In a forked worker process: the seat belongs to the parent, whose file must not be closed here."""
    _left_by_fork.extend(_here)
    _here.clear()


@atexit.register
def _goodbye() -> None:
    """Give what was just told a moment to arrive."""
    for seat in list(_here):
        seat.leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
