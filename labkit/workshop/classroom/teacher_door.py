"""What a teacher's browser and presenter reach, besides the board itself: the way in, what is said, what is taken away.

All of it is on this machine only and behind the teacher's token. The address in the terminal carries the token once; it is
moved into a cookie that no script reads and no other site sends, and the address bar shows none. What changes something
takes the token in a header, so that no page of somebody else can do it with the teacher's cookie.
"""

import asyncio
import json
import secrets
from collections.abc import Callable
from time import monotonic
from typing import Any

from tornado.web import RequestHandler

from labkit.errors import LabError
from labkit.workshop.classroom.classroom import NOTICE, Classroom
from labkit.workshop.classroom.codes import digest, same
from labkit.workshop.classroom.messages import TITLE
from labkit.workshop.classroom.plain_text import cleaned, shortened
from labkit.workshop.classroom.takeaway import csv_parts

CLOSED = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>The teacher\'s page</title>'
    "<h1>This page is the teacher's</h1><p>Open it with the address that <code>labkit class start</code> has printed "
    "in the terminal.</p></html>"
)
TICKET = 120.0


class Key:
    """Who is the teacher: knows the token, the cookie that stands for it, and tickets that open once."""

    def __init__(self, classroom: Classroom, port: int):
        self.classroom, self.cookie = classroom, f"labkit-teacher-{port}"
        self._tickets: dict[str, float] = {}

    @property
    def token(self) -> str:
        return self.classroom.journal.teacher_token

    def ticket(self) -> str:
        """What opens the page once, within two minutes: the program that opens the browser shows it to the machine."""
        made = secrets.token_urlsafe(16)
        self._tickets[made] = monotonic() + TICKET
        return made

    def fits(self, given: str) -> bool:
        """Whether this is the token, or a ticket that was not used."""
        return same(given, self.token) or self._tickets.pop(given, 0.0) > monotonic()

    def is_teacher(self, handler: RequestHandler) -> bool:
        """Whether a request carries the cookie."""
        return same(handler.get_cookie(self.cookie) or "", digest(self.token))

    def has_token(self, handler: RequestHandler) -> bool:
        """Whether a request carries the token in its header."""
        scheme, _, token = handler.request.headers.get("Authorization", "").partition(" ")
        return scheme == "Bearer" and same(token.strip(), self.token)


class Guarded(RequestHandler):
    """What the pages share."""

    def initialize(self, key: Key, page: Callable[[str], str] | None = None) -> None:
        self.key, self.page = key, page

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("X-Frame-Options", "DENY")

    def closed(self) -> None:
        self.set_status(403)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(CLOSED)

    def json(self, **what: Any) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(what))


class Enter(Guarded):
    def get(self) -> None:
        if not self.key.fits(self.get_query_argument("token", "")[:200]):
            return self.closed()
        self.set_cookie(self.key.cookie, digest(self.key.token), httponly=True, samesite="Strict", path="/")
        self.redirect("/board", status=303)
        return None


class Closed(Guarded):
    def get(self) -> None:
        self.closed()


class Alive(Guarded):
    """Whether the class is there again: a board that lost it loads itself anew. Says nothing else."""

    def get(self) -> None:
        self.json(alive=self.key.classroom.opening)


class Say(Guarded):
    """What the presenter says to all notebooks."""

    def check_xsrf_cookie(self) -> None:
        """Not needed: the token is in a header."""

    def post(self) -> None:
        if not self.key.has_token(self):
            return self.closed()
        try:
            given = json.loads(self.request.body[:65536])
            kind, what = given["kind"], plain(given["what"])
            number = self.key.classroom.say(kind, what) if kind != "end" else self.key.classroom.end()
        except (ValueError, KeyError, TypeError, RecursionError, LabError) as error:
            self.set_status(400)
            return self.json(says=str(error) if isinstance(error, LabError) else "This was not understood.")
        return self.json(number=number or 0)


def plain(what: Any) -> dict[str, Any]:
    """What a teacher may say: a few fields of text, numbers or nothing."""
    if not isinstance(what, dict) or len(what) > 12:
        raise ValueError("what is said is a few fields by name")
    found: dict[str, Any] = {}
    for name, value in what.items():
        if isinstance(value, str):
            value = shortened(cleaned(value[: 4 * NOTICE]), NOTICE)
        elif value is not None and not isinstance(value, bool | int | float):
            raise ValueError("what is said is text and numbers")
        found[shortened(cleaned(str(name)[:200]), TITLE)] = value
    return found


class State(Guarded):
    """How the class stands, for the presenter and for tests."""

    def get(self) -> None:
        if not (self.key.has_token(self) or self.key.is_teacher(self)):
            return self.closed()
        classroom = self.key.classroom
        room = classroom.room
        return self.json(
            address=classroom.address,
            students=len(room.students),
            here=len(room.present()),
            told=room.count,
            kinds=dict(room.kinds),
            behind=classroom.ledger.behind if classroom.ledger else 0,
            mlflow=classroom.server.address if classroom.server else "",
            mlflow_pid=classroom.server.pid if classroom.server else None,
            trouble=classroom.ledger.trouble if classroom.ledger else "",
            wrong_codes=classroom.guard.guessing.wrong,
            ended=classroom.ended,
        )


class TakeCsv(Guarded):
    async def get(self) -> None:
        if not self.key.is_teacher(self):
            return self.closed()
        journal = self.key.classroom.journal
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", f'attachment; filename="class-{journal.code}.csv"')
        students = self.key.classroom.room.students
        parts = csv_parts(journal, {number: one.shown for number, one in students.items()})
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            self.write(part)
            await self.flush()
        return None


class TakePage(Guarded):
    async def get(self) -> None:
        if not self.key.is_teacher(self) or self.page is None:
            return self.closed()
        names = self.get_query_argument("names", "initials")
        text = await asyncio.to_thread(self.page, names)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Disposition", f'attachment; filename="class-{self.key.classroom.journal.code}.html"')
        return self.finish(text) and None


def patterns(key: Key, page: Callable[[str], str]) -> list[tuple]:
    """The addresses, for the server that also shows the board. `page(names)` makes the HTML file to take away."""
    given = {"key": key}
    return [
        (r"/enter", Enter, given),
        (r"/closed", Closed, given),
        (r"/alive", Alive, given),
        (r"/class/say", Say, given),
        (r"/class/state", State, given),
        (r"/class\.csv", TakeCsv, given),
        (r"/class\.html", TakePage, {**given, "page": page}),
    ]
