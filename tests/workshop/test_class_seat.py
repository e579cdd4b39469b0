"""A student's seat: nothing that was told is lost or there twice, whatever happens to the network, the class or the kernel."""

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from labkit.errors import LabError
from labkit.workshop import seat as seats
from labkit.workshop.classroom import line
from labkit.workshop.classroom.classroom import Classroom
from labkit.workshop.classroom.spool import Spool
from labkit.workshop.seat import Seat, join, joined

HERE = "127.0.0.1"
BEAT = 0.05


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(line, "LONGEST", 0.2)
    yield
    while joined() is not None:
        joined().leave()


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return probe.getsockname()[1]


@pytest.fixture
def open_class(tmp_path, port):
    """Opens the class of this test, again and again."""
    opened = []

    def go() -> Classroom:
        classroom = Classroom(tmp_path / "class", tracked=False)
        classroom.open(HERE, port)
        opened.append(classroom)
        return classroom

    yield go
    for one in opened:
        one.close()


def sit(classroom, name="Ada", folder=None) -> Seat:
    return Seat(HERE, classroom.port, classroom.journal.code, name, folder, beat=BEAT)


def values(seat, start, count):
    for step in range(start, start + count):
        seat.tell("value", run="net", name="loss", step=step, value=1.0)


def steps(classroom, student=0):
    return [one.what["step"] for one in classroom.journal.told() if one.student == student and one.kind == "value"]


def soon(what, seconds=10.0) -> bool:
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(what())


def test_importing_it_loads_the_standard_library_only():
    code = "import sys, labkit.workshop.seat, labkit.workshop.teacher; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    loaded = {name.split(".")[0] for name in out.split()} - set(sys.stdlib_module_names)
    assert {name for name in loaded if not name.startswith("_")} <= {"labkit", "sitecustomize", "usercustomize"}


def test_a_seat_is_taken_told_and_left(open_class):
    classroom = open_class()
    assert joined() is None
    seat = join(classroom.address, "Ada")
    assert joined() is seat
    seat.tell("check", exercise="leaf", right=True, says="Right.")
    assert seat.wait(10)
    assert "Joined as Ada: 1 delivered, 0 waiting." in repr(seat)
    assert "Joined as Ada" in seat._repr_html_()
    seat.leave()
    assert joined() is None
    assert "left" in repr(seat)


def test_a_wrong_code_and_a_wrong_address_are_said_at_once(open_class, port):
    classroom = open_class()
    with pytest.raises(LabError, match="not the code of this class"):
        join(f"{HERE}:{port}/KITE-0000", "Ada")
    classroom.close()
    with pytest.raises(LabError, match="No class answers at"):
        join(f"{HERE}:{port}/KITE-0000", "Ada")
    with pytest.raises(LabError, match="copy the line from the board"):
        join("KITE-0000", "Ada")
    assert joined() is None


def test_something_that_is_no_class_is_not_taken_for_one(port):
    stop = threading.Event()

    def answer() -> None:
        with socket.create_server((HERE, port)) as server:
            server.settimeout(0.1)
            while not stop.is_set():
                try:
                    one, _ = server.accept()
                except TimeoutError:
                    continue
                one.recv(65536)
                one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>")
                one.close()

    thread = threading.Thread(target=answer)
    thread.start()
    time.sleep(0.1)
    with pytest.raises(LabError, match="No class answers"):
        join(f"{HERE}:{port}/KITE-0000", "Ada")
    stop.set()
    thread.join()


def test_what_nobody_takes_is_an_error_where_it_is_told(open_class):
    seat = sit(open_class())
    with pytest.raises(LabError, match="A class takes check"):
        seat.tell("code", text="import os")
    with pytest.raises(LabError, match="needs value"):
        seat.tell("value", run="a", name="b", step=1)
    seat.leave()


def test_telling_does_not_wait_for_a_class_that_does_not_answer(open_class, port):
    classroom = open_class()
    seat = sit(classroom)
    classroom.close()
    with socket.create_server((HERE, port)):  # takes the connection and never answers
        assert soon(lambda: seat._line.reached is not False or True)
        began = time.thread_time()
        values(seat, 0, 200)
        assert time.thread_time() - began < 5
        assert seat.waiting == 200
    seat._line.stop()


def test_while_the_class_is_away_everything_is_kept_and_then_delivered_once_and_in_order(open_class):
    classroom = open_class()
    seat = sit(classroom)
    values(seat, 0, 50)
    assert seat.wait(10)
    classroom.close()
    values(seat, 50, 700)
    assert soon(lambda: "cannot be reached, keeping it here" in repr(seat))
    assert seat.waiting == 700
    again = open_class()
    assert seat.wait(20)
    assert steps(again) == list(range(750))
    assert again.journal.students().keys() == classroom.by_digest.keys()
    seat.leave()


