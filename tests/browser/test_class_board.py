"""The class board in a real browser, with students who tell things, some of whom mean no good."""

import http.client
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from labkit.workshop.classroom.codes import place_of
from labkit.workshop.seat import Seat
from labkit.workshop.teacher import teach

ROOT = Path(__file__).resolve().parents[2]
EVIL = "<img src=x onerror=alert(1)><b>Eve</b>"

pytestmark = pytest.mark.browser


class Server:
    """`labkit class start` on this machine only."""

    def __init__(self, folder: Path):
        self.folder, self.log = folder, folder / "log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        call = f"start({str(self.folder / 'class')!r}, {self.port}, here=True, open_browser=False)"
        command = [sys.executable, "-c", f"from labkit.dashboard.class_app import start; {call}"]
        env = {**os.environ, "LABKIT_HOME": str(self.folder / "home")}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + 90
        while "Ctrl-C" not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)
        said = self.log.read_text()
        self.way = re.search(r"http://\S+/enter\?token=\S+", said)[0]
        self.address = re.search(r"Students join with\s+(\S+)", said)[1]
        self.board = self.way.partition("/enter")[0]

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(40)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    opened = Server(tmp_path_factory.mktemp("class"))
    yield opened
    opened.end()


@pytest.fixture
def sit(server, tmp_path):
    """Takes seats, each on a machine of its own."""
    taken = []

    def go(name: str) -> Seat:
        taken.append(Seat(*place_of(server.address), name, tmp_path / f"seat{len(taken)}", beat=0.1))
        return taken[-1]

    yield go
    for one in taken:
        one.leave()


@pytest.fixture
def board(page, server):
    """The board, opened as the teacher."""
    page.alerts = []
    page.on("dialog", lambda dialog: (page.alerts.append(dialog.message), dialog.dismiss()))
    page.goto(server.way)
    page.get_by_role("heading", level=1).wait_for(timeout=60_000)
    page.get_by_role("button", name="End the class").wait_for(timeout=30_000)
    yield page
    assert page.outside == []
    assert page.alerts == []


def test_the_board_shows_how_to_join_and_its_address_shows_no_token(board, server):
    assert board.url == f"{server.board}/board"
    expect(board.get_by_text(f'labkit.join("{server.address}"')).to_be_visible()
    assert board.errors == []
    kept = board.context.cookies()
    assert [(one["httpOnly"], one["sameSite"]) for one in kept if one["name"].startswith("labkit-teacher")] == [
        (True, "Strict")
    ]
    assert server.way.partition("token=")[2] not in board.content()
    assert all(one["value"] not in board.content() for one in kept if one["name"].startswith("labkit-teacher"))


def test_what_students_tell_appears_and_what_they_typed_stays_text(board, sit):
    ada, eve = sit("Ada Lovelace"), sit(EVIL)
    board.get_by_text("Names", exact=True).click()
    ada.tell("check", exercise="fast_feedforward / leaf", right=False, says="Not yet: the shape is wrong.")
    eve.tell("check", exercise="fast_feedforward / leaf", right=False, says=f"Not yet: {EVIL}")
    for seat, low in ((ada, 0.9), (eve, 0.92)):
        seat.tell("guess", question="How deep?", points=[[0, low], [1, 2.0]])
        seat.tell("study", name="accuracy", seed=seat.seed, arm="dense", value=low)
        for step in range(20):
            seat.tell("value", run=EVIL, name="loss", step=step, value=1 / (1 + step))
    expect(board.get_by_text("Ada Lovelace").first).to_be_visible(timeout=20_000)
    expect(board.get_by_text("the shape is wrong.")).to_be_visible(timeout=20_000)
    expect(board.get_by_text(EVIL).first).to_be_visible()
    expect(board.locator(".js-plotly-plot .main-svg").nth(2)).to_be_visible(timeout=30_000)
    assert board.locator("img[src=x]").count() == 0
    board.get_by_text("Hidden", exact=True).click()
    expect(board.get_by_text("Ada Lovelace")).to_have_count(0, timeout=10_000)


def test_a_notice_is_heard_in_the_notebooks(board, sit, server):
    heard = []
    sit("Ann").hear("notice", heard.append)
    board.get_by_label("Say something to every notebook").fill("Look at the board")
    board.get_by_role("button", name="Say it").click()
    board.get_by_text("Said.").wait_for()
    end = time.monotonic() + 10
    while not heard and time.monotonic() < end:
        time.sleep(0.05)
    assert heard == [{"says": "Look at the board"}]
    teach(server.way).say("notice", says="from a program")
    while len(heard) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert heard[1:] == [{"says": "from a program"}]


