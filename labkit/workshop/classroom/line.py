"""The line from a notebook to the class: a thread that delivers what is kept and listens, and waits when nobody answers.

One request a second at most while the class answers. A batch always begins with the oldest message that is not confirmed,
so the class gets them in order; it knows each by its number, so a batch that is sent again, because the answer was lost,
changes nothing.
"""

import http.client
import json
import random
import socket
import sqlite3
from collections.abc import Callable
from threading import Event, Thread
from time import monotonic
from typing import Any

from labkit.workshop.classroom.messages import BATCH, BATCH_BYTES
from labkit.workshop.classroom.spool import Known, Spool

BEAT = 1.0
"""Seconds between two requests."""
LONGEST = 8.0
"""Seconds between two tries where the class does not answer, at most."""
TIMEOUT = 30.0
"""Seconds that an answer may take; who gives up early on a slow machine makes it slower."""
ANSWER = 1 << 20


class Unreachable(Exception):
    """Nobody answered, or something that is no class did."""


class Answer(dict):
    """What the class answered, with the HTTP status."""

    status = 200
    wait = 0.0


class Caller:
    """Asks the class; keeps one connection open. No proxy is used: the class is in the same network."""

    def __init__(self, host: str, port: int, timeout: float = TIMEOUT):
        self.host, self.port, self._timeout = host, port, timeout
        self._open: http.client.HTTPConnection | None = None

    def ask(self, path: str, body: Any = None, token: str = "") -> Answer:
        """The answer to a POST, or to a GET where there is no body. Raises: Unreachable."""
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        sent = None
        if body is not None:
            sent = json.dumps(body, allow_nan=False).encode()
            headers["Content-Type"] = "application/json"
        for again in (True, False):  # a connection that was kept open may have been closed meanwhile
            fresh = self._open is None
            try:
                return self._once("GET" if sent is None else "POST", path, sent, headers)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.close()
                if fresh or not again or isinstance(error, TimeoutError):
                    raise Unreachable(str(error) or type(error).__name__) from error
        raise AssertionError  # the loop returns or raises

    def _once(self, method: str, path: str, sent: bytes | None, headers: dict[str, str]) -> Answer:
        if self._open is None:
            self._open = http.client.HTTPConnection(self.host, self.port, timeout=self._timeout)
            self._open.connect()
            self._open.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.request(method, path, sent, headers)
        response = self._open.getresponse()
        raw = response.read(ANSWER)
        said = json.loads(raw) if raw else {}
        if not isinstance(said, dict) or not {"class", "says"} & set(said):
            raise ValueError("what answers there is no class")
        answer = Answer(said)
        answer.status = response.status
        try:
            answer.wait = min(60.0, float(response.getheader("Retry-After") or 0))
        except ValueError:
            answer.wait = 1.0
        if response.will_close:
            self.close()
        return answer

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


class Line(Thread):
    """Delivers what one seat tells and hands on what the teacher says, until the class ends or `stop` is called.

    `hear(kind, what)` is called in this thread. `reached` is None before the first answer; `over` says in a sentence why
    nothing will be delivered any more.
    """

    def __init__(
        self,
        caller: Caller,
        spool: Spool,
        seat: Known,
        after: int,
        hear: Callable[[str, dict], None],
        beat: float = BEAT,
    ):
        super().__init__(name="labkit-class", daemon=True)
        self._caller, self._spool, self._seat, self._hear = caller, spool, seat, hear
        self._after, self._most, self._beat = after, BATCH, beat
        self._leaving = Event()
        self.reached: bool | None = None
        self.ended, self.over, self.trouble = False, "", ""
        self.last_refusal = ""

    def run(self) -> None:
        tries = 0
        # thirty notebooks that were opened in the same second should not go on asking in the same moment
        self._leaving.wait(random.uniform(0, self._beat / 4))
        while not self._leaving.is_set() and not self.over:
            began = monotonic()
            try:
                pause = self._exchange()
                self.reached, tries = True, 0
            except Unreachable:
                self.reached = False
                pause = min(LONGEST, 0.5 * 2 ** min(tries, 6)) * random.uniform(0.5, 1.0)
                tries += 1
            except sqlite3.Error as error:  # the file is locked by another notebook, or the disk is full
                self.trouble, pause = f"the file of what is kept cannot be used now ({error})", 1.0
            self._leaving.wait(max(0.02, pause - (monotonic() - began)))
        self._caller.close()

    def _exchange(self) -> float:
        """Deliver a batch, or only listen; returns the seconds until the next time."""
        batch = self._spool.batch(self._seat.id, self._most, BATCH_BYTES // 2)
        if batch:
            answer = self._caller.ask("/class/tell", {"after": self._after, "told": batch}, self._seat.token)
        else:
            if self.ended:
                self.over = "The class has ended."
                return 0.0
            answer = self._caller.ask(f"/class/hear?after={self._after}", token=self._seat.token)
        if answer.status == 401:
            self.over = "The class does not know this seat any more: join again with the line on the board."
            return 0.0
        if answer.status in (429, 503):
            return max(self._beat, answer.wait) * random.uniform(1.0, 1.3)
        if answer.status in (400, 413) and batch:
            return self._smaller(batch, str(answer.get("says", "")))
        if answer.status != 200:
            raise Unreachable(str(answer.get("says", answer.status)))
        self.trouble = ""
        if batch:
            self._confirm(batch, answer)
            self._most = min(BATCH, self._most * 2)
        self._listen(answer)
        more = len(batch) >= self._most or (batch and self._leaving.is_set())
        return 0.02 if more else self._beat

    def _smaller(self, batch: list, says: str) -> float:
        """The class could not read this batch: find the message in it that it cannot take, and drop that one."""
        if len(batch) == 1:
            self._spool.confirm(self._seat.id, [batch[0][0]], refused=1)
            self.last_refusal = says
        self._most = max(1, len(batch) // 2)
        return 0.02

    def _confirm(self, batch: list, answer: Answer) -> None:
        sent = {number for number, _, _ in batch}
        refused = {one[0]: one[1] for one in answer.get("refused", []) if one[0] in sent}
        kept = [number for number in answer.get("kept", []) if number in sent]
        self._spool.confirm(self._seat.id, kept)
        if refused:
            self._spool.confirm(self._seat.id, list(refused), refused=len(refused))
            self.last_refusal = str(next(iter(refused.values())))

    def _listen(self, answer: Answer) -> None:
        for number, kind, what in answer.get("said", []):
            if number > self._after:
                self._after = number
                if kind == "end":
                    self.ended = True
                self._hear(kind, what)

    def stop(self, seconds: float = 0.0) -> None:
        """End the thread; what is not delivered stays on disk."""
        self._leaving.set()
        if seconds and self.is_alive():
            self.join(seconds)
