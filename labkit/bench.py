"""The bench command: lists what can be measured, races it with a line of progress, prints the board and keeps it."""

import ast
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from labkit import plain_text
from labkit.errors import LabError

# heavy packages are imported by the functions that need them
ALL, CROSSOVER, CONTRACT = "all", "crossover", "contract"
SIGNS = {
    "met": "✓ met",
    "missed": "✗ missed",
    "out of reach": "↑ out of reach",
    "not measurable": "– not measurable",
}


def bench(
    name: str | None, folder: Path, *, save: bool = False, quick: bool = False, goals: bool = False
) -> int | None:
    """Run what is called `name`, or list everything. `folder` holds the benchmarks that are programs of their own."""
    programs = {path.stem.removeprefix("bench_"): path for path in sorted(folder.glob("bench_*.py"))}
    if name is None:
        if save or quick:
            raise LabError("--save and --quick need a name from the list, such as all; ./lab bench shows the list.")
        return print(_verdicts()) if goals else overview(programs)
    if name == CONTRACT:
        return contract(save)
    if name == CROSSOVER:
        return run_crossover(save)
    from labkit.workbench.scoreboard.board import cases

    known = cases()
    if name == ALL or name in known:
        chosen = list(known.values()) if name == ALL else [known[name]]
        return run_cases(chosen, name, save=save, quick=quick, goals=goals)
    if name not in programs:
        every = ", ".join([ALL, CROSSOVER, CONTRACT, *known, *programs])
        raise LabError(f"No benchmark is called {name!r}; there is {every}.")
    if save or quick or goals:
        raise LabError(f"{name} is a program of its own: --save, --quick and --goals are for cases of the scoreboard.")
    sys.path.insert(0, str(programs[name].parent))  # a benchmark imports what stands beside it
    return importlib.import_module(programs[name].stem).main()


def overview(programs: Mapping[str, Path]) -> None:
    """Everything that can be measured, a line each, and the verdicts of the saved board."""
    from labkit.workbench.scoreboard.board import cases

    rows = [(case.name, case.title) for case in cases().values()]
    rows += [
        (ALL, "Every case above: --quick takes a minute or two, --save keeps the board."),
        (CROSSOVER, "Where a method starts to lose against dense on this machine; under a minute."),
        (CONTRACT, "Shows which layers, ours and those of other packages, keep the layer contract."),
    ]
    print(plain_text.table(("Case", "What is raced"), rows))
    if programs:
        said = {name: ast.get_docstring(ast.parse(path.read_text("utf-8"))) for name, path in programs.items()}
        lines = [(name, (text or "").split("\n")[0]) for name, text in said.items()]
        print("\n" + plain_text.table(("Benchmark", "What it measures"), lines))
    print("\n" + _verdicts())


def _verdicts() -> str:
    """The goals of the saved board, or how to get one."""
    from labkit.workbench.scoreboard.machine import origin
    from labkit.workbench.scoreboard.saved import saved

    board = saved()
    if board is None:
        return "No board is saved yet: ./lab bench all --save makes one."
    return "\n".join(["The saved board:", origin(board["made"]), "", goals_table(board)])


def run_cases(chosen: list[Any], name: str, *, save: bool, quick: bool, goals: bool) -> int | None:
    """Race these cases, print the board, and keep it if that was asked for."""
    from labkit.workbench.scoreboard.board import measure
    from labkit.workbench.scoreboard.goals import missing_in_words
    from labkit.workbench.scoreboard.machine import limits_in_words, origin
    from labkit.workbench.scoreboard.saved import joined, saved, write

    if not chosen:
        raise LabError("There is no case in labkit/workbench/scoreboard/cases yet.")
    before = saved() if save else None
    if save and quick and before is not None and not before["made"]["quick"]:
        raise LabError("A full board is saved, and --quick is less: leave it out, or do not save.")
    board = _measured(lambda watch: measure(chosen, quick=quick, watch=watch))
    if board is None:
        return 130
    if not goals:
        for case in board["cases"]:
            print(times_table(case) + "\n")
        print("\n".join(limits_in_words(board["ceilings"])) + "\n")
    print(goals_table(board))
    print(f"\n{origin(board['made'])}", flush=True)
    if missing := missing_in_words(board["cases"]):
        print(missing)
    if save:
        print(f"Saved in {write(board if name == ALL else joined(board, before))}")
    else:
        print("Not saved; --save does that.")
    return None


def run_crossover(save: bool) -> int | None:
    """Measure where methods start to lose, print the grids, and keep them if that was asked for."""
    from labkit.workbench.scoreboard.crossover import crossover
    from labkit.workbench.scoreboard.machine import origin
    from labkit.workbench.scoreboard.saved import CROSSOVER as PLACE
    from labkit.workbench.scoreboard.saved import write

    found = _measured(lambda watch: crossover(watch=watch))
    if found is None:
        return 130
    for grid in found["grids"]:
        print(grid_table(grid) + "\n")
    print("The numbers: how many times as fast as dense; below 1 dense wins, - was not measured.")
    print(origin(found["made"]))
    print(f"Saved in {write(found, PLACE)}" if save else "Not saved; --save does that.")
    return None


