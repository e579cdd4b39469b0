"""The script `lab` in real processes, killed and started twice, on a stand-in for Python and pip; and the gate it runs."""

import importlib.machinery
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import gate
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
STAND_IN = f"""#!{sys.executable} -S
import pathlib, sys, time
house = pathlib.Path(sys.argv[0]).absolute().parents[2]
def note(word):
    with (house / "calls").open("a") as calls:
        calls.write(word + "\\n")
if sys.argv[1] == "-c":
    print("3.11.7 3 11")
elif "pip" in sys.argv:
    note("pip " + sys.argv[-1])
    says = house / "pip-says"
    while says.exists() and says.read_text() == "wait":
        time.sleep(0.02)
    if says.exists() and says.read_text():
        print(says.read_text())
        sys.exit(1)
    note("pip ends")
else:
    note("python " + " ".join(sys.argv[1:]))
"""
MAKES_ENVIRONMENT = """
import venv, pathlib
def make(folder, **_):
    folder = pathlib.Path(folder)
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    (folder / "pyvenv.cfg").write_text(f"version = 3.11.7\\ncommand = python -m venv {folder}\\n")
    (folder / "bin" / "python").unlink(missing_ok=True)
    (folder / "bin" / "python").symlink_to("STAND-IN")
    with (folder.parent / "calls").open("a") as calls:
        calls.write("venv\\n")
venv.create = make
"""


