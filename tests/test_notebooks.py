"""Every notebook: committed bare, runs from top to bottom without a network, and shows what it promises."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import torch

from labkit.parts.gate import only
from labkit.workshop.building import cells, versions
from labkit.workshop.building.cells import INSTRUCTOR, SOLUTION, TRAINS, VEIL
from labkit.workshop.building.slides import TYPES
from labkit.workshop.contact_sheet import ACROSS, ContactSheet
from labkit.workshop.exercise import OPEN, check
from labkit.workshop.tree_exercises import GAP, LEAVES, Outcome, closed_gap, same_leaf

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(path for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
WIDGET, FIGURE = "application/vnd.jupyter.widget-view+json", "application/vnd.plotly.v1+json"
STUDIES = ("study-of-", "open-a-study")
SECONDS = 90
NO_NETWORK = '''
"""Loaded by every Python below the test: a connection to any other machine fails at once."""
import socket

HERE = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "")
connect, look_up = socket.socket.connect, socket.getaddrinfo


def refuse(address):
    if isinstance(address, tuple) and str(address[0]) not in HERE:
        raise OSError(f"no network in this test: {address[0]}")


def guarded_connect(self, address):
    refuse(address)
    return connect(self, address)


def guarded_look_up(host, *rest, **more):
    refuse((host.decode() if isinstance(host, bytes) else host or "",))
    return look_up(host, *rest, **more)


socket.socket.connect, socket.getaddrinfo = guarded_connect, guarded_look_up
'''
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.relative_to(ROOT).as_posix())


def text_of(cell: dict) -> str:
    return "".join(cell["source"])


def test_there_are_notebooks():
    names = {path.relative_to(ROOT / "notebooks").as_posix() for path in NOTEBOOKS}
    assert {"00_start_here.ipynb", "01_feedforward/fast_feedforward.ipynb"} <= names


def fault_of(metadata: dict) -> str:
    """What a cell's metadata may not hold: anything but the marks of workshops, slides, and code that is folded away."""
    unknown = set(metadata) - {"tags", "slideshow", "jupyter"}
    if unknown:
        return f"unknown: {unknown}"
    tags, slides, lab = (metadata.get(name) for name in ("tags", "slideshow", "jupyter"))
    if tags is not None and not (tags and set(tags) <= {SOLUTION, INSTRUCTOR, TRAINS}):
        return f"tags: {tags}"
    if slides is not None and not (set(slides) == {"slide_type"} and slides["slide_type"] in TYPES):
        return f"slideshow: {slides}"
    if (lab == {"source_hidden": True}) != (SOLUTION in (tags or ())):
        return "a solution is folded away, and nothing else is"
    return ""


def test_strange_metadata_is_noticed():
    assert fault_of({}) == fault_of({"slideshow": {"slide_type": "slide"}}) == fault_of({"tags": ["instructor"]}) == ""
    assert fault_of({"jupyter": {"source_hidden": True}, "tags": ["solution"]}) == ""
    for wrong in (
        {"collapsed": True},
        {"tags": ["solution"]},
        {"tags": []},
        {"tags": ["mine"]},
        {"slideshow": {"slide_type": "page"}},
        {"jupyter": {"source_hidden": True}},
    ):
        assert fault_of(wrong), wrong


@each_notebook
def test_a_notebook_is_committed_bare(path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert (stored["nbformat"], stored["nbformat_minor"]) == (4, 5)
    assert stored["metadata"]["kernelspec"]["name"] == "python3"
    assert "widgets" not in stored["metadata"]
    for cell in stored["cells"]:
        assert fault_of(cell["metadata"]) == "", cell["id"]
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], cell["id"]
            assert cell["execution_count"] is None, cell["id"]


@each_notebook
def test_cells_have_names_of_their_own_and_are_short(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    names = [cell["id"] for cell in cells]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)
    lengths = {cell["id"]: len(text_of(cell).splitlines()) for cell in cells if cell["cell_type"] == "code"}
    assert {name: length for name, length in lengths.items() if length > 15} == {}


