"""The command line: what `./lab` hands on to, and what `labkit` runs inside the environment.

A mistake that the user can put right is one sentence on standard error and exit code 2. Heavy packages are imported
by the command that needs them.
"""

import argparse
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from labkit import workshop_commands
from labkit.errors import LabError
from labkit.serve import DASHBOARD_PORT, NOTEBOOK_PORT, dashboard, notebooks
from labkit.workbench.crew.crew import cores

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "tests" / "benchmarks"
JOBS = cores()
SCALES = ("smoke", "lesson", "paper")


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 a check failed, 2 a mistake, 130 stopped by Ctrl-C."""
    try:
        chosen = parser().parse_args(arguments)
        return chosen.do(chosen) or 0
    except LabError as error:
        return complain(str(error))
    except ModuleNotFoundError as error:
        if str(error.name).startswith("labkit"):
            raise
        return complain(f"this needs the package {error.name}, which the lab extra brings: pip install 'labkit[lab]'.")
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return complain(said_plainly(error))
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def complain(sentence: str) -> int:
    print(f"labkit: {sentence}", file=sys.stderr)
    return 2


def said_plainly(error: OSError) -> str:
    """A failed file operation as a sentence."""
    where = error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full, {where} was not written: make room and run the command again."
    return f"{where}: {error.strerror or error}."


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command in one sentence."""

    def error(self, message: str) -> NoReturn:
        raise LabError(f"{message} (see {self.prog} --help).")


def parser() -> Parser:
    """All commands and their options."""
    called = "./lab" if Path(sys.argv[0]).name == "cli.py" else "labkit"
    top = Parser(prog=called, description="An interactive visual lab for neural-network layers.")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    def command(name: str, do: Callable[[Any], int | None], says: str) -> Parser:
        made = commands.add_parser(name, help=says, description=says)
        made.set_defaults(do=do)
        return made

    for name, do, port, says in (
        ("lab", run_lab, NOTEBOOK_PORT, "Open the notebooks in JupyterLab."),
        ("dashboard", run_dashboard, DASHBOARD_PORT, "Open the dashboard."),
    ):
        server = command(name, do, says)
        server.add_argument("--port", type=int, default=port, help=f"a taken one gives the next (default: {port})")
        server.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
        if name == "dashboard":
            server.add_argument("--model", metavar="FILE.py:FUNCTION", help="a model of your own to look inside")

    study = command("study", run_study, "Run a study and print what it found; without a name, list the studies.")
    study.add_argument("name", nargs="?", help="the study's name, such as fast_feedforward")
    study.add_argument("--scale", choices=SCALES, default="lesson", help="how much is run (default: lesson)")
    study.add_argument("--save", action="store_true", help="keep it as the recorded run, in assets/runs")
    study.add_argument("--seeds", type=int, metavar="N", help="runs of each arm, instead of the scale's own number")
    study.add_argument(
        "--jobs", type=int, default=JOBS, metavar="N", help=f"how many to train at once (default: {JOBS})"
    )

    race = command(
        "race", run_race, "Train layers in the same places at the same cost; without a ground, list what there is."
    )
    race.add_argument("on", nargs="?", metavar="GROUND", help="characters, images or digits")
    race.add_argument("--layers", nargs="+", metavar="LAYER", help="who races beside the dense layer (default: all)")
    race.add_argument("--match", choices=("parameters", "active_flops", "latency"), default="parameters")
    race.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each layer (default: 3)")
    race.add_argument("--no-tuning", action="store_true", help="all learn at the same rate")
    race.add_argument("--save", action="store_true", help="keep it as the recorded race of this ground")
    race.add_argument(
        "--jobs", type=int, default=JOBS, metavar="N", help=f"how many to train at once (default: {JOBS})"
    )

    new = command("new", run_new, "Start a new mechanism, its study and its notebook from templates.")
    new.add_argument("place", metavar="KIND.SHELF.NAME", help="such as layers.routing.my_gate")
    new.add_argument("paper", metavar="PAPER", help="the paper's id in the catalogue, such as P123")

    bench = command("bench", run_bench, "Time layers beside others; without a name, list the cases and the verdicts.")
    bench.add_argument("name", nargs="?", help="a name from the list, all, crossover or contract")
    bench.add_argument("--save", action="store_true", help="keep what was measured, in assets/runs")
    bench.add_argument("--quick", action="store_true", help="a few sizes of each case, in a minute or two")
    bench.add_argument("--goals", action="store_true", help="print only what was promised, and whether it was kept")

    command("doctor", run_doctor, "Check this machine and say what to do about each problem.")
    workshop_commands.add_commands(command, JOBS)
    return top


def run_lab(chosen: Any) -> None:
    notebooks(chosen.port, not chosen.no_browser)


