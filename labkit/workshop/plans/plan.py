"""Ready workshops: who they are for, what they give, and what happens in each of their minutes.

A plan is a TOML file in this folder, or anywhere else. Its steps go through notebooks from one cell to another; what to say
there and which mistakes are common stands in the notebooks' own cells for whoever teaches.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import LabError
from labkit.workshop.building import cells

FOLDER = Path(__file__).parent
STEP = {"minutes", "title", "pause", "notebook", "first", "last", "exercise", "say", "mistakes"}
PLAN = {"title", "minutes", "for_whom", "afterwards", "prerequisites", "before", "after", "steps"}


@dataclass(frozen=True)
class Step:
    """One step: a part of a notebook, a talk, or a break."""

    minutes: int
    title: str
    pause: bool = False
    notebook: str | None = None
    first: str = ""
    last: str = ""
    exercise: str | None = None
    say: str = ""
    mistakes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A workshop; `before` is what is prepared, `after` what is there for those who want to go on."""

    name: str
    title: str
    minutes: int
    for_whom: str
    afterwards: tuple[str, ...]
    prerequisites: tuple[str, ...]
    before: tuple[str, ...]
    after: str
    steps: tuple[Step, ...]

    @property
    def notebooks(self) -> list[str]:
        """Each notebook once, in the order in which it is opened first."""
        return list(dict.fromkeys(step.notebook for step in self.steps if step.notebook))

    def starts(self) -> list[int]:
        """When each step begins, in minutes from the beginning."""
        passed = 0
        found = []
        for step in self.steps:
            found.append(passed)
            passed += step.minutes
        return found


def plan_names() -> list[str]:
    """The workshops that come with labkit, the shortest first."""
    return [plan.name for plan in sorted(map(open_plan, FOLDER.glob("*.toml")), key=lambda plan: plan.minutes)]


def is_plan(name: str | Path) -> bool:
    return str(name).endswith(".toml") or (FOLDER / f"{name}.toml").is_file()


def open_plan(name: str | Path) -> Plan:
    """A plan by its name or from a file. Raises: LabError where there is none, or it cannot be read."""
    path = Path(name) if str(name).endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabError(f"There is no plan {name}; labkit workshop list shows what there is.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LabError(f"{path} is no TOML file: {error}.") from error
    return _plan(path, told)


def problems(plan: Plan) -> list[str]:
    """What is wrong with a plan, in sentences: its sum, cells that are not there, and times that do not agree."""
    total = sum(step.minutes for step in plan.steps)
    found = [f"The steps take {total} minutes and the plan promises {plan.minutes}."] if total != plan.minutes else []
    reached: dict[str, int] = {}
    for number, step in enumerate(plan.steps, 1):
        try:
            found += [f"Step {number}, {step.title}: {one}" for one in _of_step(step, reached)]
        except LabError as error:
            found.append(f"Step {number}, {step.title}: {error}")
    return found


def _of_step(step: Step, reached: dict[str, int]) -> list[str]:
    if step.notebook is None:
        return [] if step.pause or step.say else ["it says nothing."]
    path = cells.notebooks_folder() / step.notebook
    if not path.is_file():
        return [f"there is no notebook {step.notebook}."]
    notebook = cells.read(path)
    chosen = cells.part(notebook, step.first, step.last)
    ids = [cell.id for cell in chosen]
    start = [cell.id for cell in notebook.cells].index(step.first)
    found = []
    if start < reached.get(step.notebook, 0):
        found.append("it goes back to cells that an earlier step has been through.")
    reached[step.notebook] = start + len(chosen)
    told = sum(map(cells.minutes, chosen))
    if told != step.minutes:
        found.append(f"it takes {step.minutes} minutes, and its cells for whoever teaches say {told}.")
    if step.exercise and (step.exercise not in ids or f"check-{step.exercise}" not in ids):
        found.append(f"its exercise {step.exercise} and the check are not among its cells.")
    return found


def _plan(path: Path, told: dict[str, Any]) -> Plan:
    _only(told, PLAN, path.name)
    steps = []
    for number, step in enumerate(told.get("steps", []), 1):
        _only(step, STEP, f"{path.name}, step {number}")
        if "minutes" not in step or "title" not in step:
            raise LabError(f"{path.name}, step {number}: a step has minutes and a title.")
        steps.append(Step(**{**step, "mistakes": tuple(step.get("mistakes", ()))}))
    if not steps or "title" not in told or "minutes" not in told:
        raise LabError(f"{path.name}: a plan has a title, minutes and steps.")
    lists = {name: tuple(told.get(name, ())) for name in ("afterwards", "prerequisites", "before")}
    return Plan(
        name=path.stem,
        title=told["title"],
        minutes=told["minutes"],
        for_whom=told.get("for_whom", ""),
        after=told.get("after", ""),
        steps=tuple(steps),
        **lists,
    )


def _only(told: dict[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(told) - known)
    if unknown:
        raise LabError(f"{where}: {unknown[0]} is no entry of a plan; known are {', '.join(sorted(known))}.")