def test_an_answer_that_is_lost_does_not_make_two_of_one(open_class, monkeypatch):
    """Every second answer to a batch is thrown away after the class has written it."""
    classroom = open_class()
    once, count = line.Caller._once, iter(range(10**6))

    def flaky(self, method, path, sent, headers):
        answer = once(self, method, path, sent, headers)
        if path == "/class/tell" and next(count) % 2 == 0:
            raise ConnectionResetError("planted")
        return answer

    seat = sit(classroom)
    monkeypatch.setattr(line.Caller, "_once", flaky)
    for start in range(0, 100, 10):
        values(seat, start, 10)
        time.sleep(BEAT)
    assert seat.wait(30)
    assert steps(classroom) == list(range(100))
    seat.leave()


def test_a_killed_kernel_loses_nothing(open_class, tmp_path):
    classroom = open_class()
    address, home = classroom.address, tmp_path / "home"
    script = f"""
import os, labkit.workshop.seat as seats, labkit.workshop.classroom.line as line
seat = seats.join({address!r}, "Ada")
seat._line.stop(5)
for step in range(300):
    seat.tell("value", run="net", name="loss", step=step, value=1.0)
os.kill(os.getpid(), 9)
"""
    env = {**os.environ, "LABKIT_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", script], env=env, check=False, timeout=60)
    assert done.returncode != 0
    assert steps(classroom) == []
    seat = join(address, "Ada")
    assert seat.wait(20)
    assert steps(classroom) == list(range(300))
    assert len(classroom.room.students) == 1


def test_two_notebooks_of_one_student_are_one_seat_and_nothing_is_twice(open_class, tmp_path):
    classroom = open_class()
    first, second = sit(classroom, folder=tmp_path / "one"), sit(classroom, folder=tmp_path / "one")
    assert first.number == second.number
    for start in range(0, 200, 20):
        values(first, start, 10)
        values(second, start + 10, 10)
    assert soon(lambda: not first.waiting and not second.waiting)
    assert steps(classroom) == list(range(200))
    first.leave()
    second.leave()


def test_the_same_name_on_two_machines_is_two_students(open_class, tmp_path):
    classroom = open_class()
    one, other = sit(classroom, folder=tmp_path / "one"), sit(classroom, folder=tmp_path / "other")
    assert {one._known.shown, other._known.shown} == {"Ada", "Ada 2"}
    assert one.seed != other.seed
    one.leave()
    other.leave()


def test_what_the_teacher_says_is_heard_also_by_who_comes_later(open_class):
    classroom = open_class()
    seat, heard = sit(classroom), []
    stop = seat.hear("place", heard.append)
    classroom.say("place", {"cell": "a"})
    assert soon(lambda: heard == [{"cell": "a"}])
    late = []
    seat.hear("place", late.append)
    assert late == [{"cell": "a"}]
    stop()
    classroom.say("place", {"cell": "b"})
    assert soon(lambda: late[-1] == {"cell": "b"})
    assert heard == [{"cell": "a"}]
    seat.leave()
    newcomer, welcome = sit(classroom, "Bob"), []
    newcomer.hear("place", welcome.append)
    assert welcome == [{"cell": "b"}]
    newcomer.leave()


def test_a_hearer_that_fails_does_not_end_the_line(open_class):
    classroom = open_class()
    seat, heard = sit(classroom), []
    seat.hear("notice", lambda what: 1 / 0)
    seat.hear("notice", heard.append)
    classroom.say("notice", {"says": "one"})
    assert soon(lambda: heard)
    values(seat, 0, 5)
    assert seat.wait(10)
    seat.leave()


def test_the_end_is_heard_after_everything_was_delivered(open_class):
    classroom = open_class()
    seat, ended = sit(classroom), []
    seat.hear("end", ended.append)
    values(seat, 0, 1200)
    classroom.end()
    assert soon(lambda: not seat._line.is_alive())
    assert ended == [{}]
    assert len(steps(classroom)) == 1200
    assert "The class has ended" in repr(seat)


def test_a_message_that_the_class_cannot_take_is_dropped_and_said_and_the_rest_goes_on(open_class):
    classroom = open_class()
    seat = sit(classroom)
    with seat._spool._lock:
        seat._spool.keep(seat._known.id, "nonsense", {})
        values(seat, 0, 3)
        seat._spool.keep(seat._known.id, "value", {"run": "x" * 10_000, "name": "l", "step": 1, "value": 1})
    values(seat, 3, 3)
    assert soon(lambda: not seat.waiting)
    assert steps(classroom) == list(range(6))
    assert "2 not taken" in repr(seat)
    seat.leave()


def test_a_disk_that_cannot_be_written_is_said_and_the_class_still_hears(open_class, tmp_path):
    classroom = open_class()
    (tmp_path / "file").write_text("")
    seat = sit(classroom, folder=tmp_path / "file" / "below")
    values(seat, 0, 5)
    assert seat.wait(10)
    assert "disk cannot be written" in repr(seat)
    seat.leave()