def hears_ctrl_c() -> None:
    """A job that a script puts into the background ignores Ctrl-C, and so would every process that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class House:
    """A small checkout with its own copy of the script."""

    def __init__(self, folder: Path):
        self.folder = folder / "checkout"
        self.folder.mkdir()
        stand_in, folder = folder / "stand-in", self.folder
        stand_in.write_text(STAND_IN)
        stand_in.chmod(0o755)
        shutil.copy(ROOT / "lab", folder / "lab")
        (folder / "pyproject.toml").write_text("[project]\n")
        (folder / "constraints.txt").write_text("torch==2.13.0\n")
        (folder / "sitecustomize.py").write_text(MAKES_ENVIRONMENT.replace("STAND-IN", str(stand_in)))

    def start(self, *arguments: str) -> subprocess.Popen:
        call = [sys.executable, str(self.folder / "lab"), *arguments]
        surroundings = {**os.environ, "PYTHONPATH": str(self.folder)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(call, env=surroundings, preexec_fn=hears_ctrl_c, **pipes)

    def run(self, *arguments: str) -> SimpleNamespace:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=60)
        return SimpleNamespace(code=process.returncode, out=out, err=err)

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def pip_says(self, words: str) -> None:
        (self.folder / "pip-says").write_text(words)


def script(path: Path):
    """The script as a module."""
    loader = importlib.machinery.SourceFileLoader("lab_script", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("lab_script", loader))
    loader.exec_module(module)
    return module


def until(holds, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


@pytest.fixture
def front(house):
    return script(house.folder / "lab")


def test_the_first_start_sets_up_and_hands_on_and_the_second_only_hands_on(house):
    assert house.run("study", "tree", "--save").code == 0
    assert house.calls == ["venv", "pip .[lab]", "pip ends", "python -P -m labkit.cli study tree --save"]
    second = house.run()
    assert second.err == ""
    assert house.calls[4:] == ["python -P -m labkit.cli lab"]


def test_options_without_a_command_are_for_jupyterlab(house):
    house.run("--port", "9000")
    assert house.calls[-1] == "python -P -m labkit.cli lab --port 9000"


def test_changed_pins_are_installed_at_the_next_start_into_the_same_environment(house):
    house.run("doctor")
    (house.folder / "constraints.txt").write_text("torch==2.13.1\n")
    house.run("doctor")
    assert house.calls.count("venv") == 1
    assert house.calls.count("pip .[lab]") == 2


def test_a_checkout_that_moved_gets_a_new_environment(house, tmp_path_factory):
    house.run("doctor")
    moved = tmp_path_factory.mktemp("elsewhere") / "labkit"
    shutil.copytree(house.folder, moved, symlinks=True)
    house.folder = moved
    assert house.run("doctor").code == 0
    assert house.calls.count("venv") == 2


def test_the_test_set_serves_everything_and_is_kept_when_pins_change(house):
    house.run("test", "-k", "tree")
    assert house.calls[1] == "pip .[test]"
    assert house.calls[-1] == f"python {house.folder / 'tests' / 'gate.py'} -k tree"
    house.run("doctor")
    assert len([call for call in house.calls if call.startswith("pip .")]) == 1
    (house.folder / "pyproject.toml").write_text("[project]\nname = 'labkit'\n")
    house.run("doctor")
    assert [call for call in house.calls if call.startswith("pip .")] == ["pip .[test]"] * 2


def test_the_lab_set_does_not_serve_the_tests(house):
    house.run("doctor")
    house.run("test")
    assert [call for call in house.calls if call.startswith("pip .")] == ["pip .[lab]", "pip .[test]"]


@pytest.mark.parametrize(
    ("pip", "remedy"),
    [
        ("WARNING: Retrying (Retry(total=4)) after connection broken", "connect to the network"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "the disk is full: free 3 GB"),
        ("ERROR: No matching distribution found for torch==2.13.0", "use another Python"),
        ("ERROR: [Errno 13] Permission denied: 'x'", "mend its owner"),
        ("Segmentation fault", "start again"),
    ],
)
def test_a_failed_set_up_says_why_shows_the_last_lines_and_is_tried_again(house, pip, remedy):
    house.pip_says(pip)
    failed = house.run("doctor")
    assert failed.code == 2
    assert remedy in failed.err
    assert f"    {pip}" in failed.err
    assert "Traceback" not in failed.err
    assert "python" not in " ".join(house.calls)
    house.pip_says("")
    assert house.run("doctor").code == 0
    assert house.calls[-2:] == ["pip ends", "python -P -m labkit.cli doctor"]


def test_a_second_start_waits_for_the_pip_of_one_that_was_killed(house):
    house.pip_says("wait")
    first = house.start("doctor")
    until(lambda: "pip .[lab]" in house.calls)
    first.kill()
    first.communicate()
    second = house.start("doctor")
    assert "waiting" in second.stderr.readline()
    assert house.calls.count("pip .[lab]") == 1
    house.pip_says("")
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert house.calls == ["venv", *["pip .[lab]", "pip ends"] * 2, "python -P -m labkit.cli doctor"]


def test_two_starts_at_once_install_once(house):
    house.pip_says("wait")
    both = [house.start("doctor"), house.start("doctor")]
    until(lambda: "pip .[lab]" in house.calls)
    house.pip_says("")
    for process in both:
        process.communicate(timeout=60)
    assert [process.returncode for process in both] == [0, 0]
    assert house.calls.count("pip ends") == 1


def test_ctrl_c_ends_pip_and_the_next_start_goes_on(house):
    house.pip_says("wait")
    started = house.start("doctor")
    until(lambda: "pip .[lab]" in house.calls)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "taken up again" in err
    assert "Traceback" not in err
    house.pip_says("")
    assert house.run("doctor").code == 0


@pytest.mark.parametrize("damage", ["no python", "broken link", "no pip", "no notes"])
def test_a_half_made_environment_is_made_again(house, damage):
    house.run("doctor")
    python = house.folder / ".venv" / "bin" / "python"
    if damage == "no pip":
        python.unlink()
        python.write_text("#!/bin/sh\nexit 1\n")
        python.chmod(0o755)
        (house.folder / ".venv" / "lab-stamp").write_text("lab unfinished")
    elif damage == "no notes":
        (house.folder / ".venv" / "pyvenv.cfg").unlink()
    else:
        python.unlink()
        if damage == "broken link":
            python.symlink_to("/nowhere/python3")
    assert house.run("doctor").code == 0
    assert house.calls.count("venv") == 2
    assert house.calls.count("pip ends") == 2


def test_jupyter_news_stay_quiet(house):
    house.run("doctor")
    settings = house.folder / ".venv" / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    assert '"fetchNews": "false"' in settings.read_text()


def test_too_little_room_is_said_before_anything_is_installed(front, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5e8))
    assert front.main([]) == 2
    assert "0.5 GB are free" in capsys.readouterr().err
    assert not front.ENV.exists()


def test_a_python_that_cannot_make_environments_is_told_what_it_lacks(front, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert front.main([]) == 2
    assert "apt install python3-venv" in capsys.readouterr().err


def test_every_command_of_the_script_is_one_of_the_command_line(front):
    from labkit.cli import parser

    for name in set(front.COMMANDS) - {"test"}:
        with pytest.raises(SystemExit, match="0"):
            parser().parse_args([name, "--help"])


def test_pins_are_exact_sorted_public_and_hold_what_pyproject_asks_for():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line) for line in lines)
    assert lines == sorted(lines, key=str.lower)
    pins = {name.lower(): version for name, version in (line.split("==") for line in lines)}
    assert pins["torch"] == "2.13.0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [Requirement(text) for name, texts in extras.items() if name in ("lab", "test") for text in texts]
    wanted += [Requirement(text) for text in project["dependencies"]]
    for one in wanted:
        assert one.name == "labkit" or one.specifier.contains(pins[one.name.lower()]), (
            f"{one} and {pins[one.name.lower()]}"
        )


@pytest.fixture
def calls(monkeypatch):
    """What the gate runs, with the exit code of each by the module's name; a browser is at hand."""
    ran, codes = [], {}
    monkeypatch.setattr(gate, "find_browser", lambda: "/usr/bin/chromium")

    def run(module, surroundings):
        ran.append((module, surroundings))
        return codes.get(module[0], 0)

    monkeypatch.setattr(gate, "run", run)
    return ran, codes


