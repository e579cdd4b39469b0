"""What a training told: not a row is lost by a killed process, readers never wait, and a full disk stops nothing."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from labkit.errors import LabError
from labkit.recording.history import Event
from labkit.views.curves import curves
from labkit.workbench.hold import journal as journals
from labkit.workbench.hold import rows as tables
from labkit.workbench.hold.journal import Branch, Journal

TOLD_AND_KILLED = """
import os, signal, sys
from pathlib import Path
from labkit.recording.history import Event
from labkit.workbench.hold.journal import Branch, Journal

journal, count = Journal(Path(sys.argv[1])), int(sys.argv[2])
journal.branch(Branch("main"))
journal.event(Event(1, "main", "change", "learning rate is 0.1 now"))
for step in range(1, count + 1):
    journal.add("main", step, {"training_loss": 1 / step, "balance": step / 7})
os.kill(os.getpid(), signal.SIGKILL)
"""


class FullDisk:
    """An os.write that takes so many bytes more, then the part that fits, then nothing."""

    def __init__(self, room: int):
        self.room, self.real = room, os.write

    def __call__(self, file: int, data) -> int:
        fits = min(self.room, len(data))
        if not fits:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= fits
        return self.real(file, bytes(data)[:fits])


def told(journal: Journal, quantity: str = "training_loss", branch: str = "main") -> list[tuple[int, float]]:
    return list(zip(*(part.tolist() for part in journal.curve(quantity, branch))))


@pytest.mark.parametrize("count", [1, 64, 65, 3000])
def test_a_process_killed_right_after_the_nth_row_left_all_n(tmp_path, count):
    done = subprocess.run([sys.executable, "-c", TOLD_AND_KILLED, str(tmp_path / "run"), str(count)], timeout=120)
    assert done.returncode == -signal.SIGKILL
    left = Journal.open(tmp_path / "run")
    assert told(left) == [(step, 1 / step) for step in range(1, count + 1)]
    assert told(left, "balance") == [(step, step / 7) for step in range(1, count + 1)]
    assert left.ended is None
    assert left.branches == [Branch("main", None, 0, count)]
    assert left.events == [Event(1, "main", "change", "learning rate is 0.1 now")]
    assert left.about["process"]["pid"] != os.getpid()


def test_half_a_row_and_half_a_line_at_the_end_are_cut(tmp_path):
    journal = Journal(tmp_path)
    for step in range(5):
        journal.add("main", step, {"loss": step / 2})
    journal.event(Event(1, "main", "note", "whole"))
    with open(tmp_path / "rows-0.bin", "ab") as file:
        file.write(b"\0" * 11)
    with open(tmp_path / "events.jsonl", "ab") as file:
        file.write(b'{"event": {"step": 2, "whe')
    (tmp_path / "rows-1.bin").write_bytes(b'{"format": "labkit rows 1", "bra')
    left = Journal.open(tmp_path)
    assert told(left, "loss") == [(step, step / 2) for step in range(5)]
    assert [event.says for event in left.events] == ["whole"]
    going_on = Journal(tmp_path)
    going_on.event(Event(3, "main", "note", "after the torn one"))
    going_on.add("main", 5, {"loss": 2.5})
    again = Journal.open(tmp_path)
    assert [event.says for event in again.events] == ["whole", "after the torn one"]
    assert told(again, "loss") == [(step, step / 2) for step in range(6)]


@pytest.mark.parametrize("room", [0, 70, *range(340, 357)])
def test_a_full_disk_stops_nothing_and_what_it_did_not_take_is_written_later(tmp_path, monkeypatch, room):
    journal, full = Journal(tmp_path), FullDisk(room)
    monkeypatch.setattr(os, "write", full)
    for step in range(50):
        journal.add("main", step, {"loss": float(step)})
    journal.event(Event(1, "main", "note", "said while it was full"))
    assert "No space left" in journal.problem or "a part of" in journal.problem
    assert told(journal, "loss") == [(step, float(step)) for step in range(50)]
    seen = told(Journal.open(tmp_path), "loss")
    assert seen == [(step, float(step)) for step in range(len(seen))]
    monkeypatch.setattr(tables, "AGAIN", 0.0)
    monkeypatch.setattr(os, "write", full.real)
    for rows in journal._all:
        rows._again = 0.0
    journal.add("main", 50, {"loss": 50.0})
    journal.event(Event(2, "main", "note", "said after"))
    left = Journal.open(tmp_path)
    assert told(left, "loss") == [(step, float(step)) for step in range(51)]
    assert [event.says for event in left.events] == ["said while it was full", "said after"]
    journal.note(any="fact")
    assert journal.problem is None


def test_a_row_that_the_disk_took_by_half_is_written_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "AGAIN", 0.0)
    journal, real = Journal(tmp_path), os.write
    for step in range(10):
        monkeypatch.setattr(os, "write", (lambda file, data: real(file, data[:5])) if step == 4 else real)
        journal.add("main", step, {"loss": float(step)})
        assert (journal.problem is None) == (step != 4)
    assert told(Journal.open(tmp_path), "loss") == [(step, float(step)) for step in range(10)]


def test_closing_writes_what_a_full_disk_did_not_take(tmp_path, monkeypatch):
    journal, full = Journal(tmp_path), FullDisk(0)
    monkeypatch.setattr(os, "write", full)
    for step in range(50):
        journal.add("main", step, {"loss": float(step)})
    monkeypatch.setattr(os, "write", full.real)
    journal.close("stopped")
    assert journal.problem is None
    assert told(Journal.open(tmp_path), "loss") == [(step, float(step)) for step in range(50)]


def test_a_folder_that_vanishes_is_noticed_and_written_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "LOOK", 10)
    journal = Journal(tmp_path / "run")
    for step in range(5):
        journal.add("main", step, {"loss": float(step)})
    shutil.rmtree(tmp_path / "run")
    for step in range(5, 30):
        journal.add("main", step, {"loss": float(step)})
    assert "was removed" in journal.problem
    assert told(journal, "loss") == [(step, float(step)) for step in range(30)]
    journal.close("stopped")
    assert told(Journal.open(tmp_path / "run"), "loss") == [(step, float(step)) for step in range(30)]


def test_a_folder_that_cannot_be_made_leaves_memory(tmp_path):
    (tmp_path / "file").write_text("in the way")
    journal = Journal(tmp_path / "file" / "run")
    journal.add("main", 1, {"loss": 1.0})
    journal.event(Event(1, "main", "note", "heard"))
    journal.close("stopped")
    assert journal.problem.endswith(".")
    assert told(journal, "loss") == [(1, 1.0)]
    assert [event.says for event in journal.events] == ["heard"]


def test_readers_see_whole_rows_while_the_training_adds(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROWS", 4096)
    journal, wrong, seen, over = Journal(tmp_path), [], [0], threading.Event()

    def read() -> None:
        while not over.is_set():
            for quantity, factor in (("one", 1.0), ("minus two", -2.0)):
                steps, values = journal.curve(quantity, "main")
                if not (np.array_equal(values, factor * steps) and (np.diff(steps) > 0).all()):
                    wrong.append((quantity, steps[-3:], values[-3:]))
            seen[0] += len(journal.branches) + len(journal.quantities) > 0

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for step in range(30_000):
        journal.add("main", step, {"one": float(step), "minus two": -2.0 * step})
        if step % 500 == 0:  # new tables come while the others are read
            journal.add(f"branch {step}", step, {f"quantity {step}": 1.0})
    over.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert seen[0] > 10


def test_a_row_is_seen_only_when_all_of_it_is_there():
    journal, seen = Journal(), []

    class Looking:
        """A buffer that looks at the journal whenever something is written into it."""

        def __init__(self, real: memoryview):
            self.real = real

        def __setitem__(self, place: slice, row: bytes) -> None:
            seen.append(told(journal, "loss"))
            self.real[place] = row

    journal.add("main", 1, {"loss": 1.0})
    room = journal._all[0]._room
    room.bytes = Looking(room.bytes)
    journal.add("main", 2, {"loss": 2.0})
    assert seen == [[(1, 1.0)]]
    assert told(journal, "loss") == [(1, 1.0), (2, 2.0)]


def test_memory_and_file_are_bounded_and_stay_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROWS", 1000)
    journal = Journal(tmp_path)
    for step in range(10_000):
        journal.add("main", step, {"loss": float(step)})
        assert step % 97 or len(journal.curve("loss", "main")[0]) <= 1000
    steps, values = journal.curve("loss", "main")
    assert (steps[0], steps[-1]) == (0, 9999)
    assert np.array_equal(steps, values)
    assert len(steps) >= 250
    assert set(np.diff(steps).tolist()) <= set(range(1, 33))
    assert (np.diff(steps)[:200] == 32).all()
    assert journal._all[0]._room.numbers.nbytes == 16_000
    assert (tmp_path / "rows-0.bin").stat().st_size < 16_200
    assert told(Journal.open(tmp_path), "loss") == told(journal, "loss")


def test_quantities_that_are_measured_now_and_then_have_values_at_their_steps_only():
    journal = Journal()
    for step in range(10):
        journal.add("main", step, {"training_loss": 1.0 * step})
        if step % 4 == 0:
            journal.add("main", step, {"test_accuracy": step / 10})
    journal.add("main", 10, {"training_loss": 10.0, "test_accuracy": 1.0})
    assert told(journal, "test_accuracy") == [(0, 0.0), (4, 0.4), (8, 0.8), (10, 1.0)]
    assert told(journal) == [(step, float(step)) for step in range(11)]
    assert journal.quantities == ["training_loss", "test_accuracy"]
    assert told(journal, "never heard of") == told(journal, branch="nowhere") == []


def test_a_whole_curve_begins_with_what_the_ancestors_shared():
    journal = Journal()
    for name, parent, start, sign in (("main", None, 0, 1), ("second", "main", 6, 2), ("early", "second", 3, 3)):
        journal.branch(Branch(name, parent, start))
        for step in range(start + 1, start + 5):
            journal.add(name, step, {"loss": float(sign * step)})
    assert [step for step, _ in told(journal, "loss", "second")] == [7, 8, 9, 10]
    whole = {name: journal.curve("loss", name, whole=True) for name in ("main", "second", "early")}
    assert whole["second"][0].tolist() == [1, 2, 3, 4, 7, 8, 9, 10]
    assert whole["second"][1].tolist() == [1, 2, 3, 4, 14, 16, 18, 20]
    assert whole["early"][1].tolist() == [1, 2, 3, 12, 15, 18, 21]
    assert journal.lineage("early") == [("second", 3), ("main", 3)]
    assert journal.branches[1] == Branch("second", "main", 6, 10)


def test_a_branch_that_goes_back_replaces_what_it_told_after(tmp_path):
    journal = Journal(tmp_path)
    for step in range(10):
        journal.add("main", step, {"loss": 1.0})
    for step in range(6, 8):
        journal.add("main", step, {"loss": 2.0})
    expected = [(step, 1.0 if step < 6 else 2.0) for step in range(8)]
    assert told(journal, "loss") == told(Journal.open(tmp_path), "loss") == expected
    assert journal.branches[0].last == 7


def test_not_a_number_and_infinity_are_values_too(tmp_path):
    journal = Journal(tmp_path)
    for step, value in enumerate([1.0, float("nan"), float("inf"), -0.0]):
        journal.add("main", step, {"loss": value})
    assert Journal.open(tmp_path).curve("loss", "main")[1].tobytes() == journal.curve("loss", "main")[1].tobytes()
    assert np.isnan(journal.curve("loss", "main")[1][1])


def test_many_sets_of_quantities_hold_few_files_open(tmp_path, monkeypatch):
    monkeypatch.setattr(journals, "OPEN", 8)
    journal, before = Journal(tmp_path), len(os.listdir("/dev/fd"))
    for step in range(3):
        for number in range(100):
            journal.add("main", step, {f"quantity {number}": float(number)})
    assert len(os.listdir("/dev/fd")) - before <= 8
    left = Journal.open(tmp_path)
    assert all(told(left, f"quantity {number}") == [(step, number) for step in range(3)] for number in range(100))
    journal.close("stopped")
    assert len(os.listdir("/dev/fd")) <= before


def test_how_it_ended_is_told_and_what_comes_later_stays_in_memory(tmp_path):
    journal = Journal(tmp_path)
    journal.note(name="run", model=Path)
    journal.add("main", 1, {"loss": 1.0})
    journal.close("failed")
    journal.close("stopped")
    journal.add("main", 2, {"loss": 2.0})
    journal.add("main", 2, {"new": 2.0})
    left = Journal.open(tmp_path)
    assert (left.ended, left.about["name"]) == ("failed", "run")
    assert told(left, "loss") == [(1, 1.0)]
    assert told(journal, "loss") == [(1, 1.0), (2, 2.0)]
    assert journal.problem is None


def test_an_earlier_run_can_be_read_and_not_written(tmp_path):
    Journal(tmp_path).add("main", 1, {"loss": 1.0})
    left = Journal.open(tmp_path)
    for write in (
        lambda: left.add("main", 2, {"loss": 1.0}),
        lambda: left.event(Event(1, "main", "note", "late")),
        lambda: left.branch(Branch("late")),
    ):
        with pytest.raises(LabError, match="only be read"):
            write()
    left.close("stopped")
    assert Journal.open(tmp_path).ended is None
    assert (left.events, len(left.branches)) == ([], 1)
    with pytest.raises(LabError, match="no recording"):
        Journal.open(tmp_path / "nowhere")


def test_what_is_no_number_is_refused_by_name():
    journal = Journal()
    with pytest.raises(LabError, match="step 3 has training_loss"):
        journal.add("main", 3, {"training_loss": "low"})
    assert told(journal) == []


def test_the_dataset_is_what_the_view_of_curves_draws():
    journal = Journal()
    journal.branch(Branch("main"))
    journal.branch(Branch("other", "main", 3))
    for step in range(1, 7):
        journal.add("main", step, {"training_loss": 1 / step})
    for step in range(4, 9):
        journal.add("other", step, {"training_loss": 2 / step})
    journal.add("main", 6, {"test_accuracy": 0.5})
    data = journal.dataset()
    assert data["training_loss"].dims == ("arm", "step")
    assert data["training_loss"].sel(arm="other", step=8) == 0.25
    assert np.isnan(data["training_loss"].sel(arm="other", step=3))
    assert journal.dataset(whole=True)["training_loss"].sel(arm="other", step=3) == 1 / 3
    assert data["test_accuracy"].notnull().sum() == 1
    names = {trace.name for trace in curves(data["training_loss"], events=journal.events).data}
    assert {"main", "other"} <= names
    assert Journal().dataset().sizes == {"arm": 0, "step": 0}