def contract(measure: bool) -> int | None:
    """The board of correctness: how many checks each layer passes, and the sentences of those that fail.

    The saved one, or with `measure` a new one, which takes the place of the saved one.
    """
    from labkit.workbench.scoreboard.saved import CONTRACT as PLACE
    from labkit.workbench.scoreboard.saved import saved, write

    if measure:
        from labkit.workbench.scoreboard import correctness
        from labkit.workbench.scoreboard.board import Stage

        board = _measured(
            lambda watch: correctness.measure(lambda name, number, of: watch(Stage(number / of, f"Checking {name}")))
        )
        if board is None:
            return 130
    else:
        board = saved(PLACE)
    if board is None:
        raise LabError("No correctness board is saved yet: ./lab bench contract --save makes one, in some minutes.")
    rows, failed = [], []
    for layer in sorted(board["layers"], key=lambda one: not one["ours"]):
        said = layer["checks"]
        exempt = sum(one.startswith("exempt") for one in said.values())
        passed = sum(one == "passed" for one in said.values())
        of = f"{layer['package']} {layer['version']}".strip()
        rows.append((layer["name"], of, str(passed), str(exempt), str(len(said) - exempt - passed)))
        failed += [(layer["name"], name, one) for name, one in said.items() if one != "passed" and one[:6] != "exempt"]
    print(plain_text.table(("Layer", "Package", "Passed", "Exempt", "Failed"), rows))
    if failed:
        print("\n" + plain_text.table(("Layer", "Check", "What failed"), failed))
    for one in board.get("absent", ()):
        print(f"{one['name']} ({one['package']}) was not checked: {one['why']}")
    if measure:
        print(f"Saved in {write(board, PLACE)}")
    return None


def _measured(work: Callable[[Callable[[Any], None]], dict[str, Any]]) -> dict[str, Any] | None:
    """What a measuring found, with a line of progress meanwhile; None where Ctrl-C stopped it."""
    line = plain_text.ProgressLine()
    try:
        return work(line)
    except KeyboardInterrupt:
        line.close()
        print("\nStopped; nothing was saved.", file=sys.stderr)
        return None
    finally:
        line.close()


def times_table(case: Mapping[str, Any]) -> str:
    """A case, size by size: the floor, and for each contestant its time, its spread and how many times as long as ours."""
    from labkit.workbench.scoreboard.goals import in_words

    clocks = dict.fromkeys(row["clock"] for row in case["rows"])
    lines = [
        case["title"],
        case["says"],
        f"Median of the {' / '.join(clocks)}, quartiles, and the time compared with ours.",
    ]
    for row in case["rows"]:
        least = row.get("floor")
        held = f": the hardware needs {time_of(least['seconds'])} ({least['says']})" if least else ""
        lines += ["", f"{in_words(row['setting']) or 'one size'}{held}"]
        if row.get("error"):
            lines.append(f"  {row['error']}")
        cells = [
            (
                name,
                time_of(times["median"]),
                f"{time_of(times['low'])} to {time_of(times['high'])}",
                f"{factor(times['times'][0])} x" if "times" in times else "",
            )
            for name, times in row["contestants"].items()
            if "median" in times
        ]
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines += ["  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(one, widths)).rstrip() for one in cells]
        lines += [
            f"  {name} failed: {times['error']}" for name, times in row["contestants"].items() if "error" in times
        ]
    return "\n".join(lines)


def goals_table(board: Mapping[str, Any]) -> str:
    """What was promised, what was measured, and the verdict."""
    rows = [
        (goal["says"], "; ".join(filter(None, (goal["measured"], goal["why"]))) or "-", SIGNS[goal["verdict"]])
        for case in board["cases"]
        for goal in case["goals"]
    ]
    if not rows:
        return "These cases promise nothing."
    count = {verdict: sum(sign == row[2] for row in rows) for verdict, sign in SIGNS.items()}
    tally = ", ".join(f"{number} {verdict}" for verdict, number in count.items() if number)
    quick = " on the few sizes of a quick run" if board["made"]["quick"] else ""
    return plain_text.table(("Promised", "Measured", "Verdict"), rows) + f"\n\n{len(rows)} goals: {tally}{quick}."


def grid_table(grid: Mapping[str, Any]) -> str:
    """A crossover as numbers: a row for each batch."""
    across = [f"{size:.0%}" if size < 1 else f"{size:,}" for size in grid["columns"]["values"]]
    rows = [
        (f"batch {batch}", *("-" if one is None else factor(one) for one in line))
        for batch, line in zip(grid["rows"]["values"], grid["ratio"])
    ]
    said = [f"{grid['title']}: {grid['columns']['says']} across, inputs at once down.", grid["says"]]
    return "\n".join([*said, *([grid["error"]] if grid.get("error") else []), "", _close(_grid(across, rows))])


def _grid(across: list[str], rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[place]) for row in [("", *across), *rows]) for place in range(len(across) + 1)]
    return "\n".join(
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths)) for row in [("", *across), *rows]
    )


def _close(table: str) -> str:
    """Without the empty lines between the rows: these are numbers, not sentences."""
    return "\n".join(line for line in table.splitlines() if line.strip())


def time_of(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    unit, size = next(((unit, size) for unit, size in (("s", 1.0), ("ms", 1e-3)) if seconds >= size), ("µs", 1e-6))
    return f"{seconds / size:.3g} {unit}" if seconds / size < 999.5 else f"{seconds / size:,.0f} {unit}"


def factor(value: float) -> str:
    """A ratio as people read it."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
