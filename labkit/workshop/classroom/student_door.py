"""The three addresses that students' notebooks reach, and a word for whoever opens the address in a browser.

    POST /class/join   {"code", "name"} -> a token; with the token of an earlier seat, that seat again
    POST /class/tell   a batch of [number, kind, fields] -> which are kept on the class's disk, which were refused and why
    GET  /class/hear   what the teacher said after a number

Everything is JSON both ways. What students send is checked field by field, and is never run, opened or used as a path.
A token is sent in a header that no web page of somebody else can send unasked.
"""

import asyncio
import json
import logging
from html import escape
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.web import Application, HTTPError, RequestHandler

from labkit.workshop.classroom import messages
from labkit.workshop.classroom.allowance import Allowance, Guessing, whole_seconds
from labkit.workshop.classroom.codes import same, spelled
from labkit.workshop.classroom.journal import Student

if TYPE_CHECKING:
    from labkit.workshop.classroom.classroom import Classroom

STUDENTS = 400
CONNECTIONS, FROM_ONE = 1200, 500
"""Open connections in all, and from one address: a class behind one address has one a notebook."""
BURST, STEADY = 6000.0, 120.0
"""Messages that a student may tell at once, and in each second after that."""
LIFETIME = 1_000_000
"""Messages that a class keeps of one student."""
ASKS, ASKS_STEADY = 60.0, 15.0
"""Requests of one student at once, and in each second after that."""
JOINS = 600
"""Requests to join from one address at once; each takes a moment."""
BEHIND = 400
"""Batches that may wait for the disk before notebooks are asked to come back later."""


class Door(HTTPServer):
    """Accepts connections up to a number, also from one address, and gives each request little time and room."""

    def initialize(self, request_callback: Application, **_settings: Any) -> None:
        # tornado's servers are set up here: what is given to __init__ is ignored
        super().initialize(
            request_callback,
            max_body_size=messages.BATCH_BYTES,
            max_header_size=16 * 1024,
            idle_connection_timeout=60,
            body_timeout=20,
        )
        self._streams: WeakSet[IOStream] = WeakSet()

    def handle_stream(self, stream: IOStream, address: tuple) -> Any:
        alive = [one for one in self._streams if not one.closed()]
        stream.labkit_from = address[0]  # type: ignore[attr-defined]
        if len(alive) >= CONNECTIONS or sum(one.labkit_from == address[0] for one in alive) >= FROM_ONE:
            stream.close()
            return None
        self._streams.add(stream)
        return super().handle_stream(stream, address)


