"""Boards that last: one small JSON file each in assets/runs, written whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any

from labkit.errors import LabError
from labkit.workbench.run import LARGEST, runs_folder

BOARD, CROSSOVER, CONTRACT = "bench", "crossover", "contract"
NEEDS = {BOARD: ("made", "ceilings", "cases"), CROSSOVER: ("made", "grids"), CONTRACT: ("layers",)}


def path_of(name: str) -> Path:
    """Where this board lies, whether it is there or not."""
    return runs_folder() / f"{name}.json"


def saved(name: str = BOARD) -> dict[str, Any] | None:
    """The saved board, or None where there is none. Raises: LabError where the file is broken."""
    path = path_of(name)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise LabError(f"{path.name} cannot be read ({error}): restore the file, or measure again and save.") from error
    missing = [key for key in NEEDS[name] if not isinstance(found, dict) or key not in found]
    if missing:
        raise LabError(f"{path.name} lacks {', '.join(missing)}: restore the file, or measure again and save.")
    return found


def write(board: dict[str, Any], name: str = BOARD) -> Path:
    """Write a board and return its path. Raises: LabError where it cannot be written or is too large."""
    path = path_of(name)
    text = _spelled(board) + "\n"
    if len(text.encode()) > LARGEST:
        raise LabError(f"The board takes {len(text.encode()):,} bytes; what is kept has {LARGEST:,} at most.")
    unfinished = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise LabError(f"{path.name} could not be saved in {path.parent}: {error.strerror or error}.") from error
    return path


def joined(new: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
    """The old board with the cases of the new one in the place of its own.

    Raises: LabError where the two cannot stand side by side: other machines, other versions, or a quick run in the
    place of a full one.
    """
    if old is None:
        return new
    fresh = {case["name"]: case for case in new["cases"]}
    lost = [
        case["name"] for case in old["cases"] if case["name"] in fresh and fresh[case["name"]]["quick"] > case["quick"]
    ]
    if lost:
        raise LabError(f"A full run of {', '.join(lost)} is saved, and --quick is less: leave it out, or do not save.")
    kept = [case for case in old["cases"] if case["name"] not in fresh]
    if not kept:
        return new
    for what, mine, its in (
        ("machine", new["made"]["machine"], old["made"]["machine"]),
        *((name, new["made"]["versions"].get(name), old["made"]["versions"].get(name)) for name in ("torch", "numba")),
    ):
        if mine != its:
            raise LabError(
                f"The saved board was made with another {what}: save all cases at once, ./lab bench all --save."
            )
    made = new["made"] | {
        "versions": old["made"]["versions"] | new["made"]["versions"],
        "threads": sorted({*old["made"]["threads"], *new["made"]["threads"]}),
        "quick": new["made"]["quick"] or old["made"]["quick"],
        "load": _worst(new["made"].get("load", {}), old["made"].get("load", {})),
    }
    cases = sorted([*kept, *new["cases"]], key=lambda case: case["name"])
    return {"made": made, "ceilings": old["ceilings"] | new["ceilings"], "cases": cases}


def _worst(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {name: max(share, other.get(name, 0.0)) for name, share in one.items()}


def _spelled(value: Any, depth: int = 0) -> str:
    """JSON with a line for each row: small, and a change of one number changes one line."""
    if depth < 3 and isinstance(value, dict):
        inside = [f"{json.dumps(key)}: {_spelled(one, depth + 1)}" for key, one in value.items()]
        return "{\n" + ",\n".join(inside) + "\n}" if inside else "{}"
    if depth < 4 and isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return "[\n" + ",\n".join(_spelled(one, depth + 1) for one in value) + "\n]"
    return json.dumps(value, ensure_ascii=False)
