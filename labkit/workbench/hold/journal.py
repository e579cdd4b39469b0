"""What a training told, step by step: values by branch, events, branches and facts; in memory, and in a folder.

One thread adds (the training), any number of others read, and nobody waits. On disk, in the folder of the run:

- `rows-<n>.bin`: one for each branch and set of quantities, a JSON line that names them and then packed rows (`rows`);
- `events.jsonl`: events and branches, a line each;
- `about.json`: facts (name, model, process, how it ended), replaced as a whole.

Nothing of this ever stops a training: when the folder cannot be written, `problem` says so and memory goes on.

When a branch goes back and is trained again from an earlier step, what it recorded after that step is replaced, as far
as the new rows tell the same quantities.
"""

import json
import math
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from labkit.errors import LabError
from labkit.recording.history import Event
from labkit.workbench.hold.alive import identity
from labkit.workbench.hold.rows import Rows, rising

OPEN = 64
"""Files that are held open at most."""


@dataclass(frozen=True)
class Branch:
    """One future of a run: what its parent was up to the step `start`, and steps of its own up to `last`."""

    name: str
    parent: str | None = None
    start: int = 0
    last: int = 0


class Journal:
    """See the module. `Journal(None)` is memory only; a folder that holds a journal already is continued.

    Several threads may add at once where no two of them add the same set of quantities to the same branch; `close` is
    for the thread that adds, or for any after that has ended.
    """

    def __init__(self, folder: Path | None = None, *, _reading: bool = False):
        self.folder = folder
        self._writing, self._reading = folder is not None and not _reading, _reading
        self._lock = threading.RLock()
        self._tables: dict[tuple[str, ...], Rows] = {}
        self._all: tuple[Rows, ...] = ()
        self._events: list[Event] = []
        self._branches: dict[str, Branch] = {}
        self._about: dict[str, Any] = {}
        self._waiting = b""  # lines of events that are not on the disk yet
        self._number = 0
        self._trouble: str | None = None
        if folder is not None:
            self._load(folder)
        if self._writing:
            self.note(began=self._about.get("began", _now()), process=identity(), ended=None)

    @classmethod
    def open(cls, folder: Path | str) -> "Journal":
        """What an earlier run left, to be read; half a row or line at the end is cut.

        Raises: LabError when there is no such folder.
        """
        if not Path(folder).is_dir():
            raise LabError(f"There is no recording in {folder}; list what is there with LiveRun.earlier().")
        return cls(Path(folder), _reading=True)

    def add(self, branch: str, step: int, values: Mapping[str, float]) -> None:
        """Record values after a step; the process may be killed right after this.

        Raises: LabError when a value is no number, or this journal is one to read.
        """
        rows = self._tables.get((branch, *values)) or self._table(branch, tuple(values))
        rows.add(step, values.values())

    def event(self, event: Event) -> None:
        """Record something that happened; `event.where` is the branch."""
        with self._lock:
            self._line({"event": asdict(event)})
            self._events.append(event)

    def branch(self, branch: Branch) -> None:
        """Record that a branch begins."""
        with self._lock:
            self._line({"branch": {"name": branch.name, "parent": branch.parent, "start": branch.start}})
            self._branches = {**self._branches, branch.name: branch}

    def note(self, **facts: Any) -> None:
        """Add facts about the run; what JSON does not know is written as text."""
        with self._lock:
            self._about = {**self._about, **facts}
            if not self._writing or self.folder is None:
                return
            text = json.dumps(self._about, indent=1, ensure_ascii=False, default=str)
            draft = self.folder / f"about.{os.getpid()}.part"
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                draft.write_text(text, encoding="utf-8")
                os.replace(draft, self.folder / "about.json")
                self._trouble = None
            except OSError as error:
                self._failed(error)

    def close(self, how: str) -> None:
        """The run ended: "stopped", "failed" or "finished". What is recorded later stays in memory."""
        with self._lock:
            if self._reading or self.ended is not None:
                return
            for rows in self._all:
                rows.close()
            self._tell()
            self.note(ended=how, last=_now())
            self._writing = False

    def curve(self, quantity: str, branch: str, whole: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Steps (n,) int64, strictly rising, and values (n,) float64 of a branch: its own rows only.

        With `whole` what its ancestors recorded up to the fork comes before. Empty where nothing was recorded.
        """
        if not whole:
            return self._own(quantity, branch)
        parts = [self._own(quantity, branch)]
        for ancestor, upto in self.lineage(branch):
            steps, values = self._own(quantity, ancestor)
            count = int(np.searchsorted(steps, upto, side="right"))
            parts.insert(0, (steps[:count], values[:count]))
        steps, values = (np.concatenate(part) for part in zip(*parts))
        return rising(steps, values)

    def lineage(self, branch: str) -> list[tuple[str, int]]:
        """The ancestors of a branch, its parent first, each with the last step of it that the branch shares."""
        found: list[tuple[str, int]] = []
        known, upto = self._branches, math.inf
        one = known.get(branch)
        while one is not None and one.parent is not None and len(found) < len(known):
            upto = min(upto, one.start)
            found.append((one.parent, int(upto)))
            one = known.get(one.parent)
        return found

    def dataset(self, whole: bool = False) -> xr.Dataset:
        """Every quantity with the axes (arm, step), an arm for each branch, NaN where a branch has no value."""
        names = [branch.name for branch in self.branches]
        curves = {one: [self.curve(one, name, whole) for name in names] for one in self.quantities}
        every = [steps for lines in curves.values() for steps, _ in lines]
        places = np.unique(np.concatenate([*every, np.empty(0, np.int64)]))
        arrays = {}
        for quantity, lines in curves.items():
            filled = np.full((len(names), len(places)), np.nan)
            for row, (steps, values) in zip(filled, lines):
                row[np.searchsorted(places, steps)] = values
            arrays[quantity] = (("arm", "step"), filled, {"long_name": quantity.replace("_", " ").capitalize()})
        return xr.Dataset(arrays, coords={"arm": names, "step": places})

    @property
    def quantities(self) -> list[str]:
        """Names of everything that was recorded, in the order in which they came."""
        return list(dict.fromkeys(name for rows in self._all for name in rows.names))

    @property
    def events(self) -> list[Event]:
        """What happened, in the order in which it was recorded."""
        return list(self._events)

    @property
    def branches(self) -> list[Branch]:
        """All branches in the order in which they began, each with its last recorded step."""
        known, tables = self._branches, self._all
        strange = {rows.branch: Branch(rows.branch) for rows in tables if rows.branch not in known}
        last = {name: branch.start for name, branch in known.items()}
        for rows in tables:
            last[rows.branch] = max(last.get(rows.branch, 0), int(rows.last))
        return [replace(branch, last=last.get(branch.name, 0)) for branch in (*known.values(), *strange.values())]

    @property
    def about(self) -> dict[str, Any]:
        """The facts that were noted."""
        return dict(self._about)

    @property
    def ended(self) -> str | None:
        """How the run ended; None while it lives, and for ever where its process died."""
        return self._about.get("ended")

    @property
    def problem(self) -> str | None:
        """Why not everything is on the disk, as a sentence; None when it is."""
        return self._trouble or next((rows.problem for rows in self._all if rows.problem), None)

    def _own(self, quantity: str, branch: str) -> tuple[np.ndarray, np.ndarray]:
        parts = []
        for rows in self._all:
            if rows.branch == branch and quantity in rows.names:
                steps, values = rows.read()
                parts.append((steps, values[:, rows.names.index(quantity)].copy()))
        if not parts:
            return np.empty(0, np.int64), np.empty(0)
        if len(parts) == 1:
            return parts[0]
        steps, values = (np.concatenate(part) for part in zip(*parts))
        return rising(steps, values)

    def _table(self, branch: str, names: tuple[str, ...]) -> Rows:
        if self._reading:
            raise LabError("This is the recording of an earlier run, which can only be read; go on with a LiveRun.")
        with self._lock:
            path = self.folder / f"rows-{self._number}.bin" if self._writing and self.folder is not None else None
            made = Rows(branch, names, path, brief=self._number >= OPEN)
            self._number += 1
            self._tables[(branch, *names)] = made
            self._all = (*self._all, made)
            return made

    def _line(self, fact: dict[str, Any]) -> None:
        if self._reading:
            raise LabError("This is the recording of an earlier run, which can only be read; go on with a LiveRun.")
        if self._writing:
            self._waiting += json.dumps(fact, ensure_ascii=False, default=str).encode() + b"\n"
            self._tell()

    def _tell(self) -> None:
        """Append the lines that wait. After half of one went out the rest begins anew: a reader skips the torn one."""
        if not self._waiting or self.folder is None:
            return
        try:
            file = os.open(self.folder / "events.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                if os.write(file, self._waiting) != len(self._waiting):
                    raise OSError("the disk took only a part of a line")
            finally:
                os.close(file)
            self._waiting = b""
        except OSError as error:
            self._waiting = b"\n" + self._waiting.lstrip(b"\n")
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        why = error.strerror or str(error)
        self._trouble = f"What is recorded is kept in memory only, because its folder cannot be written: {why}."

    def _load(self, folder: Path) -> None:
        self._about = about(folder)
        numbered = {int(path.stem[5:]): path for path in folder.glob("rows-*.bin") if path.stem[5:].isdigit()}
        for _, path in sorted(numbered.items()):
            rows = Rows.open(path)
            if rows is None:
                continue
            self._all = (*self._all, rows)
            if self._writing:
                self._tables[(rows.branch, *rows.names)] = rows
            else:
                rows.path = None
        self._number = max(numbered, default=-1) + 1
        try:
            lines = (folder / "events.jsonl").read_bytes()
        except OSError:
            return
        self._waiting = b"" if lines.endswith(b"\n") or not lines else b"\n"
        for line in lines.splitlines():
            try:
                fact = json.loads(line)
                if "event" in fact:
                    self._events.append(Event(**fact["event"]))
                elif "branch" in fact:
                    self._branches[fact["branch"]["name"]] = Branch(**fact["branch"])
            except (ValueError, TypeError, KeyError):
                continue


def about(folder: Path) -> dict[str, Any]:
    """The facts in a run's folder; nothing where there are none that can be read."""
    try:
        found = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