def run_dashboard(chosen: Any) -> None:
    dashboard(chosen.port, not chosen.no_browser, chosen.model)


def run_study(chosen: Any) -> int | None:
    from labkit import plain_text
    from labkit.workbench.find import study

    if chosen.name is None:
        if chosen.save:
            raise LabError("--save needs the name of a study; ./lab study lists them.")
        return list_studies()
    for option in ("seeds", "jobs"):
        if getattr(chosen, option) is not None and getattr(chosen, option) < 1:
            raise LabError(f"--{option} takes a number from 1 up, not {getattr(chosen, option)}.")
    found = study(chosen.name)
    found.at(chosen.scale)
    if chosen.save:
        require_worth_recording(found, chosen.scale)
    print(f"{found.title} ({found.paper}): {found.question}\n", flush=True)
    line = plain_text.ProgressLine()
    try:
        run = found.run(chosen.scale, seeds=chosen.seeds, watch=line, jobs=chosen.jobs)
    except KeyboardInterrupt:
        line.close()
        print("\nStopped; nothing was saved.", file=sys.stderr)
        return 130
    finally:
        line.close()
    print(plain_text.claims(run.claims))
    facts = run.provenance
    print(f"\nScale {run.scale}, {len(facts['seeds'])} seeds, {plain_text.clock(facts['duration_s'])}.", flush=True)
    for sentence in facts.get("lost", ()):
        print(f"{sentence} The claims are decided on the seeds that every arm finished.", flush=True)
    if chosen.save:
        print(f"Saved in {run.save()}", flush=True)
    else:
        print("Not saved as the recorded run; --save does that.", flush=True)
    from labkit.workbench import tracking

    tracking.log(run).result()
    print("Logged: the dashboard's Runs page shows its curves.")
    return 0


def run_race(chosen: Any) -> int | None:
    from labkit import plain_text
    from labkit.workbench.contenders import BASELINE, CONTENDERS
    from labkit.workbench.grounds import GROUNDS
    from labkit.workbench.race import race, races_folder

    if chosen.on is None:
        print(plain_text.table(("Ground", "What it is"), [(name, one.says) for name, one in GROUNDS.items()]))
        print("\n" + plain_text.table(("Layer", "What it is"), [(name, one.says) for name, one in CONTENDERS.items()]))
        return 0
    line = plain_text.ProgressLine()
    try:
        run = race(
            chosen.layers or [name for name in CONTENDERS if name != BASELINE],
            on=chosen.on,
            match=chosen.match,
            seeds=chosen.seeds,
            tune=not chosen.no_tuning,
            watch=line,
            jobs=chosen.jobs,
        )
    except KeyboardInterrupt:
        line.close()
        print("\nStopped; nothing was saved.", file=sys.stderr)
        return 130
    finally:
        line.close()
    print(plain_text.claims(run.claims))
    if chosen.save:
        print(f"\nSaved in {run.save(races_folder())}", flush=True)
    return 0


def require_worth_recording(found: Any, scale: str) -> None:
    """Raise a LabError where saving would put less in place of more, or text that a template left to be filled in."""
    from labkit.scaffold import FILL_IN
    from labkit.workbench.run import open_run, recorded_runs

    words = [found.title, found.question, *(f"{claim.says} {claim.needs}" for claim in found.claims)]
    if any(FILL_IN in word for word in words):
        raise LabError(
            f'{found.name} still says "{FILL_IN}" in its title, question or claims: fill that in, then save.'
        )
    if found.name in recorded_runs():
        try:
            before = open_run(found.name).scale
        except LabError:  # a broken record is there to be replaced
            return
        if before in SCALES and SCALES.index(scale) < SCALES.index(before):
            raise LabError(
                f"A run at scale {before} is recorded, and {scale} is less: add --scale {before}, or do not save."
            )


def list_studies() -> None:
    from labkit import plain_text
    from labkit.workbench.find import study, study_names
    from labkit.workbench.run import recorded_runs

    recorded = recorded_runs()
    rows = [
        (name, found.paper, found.question, ", ".join(found.scales), "yes" if name in recorded else "no")
        for name in study_names()
        for found in [study(name)]
    ]
    print(plain_text.table(("Study", "Paper", "Question", "Scales", "Recorded"), rows))


def run_new(chosen: Any) -> None:
    from labkit.scaffold import scaffold

    print(scaffold(chosen.place, chosen.paper))


def run_bench(chosen: Any) -> int | None:
    from labkit.bench import bench

    return bench(chosen.name, BENCHMARKS, save=chosen.save, quick=chosen.quick, goals=chosen.goals)


def run_doctor(chosen: Any) -> int:
    from labkit.doctor import examine

    return examine()


if __name__ == "__main__":
    sys.exit(main())