class Answering(RequestHandler):
    """What the addresses share: JSON in and out, errors as sentences, nothing cached, nothing framed."""

    def initialize(self, room: "Classroom", guard: "Guard") -> None:
        self.classroom, self.guard = room, guard

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")

    def say(self, **what: Any) -> None:
        self.finish(json.dumps({"class": self.classroom.journal.identity, **what}, separators=(",", ":")))

    def refuse(self, status: int, says: str, wait: float = 0.0) -> None:
        self.set_status(status)
        if wait:
            self.set_header("Retry-After", whole_seconds(wait))
        self.say(says=says)

    def write_error(self, status_code: int, **_: Any) -> None:
        self.say(
            says={404: "There is nothing here.", 405: "Not like this."}.get(status_code, "This was not understood.")
        )

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, HTTPError):
            logging.getLogger(__name__).error("a request failed", exc_info=(typ, value, tb))

    def body(self) -> dict[str, Any]:
        """The request's JSON object. Raises: HTTPError 400."""
        if not self.request.headers.get("Content-Type", "").startswith("application/json"):
            raise HTTPError(400)
        try:
            given = json.loads(self.request.body.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise HTTPError(400) from error
        if not isinstance(given, dict):
            raise HTTPError(400)
        return given

    def who(self) -> Student | None:
        """The student that asks; None after an answer was given where it is nobody, or somebody who asks too often."""
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        student = self.classroom.student(token.strip()) if scheme == "Bearer" else None
        if student is None:
            self.refuse(401, "This class does not know this seat: join with the line on the board.")
            return None
        wait = self.guard.of(student.number)[0].take()
        if wait:
            self.refuse(429, "More slowly, please.", wait)
            return None
        self.classroom.room.heard_of(student.number)
        return student

    def after(self, given: Any) -> int:
        """Up to which number the notebook has heard what was said."""
        return given if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 2**53 else 0


def _no_constant(_name: str) -> None:
    raise ValueError("JSON has no such number")


class Join(Answering):
    def post(self) -> None:
        address, body = self.request.remote_ip or "", self.body()
        token = body.get("token")
        known = self.classroom.student(token) if isinstance(token, str) else None
        if known is not None:
            return self._welcome(known, str(token))
        wait = self.guard.guessing.wait(address)
        if wait:
            return self.refuse(429, "Too many wrong codes came from here; this is tried again in a moment.", wait)
        if not same(spelled(body.get("code")), self.classroom.journal.code):
            self.guard.guessing.failed(address)
            return self.refuse(403, "This is not the code of this class: look at the board again.")
        if self.classroom.ended:
            return self.refuse(403, "This class has ended.")
        if len(self.classroom.room.students) >= STUDENTS:
            return self.refuse(403, f"This class has all the {STUDENTS} seats that it can have.")
        wait = self.guard.joins.take()
        if wait:
            return self.refuse(429, "Many are joining; this is tried again in a moment.", wait)
        try:
            name = messages.named(body.get("name"))
        except messages.Refused as error:
            return self.refuse(400, str(error))
        student, token = self.classroom.seat(name)
        return self._welcome(student, token)

    def _welcome(self, student: Student, token: str) -> None:
        self.classroom.room.heard_of(student.number)
        said = self.classroom.said_after(0)
        self.say(
            token=token,
            number=student.number,
            shown=student.shown,
            said=said,
            after=max((number for number, _, _ in said), default=0),
        )


class Tell(Answering):
    async def post(self) -> None:
        student = self.who()
        if student is None:
            return None
        body = self.body()
        told = body.get("told")
        if not isinstance(told, list) or len(told) > messages.BATCH:
            return self.refuse(400, f"A batch is a list of at most {messages.BATCH} messages.")
        wait = self.guard.of(student.number)[1].take(len(told))
        if wait or self.classroom.recorder.behind > BEHIND:
            return self.refuse(429, "More slowly, please.", wait or 1.0)
        batch, refused = [], []
        for one in told:
            if not _numbered(one):
                return self.refuse(400, "A message is a list of its number, its kind and its fields.")
            try:
                batch.append((one[0], one[1], messages.wire(messages.read(one[1], one[2]))))
            except messages.Refused as error:
                refused.append([one[0], str(error)])
        if batch and not self.guard.count(student.number, len(batch)):
            refused += [[number, "This seat has told as much as a class keeps of one."] for number, _, _ in batch]
            batch = []
        if batch:
            await asyncio.wrap_future(self.classroom.recorder.take(student.number, batch))
        return self.say(
            kept=[number for number, _, _ in batch],
            refused=refused,
            said=self.classroom.said_after(self.after(body.get("after"))),
        )


def _numbered(one: Any) -> bool:
    return isinstance(one, list) and len(one) == 3 and type(one[0]) is int and 0 < one[0] < 2**53


class Hear(Answering):
    def get(self) -> None:
        if self.who() is None:
            return
        given = self.get_query_argument("after", "0")
        self.say(said=self.classroom.said_after(int(given) if given.isdecimal() and len(given) < 16 else 0))


class Front(Answering):
    """For whoever types the address into a browser."""

    def get(self, *_: str) -> None:
        self.set_header("Content-Type", "text/html; charset=utf-8")
        line = f'labkit.join("{self.request.host[:60]}/CODE", "your name")'
        self.finish(
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>A class</title><h1>A class is here</h1>'
            f"<p>Join it from a notebook, with the code on the board:</p><pre>import labkit\n{escape(line)}</pre></html>"
        )


class Nothing(Answering):
    def prepare(self) -> None:
        raise HTTPError(404)


class Guard:
    """What everyone may ask for: guesses by address, requests and messages by student."""

    def __init__(self) -> None:
        self.guessing = Guessing()
        self.joins = Allowance(JOINS, 30.0)
        self._students: dict[int, tuple[Allowance, Allowance]] = {}
        self._told: dict[int, int] = {}

    def of(self, number: int) -> tuple[Allowance, Allowance]:
        """What is left to a student: requests, messages."""
        if number not in self._students:
            self._students[number] = Allowance(ASKS, ASKS_STEADY), Allowance(BURST, STEADY)
        return self._students[number]

    def count(self, number: int, more: int) -> bool:
        """Whether a student may have so many more kept."""
        self._told[number] = self._told.get(number, 0) + more
        return self._told[number] <= LIFETIME


def application(classroom: "Classroom") -> Application:
    """All that is reachable from the network."""
    given = {"room": classroom, "guard": classroom.guard}
    return Application(
        [
            (r"/class/join", Join, given),
            (r"/class/tell", Tell, given),
            (r"/class/hear", Hear, given),
            (r"/([A-Za-z]+-[0-9]+)?", Front, given),
        ],
        default_handler_class=Nothing,
        default_handler_args=given,
        log_function=lambda _handler: None,
    )
