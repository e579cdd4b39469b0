"""What the lab's own files say about a paper: modules that cite it, its study, notebooks, and recorded verdicts.

Nothing is imported and nothing is typed by hand: docstrings are read with `ast`, notebooks and recorded runs as JSON.
"""

import ast
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
MECHANISMS = ("layers", "losses", "optimizers", "trainers", "transforms", "analysis")
PAPER_ID = re.compile(r"\bP\d{3}\b")
UNREADABLE = (OSError, SyntaxError, ValueError, LookupError, TypeError, AttributeError)
SOURCE = re.compile(r"^[ \t]*Source:.*(?:\n(?!\s*(?:\n|[A-Z]\w*:(?:\s|$))).*)*", re.MULTILINE)

SCOREBOARDS = ("bench.json", "contract.json", "crossover.json")


@dataclass(frozen=True)
class RecordedRun:
    """The claims of one recorded run, as its file in assets/runs states them."""

    study: str
    scale: str
    path: Path
    claims: tuple[dict, ...]
    provenance: dict

    @property
    def verdicts(self) -> tuple[str, ...]:
        """The verdict of each claim, in the order of the claims."""
        return tuple(str(claim["verdict"]) for claim in self.claims if claim.get("verdict"))


@dataclass(frozen=True)
class Evidence:
    """For each paper id, the paths (relative to the checkout) and runs that mention it."""

    modules: dict[str, list[str]] = field(default_factory=dict)
    studies: dict[str, list[str]] = field(default_factory=dict)
    notebooks: dict[str, list[str]] = field(default_factory=dict)
    runs: dict[str, list[RecordedRun]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def cited(self) -> set[str]:
        """Every paper id that a module, a study or a recorded run names."""
        return set(self.modules) | set(self.studies) | set(self.runs)


def evidence(root: Path | None = None) -> Evidence:
    """Read the checkout at `root` (default: this one, with its assets at $LABKIT_ASSETS where that is set).

    Files are read again only when one was added, removed or changed.
    """
    assets = os.environ.get("LABKIT_ASSETS") if root is None else None
    root = PACKAGE.parent if root is None else Path(root)
    runs = (Path(assets) if assets else root / "assets") / "runs"
    files = [*_modules(root), *_notebooks(root), *_runs(runs)]
    stamp = tuple((path, path.stat().st_mtime_ns) for path in files)
    return _read(root, stamp)


@lru_cache(maxsize=8)
def _read(root: Path, stamp: tuple[tuple[Path, int], ...]) -> Evidence:
    found = Evidence()
    for path, _ in stamp:
        place = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
        try:
            if path.suffix == ".ipynb":
                _add(found.notebooks, _mentioned(path), place)
            elif path.suffix == ".json":
                _add_run(found, path)
            elif place.startswith("labkit/studies/"):
                _add(found.studies, _studied(path), place)
            else:
                _add(found.modules, _cited(path), place)
        except UNREADABLE as reason:
            found.problems.append(f"{place} was left out of the catalogue because it cannot be read: {reason!r}.")
    return found


def _runs(folder: Path) -> list[Path]:
    """Recorded runs of studies; the scoreboards of speed and of correctness lie beside them."""
    return [path for path in sorted(folder.glob("*.json")) if path.name not in SCOREBOARDS]


def _modules(root: Path) -> list[Path]:
    folders = (*MECHANISMS, "parts", "studies")
    return [path for folder in folders for path in sorted((root / "labkit" / folder).rglob("*.py"))]


def _notebooks(root: Path) -> list[Path]:
    found = sorted((root / "notebooks").rglob("*.ipynb"))
    return [path for path in found if ".ipynb_checkpoints" not in path.parts]


def _add(table: dict[str, list[str]], ids: set[str], place: str) -> None:
    for number in sorted(ids):
        table.setdefault(number, []).append(place)


def _docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text


def _cited(path: Path) -> set[str]:
    """The paper ids in the `Source:` paragraphs of a module's docstrings."""
    text = path.read_text(encoding="utf-8")
    if not PAPER_ID.search(text):
        return set()
    blocks = (block for doc in _docstrings(ast.parse(text)) for block in SOURCE.findall(doc))
    return {number for block in blocks for number in PAPER_ID.findall(block)}


def _studied(path: Path) -> set[str]:
    """The paper ids in `paper=...` of the calls to Study, and in the `Source:` paragraphs, of a file of studies."""
    text = path.read_text(encoding="utf-8")
    if not PAPER_ID.search(text):
        return set()
    keywords = [
        keyword.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "Study"
        for keyword in node.keywords
        if keyword.arg == "paper"
    ]
    return {number for value in keywords for number in PAPER_ID.findall(ast.unparse(value))} | _cited(path)


def _mentioned(path: Path) -> set[str]:
    """The paper ids in the cells of a notebook; its outputs do not count."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return {number for cell in cells for number in PAPER_ID.findall("".join(cell["source"]))}


def _add_run(found: Evidence, path: Path) -> None:
    side = json.loads(path.read_text(encoding="utf-8"))
    run = RecordedRun(side["study"], side.get("scale", ""), path, tuple(side["claims"]), side.get("provenance", {}))
    if not run.verdicts:
        raise ValueError("it carries no claims with a verdict")
    for number in PAPER_ID.findall(str(side["paper"])):
        found.runs.setdefault(number, []).append(run)
