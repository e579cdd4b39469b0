"""The door of a class, knocked at by programs that mean no good: over real HTTP, on loopback."""

import contextlib
import http.client
import json
import socket
import time

import pytest

from labkit.workshop.classroom import student_door
from labkit.workshop.classroom.classroom import Classroom
from labkit.workshop.classroom.messages import BATCH, BATCH_BYTES

HERE = "127.0.0.1"
VALUE = {"run": "net", "name": "loss", "step": 1, "value": 0.5}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return probe.getsockname()[1]


@pytest.fixture
def classroom(tmp_path):
    opened = Classroom(tmp_path / "class", tracked=False)
    opened.open(HERE, free_port())
    yield opened
    opened.close()


def ask(classroom, method, path, body=None, token="", **headers):
    """The status, the answer and its headers."""
    connection = http.client.HTTPConnection(HERE, classroom.port, timeout=10)
    raw = body if isinstance(body, bytes | type(None)) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {}) | headers
    try:
        connection.request(method, path, raw, sent)
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    kind = answer.getheader("Content-Type", "")
    said = json.loads(text) if kind.startswith("application/json") and text else text.decode()
    return answer.status, said, answer.headers


def join(classroom, name="Ada", **more):
    status, said, _ = ask(classroom, "POST", "/class/join", {"code": classroom.journal.code, "name": name, **more})
    assert status == 200, said
    return said


def tell(classroom, token, *told, **more):
    return ask(classroom, "POST", "/class/tell", {"told": list(told), **more}, token)[:2]


def test_a_student_joins_tells_and_hears(classroom):
    said = join(classroom)
    status, answer = tell(classroom, said["token"], [1, "value", VALUE])
    assert (status, answer["kept"], answer["refused"]) == (200, [1], [])
    number = classroom.say("notice", {"says": "look up"})
    status, answer, _ = ask(classroom, "GET", "/class/hear?after=0", token=said["token"])
    assert answer["said"] == [[number, "notice", {"says": "look up"}]]
    assert ask(classroom, "GET", f"/class/hear?after={number}", token=said["token"])[1]["said"] == []


def test_with_the_token_of_before_it_is_the_same_seat_and_without_it_another(classroom):
    first = join(classroom)
    again = join(classroom, token=first["token"])
    other = join(classroom)
    assert (again["number"], again["shown"], again["token"]) == (first["number"], "Ada", first["token"])
    assert (other["number"], other["shown"]) == (1, "Ada 2")


@pytest.mark.parametrize("code", ["", "KITE-0000", None, 7, ["x"], {"$gt": ""}, "x" * 10_000, "\ud800"])
def test_a_wrong_code_is_refused(classroom, code):
    status, said, _ = ask(classroom, "POST", "/class/join", {"code": code, "name": "Mallory"})
    assert status == 403
    assert "not the code" in said["says"]
    assert not classroom.room.students


def test_guessing_stops_being_answered_and_the_right_code_still_comes_in_later(classroom, monkeypatch):
    from labkit.workshop.classroom import allowance

    statuses = [
        ask(classroom, "POST", "/class/join", {"code": f"KITE-{n:04d}", "name": "Mallory"})[0] for n in range(60)
    ]
    assert statuses[:30] == [403] * 30
    assert 429 in statuses[30:]
    status, said, headers = ask(classroom, "POST", "/class/join", {"code": classroom.journal.code, "name": "Ada"})
    if status == 429:
        assert 1 <= int(headers["Retry-After"]) <= allowance.Guessing.SLOWEST
        time.sleep(int(headers["Retry-After"]))
        status, said, _ = ask(classroom, "POST", "/class/join", {"code": classroom.journal.code, "name": "Ada"})
    assert status == 200, said


def test_who_has_a_seat_is_not_bothered_by_guesses_from_the_same_address(classroom):
    ada = join(classroom)
    for n in range(60):
        ask(classroom, "POST", "/class/join", {"code": f"KITE-{n:04d}", "name": "Mallory"})
    assert tell(classroom, ada["token"], [1, "value", VALUE])[0] == 200
    assert join(classroom, token=ada["token"])["number"] == 0


@pytest.mark.parametrize("token", ["", "x", "null", "a" * 5000, "é", "../../etc/passwd"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/class/tell"), ("GET", "/class/hear")])
def test_without_a_token_nothing_is_taken_and_nothing_is_said(classroom, token, method, path):
    join(classroom)
    classroom.say("notice", {"says": "a secret"})
    body = {"told": [[1, "value", VALUE]]} if method == "POST" else None
    status, said, _ = ask(classroom, method, path, body, Authorization=f"Bearer {token}".encode("latin-1"))
    assert status == 401
    assert "secret" not in json.dumps(said)
    assert classroom.journal.count() == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"told"',
        b'{"told": NaN}',
        b'{"told": [[1, "value", {"run": "a", "name": "b", "step": 1, "value": NaN}]]}',
        b'{"told": 1' + b"0" * 10_000 + b"}",
        b'{"told": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"\xff\xfe\x00",
        b'{"told": {"0": [1, "value", {}]}}',
        b'{"told": [[0, "value", {}]]}',
        b'{"told": [[-1, "value", {}]]}',
        b'{"told": [[true, "value", {}]]}',
        b'{"told": [["1; DROP TABLE told", "value", {}]]}',
        b'{"told": [[1, "value"]]}',
        json.dumps({"told": [[n + 1, "value", VALUE] for n in range(BATCH + 1)]}).encode(),
    ],
)
def test_what_is_no_batch_is_refused_whole_and_the_class_goes_on(classroom, body):
    token = join(classroom)["token"]
    status, said, _ = ask(classroom, "POST", "/class/tell", body, token)
    assert status == 400
    assert "says" in said
    assert "Traceback" not in json.dumps(said)
    assert classroom.journal.count() == 0
    assert tell(classroom, token, [1, "value", VALUE])[0] == 200


