"""The offline bundle holds all that an installation takes, says for whom it is, and is refused elsewhere in a sentence."""

import importlib.machinery
import importlib.util
import json
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.errors import LabError
from labkit.workshop.building import bundle as bundles

ROOT = Path(__file__).parents[2]
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A small checkout, and a pip that only pretends."""
    place = tmp_path / "checkout"
    for folder in bundles.FOLDERS:
        (place / folder / "__pycache__").mkdir(parents=True)
        (place / folder / "kept.txt").write_text(folder, encoding="utf-8")
    for name in bundles.FILES:
        (place / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(bundles, "ROOT", place)
    return place


class Pip:
    """Answers as pip does: `download` puts wheels down, `install --dry-run` names those that are used."""

    def __init__(self):
        self.calls, self.fails = [], ""

    def __call__(self, action, *arguments):
        self.calls.append((action, arguments))
        if action == "download":
            folder = Path(arguments[arguments.index("--dest") + 1])
            for name in ("torch-2.13.0%2Bcpu.whl", "numpy-2.5.whl", "old-1.0.whl"):
                (folder / name.replace("%2B", "+")).write_bytes(name.encode())
            if self.fails:
                raise LabError(self.fails)
            return ""
        urls = [f"file:///a/b%20c/{name}" for name in ("torch-2.13.0%2Bcpu.whl", "numpy-2.5.whl")]
        return json.dumps({"install": [{"download_info": {"url": url}} for url in urls]})


@pytest.fixture
def pip(monkeypatch):
    made = Pip()
    monkeypatch.setattr(bundles, "_pip", made)
    return made


def test_a_bundle_holds_the_lab_and_the_wheels_that_are_used(checkout, pip, tmp_path):
    told = bundles.bundle(tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
    assert {"lab", "labkit/kept.txt", "notebooks/kept.txt", "assets/kept.txt", "READ ME FIRST.txt"} <= found
    assert {name for name in found if name.startswith("wheels/")} == {
        "wheels/numpy-2.5.whl",
        "wheels/torch-2.13.0+cpu.whl",
    }
    assert not any("__pycache__" in name for name in found)
    assert f"Python {HERE} on {platform.system()} {platform.machine()}" in told
    assert HERE in (tmp_path / "out" / "READ ME FIRST.txt").read_text(encoding="utf-8")
    assert bundles.damaged(tmp_path / "out") == []


def test_all_that_is_needed_is_asked_for(checkout, pip, tmp_path):
    bundles.bundle(tmp_path / "out")
    asked = {re.match(r"[A-Za-z0-9_-]*", one)[0] for one in pip.calls[0][1]}
    assert {"torch", "jupyterlab", "mlflow", "hatchling", "editables"} <= asked
    assert "pytest" not in asked
    assert "--no-index" in pip.calls[1][1]


def test_what_was_downloaded_before_a_stop_is_kept_and_nothing_half_stands_there(checkout, pip, tmp_path):
    pip.fails = "no network"
    with pytest.raises(LabError, match="no network"):
        bundles.bundle(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (tmp_path / ".out.part" / "wheels" / "numpy-2.5.whl").is_file()
    pip.fails = ""
    bundles.bundle(tmp_path / "out")
    assert not (tmp_path / ".out.part").exists()
    bundles.bundle(tmp_path / "out")


def test_damage_is_found(checkout, pip, tmp_path):
    bundles.bundle(tmp_path / "out")
    (tmp_path / "out" / "wheels" / "numpy-2.5.whl").write_bytes(b"half")
    (tmp_path / "out" / "wheels" / "torch-2.13.0+cpu.whl").unlink()
    (tmp_path / "out" / "lab").unlink()
    assert bundles.damaged(tmp_path / "out") == [
        "wheels/numpy-2.5.whl is damaged",
        "wheels/torch-2.13.0+cpu.whl is missing",
        "lab is missing",
    ]


def test_what_cannot_be_done_is_a_sentence(checkout, pip, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x", encoding="utf-8")
    with pytest.raises(LabError, match="holds other things"):
        bundles.bundle(tmp_path / "mine")
    monkeypatch.setattr(bundles, "ROOM", 1e9)
    with pytest.raises(LabError, match="GB are free"):
        bundles.bundle(tmp_path / "out")
    (checkout / "lab").unlink()
    with pytest.raises(LabError, match="has no lab"):
        bundles.bundle(tmp_path / "out")


@pytest.mark.parametrize(
    ("said", "action", "sentence"),
    [
        ("ERROR: No matching distribution found for torch", "install", "a wheel is missing"),
        ("ERROR: No matching distribution found for torch", "download", "not there for this Python"),
        ("OSError: [Errno 28] No space left on device", "download", "the disk is full"),
        ("No module named pip", "download", "has no pip"),
        ("Retrying (Retry(total=4 ...", "download", "could not be reached"),
    ],
)
def test_what_pip_says_is_said_plainly(said, action, sentence, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", said))
    with pytest.raises(LabError, match=sentence):
        bundles._pip(action)


@pytest.fixture
def front(tmp_path, monkeypatch):
    """The script `lab`, as if it lay in a bundle."""
    loader = importlib.machinery.SourceFileLoader("lab_in_a_bundle", str(ROOT / "lab"))
    script = importlib.util.module_from_spec(importlib.util.spec_from_loader("lab_in_a_bundle", loader))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(script)
    script.ROOT, script.WHEELS = tmp_path, tmp_path / "wheels"
    return script


def test_the_script_takes_only_a_bundle_that_was_made_for_this_machine(front, tmp_path):
    facts = {"python": HERE, "system": f"{platform.system()} {platform.machine()}"}
    (tmp_path / "bundle.json").write_text(json.dumps(facts), encoding="utf-8")
    front.fits_the_bundle("lab")
    with pytest.raises(front.Trouble, match="not what its tests need"):
        front.fits_the_bundle("test")
    for other in ({"python": "3.99"}, {"system": "Windows AMD64"}):
        (tmp_path / "bundle.json").write_text(json.dumps(facts | other), encoding="utf-8")
        with pytest.raises(front.Trouble, match="this bundle is for Python"):
            front.fits_the_bundle("lab")
    (tmp_path / "bundle.json").write_text("{", encoding="utf-8")
    with pytest.raises(front.Trouble, match="copy the whole bundle once more"):
        front.fits_the_bundle("lab")


def test_the_script_looks_nowhere_else_where_it_has_wheels(front, tmp_path, monkeypatch):
    calls = []

    class Done:
        returncode = 0

        def __init__(self, call, **_):
            calls.append(call)

        def poll(self):
            return 0

    monkeypatch.setattr(subprocess, "Popen", Done)
    front.LOG = tmp_path / "log"
    with (tmp_path / "lock").open("w") as lock:
        front.install("lab", lock)
        front.WHEELS.mkdir()
        front.install("lab", lock)
    assert "--no-index" not in calls[0]
    assert calls[1][-3:] == ["--no-index", "--find-links", str(tmp_path / "wheels")]