def test_the_gate_runs_every_check_even_after_a_failure_and_pytest_last(calls, capsys):
    ran, codes = calls
    codes["ruff"] = 1
    assert gate.main([]) == 1
    assert [module[0] for module, _ in ran] == ["ruff", "ruff", "pyright", "pytest"]
    assert "not passed: format, lint" in capsys.readouterr().err


def test_the_gate_is_green_only_when_pytest_is(calls):
    _, codes = calls
    assert gate.main([]) == 0
    codes["pytest"] = 5
    assert gate.main([]) == 1


def test_the_gate_with_options_runs_pytest_only(calls):
    ran, codes = calls
    codes["pytest"] = 4
    assert gate.main(["-k", "tree"]) == 4
    assert [module for module, _ in ran] == [["pytest", "-k", "tree"]]
    assert ran[0][1]["LABKIT_BROWSER"] == "/usr/bin/chromium"


class Machine:
    """A machine on which programs are only noted."""

    def __init__(self, monkeypatch, programs, works):
        self.ran, self.programs = [], programs
        monkeypatch.setattr(gate.shutil, "which", lambda name: self.programs.get(name))
        monkeypatch.setattr(gate.os, "geteuid", lambda: 0)

        def run(call, **_):
            self.ran.append(call)
            return SimpleNamespace(returncode=0 if works(self, call) else 1)

        monkeypatch.setattr(gate.subprocess, "run", run)


def test_a_notice_in_the_place_of_a_browser_is_passed_over(monkeypatch):
    programs = {"chromium-browser": "/snap/notice", "google-chrome": "/opt/chrome"}
    Machine(monkeypatch, programs, lambda machine, call: call[0] == "/opt/chrome")
    assert gate.find_browser() == "/opt/chrome"


def test_debians_browser_is_installed_where_root_finds_none(monkeypatch, capsys):
    def works(machine, call):
        if "install" in call:
            machine.programs["chromium"] = "/usr/bin/chromium"
        return True

    machine = Machine(monkeypatch, {"apt-get": "/usr/bin/apt-get"}, works)
    assert gate.find_browser() == "/usr/bin/chromium"
    assert [call[:2] for call in machine.ran[:2]] == [["/usr/bin/apt-get", "update"], ["/usr/bin/apt-get", "install"]]


def test_without_rights_playwright_brings_its_own_browser(monkeypatch, capsys):
    machine = Machine(monkeypatch, {"apt-get": "/usr/bin/apt-get"}, lambda machine, call: "playwright" in call)
    monkeypatch.setattr(gate.os, "geteuid", lambda: 1000)
    assert gate.find_browser() == ""
    assert [call[1:3] for call in machine.ran] == [["-m", "playwright"]]


def test_no_browser_at_all_is_one_sentence(monkeypatch, capsys):
    Machine(monkeypatch, {}, lambda machine, call: False)
    assert gate.main([]) == 2
    assert "install Chromium or Chrome" in capsys.readouterr().err
