"""Whether what was promised was kept, with the number, its spread and where it was worst.

A goal is "met" where it holds in every row it is for, else "missed". Where it holds in all rows but those in which even
the least time that the hardware needs would not do, it is "out of reach": the machine cannot give what was promised.
"""

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from labkit.workbench.scoreboard.case import Case, Goal, Setting

VERDICTS = ("met", "missed", "out of reach", "not measurable")
SELF_EVIDENT = ("pass", "form")
"""Sizes whose value says what it is: "forward", not "pass forward"."""
CLEAR = 1.03
"""Ceilings are measured to a few percent: what would be out of reach by less is missed."""
CONVENTION = ("ours", "reference", "dense", "active")
PEERS = "pip install 'labkit[peers]'"


def in_words(setting: Setting) -> str:
    """The sizes of a row as people read them: depth 5, leaf 32, batch 256."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value:,}"
        if isinstance(value, int)
        else str(value)
        if name in SELF_EVIDENT
        else f"{name.replace('_', ' ')} {value}"
        for name, value in setting.items()
        if (name, value) != ("threads", 1)
    )


def way_of(row: Mapping[str, Any], who: str) -> str | None:
    """The full name of a contestant in a row of a board; of several ways the fastest. None where it was not timed."""
    ways = {
        name: times["median"]
        for name, times in row.get("contestants", {}).items()
        if name.split("|")[0] == who and "median" in times
    }
    return min(ways, key=lambda name: ways[name]) if ways else None


def judge(case: Case, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One verdict for each goal of a case, from the rows of its board: it is met where it holds in every row it is for."""
    return [_judged(goal, rows) for goal in case.goals]


def _judged(goal: Goal, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "says": goal.says,
        "against": goal.against,
        "at_least": goal.at_least,
        "at_most": goal.at_most,
    }
    meant = [(place, row) for place, row in enumerate(rows) if goal.where(row["setting"])]
    if not meant:
        return facts | _nothing("none of its settings was part of this run")
    measured = [(place, *found) for place, row in meant if (found := _speed(goal.against, row)) is not None]
    if not measured:
        return facts | _nothing(_reason(goal.against, [row for _, row in meant]))
    where = [
        {"row": place, "value": middle, "low": low, "high": high, "holds": _slack(goal, middle) >= 1}
        for place, middle, low, high in measured
    ]
    beyond = [one for one in where if not one["holds"] and _beyond(goal, rows[one["row"]], one["value"])]
    missed = [one for one in where if not one["holds"] and one not in beyond]
    worst = min(missed or where, key=lambda one: _slack(goal, one["value"]))
    gone = len(meant) - len(measured)
    why = f"{gone} of its {len(meant)} settings could not be measured" if gone else ""
    verdict = "missed" if missed else "out of reach" if beyond else "met"
    if missed and goal.against != "floor" and (most := _most(goal, rows[worst["row"]])):
        why = "; ".join(filter(None, (why, f"the hardware would allow {_bound(goal, most)} there")))
    if beyond:
        why = "; ".join(filter(None, (why, _limit(goal, [rows[one["row"]] for one in beyond], len(missed)))))
    if gone and verdict == "met":
        verdict, why = "not measurable", f"{why}; it holds in the others"
    close = (_slack(goal, worst["low"]) >= 1) != (_slack(goal, worst["high"]) >= 1)
    return facts | {
        "verdict": verdict,
        "why": why,
        "measured": _measured(goal, worst, in_words(rows[worst["row"]]["setting"]), where, close),
        "worst": {key: worst[key] for key in ("row", "value", "low", "high")},
        "holds": sum(one["holds"] for one in where),
        "of": len(meant),
        "rows": [one["row"] for one in where if not one["holds"]],
    }


def _most(goal: Goal, row: Mapping[str, Any]) -> float | None:
    """How many times as long the other one takes as the least that the hardware needs; None where that is not known."""
    other = way_of(row, goal.against)
    known = row.get("floor") or {}
    if other is None or not known.get("least"):
        return None
    return known.get("most", {}).get(other) or row["contestants"][other]["median"] / known["least"]


