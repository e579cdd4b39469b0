"""What a class was told is on disk once, in order, and survives a start, a clear and a second program."""

import os
import sqlite3
import stat
import subprocess
import sys
import time

import pytest

from labkit.errors import LabError
from labkit.workshop.classroom.codes import digest
from labkit.workshop.classroom.journal import Journal
from labkit.workshop.classroom.recorder import Recorder
from labkit.workshop.classroom.takeaway import csv_parts


def values(*steps):
    return [(step, "value", {"run": "net", "name": "loss", "step": step, "value": 0.5}) for step in steps]


@pytest.fixture
def journal(tmp_path):
    opened = Journal(tmp_path / "class")
    yield opened
    opened.close()


def test_a_batch_that_comes_twice_is_there_once(journal):
    student, _ = journal.seat("Ada")
    assert len(journal.keep([(student.number, values(1, 2, 3))])) == 3
    assert [one.seq for one in journal.keep([(student.number, values(2, 3, 4))])] == [4]
    assert [one.seq for one in journal.told()] == [1, 2, 3, 4]
    assert journal.count() == 4


def test_numbers_of_two_students_do_not_meet(journal):
    ada, bob = journal.seat("Ada")[0], journal.seat("Bob")[0]
    journal.keep([(ada.number, values(1)), (bob.number, values(1))])
    assert [(one.student, one.seq) for one in journal.told()] == [(0, 1), (1, 1)]


def test_a_class_that_starts_again_is_the_same_class(tmp_path):
    first = Journal(tmp_path / "class")
    student, token = first.seat("Ada")
    first.keep([(student.number, values(1, 2))])
    first.say("notice", {"says": "hello"})
    before = first.code, first.teacher_token, first.identity
    first.close()
    again = Journal(tmp_path / "class")
    assert (again.code, again.teacher_token, again.identity) == before
    assert again.students()[digest(token)] == student
    assert [one.seq for one in again.everything()] == [1, 2]
    assert again.keep([(student.number, values(1, 2))]) == []
    assert again.said() == [(1, "notice", {"says": "hello"})]
    again.close()


def test_the_same_name_twice_can_be_told_apart(journal):
    shown = [journal.seat(name)[0].shown for name in ("Ada", "ada", "Ada 2", "Ada")]
    assert len({name.casefold() for name in shown}) == 4
    assert shown[0] == "Ada"


def test_what_was_cleared_does_not_come_back_with_a_late_batch(journal):
    student, _ = journal.seat("Ada")
    journal.keep([(student.number, values(1, 2, 3))])
    journal.clear()
    assert journal.count() == 0
    assert journal.keep([(student.number, values(2, 3))]) == []
    assert [one.seq for one in journal.keep([(student.number, values(3, 4))])] == [4]
    assert student in journal.students().values()


def test_what_was_cleared_is_not_in_the_file_any_more(journal):
    student, _ = journal.seat("Ada")
    journal.keep([(student.number, [(1, "check", {"exercise": "x", "right": False, "says": "a-secret-sentence"})])])
    journal.clear()
    files = [path for path in journal.folder.iterdir() if path.is_file()]
    assert not any(b"a-secret-sentence" in path.read_bytes() for path in files)


@pytest.mark.skipif(os.name == "nt", reason="permissions are another thing there")
def test_only_the_teacher_reads_the_tokens(journal):
    _, token = journal.seat("Ada")
    assert stat.S_IMODE(journal.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((journal.folder / "class.db").stat().st_mode) == 0o600
    assert not any(token.encode() in path.read_bytes() for path in journal.folder.iterdir() if path.is_file())


def test_a_second_program_on_the_same_folder_is_told_so(tmp_path, journal):
    load = "from pathlib import Path; from labkit.workshop.classroom.journal import Journal"
    code = f"{load}; Journal(Path({str(journal.folder)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert "is open in another program" in done.stderr


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match="--folder"):
        Journal(tmp_path / "file" / "class")


def test_it_is_on_disk_before_anybody_hears_that_it_is_kept(journal, tmp_path):
    """The file is copied as it lies there, as after a power cut, at the moment of the answer."""
    student, _ = journal.seat("Ada")
    recorder = Recorder(journal, lambda fresh: None)
    for step in range(1, 6):
        recorder.take(student.number, values(step)).result(10)
        copy = tmp_path / f"copy{step}"
        copy.mkdir()
        for path in journal.folder.iterdir():
            if path.name.startswith("class.db") and not path.name.endswith("-shm"):
                (copy / path.name).write_bytes(path.read_bytes())
        with sqlite3.connect(copy / "class.db") as store:
            assert store.execute("SELECT COUNT(*) FROM told").fetchone()[0] == step
    recorder.close()


def test_what_cannot_be_written_is_not_said_to_be_kept(journal, monkeypatch):
    student, _ = journal.seat("Ada")
    recorder = Recorder(journal, lambda fresh: None)
    monkeypatch.setattr(journal, "keep", lambda batches: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="full"):
        recorder.take(student.number, values(1)).result(10)
    monkeypatch.undo()
    recorder.take(student.number, values(1)).result(10)
    assert journal.count() == 1
    recorder.close()


def test_what_arrives_together_is_written_together(journal, monkeypatch):
    students = [journal.seat(f"S{n}")[0] for n in range(50)]
    flushes, keep = [], journal.keep

    def slow(batches):
        flushes.append(len(batches))
        time.sleep(0.02)
        return keep(batches)

    monkeypatch.setattr(journal, "keep", slow)
    recorder = Recorder(journal, lambda fresh: None)
    for done in [recorder.take(one.number, values(1, 2)) for one in students]:
        done.result(10)
    recorder.close()
    assert len(flushes) < 10
    assert journal.count() == 100


def test_a_file_for_spreadsheets_has_a_line_for_everything_and_no_formula(journal):
    student, _ = journal.seat("=cmd|' /C calc'!A0")
    told = [
        (1, "check", {"exercise": "+x", "right": False, "says": "@SUM(1)\nand, a comma"}),
        (2, "value", {"run": "-r", "name": "loss", "step": 3, "value": "nan"}),
        (3, "guess", {"question": "q", "points": [[0, 1]]}),
        (4, "study", {"name": "s", "seed": 0, "arm": "=a", "value": -0.5}),
    ]
    journal.keep([(student.number, told)])
    import csv

    rows = list(csv.DictReader("".join(csv_parts(journal, {0: student.shown})).lstrip("\ufeff").splitlines(True)))
    assert len(rows) == 4
    for row in rows:
        assert not any(str(cell).startswith(("=", "+", "@")) for cell in row.values())
        assert row["student"].startswith("'=")
    assert rows[1]["value"] == "nan"
    assert rows[3]["value"] == "-0.5"
    assert rows[1]["what"].startswith("'-r")
