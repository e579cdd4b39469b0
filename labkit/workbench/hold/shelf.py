"""Where runs lie on the disk, what earlier ones left there, and which of them may go.

A run has a folder `NAME-DATE-PID` in $LABKIT_HOME/live, by default in .labkit/live of the checkout. A run has ended when
it said so, or when its process is gone: of those at most `RUNS` stay, and `ROOM` bytes of everything, the oldest leave
first. A run whose process lives is never touched, nor one that this process holds as a `Recording`.
"""

import calendar
import itertools
import json
import os
import re
import shutil
import time
import weakref
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from labkit.recording.history import Event
from labkit.workbench.hold.alive import changed, exists, identity, lives
from labkit.workbench.hold.journal import Branch, Journal, about
from labkit.workbench.hold.timeline import Timeline

RUNS, ROOM = 5, 2e9
YOUNG = 600.0
"""Seconds in which a folder may be without its facts: its run is just beginning."""
_numbers = itertools.count(1)
_held: "weakref.WeakSet[Recording]" = weakref.WeakSet()


class Recording:
    """What a run left in its folder, to be read: curves, events, branches, checkpoints, also of a killed process."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.about: dict[str, Any] = about(self.folder)
        _held.add(self)

    @cached_property
    def journal(self) -> Journal:
        """What was recorded step by step."""
        return Journal.open(self.folder)

    @cached_property
    def timeline(self) -> Timeline:
        """The states that were kept."""
        return Timeline.open(self.folder)

    @property
    def name(self) -> str:
        """What the run was called."""
        return str(self.about.get("name") or re.sub(r"-\d{8}-\d{6}-\d+(-\d+)?$", "", self.folder.name))

    @property
    def ended(self) -> str | None:
        """How it ended; None where its process died, or lives."""
        return self.about.get("ended")

    @property
    def lives(self) -> bool:
        """Whether it is still going on."""
        return _going_on(self.folder, self.about)

    @property
    def when(self) -> datetime:
        """When something was recorded last."""
        return datetime.fromtimestamp(_last(self.folder)).astimezone()

    @property
    def quantities(self) -> list[str]:
        """Names of everything that was recorded."""
        return self.journal.quantities

    @property
    def branches(self) -> list[Branch]:
        """All branches, each with its last recorded step."""
        return self.journal.branches

    @property
    def events(self) -> list[Event]:
        """What happened."""
        return self.journal.events

    def curves(self, quantity: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Steps and values by branch; a branch without values of this quantity is left out."""
        found = {branch.name: self.journal.curve(quantity, branch.name) for branch in self.branches}
        return {name: curve for name, curve in found.items() if len(curve[0])}

    def kept(self, branch: str) -> list[int]:
        """The steps of the kept states of a branch."""
        return self.timeline.steps(branch)

    def state_at(self, branch: str, step: int) -> tuple[int, Any] | None:
        """The nearest kept state at or before a step, of the branch or its ancestors, with its step."""
        return self.timeline.at(branch, step, self.journal.lineage(branch))

    @property
    def says(self) -> str:
        """What became of the run, and what is kept, in a sentence."""
        when, now = self.when, datetime.now().astimezone()
        year = f" {when.year}" if when.year != now.year else ""
        at = f"at step {max((branch.last for branch in self.branches), default=0):,}"
        at += f" on {when.day} {calendar.month_name[when.month]}{year} at {when:%H:%M}"
        if self.lives:
            pid = self.about.get("process", {}).get("pid")
            became = f"is still going on in another process ({pid}), {at}"
        elif self.ended is None:
            became = f"ended without being stopped (its process is gone) {at}"
        elif self.ended == "stopped":
            became = f"was stopped {at}"
        else:
            became = f"{self.ended} {at}"
        steps = sum(
            max((len(self.journal.curve(one, branch.name)[0]) for one in self.quantities), default=0)
            for branch in self.branches
        )
        states = sum(len(self.kept(branch)) for branch in self.timeline.branches)
        left = f"{_counted(steps, 'step')} and {_counted(states, 'checkpoint')}"
        return f"A run named {self.name!r} {became}; {left} are kept."

    def __repr__(self) -> str:
        return f"<{self.says}>"


def home() -> Path:
    """The folder in which all runs lie."""
    root = os.environ.get("LABKIT_HOME")
    return (Path(root) if root else Path(__file__).parents[3] / ".labkit") / "live"


def new_folder(name: str) -> Path:
    """A folder for a new run of this process, after what may go of earlier runs was removed.

    Where it cannot be made the path is given all the same: the journal of the run will say what is wrong.
    """
    with suppress(OSError):
        tidy()
    plain = re.sub(r"[^\w]+", "-", name).strip("-")[:40] or "run"
    stem = f"{plain}-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}"
    for number in _numbers:  # a name is never used twice, also when its folder was removed since
        folder = home() / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError:
            return folder
        with suppress(OSError):
            draft = folder / "about.new.part"
            draft.write_text(json.dumps({"name": name, "process": identity()}), encoding="utf-8")
            os.replace(draft, folder / "about.json")
        return folder
    raise AssertionError("the numbers do not end")


def earlier(name: str | None = None) -> list[Recording]:
    """What runs that have ended left, the latest first; with a name, only those of this name."""
    found = [Recording(folder) for folder in _folders() if _has_something(folder)]
    found = [one for one in found if (name is None or one.name == name) and not one.lives]
    return sorted(found, key=lambda one: _last(one.folder), reverse=True)


def tidy(runs: int = RUNS, room: float = ROOM) -> list[Path]:
    """Remove ended runs until at most so many, and so many bytes of all runs, are left; the folders that went.

    Of two processes that tidy up at once only one gets a folder: it is renamed before it is removed.
    """
    for left in home().glob(".gone-*"):
        shutil.rmtree(left, ignore_errors=True)
    held = {one.folder.resolve() for one in list(_held)}
    sizes = {folder: _nbytes(folder) for folder in _folders()}
    ended = [folder for folder in sizes if not _going_on(folder, about(folder))]
    ended.sort(key=lambda folder: (_has_something(folder), _last(folder)))
    count, total, gone = len(ended), sum(sizes.values()), []
    for folder in ended:
        if count <= runs and total <= room and _has_something(folder):
            break
        if folder.resolve() in held:
            continue
        grave = folder.with_name(f".gone-{folder.name}-{os.getpid()}")
        try:
            folder.rename(grave)
        except OSError:  # another process was faster, or it may not be removed
            continue
        shutil.rmtree(grave, ignore_errors=True)
        count, total, gone = count - 1, total - sizes[folder], [*gone, folder]
    return gone


def _folders() -> list[Path]:
    try:
        return [path for path in home().iterdir() if path.is_dir() and not path.name.startswith(".")]
    except OSError:
        return []


def _going_on(folder: Path, facts: dict[str, Any]) -> bool:
    if facts.get("ended") is not None:
        return False
    if facts.get("process"):
        return lives(facts["process"], folder)
    named = re.search(r"-\d{8}-\d{6}-(\d+)(-\d+)?$", folder.name)
    young = time.time() - changed(folder) < YOUNG
    return young and (named is None or exists(int(named[1])))


def _has_something(folder: Path) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in ("rows-*.bin", "states/*.pt"))


def _last(folder: Path) -> float:
    """When a row was written last, in seconds since 1970; without rows, when the folder was made."""
    times = []
    for path in [*folder.glob("rows-*.bin"), folder]:
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times[:-1] or times, default=0.0)


def _nbytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
