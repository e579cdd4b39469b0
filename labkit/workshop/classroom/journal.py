"""What a class has been told, on disk: every message once, by student and number, before anybody hears that it is kept.

One SQLite file, class.db, in the folder of the class, with a write-ahead log that is flushed to the disk at every commit.
Whoever starts the class again on this folder goes on with the same code, the same tokens and everything that was told.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from labkit.errors import LabError
from labkit.workshop.classroom.codes import digest, new_code, new_token

TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS students (
    number INTEGER PRIMARY KEY, name TEXT, shown TEXT, token TEXT UNIQUE, at REAL, cleared INTEGER DEFAULT 0
);
CREATE TABLE IF NOT EXISTS told (
    place INTEGER PRIMARY KEY AUTOINCREMENT, student INTEGER, seq INTEGER, kind TEXT, what TEXT, at INTEGER,
    UNIQUE (student, seq)
);
CREATE TABLE IF NOT EXISTS said (number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT, what TEXT, at INTEGER);
CREATE TABLE IF NOT EXISTS runs (era TEXT, name TEXT, run TEXT, PRIMARY KEY (era, name));
"""


@dataclass(frozen=True)
class Message:
    """One thing that a student told. `place` counts all messages of the class, `at` is when it arrived, in ms."""

    place: int
    student: int
    seq: int
    kind: str
    what: dict[str, Any]
    at: int


@dataclass(frozen=True)
class Student:
    """A student: the number of the seat, the name that was typed, and the one that is shown, which nobody else has."""

    number: int
    name: str
    shown: str