def test_one_bad_message_does_not_take_the_good_ones_with_it(classroom):
    token = join(classroom)["token"]
    _, said = tell(
        classroom,
        token,
        [1, "value", VALUE],
        [2, "__import__('os').system('true')", {}],
        [3, "check", {"exercise": "x", "right": True, "says": "y" * 1000}],
        [4, "value", {**VALUE, "value": "inf"}],
    )
    assert said["kept"] == [1, 4]
    assert [number for number, _ in said["refused"]] == [2, 3]


def test_a_megabyte_is_not_even_read(classroom):
    token = join(classroom)["token"]
    big = json.dumps({"told": [[1, "check", {"exercise": "x", "right": True, "says": "y" * 4 * BATCH_BYTES}]]}).encode()
    try:
        status = ask(classroom, "POST", "/class/tell", big, token)[0]
    except OSError:  # the door was closed while we still pushed
        status = 400
    assert status in (400, 413)
    assert tell(classroom, token, [1, "value", VALUE])[0] == 200


def test_a_million_messages_are_slowed_down_and_others_do_not_notice(classroom):
    loud, quiet = join(classroom, "Loud")["token"], join(classroom, "Quiet")["token"]
    number, kept, statuses = 1, 0, []
    for _ in range(40):
        status, said = tell(classroom, loud, *[[number + n, "value", VALUE] for n in range(BATCH)])
        number += BATCH
        statuses.append(status)
        kept += len(said.get("kept", ()))
    assert 429 in statuses
    assert kept <= student_door.BURST + 10 * student_door.STEADY
    assert tell(classroom, quiet, [1, "value", VALUE])[1]["kept"] == [1]


def test_one_student_cannot_speak_for_another_or_read_another(classroom):
    ada, mallory = join(classroom), join(classroom, "Mallory")
    tell(classroom, ada["token"], [7, "check", {"exercise": "x", "right": False, "says": "Not yet: private"}])
    _, said = tell(classroom, mallory["token"], [7, "check", {"exercise": "x", "right": True, "says": "ok"}], student=0)
    assert said["kept"] == [7]
    told = {one.student: one.what["right"] for one in classroom.journal.told()}
    assert told == {0: False, 1: True}
    for path in ("/class/hear?after=-1", "/class/hear?after=0&student=0", "/class/hear?after=" + "9" * 400):
        assert "private" not in json.dumps(ask(classroom, "GET", path, token=mallory["token"])[1])
    assert join(classroom, "Ada", token=mallory["token"])["number"] == mallory["number"]


@pytest.mark.parametrize(
    "path",
    [
        "/class/",
        "/class/say",
        "/class/state",
        "/class.csv",
        "/board",
        "/board/ws",
        "/static/js/bokeh.min.js",
        "/enter?token=x",
        "/../class.db",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/class/tell/../../class.db",
        "/class/join%00",
        "//etc/passwd",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_else_is_there(classroom, method, path):
    status, said, _ = ask(classroom, method, path, {} if method == "POST" else None)
    assert status in (404, 405)
    assert classroom.journal.teacher_token not in json.dumps(said)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"])
def test_no_other_method_does_anything(classroom, method):
    assert ask(classroom, method, "/class/join", {"code": classroom.journal.code, "name": "x"})[0] == 405
    assert not classroom.room.students


def test_a_page_of_somebody_else_cannot_join_with_a_form(classroom):
    body = json.dumps({"code": classroom.journal.code, "name": "x"}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        status, _, headers = ask(classroom, "POST", "/class/join", body, **{"Content-Type": kind})
        assert status == 400
        assert "Access-Control-Allow-Origin" not in headers
    assert not classroom.room.students


def test_a_browser_at_the_address_is_told_how_to_join_without_the_code(classroom):
    assert "<script>" not in ask(classroom, "GET", "/", Host="<script>alert(1)</script>")[1]
    status, text, headers = ask(classroom, "GET", "/")
    assert status == 200
    assert "labkit.join(" in text
    assert classroom.journal.code not in text
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_the_seats_run_out_before_the_memory_does(classroom, monkeypatch):
    monkeypatch.setattr(student_door, "STUDENTS", 3)
    for _ in range(3):
        join(classroom)
    status, said, _ = ask(classroom, "POST", "/class/join", {"code": classroom.journal.code, "name": "x"})
    assert (status, "seats" in said["says"]) == (403, True)


def test_nobody_joins_a_class_that_has_ended_and_those_in_it_still_deliver(classroom):
    ada = join(classroom)
    classroom.end()
    status, said, _ = ask(classroom, "POST", "/class/join", {"code": classroom.journal.code, "name": "Late"})
    assert (status, said["says"]) == (403, "This class has ended.")
    _, said = tell(classroom, ada["token"], [1, "value", VALUE], after=0)
    assert said["kept"] == [1]
    assert [kind for _, kind, _ in said["said"]] == ["end"]


def test_connections_that_say_nothing_do_not_keep_others_out(classroom, monkeypatch):
    monkeypatch.setattr(student_door, "FROM_ONE", 20)
    idle = [socket.create_connection((HERE, classroom.port)) for _ in range(40)]
    time.sleep(0.2)
    closed = 0
    for one in idle:
        one.settimeout(0.05)
        with contextlib.suppress(TimeoutError):
            closed += one.recv(1) == b""
        one.close()
    assert closed >= 15
    time.sleep(0.2)
    assert join(classroom)["number"] == 0
