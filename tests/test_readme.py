"""The README tells the truth: its links lead somewhere, its example runs, its tree is the tree."""

import re
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from labkit.workbench.tasks.classification import Classification

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def links(text: str) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("#")]


def test_links_and_pictures_lead_somewhere():
    assert links(TEXT)
    assert [link for link in links(TEXT) if not link.startswith("https://") and not (ROOT / link).exists()] == []


def test_a_dead_link_would_be_found():
    assert links("[gone](nowhere.md)") == ["nowhere.md"]
    assert not (ROOT / "nowhere.md").exists()


def test_the_pictures_are_pictures():
    for picture in re.findall(r"!\[[^\]]{20,}\]\(([^)]+)\)", TEXT):
        assert (ROOT / picture).read_bytes()[:4] == b"\x89PNG"


def test_the_example_runs_on_a_model_that_is_not_ours():
    code = next(one for one in re.findall(r"```python\n(.*?)```", TEXT, re.S) if "record(" in one)
    block = nn.Sequential()
    block.add_module("up", nn.Linear(4, 8))
    block.add_module("act", nn.ReLU())
    model = nn.Sequential()
    blocks = nn.Sequential()
    blocks.add_module("0", block)
    model.add_module("blocks", blocks)
    space = {"model": model, "x": torch.randn(2, 4)}
    exec(code, space)
    assert space["trace"]["blocks.0.act"].shape == (2, 8)


def test_the_two_lines_for_a_notebook_run_on_a_model_that_is_not_ours():
    first, second, _held = (one for one in re.findall(r"```python\n(.*?)```", TEXT, re.S) if "View(" in one)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    x, labels = torch.randn(20, 4), torch.arange(20) % 3
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def train():
        for _ in range(20):
            nn.functional.cross_entropy(model(x), labels).backward()
            optimizer.step()
            optimizer.zero_grad()

    space = {"model": model, "x": x, "labels": labels, "optimizer": optimizer, "train": train}
    exec(first, space)
    exec(second, space)
    assert len(space["watching"].history.data.step) > 0


def test_the_lines_that_hold_a_training_run_on_a_model_that_is_not_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path))
    ours, own = (one for one in re.findall(r"```python\n(.*?)```", TEXT, re.S) if "LiveRun" in one)
    model = nn.Sequential(nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 10))
    task = Classification("mnist", rows=256, test_rows=64)
    space = {"model": model, "task": task}
    exec(ours, space)
    run = space["run"]
    assert run.step(3)
    assert run.wait(20)
    assert run.step_number == 3
    run.stop()
    batches = [next(task.batches(0)) for _ in range(4)]
    space |= {"optimizer": torch.optim.SGD(model.parameters(), 0.1), "batches": batches, "loss_of": task.loss}
    exec(own, space)
    assert space["live"].step_number == 4
    space["live"].stop()


def test_every_command_is_one_that_the_script_knows():
    known = set(re.search(r"COMMANDS = \(([^)]*)\)", (ROOT / "lab").read_text())[1].replace('"', "").split(", "))
    named = set(re.findall(r"\./lab ([a-z]+)", TEXT))
    assert named <= known


def test_the_tree_has_a_line_for_every_folder():
    tree = TEXT.split("## The tree")[1].split("##")[0]
    shown = set(re.findall(r"^ {2}([a-z_]+)/", tree, re.M))
    folders = {path.parent.name for path in (ROOT / "labkit").glob("*/__init__.py")}
    assert shown == folders
    top = set(re.findall(r"^([a-z]+)/", tree, re.M))
    assert top == {"labkit", "notebooks", "assets", "tests"}


def test_no_tracked_text_names_a_place_on_this_machine():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    places = (f"{ROOT}/", f"{Path.home()}/", f"{sys.prefix}/")
    kinds = {".py", ".md", ".toml", ".txt", ".json", ".ipynb", ".js", ".css", ".cff", ""}
    texts = [ROOT / name for name in listed.stdout.splitlines() if Path(name).suffix in kinds]
    found = [
        path for path in texts if path.is_file() and any(place in path.read_text("utf-8", "ignore") for place in places)
    ]
    assert found == []
