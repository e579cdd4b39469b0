"""The scoreboard: every case raced, every goal judged, each time held against what the hardware allows.

A board is a plain structure: "made" (when, with which code, on which machine), "ceilings" (what that machine can do), and
"cases". A case has "rows", one for each setting, with seconds by contestant ("median" and quartiles "low", "high", over
"rounds"), "times" as long as ours it takes (median and quartiles of the rounds), and the "floor",
held against what the machine could do in the same rounds ("pace": shares of the ceilings); and "goals".
"""

import importlib
import os
import pkgutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event
from typing import Any

import torch

import labkit.workbench.scoreboard.cases as home
from labkit.errors import LabError
from labkit.workbench.fit import Stopped
from labkit.workbench.scoreboard.case import Case, Setting
from labkit.workbench.scoreboard.ceilings import PROBES, best_of, ceilings, probes
from labkit.workbench.scoreboard.floors import held
from labkit.workbench.scoreboard.goals import in_words, judge, version, way_of
from labkit.workbench.scoreboard.machine import Load, machine
from labkit.workbench.scoreboard.timing import Times, clock_in_words, race, ratio, sentence_of
from labkit.workbench.study import _commit as commit

Watch = Callable[["Stage"], None]
QUICK, FULL = 1.0, 3.0
"""Seconds of computing for one setting."""


@dataclass(frozen=True)
class Stage:
    """Where a measuring is: the part that is done, and what happens now."""

    done: float
    place: str
    values: Mapping[str, float] = field(default_factory=dict)
    lost: tuple[str, ...] = ()


def cases() -> dict[str, Case]:
    """All cases by name, found by walking the folder `cases`. Raises: LabError where a file of it cannot be imported."""
    found: dict[str, Case] = {}
    for entry in pkgutil.iter_modules(home.__path__):
        try:
            module = importlib.import_module(f"{home.__name__}.{entry.name}")
        except ImportError as error:
            raise LabError(f"The cases of {entry.name} cannot be read: {error}.") from error
        for case in module.cases:
            if case.name in found:
                raise LabError(f"Two cases are called {case.name!r}; the second stands in {entry.name}.py.")
            found[case.name] = case
    return dict(sorted(found.items()))


def measure(
    chosen: Sequence[Case], *, quick: bool = False, watch: Watch | None = None, stop: Event | None = None
) -> dict[str, Any]:
    """Race these cases and judge their goals.

    `quick` takes the few settings that each case names for it, with less time for each. A contestant, a setting or a
    case that fails is part of the board, with its sentence.
    Raises: Stopped when `stop` is set.
    """
    began, started, load = time.perf_counter(), datetime.now(UTC), Load()
    tell = watch or (lambda stage: None)
    plan = [(case, settings_of(case, quick)) for case in chosen]
    total, done = sum(len(settings) for _, settings in plan), 0
    tell(Stage(0.0, "What can this machine do? Multiplying and reading"))
    threads = sorted({threads_of(setting) for _, settings in plan for setting in settings})
    limits = ceilings(threads, stop)
    raced: list[tuple[Case, list[tuple[dict[str, Any], dict[str, Times]]]]] = []
    for case, settings in plan:
        rows = []
        for setting in settings:
            tell(Stage((done + 0.3) / (total + 0.3), f"{case.title}: {in_words(setting)}"))
            rows.append(_row(case, setting, QUICK if quick else FULL, stop))
            done += 1
        raced.append((case, rows))
    tell(Stage(0.99, "What can this machine do? Once more"))
    limits = best_of(limits, ceilings(threads, stop))  # others may have used it the first time
    told = []
    for case, rows in raced:
        for row, times in rows:
            _hold_against(row, times, case, limits)
        told.append(
            {
                "name": case.name,
                "title": case.title,
                "says": case.says,
                "quick": quick,
                "commit": commit(),
                "date": started.isoformat(timespec="seconds"),
                "rows": [row for row, _ in rows],
                "goals": judge(case, [row for row, _ in rows]),
                "missing": [peer for peer in case.peers if not version(peer)],
            }
        )
    made = {
        "date": started.isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began, 1),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(told),
        "threads": sorted(int(count) for count in limits),
        "load": load.since(),
        "quick": quick,
    }
    return {"made": made, "ceilings": _rounded(limits), "cases": told}


def settings_of(case: Case, quick: bool) -> tuple[Setting, ...]:
    """The settings of a run: those of the case, or the few of a quick one."""
    return (case.quick or case.settings[:1]) if quick else case.settings


def threads_of(setting: Setting) -> int:
    """How many threads a setting is for: 1 where it does not say, at most as many as there are; 0 means all."""
    every = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = int(setting.get("threads", 1))
    return min(asked or every, every)


def versions(raced: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What computed: torch, numba and the packages that were raced."""
    names = {name.split("|")[0] for case in raced for row in case["rows"] for name in row.get("contestants", {})}
    known = {name: version(name) for name in ("torch", "numba", "numpy", *sorted(names))}
    return {name: number for name, number in known.items() if number}


def _row(case: Case, setting: Setting, seconds: float, stop: Event | None) -> tuple[dict[str, Any], dict[str, Times]]:
    threads = threads_of(setting)
    row: dict[str, Any] = {"setting": dict(setting), "threads": threads, "clock": clock_in_words(threads)}
    torch.manual_seed(0)
    with torch.set_grad_enabled(case.learns):
        try:
            contestants = case.contestants(setting)
        except Stopped:
            raise
        except Exception as error:  # one setting that cannot be built must not cost the others
            return row | {"error": sentence_of(error), "contestants": {}}, {}
        found = race(contestants | probes(threads), threads=threads, seconds=seconds, stop=stop)
    row["contestants"] = {name: _told(times) for name, times in found.items() if name not in PROBES}
    ours = way_of(row, "ours")
    if ours is not None:
        for name, times in found.items():
            if name not in (ours, *PROBES) and not times.error:
                times_ours = ratio(times, found[ours])
                row["contestants"][name]["times"] = [
                    _short(one) for one in (times_ours.median, times_ours.low, times_ours.high)
                ]
    return row, found


def _hold_against(row: dict[str, Any], times: Mapping[str, Times], case: Case, limits: Mapping[str, Any]) -> None:
    """Add the floor of a row, where its case says how much work there is."""
    if case.work is None or row.get("error"):
        return
    try:
        least = held(case.work(row["setting"]), limits[str(row["threads"])], times, way_of(row, "ours"))
    except Exception as error:  # what was timed must not be lost with it
        row["error"] = f"no floor: {sentence_of(error)}"
        return
    row["floor"] = _rounded(least)


def _told(times: Times) -> dict[str, Any]:
    if times.error:
        return {"error": times.error}
    spread = times.spread()
    told: dict[str, Any] = {name: _short(getattr(spread, name)) for name in ("median", "low", "high")}
    told["rounds"] = spread.rounds
    disturbed = sum(seconds == seconds for seconds in times.seconds) - spread.rounds
    return told | ({"disturbed": disturbed} if disturbed else {})


def _short(value: float) -> float:
    """Four digits: the rest is noise."""
    return float(f"{value:.4g}")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return _short(value) if isinstance(value, float) else value
