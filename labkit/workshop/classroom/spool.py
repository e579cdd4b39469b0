"""What a notebook has told and the class has not yet confirmed, in a small file: a killed kernel loses nothing.

The file is $LABKIT_HOME/class/told.db, by default below .labkit of the checkout. Several notebooks may use it at once:
a student who works in two of them has one seat. A message leaves the file only when the class has it on its own disk.
"""

import json
import os
import sqlite3
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

MOST = 200_000
"""Messages kept for one seat at most; what is told beyond that is counted and not kept."""
OLD = 30 * 24 * 3600
TABLES = """
CREATE TABLE IF NOT EXISTS seats (
    id INTEGER PRIMARY KEY, code TEXT, name TEXT, class TEXT, token TEXT, number INTEGER, shown TEXT, at REAL,
    delivered INTEGER DEFAULT 0, refused INTEGER DEFAULT 0
);
CREATE TABLE IF NOT EXISTS waiting (seq INTEGER PRIMARY KEY AUTOINCREMENT, seat INTEGER, kind TEXT, what TEXT);
CREATE INDEX IF NOT EXISTS by_seat ON waiting (seat, seq);
"""


@dataclass(frozen=True)
class Known:
    """A seat that the class has given: who it is there, and the token that proves it."""

    id: int
    name: str
    of: str
    token: str
    number: int
    shown: str


def home() -> Path:
    """Where the file is kept."""
    given = os.environ.get("LABKIT_HOME")
    return (Path(given) if given else Path(__file__).resolve().parents[3] / ".labkit") / "class"


class Spool:
    """The file. All methods may be called from any thread; `keep` waits for another program at most a moment."""

    def __init__(self, folder: Path | None = None):
        folder = home() if folder is None else Path(folder)
        self.lasts = True
        """Whether what is kept outlives this program: not where the folder cannot be written."""
        self._lock, self._late = RLock(), deque[tuple[int, str, str]]()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._store = self._open(folder / "told.db")
        except (OSError, sqlite3.Error):
            self.lasts, self._store = False, self._open(":memory:")
        self._counts: dict[int, int] = {}

    @staticmethod
    def _open(place: Path | str) -> sqlite3.Connection:
        store = sqlite3.connect(place, timeout=2.0, isolation_level=None, check_same_thread=False)
        try:
            store.execute("PRAGMA journal_mode=WAL")
            store.execute("PRAGMA synchronous=NORMAL")
            store.executescript(TABLES)
            if isinstance(place, Path):
                os.chmod(place, 0o600)  # the tokens are in it
            old = time.time() - OLD
            store.execute("DELETE FROM waiting WHERE seat IN (SELECT id FROM seats WHERE at < ?)", (old,))
            store.execute("DELETE FROM seats WHERE at < ?", (old,))
            store.execute("PRAGMA busy_timeout=100")
        except sqlite3.Error:
            store.close()
            raise
        return store

    def known(self, code: str, name: str) -> Known | None:
        """The newest seat that was taken with this code and this name, or None."""
        with self._lock:
            row = self._store.execute(
                "SELECT id, name, class, token, number, shown FROM seats WHERE code = ? AND name = ? "
                "ORDER BY id DESC LIMIT 1",
                (code, name),
            ).fetchone()
        return None if row is None else Known(*row)

    def take(self, code: str, name: str, given: dict[str, Any]) -> Known:
        """Write down the seat that the class gave; the same seat again is only refreshed."""
        fields = str(given["class"]), str(given["token"]), int(given["number"]), str(given["shown"])
        with self._lock:
            before = self.known(code, name)
            if before is not None and (before.of, before.token) == fields[:2]:
                self._store.execute(
                    "UPDATE seats SET at = ?, shown = ? WHERE id = ?", (time.time(), fields[3], before.id)
                )
                return before
            made = self._store.execute(
                "INSERT INTO seats (code, name, class, token, number, shown, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (code, name, *fields, time.time()),
            )
            return Known(int(made.lastrowid or 0), name, *fields)

    def keep(self, seat: int, kind: str, what: dict[str, Any]) -> bool:
        """Keep one message; False where the seat has too many waiting. Never raises, never waits long."""
        text = json.dumps(what, allow_nan=False, separators=(",", ":"))
        with self._lock:
            if seat not in self._counts:
                self._counts[seat] = self.waiting(seat)
            if self._counts[seat] >= MOST:
                return False
            self._counts[seat] += 1
            self._late.append((seat, kind, text))
            self._write_late()
        return True

    def _write_late(self) -> None:
        """Write what is not in the file yet, in order; what the file cannot take now waits in memory."""
        try:
            while self._late:
                self._store.execute("INSERT INTO waiting (seat, kind, what) VALUES (?, ?, ?)", self._late[0])
                self._late.popleft()
        except sqlite3.Error:
            return

    def batch(self, seat: int, most: int, size: int) -> list[list[Any]]:
        """The oldest messages that wait, [number, kind, fields], about so many bytes at most."""
        with self._lock:
            self._write_late()
            rows = self._store.execute(
                "SELECT seq, kind, what FROM waiting WHERE seat = ? ORDER BY seq LIMIT ?", (seat, most)
            ).fetchall()
        found, weight = [], 0
        for number, kind, what in rows:
            weight += len(what) + len(kind) + 40
            if found and weight > size:
                break
            found.append([number, kind, json.loads(what)])
        return found

    def confirm(self, seat: int, numbers: list[int], refused: int = 0) -> None:
        """The class has these, or will never take them: they need not be kept."""
        with self._lock:
            self._store.execute("BEGIN IMMEDIATE")
            try:
                gone = sum(
                    self._store.execute("DELETE FROM waiting WHERE seq = ? AND seat = ?", (number, seat)).rowcount
                    for number in numbers
                )
                self._store.execute(
                    "UPDATE seats SET delivered = delivered + ?, refused = refused + ? WHERE id = ?",
                    (max(0, gone - refused), refused, seat),
                )
                self._store.execute("COMMIT")
            except sqlite3.Error:
                self._store.execute("ROLLBACK")
                raise
            if seat in self._counts:
                self._counts[seat] = max(0, self._counts[seat] - gone)

    def waiting(self, seat: int) -> int:
        """How many messages of this seat the class has not confirmed."""
        with self._lock:
            kept = self._store.execute("SELECT COUNT(*) FROM waiting WHERE seat = ?", (seat,)).fetchone()[0]
            return kept + sum(of == seat for of, _, _ in self._late)

    def delivered(self, seat: int) -> tuple[int, int]:
        """How many messages of this seat the class has, and how many it did not take."""
        with self._lock:
            row = self._store.execute("SELECT delivered, refused FROM seats WHERE id = ?", (seat,)).fetchone()
        return (0, 0) if row is None else (row[0], row[1])

    def close(self) -> None:
        with self._lock:
            self._write_late()
            self._store.close()
