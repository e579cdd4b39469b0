"""The rows of one branch and one set of quantities: a table that grows in memory, and the same table in a file.

A row is the step and the values, packed as little-endian float64: 8 (1 + n) bytes for n quantities, 24 for two. Each row
is written with one system call before `add` returns, so a process that is killed right after it loses nothing. (A power
cut may lose what the operating system had not yet put on the disk.)

One thread adds, any number read, and nobody waits: a reader takes the length first and then looks at no more rows than
that; rows that were published never change, and a table that moves to a larger buffer leaves the old one as it is.

Both are bounded: at `ROWS` rows the table is thinned to half of them or fewer, spread evenly over the steps, in memory
and in the file (24 MiB for two quantities, twice that in memory in the moment of moving).
"""

import json
import os
import struct
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from labkit.errors import LabError

ROWS = 2**20
FORMAT = "labkit rows 1"
AGAIN = 30.0
"""Seconds after which a file that could not be written is tried again."""
LOOK = 1024
"""Rows after which is looked whether the file is still there."""


class _Room:
    """A buffer and how much of it is filled: `end` in bytes is set after the row is there."""

    __slots__ = ("bytes", "end", "numbers", "size")

    def __init__(self, rows: int, columns: int):
        self.numbers = np.empty(rows * columns, dtype="<f8")
        self.bytes = self.numbers.data.cast("B")
        self.size, self.end = self.numbers.nbytes, 0


class Rows:
    """A growing table with the columns (step, *names) of one branch; see the module for who may do what when."""

    def __init__(self, branch: str, names: tuple[str, ...], path: Path | None = None, brief: bool = False):
        self.branch, self.names, self.path = branch, names, path
        self._brief = brief  # whether the file is opened for each row alone, and held open never
        self.last = -1.0
        """The step that was added last."""
        self.problem: str | None = None
        self._width = 8 * (1 + len(names))
        self._look = LOOK * self._width
        self._pack = struct.Struct(f"<{1 + len(names)}d").pack
        self._room = _Room(64, 1 + len(names))
        self._back = False  # whether a step ever came that was not after the one before
        self._file: int | None = None
        self._whole = False  # whether the file holds all rows that are in memory
        self._again = 0.0

    @classmethod
    def open(cls, path: Path) -> "Rows | None":
        """The table of a file as far as it is whole; None where not even its first line is."""
        try:
            head, _, body = path.read_bytes().partition(b"\n")
            facts = json.loads(head)
            branch, columns = str(facts["branch"]), [str(name) for name in facts["columns"]]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        rows = cls(branch, tuple(columns[1:]), path)
        count = len(body) // rows._width
        rows._move(np.frombuffer(body[: count * rows._width], dtype="<f8"), max(64, 2 * count))
        if count:
            steps = rows.read()[0]
            rows.last = float(steps[-1])
            rows._back = bool((np.diff(steps) <= 0).any())
        return rows

    def add(self, step: int, values: Iterable[float]) -> None:
        """Add a row. Trouble with the file is kept in `problem`; the row is in memory then.

        Raises: LabError when a value is no number.
        """
        try:
            row = self._pack(step, *values)
        except (struct.error, TypeError, ValueError, RuntimeError) as error:
            raise LabError(
                f"Only numbers can be recorded, and step {step} has {_told(self.names)}: {error}."
            ) from error
        room = self._room
        end = room.end
        if end == room.size:
            room = self._more()
            end = room.end
        room.bytes[end : end + self._width] = row
        if step <= self.last:
            self._back = True
        self.last = step
        room.end = end + self._width
        if self._file is not None:
            try:
                written = os.write(self._file, row)
            except OSError as error:
                self._failed(error)
            else:
                if written != self._width:
                    self._failed(OSError("the disk took only a part of a row"))
                elif not end % self._look and os.fstat(self._file).st_nlink == 0:
                    self._failed(OSError("the file was removed"))
        elif self.path is not None and time.monotonic() >= self._again:
            self._open(row)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps (rows,) and values (rows, names). Where the steps went back, only what was recorded after counts."""
        room = self._room
        table = room.numbers[: room.end // 8].reshape(-1, 1 + len(self.names))
        if self._back and len(table) > 1:
            soonest = np.minimum.accumulate(table[::-1, 0])[::-1]  # of this row and all that came after it
            table = table[np.append(table[:-1, 0] < soonest[1:], True)]
        return table[:, 0].astype(np.int64), table[:, 1:]

    def close(self) -> None:
        """Let the file go, for good; what could not be written before is tried once more."""
        if self.path is not None and self.problem is not None:
            self._rewrite()
        self._let_go()
        self.path = None

    def _more(self) -> _Room:
        count = self._room.end // self._width
        if count < ROWS:
            self._move(self._room.numbers[: self._room.end // 8], min(2 * count, ROWS))
            return self._room
        steps, values = self.read()
        # powers of two, so that the rows that were kept the last time fall on the new places
        width = 2 ** int(np.ceil(np.log2(max(1, (steps[-1] - steps[0]) / (ROWS // 2 - 2)))))
        kept = np.append(np.diff(steps // width, prepend=steps[0] // width - 1)[:-1] > 0, True)
        self._move(np.column_stack([steps[kept], values[kept]]).reshape(-1), ROWS)
        self._back = False
        if self.path is not None:
            self._rewrite()
        return self._room

    def _move(self, numbers: np.ndarray, rows: int) -> None:
        room = _Room(rows, 1 + len(self.names))
        room.numbers[: len(numbers)] = numbers
        room.end = numbers.nbytes
        self._room = room

    def _open(self, row: bytes) -> None:
        if not self._whole or self.path is None:
            self._rewrite()
        else:
            try:
                self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
                if os.write(self._file, row) != len(row):
                    raise OSError("the disk took only a part of a row")
            except OSError as error:
                self._failed(error)
        if self._brief:
            self._let_go()

    def _rewrite(self) -> None:
        """Write all rows anew, beside the file, and put it in its place: the file is never without them."""
        assert self.path is not None
        self._let_go()
        draft = self.path.with_name(f"{self.path.name}.part")
        head = {"format": FORMAT, "branch": self.branch, "columns": ["step", *self.names]}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            for part in (json.dumps(head, ensure_ascii=False).encode() + b"\n", self._room.bytes[: self._room.end]):
                if os.write(self._file, part) != len(part):
                    raise OSError("the disk took only a part of the rows")
            os.replace(draft, self.path)
        except OSError as error:
            self._failed(error)
        else:
            self._whole, self.problem = True, None

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _failed(self, error: OSError) -> None:
        self._let_go()
        self._whole, self._again = False, time.monotonic() + AGAIN
        why = error.strerror or str(error)
        self.problem = f"What is recorded is kept in memory only, because the file cannot be written: {why}."


def rising(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In the order of the steps; of two values at one step that which came later."""
    order = np.argsort(steps, kind="stable")
    steps, values = steps[order], values[order]
    last = np.append(steps[:-1] < steps[1:], True)[: len(steps)]
    return steps[last], values[last]


def _told(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "no value"