def test_a_locked_file_of_another_notebook_delays_and_loses_nothing(open_class, tmp_path):
    import sqlite3

    classroom = open_class()
    seat = sit(classroom, folder=tmp_path / "one")
    blocker = sqlite3.connect(tmp_path / "one" / "told.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    seat.tell("value", run="net", name="loss", step=0, value=1.0)
    seat.tell("value", run="net", name="loss", step=1, value=1.0)
    assert seat.waiting == 2
    blocker.execute("ROLLBACK")
    blocker.close()
    assert seat.wait(10)
    assert steps(classroom) == [0, 1]
    seat.leave()


def test_too_many_at_once_are_counted_and_not_kept(open_class, monkeypatch):
    from labkit.workshop.classroom import spool

    monkeypatch.setattr(spool, "MOST", 100)
    seat = sit(open_class())
    seat._line.stop(5)
    values(seat, 0, 150)
    assert seat.waiting == 100
    assert "50 were too many at once" in repr(seat)
    seat._spool.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_worker_has_no_seat(open_class):
    join(open_class().address, "Ada")
    assert joined() is not None
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, b"1" if seats.joined() is None else b"0")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 1) == b"1"
    assert joined().wait(5)


def test_a_training_is_told_at_most_twenty_times_a_second_and_always_to_its_end(open_class):
    classroom = open_class()
    seat = sit(classroom)
    tell, began = seat.run("net"), time.monotonic()
    for step in range(3000):
        tell(step, loss=1 / (1 + step))
        time.sleep(0.0002)
    took = time.monotonic() - began
    assert soon(lambda: steps(classroom)[-1:] == [2999])
    assert len(steps(classroom)) <= 20 + 20 * (took + 1) + 2
    seat.leave()


def test_fit_and_a_study_can_be_watched_with_it(open_class):
    from labkit.workbench.progress import Progress

    classroom = open_class()
    seat = sit(classroom)
    tell = seat.run("net")
    tell(1, {"training_loss": 0.5})
    tell(Progress("dense", 3, 7, 10, 0.5, {"test_accuracy": 0.9}))
    assert seat.wait(10)
    runs = {(one.what["run"], one.what["name"], one.what["step"]) for one in classroom.journal.told()}
    assert runs == {("net", "training_loss", 1), ("net: dense, seed 3", "test_accuracy", 7)}
    seat.leave()


def test_a_live_run_is_shared_with_a_line(open_class):
    import torch

    from labkit.workbench.hold.live_run import LiveRun

    class Task:
        def batches(self, seed):
            while True:
                x = torch.randn(8, 2)
                yield x, x.sum(1, keepdim=True)

        def loss(self, prediction, target):
            return torch.nn.functional.mse_loss(prediction, target)

    classroom = open_class()
    seat, run = sit(classroom), LiveRun(torch.nn.Linear(2, 1), Task(), steps=40, name="shared", folder=False)
    stop = seat.share(run)
    run.run()
    run.wait(30)
    assert soon(lambda: steps(classroom)[-1:] == [40])
    stop()
    run.stop()
    told = classroom.journal.told()
    assert {(one.what["run"], one.what["name"]) for one in told} == {("shared", "training_loss")}
    assert steps(classroom) == sorted(set(steps(classroom)))
    seat.leave()
    with pytest.raises(LabError, match="takes a LiveRun"):
        seat.share(object())


def test_a_class_study_trains_with_the_seats_own_seed(open_class, tmp_path):
    import torch

    classroom = open_class()
    found = []
    for name in ("Ada", "Bob", "Cem"):
        seat = sit(classroom, name, tmp_path / name)
        found.append(seat.study("accuracy", lambda seed: float(torch.rand(()))))
        seat.study("two", {"a": lambda seed: seed, "b": lambda seed, tell: tell(1, x=0.5) or seed + 10})
        seat.study("many", lambda seed: {"a": 1.0, "b": 2.0})
        assert seat.wait(10)
        with pytest.raises(LabError, match="must give a number"):
            seat.study("none", lambda seed: "good")
        seat.leave()
    assert len(set(found)) == 3
    studies = classroom.room.studies
    assert sorted(studies["accuracy"]["result"].values()) == sorted(found)
    assert studies["two"] == {"a": {0: 0, 1: 1, 2: 2}, "b": {0: 10, 1: 11, 2: 12}}
    assert set(studies["many"]) == {"a", "b"}


def test_old_seats_are_forgotten_and_others_are_not(tmp_path):
    spool = Spool(tmp_path)
    given = {"class": "c", "token": "t", "number": 0, "shown": "Ada"}
    known = spool.take("KITE-0001", "Ada", given)
    spool.keep(known.id, "value", {})
    spool._store.execute("UPDATE seats SET at = at - 90 * 86400")
    other = spool.take("KITE-0002", "Ada", given)
    spool.keep(other.id, "value", {})
    spool.close()
    again = Spool(tmp_path)
    assert again.known("KITE-0001", "Ada") is None
    assert again.waiting(known.id) == 0
    assert again.waiting(again.known("KITE-0002", "Ada").id) == 1
    again.close()
