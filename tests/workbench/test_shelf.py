"""The shelf of runs: what a killed process left is found and told, and cleaning never takes what lives."""

import json
import os
import platform
import signal
import subprocess
import sys
import time

import pytest

from labkit.recording.history import Event
from labkit.workbench.hold import alive, shelf
from labkit.workbench.hold.journal import Branch, Journal
from labkit.workbench.hold.timeline import Timeline

RUNS_AND_DIES = """
import os, signal, sys, time
import torch
from labkit.recording.history import Event
from labkit.workbench.hold import shelf
from labkit.workbench.hold.journal import Branch, Journal
from labkit.workbench.hold.timeline import Timeline

folder = shelf.new_folder("my run")
journal, timeline = Journal(folder), Timeline(1e6, 1e6, folder)
journal.note(name="my run")
journal.branch(Branch("main"))
journal.branch(Branch("second", "main", 1000))
for step in range(1, 3413):
    journal.add("main", step, {"training_loss": 1 / step})
for step in (0, 1000, 3400):
    timeline.keep("main", step, {"weight": torch.full((3,), float(step))})
journal.event(Event(5, "main", "change", "learning rate is 0.1 now"))
timeline.flush(60)
print(folder, flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""
MAKES_MANY = """
from labkit.workbench.hold import shelf
from labkit.workbench.hold.journal import Journal

for number in range(15):
    journal = Journal(shelf.new_folder("many"))
    journal.add("main", 1, {"loss": 1.0})
    assert journal.folder.is_dir() and journal.problem is None, journal.problem
    print(journal.folder)
    if number % 2:
        journal.close("stopped")
"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path))
    return tmp_path / "live"


def ended(name: str, age: float, size: int = 0) -> "os.PathLike":
    """A run of this process that was stopped so many seconds ago."""
    folder = shelf.new_folder(name)
    journal = Journal(folder)
    journal.add("main", 1, {"loss": 1.0})
    journal.close("stopped")
    (folder / "states").mkdir()
    (folder / "states" / "0-1-0.pt").write_bytes(b"\0" * size)
    os.utime(folder / "rows-0.bin", (time.time() - age,) * 2)
    return folder


