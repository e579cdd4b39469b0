"""What recording costs the training's own thread: a row of two values, and keeping the state of a model with Adam.

Times are the thread's own processor time. The peers of a row are what trackers do at their fastest: a line of JSON
written and flushed, and a row inserted into SQLite. A state is kept without waiting for the disk, so what counts is how
its bytes are added up; the copy that the training makes of its state before is beside it for comparison.
"""

import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from itertools import count
from pathlib import Path

import torch
from side_by_side import race, table
from torch import nn

from labkit.workbench.hold.journal import Journal
from labkit.workbench.hold.timeline import Timeline

CALLS, ROUNDS = 2000, 40
VALUES = {"training_loss": 0.25, "load_balance": 1.5}


def rows(folder: Path) -> dict[str, Callable[[], None]]:
    def adding(journal: Journal) -> Callable[[], None]:
        steps = count()

        def run() -> None:
            for _ in range(CALLS):
                journal.add("main", next(steps), VALUES)

        return run

    lines = open(folder / "lines.jsonl", "w")  # noqa: SIM115 closed with the process
    steps = count()

    def as_lines() -> None:
        for _ in range(CALLS):
            lines.write(json.dumps({"step": next(steps), **VALUES}) + "\n")
            lines.flush()

    store = sqlite3.connect(folder / "rows.db", isolation_level=None)
    store.execute("PRAGMA journal_mode=WAL")
    store.execute("PRAGMA synchronous=NORMAL")
    store.execute("CREATE TABLE rows (step, training_loss, load_balance)")

    def as_sqlite() -> None:
        for _ in range(CALLS):
            store.execute("INSERT INTO rows VALUES (?, ?, ?)", (next(steps), *VALUES.values()))

    return {
        "in memory": adding(Journal(None)),
        "in a folder": adding(Journal(folder / "run")),
        "a line of JSON, flushed": as_lines,
        "SQLite, a commit each": as_sqlite,
    }


def states(folder: Path) -> list[list[str]]:
    told = []
    for name, width, depth in (("MLP of 0.1 M parameters", 128, 6), ("MLP of 2.4 M parameters", 768, 4)):
        model = nn.Sequential(*(nn.Linear(width, width) for _ in range(depth)))
        optimizer = torch.optim.Adam(model.parameters())
        model(torch.randn(2, width)).sum().backward()
        optimizer.step()
        timeline, copying, keeping, waiting = Timeline(256e6, 1e9, folder / name), [], [], []
        for step in range(60):
            start = time.thread_time()
            state = deepcopy({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
            copied, beside = time.thread_time(), time.perf_counter()
            timeline.keep("main", step, state)
            keeping.append(time.thread_time() - copied)
            waiting.append(time.perf_counter() - beside)
            copying.append(copied - start)
            time.sleep(0.01)
        timeline.flush(60)
        million = timeline.bytes[1] / len(list((folder / name / "states").glob("*.pt"))) / 1e6
        micro = [f"{1e6 * statistics.median(times):,.0f} µs" for times in (keeping, waiting, copying)]
        told.append([name, f"{million:.1f} MB", *micro])
    return told


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        seconds = race(rows(Path(scratch)), ROUNDS)
        median = {name: statistics.median(times) / CALLS * 1e6 for name, times in seconds.items()}
        least = {name: min(times) / CALLS * 1e6 for name, times in seconds.items()}
        table(
            f"a row of two values, {ROUNDS} rounds of {CALLS:,}",
            ["", "median", "least"],
            [[name, f"{median[name]:.2f} µs", f"{least[name]:.2f} µs"] for name in median],
        )
        table(
            "keeping a state, 60 times",
            ["", "file", "keep", "keep, by the clock", "the copy before"],
            states(Path(scratch)),
        )


if __name__ == "__main__":
    main()
