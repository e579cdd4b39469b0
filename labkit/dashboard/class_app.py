"""`labkit class start`: opens a class on this machine, with its board, and keeps it open until Ctrl-C.

Two ports. Students' notebooks reach one of them from the local network, with the code on the board. The board itself is on
another one, which only this machine reaches, behind the teacher's token.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import panel as pn
from bokeh.server.auth_provider import AuthProvider
from tornado.httputil import HTTPServerRequest
from tornado.web import OutputTransform

from labkit.dashboard import layout
from labkit.dashboard.class_board import Board
from labkit.dashboard.class_easel import Easel
from labkit.dashboard.class_takeaway import class_page
from labkit.errors import LabError
from labkit.reach import HOST, free_port, has_screen, is_free, lan_address, say_how_to_reach
from labkit.views.theme import FONT
from labkit.workshop.classroom.classroom import Classroom
from labkit.workshop.classroom.codes import PORT
from labkit.workshop.classroom.spool import home
from labkit.workshop.classroom.teacher_door import Key, patterns
from labkit.workshop.classroom.tracking_server import masked
from labkit.workshop.teacher import NOTE

EXTENSIONS = ("plotly",)


class Teacher(AuthProvider):
    """Whom the board and its websocket let in: who has the cookie."""

    def __init__(self, key: Key):
        self._key = key
        super().__init__()

    @property
    def get_user(self) -> Callable[[Any], str | None]:
        return lambda handler: "teacher" if self._key.is_teacher(handler) else None

    @property
    def login_url(self) -> str:
        return "/closed"


def start(
    folder: str | Path | None = None,
    port: int = PORT,
    address: str | None = None,
    here: bool = False,
    store: str | None = None,
    open_browser: bool = True,
) -> None:
    """Open a class, or go on with the one in the folder, until Ctrl-C.

    Raises: LabError where the port, the address, the folder or the store cannot be used.
    """
    host = HOST if here else address or lan_address()
    classroom = Classroom(Path(folder).expanduser(), store) if folder else todays_class(store)
    try:
        before = int(classroom.journal.fact("port") or 0)
        # a class that goes on must be where its students look for it
        chosen = before if before and port in (PORT, before) else free_port(port, host)
        classroom.open(host, chosen)
        classroom.journal.note("port", str(chosen))
        board_at = int(classroom.journal.fact("board") or 0)
        board_at = board_at if board_at and is_free(board_at) else free_port(chosen + 1)
        classroom.journal.note("board", str(board_at))
        _serve(classroom, board_at, open_browser and has_screen(), before > 0)
    finally:
        (home() / NOTE).unlink(missing_ok=True)
        print("\nThe class is closed; what was told is kept.", flush=True)
        classroom.close()


def _serve(classroom: Classroom, port: int, opens: bool, again: bool) -> None:
    key, easel = Key(classroom, port), Easel(classroom.room)
    # once before the first visit: else that one page would ask another machine for its styles, and in vain
    pn.extension(*EXTENSIONS)
    server = pn.serve(
        {"board": page(classroom, easel)},
        port=port,
        address=HOST,
        show=False,
        start=False,
        verbose=False,
        warm=True,
        title="labkit",
        websocket_origin=[f"{HOST}:{port}", f"localhost:{port}"],
        check_unused_sessions_milliseconds=2000,
        unused_session_lifetime_milliseconds=10000,
        exclude_cookies=[key.cookie],
        exclude_headers=["Cookie"],
        auth_provider=Teacher(key),
        extra_patterns=patterns(key, lambda names: class_page(classroom, easel, names)),
        session_token_expiration=120,
    )
    server._tornado.add_transform(Sealed)
    # what is loaded by now stays: looking through it for rubbish each time that a page is closed would hold up the class
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(0.001)  # whoever knocks at the students' door does not wait long for the board's painting
    way = f"http://{HOST}:{port}/enter?token={key.token}"
    announce(classroom, way, port, opens, again)
    leave_note(way)
    if opens:
        server.show(f"/enter?token={key.ticket()}")
    try:
        server.run_until_shutdown()
    except KeyboardInterrupt:
        server.stop()
    finally:
        easel.close()


class Brief(pn.Column):
    """A column that does not spell out its contents: a template asks for that with each part it gets, and it takes long."""

    def __repr__(self, *_: Any) -> str:
        return "Brief()"


class Sealed(OutputTransform):
    """Headers for every answer: in no frame, from no other site, and no address handed on."""

    def __init__(self, request: HTTPServerRequest):
        super().__init__(request)

    def transform_first_chunk(self, status_code, headers, chunk, finishing):
        headers["X-Frame-Options"] = "DENY"
        headers["Referrer-Policy"] = "no-referrer"
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Content-Security-Policy"] = "frame-ancestors 'none'; object-src 'none'; base-uri 'none'"
        return status_code, headers, chunk


def page(classroom: Classroom, easel: Easel) -> Callable[[], Any]:
    """A function that builds the board for one visitor."""

    def visit() -> Any:
        pn.extension(*EXTENSIONS)
        session = layout.Session()
        parts = session.guarded(lambda: Board(session, classroom, easel).parts())() or []
        theme = pn.widgets.Checkbox(label="theme", name="theme", value=session.dark)
        theme.link(session, value="dark")
        framed = pn.Template((layout.FOLDER / "class_page.html").read_text(encoding="utf-8"), design=layout.House)
        framed.add_panel("theme", theme)
        framed.add_panel("main", Brief(session.message, *parts, sizing_mode="stretch_width", margin=0))
        for name, value in {
            "page_title": "Class board",
            "dark": session.dark,
            "font": FONT,
            "begun": classroom.opening,
            "page_css": layout.growing((layout.FOLDER / "page.css").read_text(encoding="utf-8")),
            "presenter_script": (layout.FOLDER / "presenter.js").read_text(encoding="utf-8"),
        }.items():
            framed.add_variable(name, value)
        return framed

    return visit


def announce(classroom: Classroom, way: str, port: int, opens: bool, again: bool) -> None:
    """Say in the terminal what is where, and who reaches it."""
    room = classroom.room
    state = f"The class goes on, with {len(room.students)} students and {room.count:,} messages." if again else ""
    only = classroom.host.startswith("127.") or classroom.host == "::1"
    who = "this machine only" if only else f"every machine that can reach {classroom.host} in this network"
    store = "an SQLite file" if not classroom.given_store else masked(str(classroom.store))
    lines = [
        state,
        "The board, for this machine only (the address opens it as the teacher: do not show it):",
        f"\n    {way}\n",
        f"Students join with      {classroom.address}",
        f"Who can reach that:     {who}. They can join with the code, tell and listen; nothing else is there.",
        f"What is kept:           {classroom.folder} (MLflow: {store}, on this machine only)",
        f"To go on later:         labkit class start --folder {classroom.folder}",
        "Ctrl-C closes the class.",
    ]
    print("\n".join(line for line in lines if line), flush=True)
    say_how_to_reach(port, opens)


def leave_note(way: str) -> None:
    """Leave the teacher's address where a presenter of the same user finds it."""
    try:
        home().mkdir(parents=True, exist_ok=True, mode=0o700)
        place = home() / NOTE
        place.unlink(missing_ok=True)
        with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as note:
            json.dump({"address": way}, note)
    except OSError:  # the presenter is then given the address by hand
        return


def todays_class(store: str | None) -> Classroom:
    """The class where nobody says which: today's, or a new one where that has ended."""
    for count in range(1, 100):
        name = time.strftime("%Y-%m-%d") + (f"-{count}" if count > 1 else "")
        classroom = Classroom(home().parent / "classes" / name, store)
        if not classroom.ended:
            return classroom
        classroom.close()
    raise LabError("There were a hundred classes today: name a folder for this one with --folder.")