def test_a_killed_run_is_found_and_told_and_its_states_come_back():
    process = subprocess.Popen(
        [sys.executable, "-c", RUNS_AND_DIES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    folder = process.stdout.readline().strip()
    living = shelf.Recording(folder)
    assert living.lives
    assert f"is still going on in another process ({process.pid}), at step 3,412 on " in living.says
    assert shelf.earlier() == []
    assert shelf.tidy(runs=0, room=0) == []
    process.communicate("die\n", timeout=60)
    assert process.returncode == -signal.SIGKILL
    (left,) = shelf.earlier("my run")
    assert shelf.earlier("another") == []
    assert (left.name, left.ended, left.lives) == ("my run", None, False)
    assert left.says.startswith(
        "A run named 'my run' ended without being stopped (its process is gone) at step 3,412 on "
    )
    assert left.says.endswith("; 3,412 steps and 3 checkpoints are kept.")
    assert left.branches == [Branch("main", None, 0, 3412), Branch("second", "main", 1000, 1000)]
    assert left.events == [Event(5, "main", "change", "learning rate is 0.1 now")]
    assert list(left.curves("training_loss")) == ["main"]
    assert left.curves("training_loss")["main"][1][-1] == 1 / 3412
    assert left.kept("main") == [0, 1000, 3400]
    step, state = left.state_at("second", 2000)
    assert (step, state["weight"].tolist()) == (1000, [1000.0] * 3)
    assert left.state_at("main", 3412)[0] == 3400


@pytest.mark.parametrize(("how", "says"), [("stopped", "was stopped"), ("failed", "failed"), ("finished", "finished")])
def test_how_it_ended_is_told(how, says):
    journal = Journal(shelf.new_folder("run"))
    journal.add("main", 12, {"loss": 1.0})
    assert shelf.earlier() == []
    journal.close(how)
    (left,) = shelf.earlier()
    assert f"A run named 'run' {says} at step 12 on " in left.says
    assert left.says.endswith("1 step and 0 checkpoints are kept.")


def test_the_latest_run_comes_first():
    folders = [ended("run", age) for age in (30, 10, 20)]
    assert [one.folder for one in shelf.earlier()] == [folders[1], folders[2], folders[0]]


def test_a_number_that_another_process_got_since_is_not_the_run():
    me = alive.identity()
    assert alive.lives(me)
    assert not alive.lives({**me, "started": (me["started"] or 0) - 1})
    assert not alive.lives({**me, "boot": "before the last boot"})
    assert not alive.lives({**me, "pid": 2**22 + 1, "started": 5})
    assert not alive.lives(None)
    assert not alive.lives({"pid": "text"})


def test_without_the_start_of_a_process_its_number_must_do(monkeypatch):
    monkeypatch.setattr(alive, "_started", lambda _pid: None)
    assert alive.lives(alive.identity())
    assert alive.exists(1)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not alive.lives({**alive.identity(), "pid": child.pid})


def test_a_dead_process_that_nobody_waited_for_does_not_live():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = {**alive.identity(), "pid": child.pid, "started": alive._started(child.pid)}
    assert alive.lives(process)
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not alive.lives(process)
    child.communicate()


def test_a_run_on_another_machine_lives_as_long_as_it_writes(tmp_path):
    far = {**alive.identity(), "machine": platform.node() + "-other"}
    assert alive.lives(far, tmp_path)
    (tmp_path / "rows-0.bin").write_bytes(b"")
    for path in (tmp_path / "rows-0.bin", tmp_path):
        os.utime(path, (time.time() - 2 * alive.SILENT,) * 2)
    assert not alive.lives(far, tmp_path)


def test_the_oldest_ended_runs_leave_first_and_five_stay():
    folders = [ended("run", 1000 - number) for number in range(8)]
    shelf.tidy()
    assert [folder.is_dir() for folder in folders] == [False] * 3 + [True] * 5


def test_the_room_of_all_runs_is_bounded():
    folders = [ended("run", 1000 - number, size=400_000) for number in range(4)]
    shelf.tidy(room=1e6)
    assert [folder.is_dir() for folder in folders] == [False, False, True, True]


def test_what_lives_what_is_held_and_what_just_begins_stay(home):
    living = Journal(shelf.new_folder("run"))
    living.add("main", 1, {"loss": 1.0})
    held = shelf.Recording(ended("run", 5000))
    beginning = home / f"run-20300101-000000-{os.getpid()}"
    beginning.mkdir()
    folder = ended("run", 10)
    assert shelf.tidy(runs=0, room=0) == [folder]
    assert all(one.is_dir() for one in (living.folder, held.folder, beginning))
    old = time.time() - 2 * shelf.YOUNG
    os.utime(beginning, (old, old))
    assert shelf.tidy(runs=5) == [beginning]


def test_runs_that_recorded_nothing_leave_first_of_all(home):
    Journal(shelf.new_folder("empty")).close("stopped")
    folder = ended("run", 5000)
    shelf.tidy()
    assert list(home.iterdir()) == [folder]


def test_processes_that_start_at_once_do_not_take_each_others_runs():
    started = [subprocess.Popen([sys.executable, "-c", MAKES_MANY], stdout=subprocess.PIPE) for _ in range(3)]
    outputs = [process.communicate(timeout=120)[0].decode().split() for process in started]
    assert [process.returncode for process in started] == [0] * 3
    folders = [folder for folders in outputs for folder in folders]
    assert len(set(folders)) == 45
    shelf.tidy()
    assert len(shelf.earlier()) == 5


def test_a_home_that_cannot_be_written_leaves_a_run_in_memory(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "file"))
    folder = shelf.new_folder("run")
    journal, timeline = Journal(folder), Timeline(1e6, 1e6, folder)
    journal.add("main", 1, {"loss": 1.0})
    timeline.keep("main", 1, {"a": 1})
    assert not timeline.flush(60)
    assert journal.problem
    assert timeline.problem
    assert timeline.at("main", 1) == (1, {"a": 1})
    assert shelf.earlier() == shelf.tidy() == []


def test_a_run_without_readable_facts_is_listed_by_its_folder(home):
    folder = ended("my run", 10)
    (folder / "about.json").write_text('{"name": "my r')
    old = time.time() - 2 * shelf.YOUNG
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (old, old))
    (left,) = shelf.earlier()
    assert (left.name, left.ended) == ("my-run", None)
    assert "ended without being stopped" in left.says


def test_names_make_plain_folders(home):
    folder = shelf.new_folder("../a b/ü: " + "x" * 100)
    assert folder.parent == home
    assert folder.name.startswith("a-b-ü-xxx")
    assert json.loads((folder / "about.json").read_text())["name"].startswith("../a b")
