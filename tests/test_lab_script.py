"""The front door: set up once, mend what was interrupted, say in a sentence what is wrong. No real installation here."""

import ast
import errno
import importlib.util
import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "lab"


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """The script as a module that believes to stand in an empty checkout, with an installation that only takes notes."""
    loader = SourceFileLoader("lab_script", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("lab_script", loader))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(module)
    env = tmp_path / ".venv"
    places = {"ROOT": tmp_path, "ENV": env, "MARK": env / "lab-stamp", "LOG": env / "log", "LOCK": tmp_path / ".lock"}
    for name, path in {**places, "PYTHON": env / "bin" / "python"}.items():
        monkeypatch.setattr(module, name, path)
    (tmp_path / "pyproject.toml").write_text("[project]")
    (tmp_path / "constraints.txt").write_text("torch==2.13.0")
    module.done = []

    def build():
        module.done.append("build")
        (env / "bin").mkdir(parents=True, exist_ok=True)
        (env / "bin" / "python").touch()
        (env / "pyvenv.cfg").write_text("home = somewhere")

    monkeypatch.setattr(module, "build", build)
    monkeypatch.setattr(module, "install", lambda extra, _lock: module.done.append(extra))
    monkeypatch.setattr(module, "is_sound", lambda: (env / "pyvenv.cfg").exists())
    return module


def test_sets_up_once_and_not_again(lab):
    lab.set_up("lab")
    lab.set_up("lab")
    assert lab.done == ["build", "lab"]


def test_an_interrupted_installation_is_taken_up_again_without_building_anew(lab, monkeypatch):
    def killed(extra, _lock):
        lab.done.append("killed")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lab, "install", killed)
        with pytest.raises(KeyboardInterrupt):
            lab.set_up("lab")
    lab.set_up("lab")
    assert lab.done == ["build", "killed", "lab"]


def test_a_broken_environment_is_built_anew(lab):
    lab.set_up("lab")
    (lab.ENV / "pyvenv.cfg").unlink()
    lab.set_up("lab")
    assert lab.done == ["build", "lab", "build", "lab"]


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml"])
def test_other_pins_install_again(lab, name):
    lab.set_up("lab")
    (lab.ROOT / name).write_text("other")
    lab.set_up("lab")
    assert lab.done == ["build", "lab", "lab"]


def test_what_the_tests_need_contains_what_the_lab_needs(lab):
    lab.set_up("test")
    lab.set_up("lab")
    assert lab.done == ["build", "test"]
    (lab.ROOT / "constraints.txt").write_text("other")
    lab.set_up("lab")
    assert lab.done == ["build", "test", "test"]


def test_the_second_of_two_at_once_waits_for_the_first(lab):
    with lab.alone(), lab.LOCK.open("a+") as second:
        assert not lab.take(second)
    with lab.LOCK.open("a+") as second:
        assert lab.take(second)


def test_what_pip_left_half_made_is_removed(lab):
    site = lab.ENV / "lib" / "python3.11" / "site-packages"
    for name, files in {"whole-1.dist-info": ["INSTALLER"], "half-1.dist-info": ["METADATA"], "~orch": ["x"]}.items():
        (site / name).mkdir(parents=True)
        for file in files:
            (site / name / file).touch()
    lab.remove_unfinished()
    assert [path.name for path in site.iterdir()] == ["whole-1.dist-info"]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("ERROR: [Errno 28] No space left on device", "the disk is full"),
        ("Retrying (Retry(total=4)) after connection broken by NewConnectionError", "could not be reached"),
        ("ERROR: No matching distribution found for torch==2.13.0", "use another Python"),
        ("error: something new", "start again"),
    ],
)
def test_a_failed_installation_says_why_and_what_to_do(lab, said, sentence):
    lab.ENV.mkdir()
    lab.LOG.write_text(f"Collecting torch\n{said}\n")
    assert sentence in lab.why_pip_failed(1)
    assert said in lab.why_pip_failed(1)


def test_a_full_disk_is_one_sentence_and_exit_code_2(lab, monkeypatch, capsys):
    def full(_extra):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")

    monkeypatch.setattr(lab, "set_up", full)
    assert lab.main(["doctor"]) == 2
    said = capsys.readouterr().err
    assert "is full" in said
    assert said.count("\n") == 1


def test_an_unknown_command_names_the_known_ones(lab, capsys):
    assert lab.main(["dashbord"]) == 2
    assert "dashboard" in capsys.readouterr().err


def test_an_old_python_is_told_so(lab, monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 8, 0))
    assert lab.main([]) == 2
    assert "needs Python 3.11 or newer and this is Python 3.8" in capsys.readouterr().err


def test_old_pythons_can_read_the_script():
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 8))


def test_needs_the_standard_library_only():
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) if node.module}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_help_comes_from_any_folder_without_setting_up(tmp_path):
    out = subprocess.run(
        [sys.executable, str(SCRIPT), "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert out.returncode == 0
    assert "./lab dashboard" in out.stdout


def test_is_executable():
    assert os.access(SCRIPT, os.X_OK)
    assert SCRIPT.read_text().startswith("#!/usr/bin/env python3\n")


def test_every_requirement_is_pinned_and_no_pin_names_a_machine():
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert all("==" in pin and "/" not in pin and "+" not in pin for pin in pins if pin and not pin.startswith("#"))
    assert "torch==2.13.0" in pins