def test_everything_can_be_taken_away(board, sit):
    seat = sit("=HYPERLINK(1)")
    seat.tell("check", exercise="+leaf", right=True, says="@x")
    assert seat.wait(10)
    with board.expect_download() as waiting:
        board.get_by_role("link", name="Everything as CSV").click()
    text = Path(waiting.value.path()).read_text("utf-8-sig")
    assert "'=HYPERLINK(1)" in text
    assert "'+leaf" in text
    with board.expect_download() as waiting:
        board.get_by_role("link", name="as one HTML page").click()
    assert waiting.value.suggested_filename.endswith(".html")


def test_the_page_is_not_wider_than_a_narrow_window_and_turns_dark(board):
    board.set_viewport_size({"width": 700, "height": 900})
    board.wait_for_timeout(500)
    assert board.evaluate("document.documentElement.scrollWidth") <= 700
    board.get_by_role("button", name="Dark page").click()
    assert board.evaluate("document.documentElement.dataset.theme") == "dark"


def test_without_the_teachers_token_there_is_no_board(context, server):
    stranger = context.new_page()
    stranger.goto(f"{server.board}/board")
    expect(stranger.get_by_text("This page is the teacher's")).to_be_visible()
    stranger.goto(f"{server.board}/enter?token=wrong")
    expect(stranger.get_by_text("This page is the teacher's")).to_be_visible()


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/board", {}),
        ("/board/metadata", {}),
        ("/board/autoload.js?bokeh-autoload-element=x", {}),
        ("/class.csv", {}),
        ("/class.html", {}),
        ("/class/state", {}),
        ("/board/ws", {"Connection": "Upgrade", "Upgrade": "websocket", "Origin": "{board}"}),
        ("/board/ws", {"Connection": "Upgrade", "Upgrade": "websocket", "Origin": "http://evil.example"}),
    ],
)
def test_no_address_of_the_board_gives_anything_without_the_cookie(server, path, headers):
    host, _, port = server.board.removeprefix("http://").partition(":")
    extra = {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} if headers else {}
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request(
        "GET", path, headers={name: text.format(board=server.board) for name, text in headers.items()} | extra
    )
    answer = connection.getresponse()
    assert answer.status in (302, 400, 401, 403, 404, 405)
    assert server.address.partition("/")[2].encode() not in (answer.read() if answer.status != 101 else b"")
    connection.close()


def test_the_students_port_shows_nothing_of_the_board(server):
    for path in ("/board", "/class/state", "/class.csv", "/enter?token=x", "/static/js/bokeh.min.js"):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", path)
        assert connection.getresponse().status == 404
        connection.close()


def test_a_killed_class_comes_back_with_its_students_and_the_board_by_itself(board, server, sit):
    seat = sit("Kim")
    seat.tell("check", exercise="told early", right=True, says="Right.")
    expect(board.get_by_text("told early")).to_be_visible(timeout=20_000)
    server.process.kill()
    server.process.wait()
    seat.tell("check", exercise="told meanwhile", right=True, says="Right.")
    expect(board.get_by_text("The class does not answer")).to_be_visible(timeout=20_000)
    server.start()
    expect(board.get_by_text("told meanwhile")).to_be_visible(timeout=60_000)
    expect(board.get_by_text("told early")).to_be_visible()
    assert seat.wait(20)
    board.errors.clear()


def test_clearing_asks_twice_and_ending_is_heard(board, sit):
    seat, ended = sit("Lou"), []
    seat.hear("end", ended.append)
    seat.tell("check", exercise="to be cleared", right=True, says="Right.")
    expect(board.get_by_text("to be cleared")).to_be_visible(timeout=20_000)
    board.get_by_role("button", name="Clear what was told").click()
    board.get_by_role("button", name="No", exact=True).click()
    expect(board.get_by_text("to be cleared")).to_be_visible()
    board.get_by_role("button", name="Clear what was told").click()
    board.get_by_role("button", name="Yes, clear it for good").click()
    expect(board.get_by_text("to be cleared")).to_have_count(0, timeout=20_000)
    expect(board.get_by_text("No exercise was checked yet.")).to_be_visible()
    board.get_by_role("button", name="End the class").click()
    board.get_by_role("button", name="Yes, end it for everyone").click()
    expect(board.get_by_text("This class has ended.")).to_be_visible(timeout=20_000)
    end = time.monotonic() + 10
    while not ended and time.monotonic() < end:
        time.sleep(0.05)
    assert ended == [{}]