def _beyond(goal: Goal, row: Mapping[str, Any], value: float) -> bool:
    """Whether even the least time that this machine needs would clearly not be enough.

    A floor that ours is near to or below was measured at another moment than ours, and says nothing.
    """
    most = None if goal.against == "floor" else _most(goal, row)
    return most is not None and _slack(goal, CLEAR * most) < 1 and value < most


def _bound(goal: Goal, most: float) -> str:
    return f"{_times(most)} times as fast" if goal.at_least is not None else f"{_times(1 / most)} times the time"


def _limit(goal: Goal, rows: Sequence[Mapping[str, Any]], missed: int) -> str:
    """What the machine allows at most where that is less than was promised."""
    row = min(rows, key=lambda one: _slack(goal, _most(goal, one) or 0.0))
    most, says = _most(goal, row) or 0.0, row["floor"]["says"]
    also = f"at {len(rows)} other{'s' * (len(rows) > 1)} " if missed else ""
    return f"{also}this machine allows {_bound(goal, most)} at {in_words(row['setting'])} and no more ({says})"


def _nothing(why: str) -> dict[str, Any]:
    return {"verdict": "not measurable", "why": why, "measured": "", "holds": 0, "of": 0, "rows": []}


def _speed(against: str, row: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """How many times as long the other one takes as ours, with quartiles; against the floor: its part of our time."""
    ours = way_of(row, "ours")
    if ours is None:
        return None
    if against == "floor":
        if not row.get("floor"):
            return None
        if "share" in row["floor"]:
            return tuple(row["floor"]["share"])
        least, mine = row["floor"]["seconds"], row["contestants"][ours]
        return least / mine["median"], least / mine["high"], least / mine["low"]
    other = way_of(row, against)
    times = row["contestants"][other].get("times") if other else None
    return tuple(times) if times else None


def _slack(goal: Goal, speed: float) -> float:
    """1 and more where the goal holds: how far the value is from the limit, as a factor."""
    parts = []
    if goal.at_least is not None:
        parts.append(speed / goal.at_least)
    if goal.at_most is not None:
        parts.append(goal.at_most * speed)
    return min(parts) if parts else float("inf")


def _measured(goal: Goal, worst: dict[str, Any], place: str, where: list[dict[str, Any]], close: bool) -> str:
    value, low, high = worst["value"], worst["low"], worst["high"]
    if goal.against == "floor" and goal.at_least is not None:
        said = f"{_percent(value)} of the speed that the hardware allows ({_percent(low)} to {_percent(high)})"
    elif goal.at_least is not None:
        said = f"{_times(value)} times as fast as {goal.against} ({_times(low)} to {_times(high)})"
    else:
        other = "the floor" if goal.against == "floor" else goal.against
        said = f"{_times(1 / value)} times the time of {other} ({_times(1 / high)} to {_times(1 / low)})"
    worst_of = " at worst" if len(where) > 1 else ""
    holds = sum(one["holds"] for one in where)
    part = f"; holds at {holds} of {len(where)} settings" if 0 < holds < len(where) else ""
    return f"{said}{worst_of}, at {place}{part}" + ("; the limit lies within the spread" if close else "")


def _times(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.2g} %"


def _reason(against: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Why nothing could be compared with this contestant."""
    for who in ("ours", against):
        said = [
            times["error"]
            for row in rows
            for name, times in row.get("contestants", {}).items()
            if name.split("|")[0] == who and "error" in times
        ]
        if said:
            return f"{who} failed: {said[0]}"
    said = [row["error"] for row in rows if row.get("error")]
    if said:
        return said[0]
    if against == "floor":
        return "this case does not say how much work there is"
    package = against.split(",")[0].strip()  # "pykan, fast" is a way to use the package pykan
    if package not in CONVENTION and " " not in package and not version(package):
        return f"{package} is not installed: {PEERS}"
    return f"{against} did not take part"


def missing_in_words(cases: Sequence[Mapping[str, Any]]) -> str:
    """Which packages were not raced because they are not installed, and what brings them; nothing where none is missing."""
    names = dict.fromkeys(name for case in cases for name in case["missing"])
    return f"Not raced, because not installed: {', '.join(names)}. They come with {PEERS}." if names else ""


def version(package: str) -> str:
    """The version of a package that is installed here, else nothing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
