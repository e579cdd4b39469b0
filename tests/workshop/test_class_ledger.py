"""What goes from the journal to MLflow: everything once, in large requests, also when MLflow fails in the middle."""

import math
import os
import signal
import subprocess
import sys
import time

import pytest

from labkit.errors import LabError
from labkit.workshop.classroom import ledger as ledgers
from labkit.workshop.classroom.journal import Journal
from labkit.workshop.classroom.ledger import Ledger, metric_name
from labkit.workshop.classroom.tracking_server import TrackingServer, checked_store, masked


class Store:
    """Stands in for the server: MLflow's client writes straight into an SQLite file."""

    trouble = ""

    def __init__(self, path):
        self.address = f"sqlite:///{path}"

    def ready(self) -> bool:
        return True

    def doubt(self) -> None:
        pass


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A store of MLflow without runs; setting one up takes seconds, so it is copied."""
    import mlflow

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty, tmp_path):
    path = tmp_path / "mlflow.db"
    path.write_bytes(empty.read_bytes())
    return Store(path)


@pytest.fixture
def journal(tmp_path):
    opened = Journal(tmp_path / "class")
    yield opened
    opened.close()


def values(journal, student, first, last):
    rows = [
        (step, "value", {"run": "net", "name": "loss", "step": step, "value": step / 7}) for step in range(first, last)
    ]
    journal.keep([(student.number, rows)])


def told(store) -> dict[str, dict[str, list]]:
    """What MLflow has: run -> metric -> (step, value), in order."""
    import mlflow

    client = mlflow.MlflowClient(store.address)
    found = {}
    for one in client.search_experiments():
        for run in client.search_runs([one.experiment_id], max_results=1000):
            found[run.info.run_name] = {
                name: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))
                for name in run.data.metrics
            }
    return found


def test_all_four_kinds_arrive_with_their_numbers(journal, store):
    student, _ = journal.seat("Ada")
    rows = [
        (1, "check", {"exercise": "leaf", "right": True, "says": "Right."}),
        (2, "value", {"run": "net", "name": "loss", "step": 5, "value": "nan"}),
        (3, "study", {"name": "acc", "seed": 0, "arm": "dense", "value": 0.9}),
        (4, "guess", {"question": "q", "points": [[0, 1], [2, 3]], "area": 0.5}),
    ]
    journal.keep([(student.number, rows)])
    ledger = Ledger(journal, store)
    assert ledger.carry() == 4
    assert ledger.behind == 0
    found = told(store)
    assert found["Ada: checks"] == {"leaf": [(1, 1.0)]}
    assert math.isnan(found["Ada: net"]["loss"][0][1])
    assert found["Ada: study acc"] == {"dense": [(0, 0.9)]}
    assert found["Ada: guesses"] == {"q.x": [(0, 0), (1, 2)], "q.y": [(0, 1), (1, 3)], "q.area": [(4, 0.5)]}


def test_numbers_go_in_large_requests_and_never_one_by_one(journal, store, monkeypatch):
    import mlflow

    sizes, log = [], mlflow.MlflowClient.log_batch

    def counting(self, run, metrics=(), **more):
        sizes.append(len(metrics))
        return log(self, run, metrics=metrics, **more)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", counting)
    values(journal, journal.seat("Ada")[0], 1, 2501)
    Ledger(journal, store).carry()
    assert sizes == [1000, 1000, 500]


def test_what_was_carried_when_the_program_ended_is_not_there_twice(journal, store):
    """The numbers are in MLflow, and the program ended before it wrote that down."""
    values(journal, journal.seat("Ada")[0], 1, 101)
    Ledger(journal, store).carry()
    journal.note("ledgered", "0")
    again = Ledger(journal, store)
    assert again.upto == 0
    again.carry()
    assert [step for step, _ in told(store)["Ada: net"]["loss"]] == list(range(1, 101))


def test_mlflow_that_fails_in_the_middle_gets_the_rest_later(journal, store, monkeypatch):
    import mlflow

    log, calls = mlflow.MlflowClient.log_batch, iter(range(100))

    def failing(self, run, metrics=(), **more):
        if next(calls) == 1:
            raise ConnectionError("planted")
        return log(self, run, metrics=metrics, **more)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", failing)
    values(journal, journal.seat("Ada")[0], 1, 3001)
    ledger = Ledger(journal, store, every=0.05)
    ledger.start()
    assert ledger.flush(30)
    ledger.close()
    assert [step for step, _ in told(store)["Ada: net"]["loss"]] == list(range(1, 3001))


def test_one_number_that_mlflow_refuses_does_not_stop_the_others(journal, store, monkeypatch):
    values(journal, journal.seat("Ada")[0], 1, 51)
    rows_of = ledgers.rows_of
    monkeypatch.setattr(
        ledgers,
        "rows_of",
        lambda one, shown: [(run, "../x" if one.seq == 9 else key, *rest) for run, key, *rest in rows_of(one, shown)],
    )
    ledger = Ledger(journal, store)
    ledger.carry()
    assert ledger.refused == 1
    assert len(told(store)["Ada: net"]["loss"]) == 49


@pytest.mark.parametrize(
    "text", ["../../etc/passwd", "a//b", "/abs", "..", "", "<b>", "x" * 900, "a\nb", "..\\c", "=1"]
)
def test_a_metric_is_never_named_like_a_path(text, store, journal):
    name = metric_name(text)
    assert name
    assert "/" not in name
    assert ".." not in name
    assert len(name) <= 200


def test_names_like_paths_arrive_as_plain_names(journal, store):
    told_as = {"run": "../../run", "name": "../../etc/passwd", "step": 1, "value": 0.5}
    journal.keep([(journal.seat("../Ada")[0].number, [(1, "value", told_as)])])
    ledger = Ledger(journal, store)
    ledger.carry()
    assert (ledger.behind, ledger.refused) == (0, 0)
    assert told(store) == {"../Ada: ../../run": {metric_name("../../etc/passwd"): [(1, 0.5)]}}


def test_a_cleared_class_goes_on_in_a_new_experiment_and_the_old_one_is_deleted(journal, store):
    student, _ = journal.seat("Ada")
    values(journal, student, 1, 11)
    ledger = Ledger(journal, store)
    ledger.carry()
    journal.clear()
    ledger.clear()
    values(journal, student, 11, 21)
    ledger.carry()
    end = time.monotonic() + 10
    while len(told(store).get("Ada: net", {}).get("loss", [])) != 10 and time.monotonic() < end:
        time.sleep(0.1)
    assert [step for step, _ in told(store)["Ada: net"]["loss"]] == list(range(11, 21))


def test_a_class_that_ended_has_finished_runs(journal, store):
    import mlflow

    values(journal, journal.seat("Ada")[0], 1, 3)
    ledger = Ledger(journal, store)
    ledger.ended = True
    ledger.carry()
    ledger.carry()
    client = mlflow.MlflowClient(store.address)
    every = [one.experiment_id for one in client.search_experiments()]
    assert {run.info.status for run in client.search_runs(every)} == {"FINISHED"}


@pytest.mark.parametrize(
    ("store", "says"),
    [
        ("postgres://u@h/d", "postgresql://"),
        ("/tmp/x", "URL of a database"),
        ("http://h", "URL of a database"),
        ("mongodb://h", "URL of a database"),
        ("", "URL of a database"),
    ],
)
def test_a_store_that_mlflow_cannot_use_is_said(store, says, tmp_path):
    with pytest.raises(LabError, match=says):
        checked_store(store, tmp_path)


@pytest.mark.parametrize(
    ("url", "package"),
    [("postgresql+psycopg2://u@h/d", "psycopg2-binary"), ("postgresql+psycopg://u@h/d", r"psycopg\[binary\]")],
)
def test_a_missing_package_for_a_database_is_named(tmp_path, monkeypatch, url, package):
    for module in ("psycopg", "psycopg2"):
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(LabError, match=f"pip install '{package}'"):
        checked_store(url, tmp_path)


def test_no_password_is_ever_shown():
    text = "cannot connect to postgresql://ada:s3cret@host/db and mysql+pymysql://u:p@h"
    assert "s3cret" not in masked(text)
    assert ":p@" not in masked(text)
    assert "ada:***@host" in masked(text)


@pytest.mark.skipif(os.name == "nt", reason="there the children end in another way")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_tracking_server_ends_with_the_class_also_when_that_is_killed(tmp_path, how):
    """A program on a leash starts a child; whoever holds the leash is killed; both end."""
    child = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); \
open({str(tmp_path / 'on')!r}, 'w').close(); time.sleep(60)"
    holder = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-m", "labkit.workshop.classroom.leashed", sys.executable, "-c", {child!r}],
                 stdin=subprocess.PIPE)
time.sleep(60)
"""
    started = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    end = time.monotonic() + 20
    while not (tmp_path / "on").exists() and time.monotonic() < end:
        time.sleep(0.05)
    started.send_signal(how)
    started.wait(10)
    # the children hold the other end of this pipe until the last of them has ended
    out, _ = started.communicate(timeout=20)
    assert out == b""


def test_a_tracking_server_that_ends_is_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr(TrackingServer, "_answers", lambda self: True)
    monkeypatch.setattr(sys, "executable", "/bin/sleep" if os.path.exists("/bin/sleep") else sys.executable)
    server, popen = TrackingServer("sqlite:///x", tmp_path), subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **more: popen(["sleep", "30"], **more))
    server.start()
    assert server.ready()
    first = server.pid
    server._process.kill()
    server._process.wait()
    assert not server.ready()
    assert server.ready()
    assert server.pid != first
    assert server.starts == 2
    server._process.kill()
    server.close()
