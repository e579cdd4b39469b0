"""Trainings worked off by single-thread worker processes, as many at a time as there are cores.

What every training says arrives while it runs. A worker that dies (killed, out of memory, crashed in foreign code)
loses the one training that it was at, and another worker takes its place; an error that a training raises ends all.
The workers live for one run: starting them costs two seconds, and in return no memory stays taken, code that was
changed meanwhile is the code that runs, and no training sees what an earlier run left in its process.
"""

import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any

from labkit.errors import LabError
from labkit.workbench.crew.member import Member, end

Train = Callable[[str, int, Callable[[int, dict[str, float]], None], Event], Any]
"""`train(arm, seed, tell, stop)`: what it returns travels back; `tell(step, values)` may be called at each step."""
MOST = 8
FAILED_STARTS = 3
"""Workers that may die before they begin, in one run."""
PERIOD = 0.05


@dataclass(frozen=True)
class Begun:
    """A worker took this training."""

    number: int


@dataclass(frozen=True)
class Told:
    """A training said where it is."""

    number: int
    step: int
    values: dict[str, float]


@dataclass(frozen=True)
class Done:
    """A training came to its end."""

    number: int
    result: Any


@dataclass(frozen=True)
class Lost:
    """A training was lost with its worker; the others go on."""

    number: int
    says: str


def cores() -> int:
    """How many trainings run at once where nothing else is said: one for each core this process may use, at most 8."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST, allowed))


def work_off(
    train: Train, jobs: Sequence[tuple[str, int]], *, workers: int | None = None, stop: Event | None = None
) -> Iterator[Begun | Told | Done | Lost]:
    """Train every (arm, seed) in worker processes and yield what happens, as it happens; `number` counts the jobs.

    Close the iterator (`contextlib.closing`) to end all of it early; no process is left behind.
    Raises: fit.Stopped when `stop` is set; whatever a training raises; LabError when `train` cannot be sent to a
    process, or when workers die before they can begin.
    """
    if workers is not None and workers < 1:
        raise LabError(f"A crew needs one worker or more, not {workers}.")
    inbox, members = SimpleQueue(), []
    try:
        yield from _worked_off(_hello(train), list(jobs), workers or cores(), stop, inbox, members)
    finally:
        end(members)


def _worked_off(hello, jobs, workers, stop, inbox, members: list[Member]) -> Iterator[Begun | Told | Done | Lost]:
    from labkit.workbench.fit import Stopped

    waiting, open_jobs, reached, failed_starts = deque(range(len(jobs))), len(jobs), {}, 0
    while open_jobs:
        if stop is not None and stop.is_set():
            raise Stopped(f"Stopped with {len(jobs) - open_jobs} of {len(jobs)} trainings done; nothing was saved.")
        coming = sum(member.number is None and not member.leaving for member in members)
        busy = sum(member.number is not None for member in members)
        while busy + coming < workers and coming < len(waiting):
            members.append(Member(hello, inbox))
            coming += 1
        try:
            member, kind, *what = inbox.get(timeout=PERIOD)
        except Empty:
            continue
        if kind == "told":
            for number, step, values in what[0]:
                reached[number] = step
                yield Told(number, step, values)
        elif kind == "said":
            sys.stdout.write(what[0])
        elif kind == "gone":
            members.remove(member)
            member.close()
            number, member.number = member.number, None
            if number is not None:
                open_jobs -= 1
                yield Lost(number, _lost(jobs[number], f"its worker process {member.fate}", reached.get(number)))
            elif not member.ready:
                failed_starts += 1
                if failed_starts >= FAILED_STARTS:  # go on with the workers that there are
                    workers = sum(not other.leaving for other in members)
                if not workers:
                    raise LabError(_no_start(member))
        elif kind == "failed":
            raise _error(jobs[what[0]], *what[1:])
        elif kind == "stopped":
            raise Stopped("A training stopped itself; nothing was saved.")
        else:  # ready, done or lost: it is free
            member.ready, member.number = True, None
            if waiting:
                number = waiting.popleft()
                member.give(number, *jobs[number])
                yield Begun(number)
            else:
                member.leave()
            if kind == "done":
                open_jobs -= 1
                yield Done(what[0], _unpacked(jobs[what[0]], what[1]))
            elif kind == "lost":
                open_jobs -= 1
                yield Lost(what[0], _lost(jobs[what[0]], what[1], reached.get(what[0])))


def _hello(train: Train) -> dict[str, Any]:
    """What a worker needs to know: the training, and how torch is set here."""
    import cloudpickle
    import torch

    try:
        pickle = cloudpickle.dumps(train)
    except Exception as error:  # anything that is captured may refuse, in its own way
        raise LabError(
            f"This training cannot be sent to a worker process ({type(error).__name__}: {error}); create what it names "
            "inside of the function, or run it here with jobs=1."
        ) from error
    return {
        "train": pickle,
        "dtype": torch.get_default_dtype(),
        "precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
    }


def _named(job: tuple[str, int]) -> str:
    arm, seed = job
    return f"{arm}, seed {seed}"


def _lost(job: tuple[str, int], why: str, step: int | None) -> str:
    at = f" after step {step}" if step is not None else " before its first step"
    return f"{_named(job)} was lost{at}: {why}."


def _no_start(member: Member) -> str:
    line = f" Its last words: {member.last_line}" if member.last_line else ""
    return f"The worker processes die before they begin: the last one {member.fate}. Use jobs=1 to train here.{line}"


def _error(job: tuple[str, int], pickle: bytes | None, says: str, trace: str) -> BaseException:
    """The error of a training as it was raised, with a note of where; a LabError where it cannot travel."""
    if pickle is not None:
        import cloudpickle

        with contextlib.suppress(Exception):  # its class may be known to the worker only
            error = cloudpickle.loads(pickle)
            error.add_note(f"In the worker process of {_named(job)}:\n{trace}")
            return error
    return LabError(f"{_named(job)} failed: {says}.")


def _unpacked(job: tuple[str, int], pickle: bytes) -> Any:
    import cloudpickle

    try:
        return cloudpickle.loads(pickle)
    except Exception as error:
        raise LabError(
            f"What {_named(job)} returned cannot be read here ({type(error).__name__}: {error}); return numbers, arrays "
            "or a data set."
        ) from error
