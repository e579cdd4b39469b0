"""The states that a training was in, kept under two bounds: bytes in memory and bytes on the disk.

Every state that is kept is written to the disk by a thread of its own, and stays in memory as long as there is room:

- memory full: the oldest ones that are on the disk leave memory;
- disk full, or memory full of states that are not on the disk (there is no folder, the disk is slow or broken): they are
  thinned. Those go first whose neighbours are nearest, so what stays is spread evenly over the steps; marked ones go
  after the others, and the first and the last of each branch when nothing else is left.

The bounds hold at every moment, the file that is being written included, with one exception: the latest state and the
one that is being written are in memory however small the bound is. At most 2,048 states are kept. A state that `at` or
`near` gives is a copy and belongs to the caller; one from a file lies on the processor.
"""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from labkit.errors import LabError
from labkit.workbench.hold.holdings import Holdings
from labkit.workbench.hold.state_files import TooLarge, clear, load, measured, names_in, number_of, save, scan
from labkit.workbench.hold.thinning import Kept

AGAIN = 30.0
"""Seconds after which a disk that took nothing is tried again."""
IDLE = 5.0
"""Seconds without work after which the writing thread ends; the next state starts a new one."""


class Timeline(Holdings):
    """See the module. The files lie in `folder`/states; a folder that has some already is continued."""

    def __init__(self, memory: float = 256e6, disk: float = 1e9, folder: Path | None = None, *, _reading: bool = False):
        self.folder = None if folder is None else folder / "states"
        super().__init__(int(memory), int(disk), scan(self.folder) if self.folder is not None else [])
        self._names = names_in(self.folder) if self.folder is not None else {}
        if self.folder is not None and not _reading:
            clear(self.folder)
        self._reading = _reading
        self._unwritten: str | None = None
        self._unread: str | None = None
        self._changed = threading.Condition(threading.RLock())
        self._again = 0.0
        self._writer: threading.Thread | None = None

    @classmethod
    def open(cls, folder: Path | str) -> "Timeline":
        """What an earlier run kept, to be read."""
        return cls(0, 0, Path(folder), _reading=True)

    def keep(self, branch: str, step: int, state: Any, marked: bool = False) -> None:
        """Keep the state after a step; it belongs to the timeline from now on. One that is there already is replaced.

        Never waits for the disk. Raises: LabError when this timeline is one to read.
        """
        if self._reading:
            raise LabError("These are the checkpoints of an earlier run, which can only be read; go on with a LiveRun.")
        size = measured(state)
        with self._changed:
            if (old := self._of(branch).get(step)) is not None:
                marked = marked or old.marked
                self._drop(old)
            kept = Kept(branch, step, marked, next(self._orders), size, state, None)
            self._of(branch)[step] = self._newest = kept
            self._only_here[kept] = None
            self._used[0] += size.nbytes
            if self.folder is not None and self.disk > 0:
                if size.obstacle is None:
                    self._waiting[kept] = None
                else:
                    self._unwritten = (
                        f"Checkpoints stay in memory only: they hold a {size.obstacle}, which no file takes."
                    )
            self._fit()
            self._wake()

    def at(self, branch: str, step: int, lineage: Iterable[tuple[str, int]] = ()) -> tuple[int, Any] | None:
        """The nearest kept state at or before a step, with its step; None where there is none.

        Where the branch has none so early its ancestors are asked: `lineage` is (name, last shared step), parent first,
        as `Journal.lineage` tells. A file that cannot be read is passed over, and `problem` says so.
        """
        for name, upto in [(branch, step), *((name, min(step, upto)) for name, upto in lineage)]:
            found = self._first(name, lambda one, upto=upto: upto - one if one <= upto else None)
            if found is not None:
                return found
        return None

    def near(self, branch: str, step: int) -> tuple[int, Any] | None:
        """The kept state whose step is nearest, of two as near the earlier one; None where the branch has none."""
        return self._first(branch, lambda one: abs(one - step))

    def steps(self, branch: str) -> list[int]:
        """The steps of a branch that are kept, ascending."""
        with self._changed:
            return sorted(step for step, one in self._kept.get(branch, {}).items() if not one.torn)

    @property
    def branches(self) -> list[str]:
        """The branches that have a kept state."""
        with self._changed:
            return [branch for branch, steps in self._kept.items() if steps]

    @property
    def marked(self) -> list[tuple[str, int]]:
        """(branch, step) of the marked ones."""
        with self._changed:
            return sorted((one.branch, one.step) for one in self._all() if one.marked)

    @property
    def bytes(self) -> tuple[int, int]:
        """What is used now, in memory and on the disk."""
        with self._changed:
            return self._used[0], self._used[1]

    @property
    def problem(self) -> str | None:
        """Why something could not be written or read, as a sentence; None where all is well."""
        return self._unwritten or self._unread

    def forget(self, branch: str, after: int) -> None:
        """Drop the states of a branch after a step, where it is trained again from there."""
        with self._changed:
            for step in [step for step in self._of(branch) if step > after]:
                self._drop(self._of(branch)[step])
            self._wake()

    def flush(self, seconds: float = 5.0) -> bool:
        """Wait until everything is on the disk; False when it was not after so many seconds."""
        with self._changed:
            self._again = 0.0
            self._wake()
            self._changed.wait_for(lambda: self._done() or time.monotonic() < self._again, seconds)
            return self._done()

    def _first(self, branch: str, distance: Callable[[int], int | None]) -> tuple[int, Any] | None:
        with self._changed:
            far = [(distance(step), step, one) for step, one in self._of(branch).items() if not one.torn]
        near = sorted(((far, step, one) for far, step, one in far if far is not None), key=lambda found: found[:2])
        for _, step, one in near:
            with self._changed:
                state, path = one.state, one.path
            if state is not None:
                return step, deepcopy(state)
            if path is None:  # thinned in this moment
                continue
            try:
                return step, load(path)
            except Exception as error:
                with self._changed:
                    if one.path == path:
                        why = " ".join(str(error).split())[:120]
                        self._unread = f"The checkpoint of step {step:,} of {branch} cannot be read ({why})."
                        one.torn = isinstance(error, FileNotFoundError) or not isinstance(error, OSError | MemoryError)
        return None

    def _wake(self) -> None:
        if self._reading:
            self._rubbish.clear()
        elif self._writer is None and (self._waiting or self._rubbish):
            self._writer = threading.Thread(target=self._write, name="labkit-checkpoints", daemon=True)
            self._writer.start()
        self._changed.notify_all()

    def _done(self) -> bool:
        return not (self._waiting or self._rubbish or self._flight)

    def _ready(self) -> bool:
        return bool(self._rubbish) or bool(self._waiting and time.monotonic() >= self._again)

    def _write(self) -> None:
        """The thread: first what is to be removed, then the next state; it ends when there was nothing for a while."""
        while True:
            with self._changed:
                broken = self._again - time.monotonic()
                self._changed.wait_for(self._ready, min(broken, 1.0) if self._waiting and broken > 0 else IDLE)
                if not (self._rubbish or self._waiting):
                    self._writer = None
                    return
                rubbish = list(self._rubbish)
                one = None if rubbish or not self._ready() else self._next()
                room = self.disk - self._used[1]
            for path, _ in rubbish:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            if rubbish:
                with self._changed:
                    del self._rubbish[: len(rubbish)]
                    self._used[1] -= sum(nbytes for _, nbytes in rubbish)
                    self._changed.notify_all()
            if one is not None:
                self._written(one, *self._saved(one, room))

    def _next(self) -> Kept | None:
        """The oldest that waits, as soon as there is room for it on the disk."""
        one = next(iter(self._waiting))
        if one.writes > self.disk:
            del self._waiting[one]
            self._changed.notify_all()
            self._unwritten = (
                f"Checkpoints stay in memory only: one takes {one.writes / 1e6:,.1f} MB, and the disk may be filled "
                f"with {self.disk / 1e6:,.1f} MB."
            )
            return None
        if self._used[1] + one.writes > self.disk:
            self._make_room(one.writes)
            if not self._rubbish:  # nothing can go; the next one may be smaller
                del self._waiting[one]
            return None
        del self._waiting[one]
        self._flight = one
        return one

    def _saved(self, one: Kept, room: int) -> tuple[Path, int | Exception]:
        assert self.folder is not None
        path = self.folder
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            number = number_of(one.branch, self._names, self.folder)
            path = self.folder / f"{number}-{one.step}-{one.order}{'-marked' if one.marked else ''}.pt"
            content = {"branch": one.branch, "step": one.step, "marked": one.marked, "state": one.state}
            return path, save(path, content, room)
        except Exception as error:  # whatever it is, the training goes on, and the next one is tried
            return path, error

    def _written(self, one: Kept, path: Path, size: int | Exception) -> None:
        with self._changed:
            self._flight, wanted = None, one in self._only_here
            if not wanted:
                self._used[0] -= one.size.nbytes
                one.state = None
            if isinstance(size, int):
                self._used[1] += size
                one.path, one.writes, self._unwritten = path, size, None
                if wanted:
                    del self._only_here[one]
                    self._both[one] = None
                else:
                    self._file_away(one)
            else:
                if isinstance(size, TooLarge):
                    one.writes += one.writes // 4
                else:
                    self._again = time.monotonic() + AGAIN
                    why = (isinstance(size, OSError) and size.strerror) or " ".join(str(size).split())[:120]
                    self._unwritten = f"Checkpoints stay in memory only, because they cannot be written: {why}."
                if wanted:
                    self._waiting = {one: None, **self._waiting}
            self._fit()
            self._changed.notify_all()
