"""Who visits the dashboard: one visit a browser, with the runs that it started, until it has been gone for a while.

A browser is known by a random, signed ticket in a cookie that scripts cannot read and that is in no page and in no
address. A ticket that this server did not sign is replaced, so nobody can choose or guess one; a run is looked for only
in the visit of whoever asks. A visit lasts while any page of the dashboard is open in that browser, and for
LABKIT_GRACE seconds after the last one was closed (60 by default): a reload, a lost network or a look at another page
ends nothing. Then its runs are stopped and what they kept is thrown away.
"""

import hmac
import logging
import os
import secrets
from collections.abc import Callable
from threading import Lock, Thread, Timer
from time import monotonic
from typing import Any, Protocol

import panel as pn
from tornado.httputil import HTTPServerRequest
from tornado.web import OutputTransform

from labkit.errors import LabError

GRACE = 60.0
FAREWELL = 4.0
"""Seconds that the server waits at its own end for the runs to end."""
log = logging.getLogger(__name__)


class Kept(Protocol):
    """What a visit may keep: something that runs."""

    def halt(self) -> None:
        """Ask it to end; never waits."""

    def end(self, seconds: float) -> None:
        """Wait for its end, at most so long, and give back what it kept: memory, files, its place in the queue."""


class Visit:
    """One browser's visit: how many of its pages are open, and what it keeps by name. Thread-safe."""

    def __init__(self, key: str, over: Callable[["Visit"], None] = lambda _visit: None, grace: float = GRACE):
        self.key, self.grace = key, grace
        self._over, self._lock = over, Lock()
        self._pages, self._kept, self._timer = 0, {}, None
        self.ended = False

    def keep(self, name: str, thing: Kept) -> None:
        """Keep this under a name; what was kept under it before is ended."""
        with self._lock:
            before, self._kept[name] = self._kept.get(name), thing
        if before is not None and before is not thing:
            before.halt()
            Thread(target=_end, args=([before], FAREWELL), name="labkit-end", daemon=True).start()
        if self.ended:  # it came too late: the visitor has left meanwhile
            self.end()

    def find(self, name: str) -> Any:
        """What is kept under a name, or None."""
        return self._kept.get(name)

    def enter(self) -> Callable[[], None] | None:
        """A page was opened; returns what to call when it is closed, or None where the visit has ended."""
        gone = []

        def leave() -> None:
            if not gone:
                gone.append(True)
                self._leave()

        with self._lock:
            if self.ended:
                return None
            self._pages += 1
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        return leave

    def _leave(self) -> None:
        with self._lock:
            self._pages -= 1
            if self._pages:
                return
            self._timer = Timer(self.grace, self._expire)
            self._timer.daemon = True
            self._timer.start()

    def _expire(self) -> None:
        with self._lock:
            if self._pages:
                return
            self.ended = True
        self._over(self)
        self.end()

    def halt(self) -> None:
        """Ask everything to end; never waits."""
        with self._lock:
            self.ended = True
            things = list(self._kept.values())
        for thing in things:
            _quietly(thing.halt)

    def end(self, seconds: float = FAREWELL) -> None:
        """End everything that is kept."""
        self.halt()
        with self._lock:
            things, self._kept = list(self._kept.values()), {}
            if self._timer is not None:
                self._timer.cancel()
        _end(things, seconds)


class Visits:
    """All visits to this server by their ticket."""

    def __init__(self) -> None:
        self._secret, self._lock = secrets.token_bytes(32), Lock()
        self._visits: dict[str, Visit] = {}

    def ticket(self, shown: str = "") -> str:
        """The ticket that was shown, if it is one of this server's; else a new one."""
        name, _, signature = shown.partition(".")
        if hmac.compare_digest(signature.encode(), self._sign(name).encode()):
            return shown
        name = secrets.token_urlsafe(24)
        return f"{name}.{self._sign(name)}"

    def enter(self, ticket: str) -> tuple[Visit, Callable[[], None]]:
        """The visit of a ticket, begun where there is none, and what to call when the page is closed."""
        with self._lock:
            visit = self._visits.get(ticket)
            leave = visit.enter() if visit is not None else None
            if visit is None or leave is None:
                visit = self._visits[ticket] = Visit(ticket, self._forget, grace())
                leave = visit.enter()
            return visit, leave

    def close(self, seconds: float = FAREWELL) -> None:
        """The server ends: ask all runs to end at once, then wait for them together."""
        with self._lock:
            visits, self._visits = list(self._visits.values()), {}
        for visit in visits:
            visit.halt()
        until = monotonic() + seconds
        for visit in visits:
            visit.end(max(0.0, until - monotonic()))

    def _forget(self, visit: Visit) -> None:
        with self._lock:
            if self._visits.get(visit.key) is visit:
                del self._visits[visit.key]

    def _sign(self, name: str) -> str:
        return hmac.new(self._secret, name.encode(), "sha256").hexdigest()


VISITS = Visits()


def ticket_office(cookie: str) -> type[OutputTransform]:
    """What the server passes every request through: it reads the browser's ticket, and hands out one to who has none."""

    class Ticket(OutputTransform):
        def __init__(self, request: HTTPServerRequest):
            shown = request.cookies[cookie].value if cookie in request.cookies else ""
            request.labkit_ticket = self.ticket = VISITS.ticket(shown)
            self.new = self.ticket != shown

        def transform_first_chunk(self, status_code, headers, chunk, finishing):
            if self.new and headers.get("Content-Type", "").startswith("text/html"):
                headers.add("Set-Cookie", f"{cookie}={self.ticket}; Path=/; HttpOnly; SameSite=Lax")
            return status_code, headers, chunk

    return Ticket


def arrive() -> tuple[Visit, Callable[[], None]]:
    """The visit of the page that is being built; outside a server one that is nobody's."""
    context = getattr(pn.state.curdoc, "session_context", None)
    ticket = getattr(getattr(context, "request", None), "labkit_ticket", None)
    if ticket is None:
        return Visit(VISITS.ticket()), lambda: None
    return VISITS.enter(ticket)


def grace() -> float:
    """Seconds that a run goes on after its visitor has left. Raises: LabError when LABKIT_GRACE is no such number."""
    text = os.environ.get("LABKIT_GRACE") or str(GRACE)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise LabError(f"LABKIT_GRACE is {text!r}; set it to a number of seconds from 0 to 86400.")
    return seconds


def _end(things: list[Kept], seconds: float) -> None:
    until = monotonic() + seconds
    for thing in things:
        _quietly(lambda thing=thing: thing.end(max(0.0, until - monotonic())))


def _quietly(action: Callable[[], Any]) -> None:
    try:
        action()
    except Exception:  # nobody is there any more to be told; the others must still be ended
        log.exception("a run could not be ended")
