"""The commands of workshops: `labkit workshop list|build|bundle|site` and `labkit class start`."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labkit.errors import LabError

CLASS_PORT = 5010
"""Where students join; `labkit.workshop.classroom.codes.PORT` says the same."""
SCALES = ("smoke", "lesson")


def add_commands(command: Callable[..., argparse.ArgumentParser], jobs: int) -> None:
    """Add both commands; `command(name, do, says)` is how labkit.cli makes one."""
    workshop = command("workshop", run_list, "Make teaching material from the notebooks; alone, list what there is.")
    actions = workshop.add_subparsers(metavar="ACTION", parser_class=type(workshop))

    def action(name: str, do: Callable[[Any], int | None], says: str) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=says, description=says)
        made.set_defaults(do=do)
        return made

    action("list", run_list, "List the ready workshops, and the notebooks with their exercises.")

    build = action("build", run_build, "Make students' notebooks, solutions, slides and the instructor's version.")
    build.add_argument(
        "what", metavar="NOTEBOOK-OR-PLAN", help="such as 90-minutes, fast_feedforward, or a file of yours"
    )
    build.add_argument("--to", metavar="FOLDER", help="where it is written (default: workshops/NAME)")
    build.add_argument("--run", action="store_true", help="also run students' and solved notebooks from top to bottom")
    build.add_argument("--scale", choices=SCALES, default="lesson", help="how long --run trains (default: lesson)")

    bundle = action(
        "bundle", run_bundle, "Put everything into one folder that installs on a machine without a network."
    )
    bundle.add_argument("--to", metavar="FOLDER", help="where it is written (default: labkit-offline)")

    site = action("site", run_site, "Make web pages of all notebooks for people without Python; they work from a file.")
    site.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="only these (default: all)")
    site.add_argument("--to", metavar="FOLDER", help="where it is written (default: labkit-site)")
    site.add_argument(
        "--scale", choices=SCALES, default="lesson", help="how long the notebooks train (default: lesson)"
    )
    site.add_argument("--jobs", type=int, default=jobs, metavar="N", help=f"notebooks run at once (default: {jobs})")

    says = "Open a class: a page with a join code, and what the students' notebooks tell."
    classes = command("class", run_class, says)
    classes.add_argument("action", choices=("start",), help="open the class, or go on with the one in the folder")
    kept = (
        "where the class is kept; starting on it again goes on with the same code and students (default: one of today)"
    )
    classes.add_argument("--folder", metavar="FOLDER", help=kept)
    classes.add_argument(
        "--port",
        type=int,
        default=CLASS_PORT,
        help=f"where students join; a free one beside it is yours (default: {CLASS_PORT})",
    )
    classes.add_argument("--address", metavar="IP", help="this machine's address that students reach (default: found)")
    classes.add_argument("--here", action="store_true", help="only this machine can join: for trying it out")
    store = "an existing database for MLflow, such as postgresql://user@host/name (default: a file in the folder)"
    classes.add_argument("--store", metavar="URL", help=store)
    classes.add_argument("--no-browser", action="store_true", help="print the address, open nothing")


def run_list(chosen: Any) -> None:
    from labkit import plain_text
    from labkit.workshop.building import cells
    from labkit.workshop.plans.plan import open_plan, plan_names

    plans = [open_plan(name) for name in plan_names()]
    rows = [(plan.name, plan.title, f"{plan.minutes} min", str(len(plan.notebooks))) for plan in plans]
    print(plain_text.table(("Plan", "Workshop", "Takes", "Notebooks"), rows) + "\n")
    rows = []
    for name in cells.notebook_names():
        notebook = cells.read(cells.notebooks_folder() / name)
        tasks, minutes = cells.exercises(notebook), sum(map(cells.minutes, notebook.cells))
        rows.append(
            (name.removesuffix(".ipynb"), str(len(tasks)), f"{minutes} min" if minutes else "no words for it yet")
        )
    print(plain_text.table(("Notebook", "Exercises", "For teaching"), rows))
    print("\nlabkit workshop build NAME makes the material of one of them.")


def run_build(chosen: Any) -> None:
    from labkit.workshop.building.build import build

    made = build(chosen.what, chosen.to, run=chosen.run, scale=chosen.scale, say=_say)
    print(f"\nWritten: {made.folder}")
    print("  students/    give these away", "  solutions/   the same with every exercise answered", sep="\n")
    print(
        "  instructor/  everything, with what to say and common mistakes", "  slides/      open in a browser", sep="\n"
    )
    print(f"  {made.sheet.name}  the clock: what happens when")
    if not chosen.run:
        print("Nothing was run; --run does that, and checks every solution.")


def run_bundle(chosen: Any) -> None:
    from labkit.workshop.building.bundle import bundle

    print(bundle(Path(chosen.to or "labkit-offline"), say=_say))


def run_site(chosen: Any) -> int:
    from labkit import plain_text
    from labkit.workshop.building.site import site

    if chosen.jobs < 1:
        raise LabError(f"--jobs takes a number from 1 up, not {chosen.jobs}.")
    made = site(Path(chosen.to or "labkit-site"), chosen.notebooks, scale=chosen.scale, jobs=chosen.jobs, say=_say)
    print(plain_text.table(("Page", "Pictures", "Size"), made.rows))
    for sentence in made.failed:
        print(sentence, file=sys.stderr)
    print(f"\nWritten: {made.index}. Open it in a browser; no network and no Python is needed.")
    return 1 if made.failed else 0


def run_class(chosen: Any) -> None:
    from labkit.dashboard.class_app import start

    start(
        folder=chosen.folder,
        port=chosen.port,
        address=chosen.address,
        here=chosen.here,
        store=chosen.store,
        open_browser=not chosen.no_browser,
    )


def _say(line: str) -> None:
    print(line, flush=True)
