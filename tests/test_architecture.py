"""Who may import whom, what a file may be called and how long it may be: the house stays in order."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "labkit"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))

MECHANISMS = ("layers", "losses", "optimizers", "trainers", "transforms", "analysis")
BENCH = ("parts", "recording", *MECHANISMS)
SHOWN = ("parts", "recording", "analysis", "views", "workbench", "studies", "catalogue")
MAY_IMPORT = {
    "parts": ("parts",),
    "recording": ("parts", "recording"),
    **dict.fromkeys(MECHANISMS, ("parts", "recording")),
    "contract": ("parts", "recording", "contract"),
    "workbench": (*BENCH, "workbench"),
    "studies": (*BENCH, "workbench"),
    "views": ("views",),
    "catalogue": ("workbench", "catalogue"),
    "widgets": (*SHOWN, "widgets"),
    "dashboard": (*SHOWN, "widgets", "workshop", "dashboard", "reach"),
    "workshop": (*SHOWN, "widgets", "workshop"),
}
"""Every folder below labkit/ and the folders that it may import. The top-level `errors` and `example` are for all."""
TOP = ("errors", "example")
SMALL_WORDS = {"utils", "core", "common", "base", "helpers", "misc", "config", "registry"}


def imported(path: Path) -> list[str]:
    """Full names of the labkit modules that a file imports, wherever in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} imports relatively"
            names += [f"{node.module}.{alias.name}" if node.module == "labkit" else node.module for alias in node.names]
    return [name for name in names if name.split(".")[0] == "labkit"]


def trespasses(path: Path, names: list[str]) -> list[str]:
    """The imports of a file that the table does not allow."""
    room = path.relative_to(PACKAGE).parts
    if len(room) == 1:
        return []
    return [name for name in names if name.count(".") and name.split(".")[1] not in (*MAY_IMPORT[room[0]], *TOP)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_point_to_the_left_only(path):
    assert trespasses(path, imported(path)) == []


def test_a_planted_trespass_is_found():
    assert trespasses(PACKAGE / "parts" / "new.py", ["labkit.recording.record"])
    assert trespasses(PACKAGE / "layers" / "a" / "new.py", ["labkit.layers.feedforward.fast_feedforward"])
    assert not trespasses(PACKAGE / "layers" / "a" / "new.py", ["labkit.parts.gate", "labkit.example"])


def test_every_folder_has_its_line_in_the_table():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders <= set(MAY_IMPORT)


def test_init_files_below_the_top_are_empty():
    assert [path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE and path.read_text().strip()] == []


def test_every_folder_with_modules_is_a_package():
    folders = {path.parent for path in FILES}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_no_name_says_nothing():
    assert [path for path in FILES if {path.stem, *path.relative_to(PACKAGE).parts[:-1]} & SMALL_WORDS] == []


def test_modules_stay_short():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES if path.name != "__init__.py"}
    assert {str(path): length for path, length in lengths.items() if length > 300} == {}
    assert statistics.median(lengths.values()) <= 150


@pytest.mark.parametrize(
    ("module", "also"),
    [
        ("labkit", set()),
        ("labkit.layers.feedforward.fast_feedforward", set()),
        ("labkit.losses.routing.hardening", set()),
        ("labkit.analysis.routing.choice_load", {"xarray"}),
        ("labkit.recording.record", set()),
    ],
)
def test_importing_a_mechanism_loads_nothing_heavy(module, also):
    heavy = {"xarray", "pandas", "plotly", "panel", "mlflow", "IPython", "ipywidgets", "anywidget", "scipy", "sklearn"}
    if "xarray" in also:
        heavy -= {"pandas", "scipy"}  # xarray brings pandas
    code = f"import sys, {module}; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    loaded = {name.split(".")[0] for name in out.stdout.split()}
    assert loaded & (heavy - also) == set()


def test_the_names_of_the_top_all_load():
    import labkit

    for name in labkit.__all__:
        assert getattr(labkit, name) is not None
    with pytest.raises(AttributeError, match="it offers"):
        _ = labkit.nonsense