class Journal:
    """The file of one class. Thread-safe.

    Raises: LabError where the folder cannot be written, or another program has this class open.
    """

    def __init__(self, folder: Path):
        self._lock, self.folder = RLock(), folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.chmod(folder, 0o700)  # the teacher's token is in it
            self._store = sqlite3.connect(
                folder / "class.db", timeout=2.0, isolation_level=None, check_same_thread=False
            )
            os.chmod(folder / "class.db", 0o600)
            self._store.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._store.execute("PRAGMA journal_mode=WAL")
            self._store.execute("PRAGMA synchronous=FULL")
            self._store.executescript(TABLES)
            self._store.execute("BEGIN IMMEDIATE")
            self._store.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            if "locked" in str(error):
                raise LabError(f"The class in {folder} is open in another program: end it there first.") from error
            raise LabError(
                f"The class cannot be kept in {folder} ({error}): name another one with --folder."
            ) from error
        known = (
            "SELECT number, MAX(cleared, COALESCE((SELECT MAX(seq) FROM told WHERE student = number), 0)) FROM students"
        )
        self._highest: dict[int, int] = dict(self._store.execute(known).fetchall())
        self.code = self.fact("code", new_code)
        self.identity = self.fact("identity", new_token)
        self.teacher_token = self.fact("teacher", new_token)
        self.begun = float(self.fact("begun", lambda: str(time.time())))

    def fact(self, name: str, otherwise: Any = None) -> str:
        """A fact of the class; where it is not known yet, what `otherwise()` gives is written down."""
        with self._lock:
            row = self._store.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
            if row is not None:
                return row[0]
            value = str(otherwise()) if otherwise is not None else ""
            if otherwise is not None:
                self.note(name, value)
            return value

    def note(self, name: str, value: str) -> None:
        with self._lock:
            self._store.execute("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", (name, value))

    def seat(self, name: str) -> tuple[Student, str]:
        """A new student with a token; a name that is taken gets a number after it."""
        token = new_token()
        with self._lock:
            taken = {row[0].casefold() for row in self._store.execute("SELECT shown FROM students")}
            shown, count = name, 1
            while shown.casefold() in taken:
                count += 1
                shown = f"{name} {count}"
            number = self._store.execute("SELECT COALESCE(MAX(number) + 1, 0) FROM students").fetchone()[0]
            self._store.execute(
                "INSERT INTO students (number, name, shown, token, at) VALUES (?, ?, ?, ?, ?)",
                (number, name, shown, digest(token), time.time()),
            )
        return Student(number, name, shown), token

    def students(self) -> dict[str, Student]:
        """All students by the digest of their token."""
        with self._lock:
            rows = self._store.execute("SELECT token, number, name, shown FROM students ORDER BY number").fetchall()
        return {row[0]: Student(*row[1:]) for row in rows}

    def keep(self, batches: list[tuple[int, list[tuple[int, str, dict]]]]) -> list[Message]:
        """Write batches of (student, [(number, kind, fields)]) in one go; returns what was not known before.

        When this returns, everything is on the disk.
        """
        fresh, at = [], int(time.time() * 1000)
        with self._lock:
            self._store.execute("BEGIN IMMEDIATE")
            try:
                for student, messages in batches:
                    # a notebook tells in order, so what is below its highest number is known: a batch that is sent again,
                    # as happens most when the machine is slow already, costs next to nothing
                    highest = self._highest.get(student, 0)
                    for seq, kind, what in messages:
                        if seq <= highest:
                            continue
                        text = json.dumps(what, separators=(",", ":"))
                        done = self._store.execute(
                            "INSERT OR IGNORE INTO told (student, seq, kind, what, at) VALUES (?, ?, ?, ?, ?)",
                            (student, seq, kind, text, at),
                        )
                        if done.rowcount == 1:
                            fresh.append(Message(int(done.lastrowid or 0), student, seq, kind, what, at))
                self._store.execute("COMMIT")
            except BaseException:
                self._store.execute("ROLLBACK")
                raise
            for one in fresh:
                self._highest[one.student] = max(one.seq, self._highest.get(one.student, 0))
        return fresh

    def told(self, after: int = 0, most: int = 5000) -> list[Message]:
        """What was told after a place, in order."""
        with self._lock:
            rows = self._store.execute(
                "SELECT place, student, seq, kind, what, at FROM told WHERE place > ? ORDER BY place LIMIT ?",
                (after, most),
            ).fetchall()
        return [Message(*row[:4], json.loads(row[4]), row[5]) for row in rows]

    def everything(self) -> Iterator[Message]:
        """All that was told, in order, read piece by piece."""
        after = 0
        while part := self.told(after):
            yield from part
            after = part[-1].place

    def count(self) -> int:
        """How many messages are kept."""
        with self._lock:
            return self._store.execute("SELECT COUNT(*) FROM told").fetchone()[0]

    def last(self) -> int:
        """The place of the newest message, 0 where there is none."""
        with self._lock:
            return self._store.execute("SELECT COALESCE(MAX(place), 0) FROM told").fetchone()[0]

    def say(self, kind: str, what: dict[str, Any]) -> int:
        """Write down what the teacher says; returns its number."""
        with self._lock:
            text = json.dumps(what, separators=(",", ":"))
            made = self._store.execute(
                "INSERT INTO said (kind, what, at) VALUES (?, ?, ?)", (kind, text, int(time.time() * 1000))
            )
            return int(made.lastrowid or 0)

    def said(self) -> list[tuple[int, str, dict]]:
        """The last that was said of each kind, in order."""
        with self._lock:
            rows = self._store.execute(
                "SELECT number, kind, what FROM said WHERE number IN (SELECT MAX(number) FROM said GROUP BY kind) "
                "ORDER BY number"
            ).fetchall()
        return [(number, kind, json.loads(what)) for number, kind, what in rows]

    def clear(self) -> None:
        """Forget all that was told; what a notebook sends again afterwards is not counted a second time."""
        with self._lock:
            self._store.execute("PRAGMA secure_delete=ON")
            self._store.execute("BEGIN IMMEDIATE")
            self._store.execute(
                "UPDATE students SET cleared = MAX(cleared, COALESCE((SELECT MAX(seq) FROM told "
                "WHERE told.student = students.number), 0))"
            )
            self._store.execute("DELETE FROM told")
            self._store.execute("COMMIT")
            self._store.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def runs(self, era: str) -> dict[str, str]:
        """MLflow's runs of this era of the class, by name."""
        with self._lock:
            return dict(self._store.execute("SELECT name, run FROM runs WHERE era = ?", (era,)).fetchall())

    def add_run(self, era: str, name: str, run: str) -> None:
        with self._lock:
            self._store.execute("INSERT OR REPLACE INTO runs (era, name, run) VALUES (?, ?, ?)", (era, name, run))

    def close(self) -> None:
        with self._lock:
            self._store.close()
