"""What the deck of a run shows, as JSON: its status many times a second, its plan when that has changed.

status: what `run.status()` says, and `at` (seconds since 1970), `values` (one number a dial, in the order of the plan).
plan: `name, live, dials, branches, kept, events, earlier, picked, touched`; at most 200 kept steps and 60 events.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from labkit.errors import LabError
from labkit.views.thinning import evenly

KEPT, EVENTS, LONGEST = 200, 60, 300
BURST = 0.4
"""Seconds between two changes of one dial that belong to one movement of the hand."""
LOUD = ("trouble", "interrupted", "intervention", "undo", "branch")
"""Kinds of events that stay when there are too many."""
ASKS = "value"


def status_of(run: Any) -> dict[str, Any]:
    """What changes while a run steps: small, because it is sent ten times a second."""
    told = dict(run.status()) if hasattr(run, "status") else recorded(run)
    values = [_plain(dial.value) for dial in run.dials] if has_dials(run) else []
    return {**told, "speed": _plain(told.get("speed")), "values": values, "at": round(time.time(), 1)}


def plan_of(run: Any, picked: Mapping[str, Any] | None = None, live: bool = True) -> dict[str, Any]:
    """What changes now and then: dials, branches, kept steps, events, what was picked, interventions in force."""
    branches = [
        {"name": one.name, "parent": one.parent, "start": int(one.start), "last": last_of(run, one)}
        for one in run.branches
    ]
    kept = {one.name: [int(step) for step in run.kept(one.name) if step >= one.start] for one in run.branches}
    events, left_out = few_events(bursts(run))
    return {
        "name": str(getattr(run, "name", "run")),
        "live": live,
        "dials": [_dial(one) for one in run.dials] if has_dials(run) else [],
        "branches": branches,
        "kept": few_steps(kept),
        "events": events,
        "earlier": left_out,
        "picked": dict(picked) if picked else None,
        "touched": [str(one.says) for one in in_force(run)],
    }


def recorded(recording: Any) -> dict[str, Any]:
    """The status of what an earlier run left."""
    branches = list(recording.branches)
    furthest = max(branches, key=lambda one: last_of(recording, one), default=None)
    name, step = (furthest.name, last_of(recording, furthest)) if furthest else ("main", 0)
    says = str(getattr(recording, "says", ""))
    told = {"state": "recorded", "step": step, "steps": None, "branch": name, "speed": None, "says": says}
    return {**told, "error": None, "viewing": None, "ahead": 0}


def last_of(run: Any, branch: Any) -> int:
    """The last step of a branch."""
    return int(branch.last if hasattr(branch, "last") else run.last(branch.name))


def in_force(run: Any) -> Sequence[Any]:
    """The interventions that hold now, the last one last."""
    return tuple(run.touches.active) if hasattr(run, "touches") else ()


def has_dials(run: Any) -> bool:
    """A recording has none."""
    return hasattr(run, "dials")


def few_steps(kept: Mapping[str, Sequence[int]], limit: int = KEPT) -> dict[str, list[int]]:
    """At most `limit` kept steps over all branches, spread evenly over each; the first and the last of each stay."""
    total = sum(len(steps) for steps in kept.values())
    if total <= limit:
        return {name: list(steps) for name, steps in kept.items()}
    room = {name: max(2, math.floor(limit * len(steps) / total)) for name, steps in kept.items()}
    return {name: [steps[place] for place in evenly(len(steps), room[name])] for name, steps in kept.items()}


def bursts(run: Any) -> list[Any]:
    """The events, where turning one dial for a while is a single change: from where it was to where it was left."""
    told = run.status() if hasattr(run, "status") else {}
    gap = max(1.0, BURST * (told.get("speed") or 0), 0.002 * (told.get("step") or 0))
    found: list[Any] = []
    for event in run.events:
        last = found[-1] if found else None
        name, arrow, _ = event.says.partition(": ")
        turned = last is not None and event.kind == last.kind == "change" and event.where == last.where
        if turned and arrow and last.says.startswith(f"{name}: ") and 0 <= event.step - last.step <= gap:
            began, now = last.says.partition(" → ")[0], event.says.rpartition(" → ")[2]
            found[-1] = type(event)(event.step, event.where, event.kind, f"{began} → {now}")
        else:
            found.append(event)
    return found


def few_events(events: Sequence[Any], limit: int = EVENTS) -> tuple[list[dict[str, Any]], int]:
    """At most `limit` events and how many were left out: of changes and notes the oldest go first, then the oldest of all."""
    kept = list(range(len(events)))
    quiet = [place for place in kept if events[place].kind not in LOUD]
    surplus = max(0, len(kept) - limit)
    gone = set(quiet[:surplus])
    gone |= set([place for place in kept if place not in gone][: surplus - len(gone)])
    rows = [
        {"step": int(one.step), "where": str(one.where), "kind": str(one.kind), "says": str(one.says)[:LONGEST]}
        for place, one in enumerate(events)
        if place not in gone
    ]
    return rows, len(gone)


def picked_of(says: str, choices: Sequence[Any]) -> dict[str, Any]:
    """What was picked in a picture and what can be done with it, as it travels; `choices` as `possible()` gives them."""
    rows = [
        {"words": one.words, "intervention": one.intervention.to_dict(), "value": _plain(one.value), "unit": one.unit}
        for one in choices
    ]
    return {"says": says, "choices": rows}


def orders(text: str) -> list[dict[str, Any]]:
    """The commands that a browser sent: one JSON object, or a list of them. Raises: LabError for anything else."""
    try:
        found = json.loads(text or "[]")
    except ValueError as error:
        raise LabError("A command of the deck is JSON, such as {'id': 1, 'do': 'pause'}.") from error
    found = found if isinstance(found, list) else [found]
    return [one for one in found if isinstance(one, dict) and isinstance(one.get("id"), int) and "do" in one]


def obeyed(run: Any, order: Mapping[str, Any]) -> None:
    """Do with a run what was ordered. Raises: LabError when it is not possible, with a sentence that says why."""
    known: dict[str, Callable[[], Any]] = {
        "run": lambda: run.run(until=order.get("until")),
        "pause": run.pause,
        "step": lambda: run.step(count=_count(order.get("count", 1))),
        "stop": run.stop,
        "change": lambda: run.change(order["name"], order["value"]),
        "view": lambda: run.view(order.get("step")),
        "branch": lambda: run.branch(
            step=order.get("step"), name=order.get("name"), changes=dict(order.get("changes") or {})
        ),
        "switch": lambda: run.switch(order["branch"]),
        "touch": lambda: run.touch(_intervention(order)),
        "undo": run.untouch,
    }
    act = known.get(str(order["do"]))
    if act is None:
        raise LabError(f"The deck knows {', '.join(known)}, and was asked for {order['do']!r}.")
    try:
        did = act()
    except KeyError as error:
        raise LabError(f"The command {order['do']!r} needs {error}.") from error
    if did is False and order["do"] in ("run", "step"):
        _say_why(run)


def _say_why(run: Any) -> None:
    """A second click on Run does nothing; but a run that cannot go on says so."""
    state = run.status()["state"]
    if state == "finished":
        raise LabError("The run has taken all its steps; go back to an earlier one and branch there.")
    if state in ("stopped", "failed"):
        raise LabError("This run has ended for good; what it recorded stays. Make a new one to train again.")


def _intervention(order: Mapping[str, Any]) -> Any:
    from labkit.workbench.hold.interventions import Intervention

    given = dict(order["intervention"])
    if ASKS in order:
        given[ASKS] = _number(order[ASKS])
    return Intervention.from_dict(given)


def _count(count: Any) -> int:
    number = _number(count)
    if number < 1 or number != int(number):
        raise LabError(f"The number of steps is a whole number from 1, and {count!r} was asked for.")
    return int(number)


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise LabError(f"A number is needed here, and {value!r} is none.")
    return number


def _dial(dial: Any) -> dict[str, Any]:
    floor = getattr(dial, "floor", dial.low)
    says = {"name": dial.name, "unit": dial.unit, "says": dial.says, "log": bool(dial.log), "whole": bool(dial.whole)}
    says["of"] = getattr(dial, "part_of", "")
    return {**says, "low": _plain(dial.low), "high": _plain(dial.high), "floor": _plain(floor)}


def _plain(value: Any) -> float | None:
    """A number that JSON can say; what is not finite is None."""
    return float(value) if value is not None and math.isfinite(value) else None