@each_notebook
def test_every_exercise_has_a_solution_right_after_its_check(path):
    notebook = cells.read(path)
    for one in cells.exercises(notebook):
        assert one.solution, f"{one.cell} has no solution"
        answer = next(cell for cell in notebook.cells if cell.id == one.solution)
        shown = answer.source.splitlines()[0]  # what JupyterLab shows of a cell that is folded away
        assert shown == VEIL or shown.startswith(("#", "def ", "class ", "import ", "from ")), (
            f"{shown!r} gives it away"
        )
        versions.solution(notebook)  # the solution answers what the exercise leaves open


@each_notebook
def test_links_between_notebooks_lead_somewhere(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = [text_of(cell) for cell in cells if cell["cell_type"] == "markdown"]
    targets = [target for text in texts for target in re.findall(r"\]\((?!https?:|#)([^)\s]+)\)", text)]
    assert [target for target in targets if not (path.parent / target).exists()] == []


@each_notebook
def test_every_training_goes_through_pace(path):
    """So that the tests train briefly: the number of steps is never a bare number in a call."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    calls = [
        node
        for cell in cells
        if cell["cell_type"] == "code"
        for node in ast.walk(ast.parse(text_of(cell)))
        if isinstance(node, ast.Call)
    ]
    bare = [
        keyword.value.value
        for call in calls
        for keyword in call.keywords
        if keyword.arg == "steps" and isinstance(keyword.value, ast.Constant)
    ]
    assert bare == []
    assert any(getattr(call.func, "id", getattr(call.func, "attr", "")) == "pace" for call in calls)


@pytest.fixture
def surroundings(tmp_path):
    """Environment variables for a kernel: short trainings, a home of its own, and no way out of this machine."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    guarded = os.pathsep.join(filter(None, [str(tmp_path / "guard"), os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        "PYTHONPATH": guarded,
        "LABKIT_SCALE": "smoke",
        "LABKIT_HOME": str(tmp_path / "home"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_PLATFORM_DIRS": "1",
    }


def test_the_guard_lets_nothing_out(surroundings):
    for code in ("socket.create_connection(('192.0.2.1', 80), 1)", "socket.getaddrinfo('example.org', 80)"):
        tried = subprocess.run([sys.executable, "-c", f"import socket; {code}"], env=surroundings, capture_output=True)
        assert b"no network in this test" in tried.stderr


def with_proofs(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """After each solution its check once more: one run of the notebook shows the exercise open, then answered."""
    checks = {one.solution: one for one in cells.exercises(notebook)}
    found = []
    for cell in notebook.cells:
        found.append(cell)
        one = checks.get(cell.id)
        if one and not one.trains:
            check = next(other for other in notebook.cells if other.id == one.check)
            found.append(nbformat.v4.new_code_cell(check.source, id=f"proof-of-{cell.id}"))
    notebook.cells = found
    return notebook


def executed(path: Path, folder: Path, surroundings: dict[str, str]) -> tuple[nbformat.NotebookNode, list[dict]]:
    """The notebook with its outputs, and the state of its widgets. It runs on a copy: the checkout does not change."""
    from nbclient import NotebookClient

    class Listening(NotebookClient):
        """Keeps what the kernel says of its widgets, which a notebook without stored widget state forgets."""

        def handle_comm_msg(self, outs, msg, cell_index):
            content = msg["content"]
            heard.setdefault(content["comm_id"], {}).update(content["data"].get("state", {}))
            super().handle_comm_msg(outs, msg, cell_index)

    heard: dict[str, dict] = {}
    shutil.copytree(path.parent, folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    notebook = with_proofs(nbformat.read(folder / path.name, as_version=4))
    place = {"metadata": {"path": str(folder)}}
    client = Listening(notebook, timeout=SECONDS, store_widget_state=False, resources=place)
    return client.execute(env=surroundings), list(heard.values())


@pytest.mark.notebook
@each_notebook
def test_a_notebook_runs_from_top_to_bottom(path, tmp_path, surroundings):
    began = time.monotonic()
    notebook, widgets = executed(path, tmp_path / "work", surroundings)
    passed = time.monotonic() - began

    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    flat = [output for cell in outputs.values() for output in cell]
    assert [output for output in flat if output.output_type == "error"] == []
    loud = [output.text for output in flat if output.output_type == "stream" and output.name == "stderr"]
    assert loud == []
    assert any({WIDGET, FIGURE} & set(output.get("data", {})) for output in flat)
    assert "widgets" not in notebook.metadata
    assert passed < SECONDS
    promised(outputs)
    if path.parent.name == "tools":
        return
    studies = [name for name in outputs if name.startswith(STUDIES)]
    tables = [str(one.get("value", "")) for one in widgets if "lab-claims" in str(one.get("value", ""))]
    assert len(studies) > 0
    assert len(tables) == len(studies)
    assert all('<th scope="col">Verdict</th>' in table and 'class="verdict ' in table for table in tables)


def promised(outputs: dict[str, list]) -> None:
    """What the cells of these names must show, in whichever notebook they stand."""
    for name, found in outputs.items():
        kinds = {kind for output in found for kind in output.get("data", {})}
        said = "".join(output.get("text", "") for output in found)
        if name.startswith((*STUDIES, "explore-", "gap-", "latency-", "train-it-here")):
            assert WIDGET in kinds, name
        if name.startswith("check-exercise"):
            assert OPEN in str(found), name
        if name.startswith("proof-of-"):
            assert "Right" in str(found), name
        if name == "check-it":
            assert "✗ rows do not mix" in said
        if name == "papers":
            assert re.search(r"[A-Z][a-z]+.*\(20\d\d\)", str(found))


@pytest.mark.notebook
def test_a_notebook_that_fails_is_noticed(tmp_path, surroundings):
    from nbclient.exceptions import CellExecutionError

    (tmp_path / "faulty").mkdir()
    faulty = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(faulty, tmp_path / "faulty" / "faulty.ipynb")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        executed(tmp_path / "faulty" / "faulty.ipynb", tmp_path / "work", surroundings)


def test_an_answer_not_given_is_asked_for():
    assert check(lambda: ...).says == OPEN
    assert check(lambda: None).says == OPEN
    assert not check(lambda: ...).right


def test_an_answer_that_stops_says_where():
    def answer():
        return torch.zeros(2) @ torch.zeros(3)

    finding = check(answer)
    assert not finding.right
    assert "RuntimeError" in finding.says
    assert 'torch.zeros(2) @ torch.zeros(3)"' in finding.says


LEAF = torch.tensor([0, 3, 1, 2, 3])
WRONG = {
    "list": (LEAF.tolist(), "should be a tensor"),
    "shape": (LEAF[:, None], r"shape \(5, 1\)"),
    "float": (LEAF.float(), "whole numbers"),
    "nodes": (LEAF + 3, "nodes and leaves together"),
    "mirrored": (3 - LEAF, "mirrored"),
    "one": (torch.tensor([0, 3, 1, 2, 2]), r"1 of 5 inputs .* Input 4 reaches leaf 3, and the answer says 2"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_leaf_is_explained(fault):
    answer, sentence = WRONG[fault]
    finding = check(lambda: answer, *same_leaf(only(LEAF, 4, torch.zeros(1))))
    assert not finding.right
    assert re.search(sentence, finding.says)


def test_the_right_leaf_is_right():
    assert check(LEAF.clone, *same_leaf(only(LEAF, 4, torch.zeros(1)))).right


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (Outcome(0.95, 0.90, 12), "not sure enough"),
        (Outcome(0.91, 0.91, 1), "nothing is left of the tree"),
        (Outcome(0.80, 0.79, 12), "drown"),
    ],
)
def test_a_gap_that_is_not_closed_well_is_explained(found, sentence):
    finding = check(lambda: found, *closed_gap(Outcome(0.95, 0.85, 12)))
    assert not finding.right
    assert sentence in finding.says


def test_a_gap_that_is_closed_well_is_right():
    assert check(lambda: Outcome(0.93, 0.92, 8), *closed_gap(Outcome(0.95, 0.85, 12))).right


def test_the_exercise_asks_for_what_is_checked():
    words = {6: "six"}
    text = (ROOT / "notebooks" / "01_feedforward" / "fast_feedforward.ipynb").read_text(encoding="utf-8")
    assert f"below {100 * GAP:g} points" in text
    assert f"at least {words[LEAVES]} leaves" in text


def test_a_contact_sheet_says_what_it_shows():
    images = torch.zeros(ACROSS + 5, 4, 4, dtype=torch.uint8).numpy()
    page = ContactSheet({"a <leaf>": images, "empty": images[:0]})._repr_html_()
    assert page.count("<img") == 1
    assert f'alt="{ACROSS} images of a &lt;leaf&gt;"' in page
    assert "no image" in page
