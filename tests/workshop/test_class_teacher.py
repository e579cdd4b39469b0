"""The teacher's end: who has the token may say things and take the class away, and nobody else."""

import asyncio
import http.client
import json
import socket
import threading

import pytest
from tornado.httpserver import HTTPServer
from tornado.web import Application

from labkit.errors import LabError
from labkit.workshop.classroom.classroom import Classroom
from labkit.workshop.classroom.teacher_door import Key, patterns
from labkit.workshop.teacher import teach

HERE = "127.0.0.1"


@pytest.fixture
def classroom(tmp_path):
    opened = Classroom(tmp_path / "class", tracked=False)
    yield opened
    opened.close()


@pytest.fixture
def key(classroom):
    """The teacher's addresses on a server of their own."""
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        port = probe.getsockname()[1]
    made, ready, holder = Key(classroom, port), threading.Event(), []

    async def serve():
        server = HTTPServer(Application(patterns(made, lambda names: f"<p>{names}</p>")))
        server.listen(port, HERE)
        holder.extend([asyncio.get_running_loop(), asyncio.Event()])
        ready.set()
        await holder[1].wait()
        server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    ready.wait()
    made.port = port
    yield made
    holder[0].call_soon_threadsafe(holder[1].set)
    thread.join(5)


def ask(key, method, path, body=None, **headers):
    connection = http.client.HTTPConnection(HERE, key.port, timeout=10)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


def cookie(key) -> str:
    return ask(key, "GET", f"/enter?token={key.token}")[2]["Set-Cookie"].partition(";")[0]


def test_the_token_is_moved_into_a_cookie_and_out_of_the_address(key):
    status, _, headers = ask(key, "GET", f"/enter?token={key.token}")
    assert (status, headers["Location"]) == (303, "/board")
    assert {"HttpOnly", "SameSite=Strict"} <= {part.strip() for part in headers["Set-Cookie"].split(";")}
    assert key.token not in headers["Set-Cookie"]
    assert headers["Referrer-Policy"] == "no-referrer"


def test_a_ticket_opens_once(key):
    ticket = key.ticket()
    assert ask(key, "GET", f"/enter?token={ticket}")[0] == 303
    assert ask(key, "GET", f"/enter?token={ticket}")[0] == 403


@pytest.mark.parametrize("token", ["", "x", "%00", "a" * 5000])
def test_no_other_token_opens(key, token):
    assert ask(key, "GET", f"/enter?token={token}")[0] in (400, 403)


@pytest.mark.parametrize("path", ["/class.csv", "/class.html", "/class/state"])
def test_nothing_is_taken_away_without_the_cookie(key, path):
    status, text, _ = ask(key, "GET", path)
    assert status == 403
    assert key.classroom.journal.code not in text
    assert ask(key, "GET", path, Cookie=f"{key.cookie}=wrong")[0] == 403
    assert ask(key, "GET", path, Cookie=cookie(key))[0] == 200


def test_the_cookie_alone_changes_nothing(key):
    """A page of somebody else could send a form with the cookie; it cannot send the header."""
    body = json.dumps({"kind": "notice", "what": {"says": "forged"}})
    assert ask(key, "POST", "/class/say", body, Cookie=cookie(key))[0] == 403
    assert ask(key, "POST", "/class/say", body, Authorization=f"Bearer {key.token}")[0] == 200
    assert [what for _, _, what in key.classroom.sayings] == [{"says": "forged"}]


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '{"kind": "run", "what": {}}', '{"kind": "place", "what": {"a": [1]}}', "[" * 50_000]
)
def test_what_a_teacher_cannot_say_is_refused(key, body):
    assert ask(key, "POST", "/class/say", body, Authorization=f"Bearer {key.token}")[0] == 400
    assert key.classroom.sayings == []


def test_a_presenter_teaches_with_the_address_of_the_terminal(key):
    teacher = teach(f"http://{HERE}:{key.port}/enter?token={key.token}")
    teacher.say("place", notebook="01.ipynb", cell="exercise-a")
    teacher.say("notice", says="look\u202e up")
    assert [what for _, _, what in key.classroom.sayings] == [
        {"notebook": "01.ipynb", "cell": "exercise-a"},
        {"says": "look up"},
    ]
    assert teacher.state()["students"] == 0
    teacher.say("end")
    assert key.classroom.ended
    with pytest.raises(LabError, match="A teacher says"):
        teacher.say("shout")


def test_a_wrong_address_of_a_teacher_is_a_sentence(key, tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(LabError, match="not the teacher's"):
        teach(f"http://{HERE}:{key.port}/enter?token=wrong")
    with pytest.raises(LabError, match="token="):
        teach(f"http://{HERE}:{key.port}/board")
    with pytest.raises(LabError, match="cannot be reached"):
        teach(f"http://{HERE}:1/enter?token=x")
    with pytest.raises(LabError, match="class start"):
        teach()


def test_a_cleared_class_is_empty_and_goes_on(classroom):
    student, _ = classroom.seat("Ada")
    told = [(1, "check", {"exercise": "x", "right": True, "says": ""})]
    classroom.recorder.take(student.number, told).result(10)
    assert classroom.room.count == 1
    classroom.clear()
    assert (classroom.room.count, classroom.journal.count(), classroom.room.checks) == (0, 0, {})
    classroom.recorder.take(student.number, [(1, *told[0][1:]), (2, *told[0][1:])]).result(10)
    assert classroom.room.count == 1


def test_a_class_that_is_opened_again_looks_as_before(tmp_path):
    first = Classroom(tmp_path / "again", tracked=False)
    student, token = first.seat("Ada")
    rows = [(1, "value", {"run": "n", "name": "l", "step": 1, "value": "inf"})]
    rows += [
        (2, "guess", {"question": "q", "points": [[0, 1]]}),
        (3, "study", {"name": "s", "seed": 0, "arm": "a", "value": 1}),
    ]
    first.recorder.take(student.number, rows).result(10)
    first.say("notice", {"says": "x"})
    first.close()
    again = Classroom(tmp_path / "again", tracked=False)
    assert again.student(token) == student
    assert again.room.kinds == {"value": 1, "guess": 1, "study": 1}
    assert again.said_after(0) == [[1, "notice", {"says": "x"}]]
    assert not again.ended
    again.close()
