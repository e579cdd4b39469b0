"""The command line as a person meets it: what it prints, what it refuses, and that nothing is lost or half-written."""

import errno
import importlib
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

from labkit import cli, doctor, plain_text, reach, scaffold, serve
from labkit.catalogue.papers import papers
from labkit.contract.check import check
from labkit.errors import LabError
from labkit.workbench import find, tracking
from labkit.workbench import run as recorded
from labkit.workbench.progress import Progress
from labkit.workbench.run import Run, open_run
from labkit.workbench.scoreboard import board, correctness, crossover
from labkit.workbench.scoreboard.case import Case, Goal, Work

ROOT = Path(__file__).resolve().parents[1]
CLAIM = {
    "says": "A tree used with a fraction of its neurons keeps most of its accuracy.",
    "rule": "Accuracy of the tree divided by that of the dense layer is at least 94 %.",
    "measured": "95.1 % (95 % interval 94.5 to 95.7, 3 seeds)",
    "verdict": "shown",
    "estimate": 0.951,
    "low": 0.945,
    "high": 0.957,
    "threshold": 0.94,
    "seeds": 3,
    "needs": None,
}
OUT_OF_REACH = {**CLAIM, "rule": "", "measured": "", "verdict": "out of reach", "seeds": 0, "needs": "a larger machine"}


class Stand:
    """A stand-in for a study: it runs in no time, and says what it was asked."""

    name, paper, title, question = "tree", "P120", "Trees", "Wide or narrow?"
    scales = ("smoke", "lesson")
    claims = (SimpleNamespace(says=CLAIM["says"], needs=None),)
    fails: BaseException | None = None

    def at(self, scale):
        if scale not in self.scales:
            raise LabError(f"tree has no scale {scale!r}; it has smoke, lesson.")

    def run(self, scale, *, seeds=None, watch=None, jobs=1):
        self.asked = (scale, seeds, jobs)
        for done in (0.0, 0.5, 1.0):
            watch(Progress("dense", 0, int(10 * done), 10, done, {}))
        if self.fails:
            raise self.fails
        data = xr.Dataset({"test_accuracy": ("seed", np.array([0.9, 0.8]))}, {"seed": [0, 1]})
        facts = {"commit": "abc", "started": "2026-01-01", "duration_s": 75.0, "seeds": [0, 1]}
        return Run("tree", "P120", scale, data, [CLAIM, OUT_OF_REACH], facts)


@pytest.fixture
def stand(monkeypatch, tmp_path):
    """The stand-in in the place of every study; recorded runs lie in a folder of the test."""
    made, logged = Stand(), []
    monkeypatch.setattr(find, "study", lambda name: made)
    monkeypatch.setattr(tracking, "log", lambda run: SimpleNamespace(result=lambda: logged.append(run)))
    monkeypatch.setenv("LABKIT_ASSETS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    made.logged, made.runs = logged, tmp_path / "runs"
    return made


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["study", "fast_feedforwad"], "No study is called 'fast_feedforwad'; there is fast_feedforward"),
        (["study", "fast_feedforward", "--scale", "paper"], "has no scale 'paper'"),
        (["study", "fast_feedforward", "--scale", "huge"], "invalid choice: 'huge'"),
        (["study", "fast_feedforward", "--seeds", "0"], "--seeds takes a number from 1 up"),
        (["study", "fast_feedforward", "--seeds", "few"], "invalid int value: 'few'"),
        (["study", "fast_feedforward", "--jobs", "-1"], "--jobs takes a number from 1 up"),
        (["study", "--save"], "--save needs the name of a study"),
        (["bench", "speed"], "No benchmark is called 'speed'"),
        (["bench", "--save"], "--save and --quick need a name from the list"),
        (["new", "layers.my_gate", "P123"], "should be KIND.SHELF.NAME"),
        (["new", "layer.routing.my_gate", "P123"], "the kinds are layers"),
        (["new", "layers.routing.MyGate", "P123"], "'MyGate' is no name for a file"),
        (["new", "layers.routing.class", "P123"], "'class' is no name for a file"),
        (["new", "layers.routing.my_gate", "P999"], 'no paper "P999"'),
        (["new", "layers.feedforward.fast_feedforward", "P120"], "there is such a file already"),
        (["new", "layers.trial.fast_feedforward", "P120"], "A study is called 'fast_feedforward' already"),
        (["dashboard", "--port", "0"], "0 is no port"),
        (["dashbord"], "invalid choice: 'dashbord'"),
        ([], "required: COMMAND"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments, sentence, capsys):
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.err.startswith("labkit: ")
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_no_traceback_reaches_the_terminal():
    call = [sys.executable, "-m", "labkit.cli", "study", "nothing_like_it", "--save"]
    ran = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    assert ran.stderr.startswith("labkit: No study is called")


def test_a_missing_package_is_named_with_what_brings_it(monkeypatch, capsys):
    def lacks(_):
        raise ModuleNotFoundError("No module named 'panel'", name="panel")

    monkeypatch.setattr(cli, "run_dashboard", lacks)
    assert cli.main(["dashboard"]) == 2
    assert "the package panel, which the lab extra brings" in capsys.readouterr().err


def test_a_module_of_labkit_that_is_missing_is_a_fault_and_shown_as_one(monkeypatch):
    def lacks(_):
        raise ModuleNotFoundError("No module named 'labkit.gone'", name="labkit.gone")

    monkeypatch.setattr(cli, "run_doctor", lacks)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["doctor"])


def test_a_full_disk_is_one_sentence(monkeypatch, capsys):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/file")

    monkeypatch.setattr(cli, "run_doctor", full)
    assert cli.main(["doctor"]) == 2
    assert capsys.readouterr().err.startswith("labkit: the disk is full, /somewhere/file was not written")


def test_the_studies_are_listed_with_their_papers(capsys):
    assert cli.main(["study"]) == 0
    out = capsys.readouterr().out
    for name in find.study_names():
        assert f"{name} " in out
    assert "P120" in out


def test_a_study_prints_its_claims_and_says_where_it_is_saved(stand, capsys):
    assert cli.main(["study", "tree", "--save", "--seeds", "4", "--jobs", "2"]) == 0
    said = capsys.readouterr()
    assert stand.asked == ("lesson", 4, 2)
    words = " ".join(said.out.split())
    assert "Trees (P120): Wide or narrow?" in words
    assert "shown" in words
    assert "needs: a larger machine" in words
    assert "Scale lesson, 2 seeds, 1:15 min." in words
    assert f"Saved in {stand.runs / 'tree.nc'}" in words
    assert "50 %" in said.err
    assert max(map(len, said.out.splitlines())) <= max(100, len(str(stand.runs / "tree.nc")) + 9)
    assert open_run("tree").claims == [CLAIM, OUT_OF_REACH]
    assert [run.study for run in stand.logged] == ["tree"]


def test_without_save_nothing_is_recorded(stand, capsys):
    assert cli.main(["study", "tree", "--scale", "smoke"]) == 0
    assert stand.asked[0] == "smoke"
    assert "Not saved" in capsys.readouterr().out
    assert not stand.runs.exists()


def test_ctrl_c_saves_nothing_and_says_so(stand, capsys):
    stand.fails = KeyboardInterrupt()
    assert cli.main(["study", "tree", "--save"]) == 130
    assert "Stopped; nothing was saved." in capsys.readouterr().err
    assert not stand.runs.exists()
    assert stand.logged == []


def test_a_disk_that_fills_while_saving_keeps_the_old_run_and_the_printed_result(stand, monkeypatch, capsys):
    assert cli.main(["study", "tree", "--save"]) == 0
    before = {path.name: path.read_bytes() for path in stand.runs.iterdir()}
    capsys.readouterr()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(recorded.os, "replace", full)
    assert cli.main(["study", "tree", "--save"]) == 2
    said = capsys.readouterr()
    assert "shown" in said.out
    assert "No space left on device" in said.err.splitlines()[-1]
    assert {path.name: path.read_bytes() for path in stand.runs.iterdir()} == before


def test_a_smaller_run_does_not_replace_a_larger_recorded_one(stand, capsys):
    assert cli.main(["study", "tree", "--save", "--scale", "smoke"]) == 0
    assert cli.main(["study", "tree", "--save", "--scale", "lesson"]) == 0
    assert cli.main(["study", "tree", "--save", "--scale", "smoke"]) == 2
    assert "A run at scale lesson is recorded" in capsys.readouterr().err
    assert open_run("tree").scale == "lesson"


def test_a_broken_record_can_be_replaced(stand):
    assert cli.main(["study", "tree", "--save"]) == 0
    (stand.runs / "tree.nc").write_bytes(b"torn")
    assert cli.main(["study", "tree", "--save", "--scale", "smoke"]) == 0
    assert open_run("tree").scale == "smoke"


def test_a_study_with_words_of_the_template_is_not_recorded(stand, capsys):
    stand.title = "FILL IN: what it is called"
    assert cli.main(["study", "tree", "--save"]) == 2
    assert 'still says "FILL IN"' in capsys.readouterr().err
    assert not hasattr(stand, "asked")


@pytest.mark.parametrize("width", [30, 60, 80, 120, 200])
def test_a_table_loses_no_word_and_fits_every_terminal(width):
    drawn = plain_text.claims([CLAIM, OUT_OF_REACH], width)
    assert max(map(len, drawn.splitlines())) <= width
    words = set(drawn.split())
    assert {word for row in (CLAIM, OUT_OF_REACH) for key in ("says", "verdict") for word in row[key].split()} <= words


def test_a_narrow_terminal_gets_blocks_and_a_wide_one_columns():
    assert plain_text.claims([CLAIM], 60).startswith("The paper says: A tree")
    columns = plain_text.claims([CLAIM], 120).splitlines()[0]
    assert " ".join(columns.split()) == "The paper says Rule We measured Repeats Verdict"


@pytest.mark.parametrize(("seconds", "said"), [(7.4, "7 s"), (59.6, "1:00 min"), (3599, "59:59 min"), (7800, "2:10 h")])
def test_durations_are_said_as_people_read_them(seconds, said):
    assert plain_text.clock(seconds) == said


@pytest.fixture
def taken():
    """A port on which another program listens."""
    with socket.create_server((reach.HOST, 0)) as server:
        yield server.getsockname()[1]


def test_a_port_that_is_taken_gives_the_next_free_one(taken, capsys):
    port = reach.free_port(taken)
    assert taken < port <= taken + reach.TRIES
    assert reach.is_free(port)
    assert f"Port {taken} is taken; using {port}." in capsys.readouterr().err
    assert reach.free_port(port) == port


def test_no_free_port_is_a_sentence(monkeypatch):
    monkeypatch.setattr(reach, "is_free", lambda *_: False)
    with pytest.raises(LabError, match="No port from 65530 to 65535 can be used"):
        reach.free_port(65530)


@pytest.mark.parametrize(
    ("surroundings", "system", "seen"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"DISPLAY": ":10", "SSH_CONNECTION": "10.0.0.2 1 10.0.0.1 22"}, "linux", False),
        ({}, "darwin", True),
        ({"SSH_TTY": "/dev/ttys1"}, "darwin", False),
        ({}, "win32", True),
    ],
)
def test_a_browser_opens_only_where_somebody_would_see_it(surroundings, system, seen):
    assert reach.has_screen(surroundings, system) is seen


@pytest.fixture
def jupyter(monkeypatch):
    """JupyterLab's place is taken by a stand-in that notes its options; it had to move on to another port."""
    from jupyterlab.labapp import LabApp

    made = SimpleNamespace(options=[], started=False, port=8899)
    made.start = lambda: setattr(made, "started", True)

    def initialize(options):
        made.options = options
        return made

    monkeypatch.setattr(LabApp, "initialize_server", initialize)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(reach.sys, "platform", "linux")
    return made


def test_with_no_screen_the_address_with_its_token_is_printed_and_nothing_opens(jupyter, monkeypatch, capsys):
    monkeypatch.setattr(serve, "has_screen", lambda: False)
    assert cli.main(["lab"]) == 0
    token = next(option for option in jupyter.options if "token" in option).partition("=")[2]
    assert len(token) >= 24
    said = capsys.readouterr().out
    assert f"http://127.0.0.1:8899/lab/tree/notebooks/00_start_here.ipynb?token={token}" in said
    assert "--ServerApp.open_browser=False" in jupyter.options
    assert "--ServerApp.ip=127.0.0.1" in jupyter.options
    assert jupyter.started


def test_with_a_screen_the_browser_opens_unless_one_says_no(jupyter, monkeypatch):
    monkeypatch.setattr(serve, "has_screen", lambda: True)
    cli.main(["lab"])
    assert "--ServerApp.open_browser=True" in jupyter.options
    cli.main(["lab", "--no-browser"])
    assert "--ServerApp.open_browser=False" in jupyter.options


def test_over_ssh_the_way_to_the_address_is_said(jupyter, monkeypatch, capsys):
    monkeypatch.setattr(serve, "has_screen", lambda: False)
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.2 1 10.0.0.1 22")
    cli.main(["lab"])
    assert "ssh -N -L 8899:127.0.0.1:8899" in capsys.readouterr().out


def test_root_may_run_jupyterlab(monkeypatch):
    for user, allowed in ((0, True), (1000, False)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user, raising=False)
        assert f"--ServerApp.allow_root={allowed}" in serve.jupyter_options(8888, "secret", False)


def test_benchmarks_are_listed_and_run_by_name(tmp_path, monkeypatch, capsys):
    (tmp_path / "clock_for_tests.py").write_text("WORD = 'tick'\n")
    (tmp_path / "bench_ticks.py").write_text(
        '"""How fast it ticks."""\nfrom clock_for_tests import WORD\n\n\ndef main():\n    print(WORD)\n    return 3\n'
    )
    monkeypatch.setattr(cli, "BENCHMARKS", tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert cli.main(["bench"]) == 0
    assert "ticks      How fast it ticks." in capsys.readouterr().out
    assert cli.main(["bench", "ticks"]) == 3
    assert capsys.readouterr().out == "tick\n"
    assert cli.main(["bench", "ticks", "--save"]) == 2
    assert "ticks is a program of its own" in capsys.readouterr().err


@pytest.fixture
def track(monkeypatch, tmp_path):
    """A scoreboard of one case that takes no time, on a machine whose ceilings are known."""
    ceiling = {"matmul": {"MKL": 1e11, "best": 1e11}, "bandwidth": [[1e5, 1e11], [1e7, 1e10]], "oneDNN error": 1.0}
    ceiling["scattered"] = ceiling["bandwidth"]
    ceiling["probed"] = {"ceiling|products": 1e3, "ceiling|reading": 1e3}

    def contestants(setting):
        if track.fails is not None:
            raise track.fails
        a = torch.randn(2, 64)
        return {"ours": lambda: a + a, "dense": lambda: [a + a for _ in range(4)], "somebody": lambda: a @ a}

    track = SimpleNamespace(fails=None, runs=tmp_path / "runs")
    sizes = ({"batch": 2}, {"batch": 4})
    promise = Goal("At least 1.5 times as fast as dense", "dense", at_least=1.5)
    other = Goal("At least twice as fast as no-such-package", "no-such-package", at_least=2)
    made = {"work": lambda setting: Work(1e3, 1e4), "goals": (promise, other), "peers": ("no-such-package",)}
    case = Case("sums", "Sums against sums", "One sum or four.", sizes, contestants, **made)
    monkeypatch.setattr(board, "cases", lambda: {"sums": case})
    monkeypatch.setattr(board, "ceilings", lambda threads, stop=None: {str(count): ceiling for count in threads})
    monkeypatch.setenv("LABKIT_ASSETS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    return track


def test_cases_are_listed_with_the_verdicts_of_the_saved_board(track, capsys):
    assert cli.main(["bench"]) == 0
    said = capsys.readouterr().out
    assert "sums       Sums against sums" in said
    assert "No board is saved yet: ./lab bench all --save makes one." in said
    assert cli.main(["bench", "all", "--save"]) == 0
    capsys.readouterr()
    assert cli.main(["bench"]) == 0
    listed = capsys.readouterr().out
    assert "✓ met" in listed
    assert cli.main(["bench", "--goals"]) == 0
    said = capsys.readouterr().out
    assert said in listed
    assert "2 goals: 1 met, 1 not measurable." in said


def test_a_case_is_raced_and_printed_with_its_floor_and_its_failures(track, capsys):
    assert cli.main(["bench", "sums"]) == 0
    said = capsys.readouterr()
    assert "batch 4: the hardware needs 0.1 µs (0.01 MB at 100 GB/s)" in said.out
    assert "somebody failed: RuntimeError: mat1 and mat2" in said.out
    assert "Not raced, because not installed: no-such-package. They come with pip install 'labkit[peers]'." in said.out
    assert "Not saved; --save does that." in said.out
    assert "Sums against sums: batch 4" in said.err
    assert not track.runs.exists()


def test_a_quick_run_takes_few_sizes_and_does_not_replace_a_full_one(track, capsys):
    assert cli.main(["bench", "all", "--quick", "--save"]) == 0
    assert "batch 4" not in capsys.readouterr().out
    assert cli.main(["bench", "sums", "--save"]) == 0
    assert f"Saved in {track.runs / 'bench.json'}" in capsys.readouterr().out
    assert cli.main(["bench", "all", "--quick", "--save"]) == 2
    assert "A full board is saved, and --quick is less" in capsys.readouterr().err


def test_only_the_goals_are_printed_where_only_they_are_wanted(track, capsys):
    assert cli.main(["bench", "sums", "--goals"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Promised")
    assert "somebody" not in said


def test_ctrl_c_in_a_race_saves_nothing_and_says_so(track, capsys):
    track.fails = KeyboardInterrupt()
    assert cli.main(["bench", "all", "--save"]) == 130
    assert "Stopped; nothing was saved." in capsys.readouterr().err
    assert not track.runs.exists()


def test_a_broken_board_is_a_sentence(track, capsys):
    track.runs.mkdir()
    (track.runs / "bench.json").write_text("{")
    assert cli.main(["bench"]) == 2
    assert "bench.json cannot be read" in capsys.readouterr().err


def test_a_crossover_is_printed_as_a_grid_and_kept(track, monkeypatch, capsys):
    def build(size):
        return (lambda x: x + 1), (lambda x: [x + 1 for _ in range(4)])

    inputs = {"inputs": lambda batch, size: torch.ones(batch, size)}
    tiny = crossover.Grid(
        "tiny", "Tiny", "One sum or four.", "width", "numbers", (8, 1024), build, batches=(1, 2), **inputs
    )
    monkeypatch.setattr(crossover, "GRIDS", (tiny,))
    assert cli.main(["bench", "crossover", "--save"]) == 0
    said = capsys.readouterr().out
    assert "Tiny: numbers across, inputs at once down." in said
    assert "1,024" in said
    assert (track.runs / "crossover.json").exists()


def test_who_keeps_the_contract_is_printed(track, monkeypatch, capsys):
    assert cli.main(["bench", "contract"]) == 2
    assert "No correctness board is saved yet" in capsys.readouterr().err
    checks = {"rows do not mix": "row 3 changes row 1", "exports": "exempt: it cannot", "is pure": "passed"}
    ours = {"name": "Tree", "package": "labkit", "version": "0.1", "ours": True, "checks": {"is pure": "passed"}}
    theirs = {"name": "MoE", "package": "some-moe", "version": "1.2", "ours": False, "checks": checks}
    monkeypatch.setattr(correctness, "measure", lambda watch: {"layers": [theirs, ours], "made": {}})
    assert cli.main(["bench", "contract", "--save"]) == 0
    first = capsys.readouterr().out
    assert cli.main(["bench", "contract"]) == 0
    said = capsys.readouterr().out
    assert first.startswith(said)
    assert said.index("Tree") < said.index("MoE")
    assert "row 3 changes row 1" in said
    assert "some-moe 1.2" in said


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty checkout whose new mechanisms and studies can be imported."""
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    for kind in (*scaffold.KINDS, "studies"):
        (tmp_path / "labkit" / kind).mkdir(parents=True)
        package = importlib.import_module(f"labkit.{kind}")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / "labkit" / kind)])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if ".trial" in name:
            del sys.modules[name]


@pytest.mark.parametrize("kind", scaffold.KINDS)
def test_new_writes_a_mechanism_that_passes_the_linter_and_a_study_that_runs(kind, checkout):
    said = scaffold.scaffold(f"{kind}.trial.my_trial", "p200", checkout)
    files = {path.relative_to(checkout).as_posix() for path in checkout.rglob("my_trial.*")}
    assert files == {
        f"labkit/{kind}/trial/my_trial.py",
        "labkit/studies/trial/my_trial.py",
        "notebooks/drafts/my_trial.ipynb",
    }
    assert all(file in said for file in files)
    assert linted(checkout) == ""
    module = importlib.import_module(f"labkit.{kind}.trial.my_trial")
    assert "(P200)" in module.__doc__
    if kind == "layers":
        report = check(module.example.make, module.example)
        assert {
            name: said for name, said in report.items() if said != "passed" and not said.startswith("exempt: ")
        } == {}
    if kind == "trainers":
        for prove in importlib.import_module("test_trainers").CHECKS:
            prove(module.example)
    if kind == "transforms":
        touched = importlib.import_module("test_transforms").touched
        assert touched(module.my_trial, module.example.make) == []
    study = importlib.import_module("labkit.studies.trial.my_trial").study
    assert study.name == "my_trial"
    assert [claim["verdict"] for claim in study.run("smoke").claims] != []


def test_every_paper_of_the_catalogue_makes_files_of_good_form(checkout):
    for place, paper in enumerate(papers()):
        kind = scaffold.KINDS[place % len(scaffold.KINDS)]
        for path, text in scaffold.plan(kind, "trial", f"of_{paper.id.lower()}", paper, checkout).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    assert linted(checkout) == ""


def linted(folder: Path) -> str:
    """What the formatter and the linter object to in a folder."""
    said = ""
    ours = "lint.isort.known-first-party = ['labkit']"  # most of the package is not in this folder
    for task in (["format", "--check"], ["check", "--config", ours]):
        call = [sys.executable, "-m", "ruff", *task, "--no-cache", "--quiet", str(folder)]
        ran = subprocess.run(call, cwd=folder, capture_output=True, text=True)
        said += ran.stdout[:2000] + ran.stderr[:2000] or "it fails" * bool(ran.returncode)
    return said


def test_new_touches_no_file_that_exists(checkout):
    scaffold.scaffold("layers.trial.my_trial", "P200", checkout)
    module = checkout / "labkit" / "layers" / "trial" / "my_trial.py"
    module.write_text("mine")
    with pytest.raises(LabError, match=r"layers/trial/my_trial.py.*there is such a file already"):
        scaffold.scaffold("layers.trial.my_trial", "P200", checkout)
    assert module.read_text() == "mine"


@pytest.mark.parametrize("good", [0, 1, 2, 3, 4])
def test_new_writes_all_or_nothing(good, checkout, monkeypatch):
    before, replace, left = set(checkout.rglob("*")), os.replace, [good]

    def fills_up(source, target):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(scaffold.os, "replace", fills_up)
    with pytest.raises(LabError, match="No space left on device; nothing was written"):
        scaffold.scaffold("layers.trial.my_trial", "P200", checkout)
    assert set(checkout.rglob("*")) == before


def test_new_needs_a_checkout(tmp_path):
    with pytest.raises(LabError, match="is no checkout of labkit"):
        scaffold.scaffold("layers.trial.my_trial", "P200", tmp_path)


def test_the_doctor_finds_this_machine_well(capsys):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "every checksum is right" in out
    assert "527 papers" in out
    assert out.endswith("Everything is well.\n")


def test_the_doctor_names_a_damaged_data_set_and_the_remedy(tmp_path, monkeypatch, capsys):
    shutil.copytree(ROOT / "assets" / "data", tmp_path / "data")
    with (tmp_path / "data" / "mnist.npz").open("ab") as file:
        file.write(b"more")
    monkeypatch.setenv("LABKIT_ASSETS", str(tmp_path))
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "mnist.npz is damaged" in out
    assert "-> restore the folder assets/data" in out
    assert out.endswith("1 problem: see the arrows.\n")


def test_the_doctor_names_a_broken_recorded_run(stand, monkeypatch, capsys):
    cli.main(["study", "tree", "--save"])
    (stand.runs / "tree.nc").write_bytes(b"torn")
    (finding,) = doctor.recorded_runs()
    assert "tree.nc is broken" in finding.found
    assert "./lab study NAME --save" in finding.remedy


def test_the_doctor_goes_on_where_a_look_fails(monkeypatch, capsys):
    def breaks():
        raise RuntimeError("the library is torn")
        yield

    monkeypatch.setattr(doctor, "packages", breaks)
    monkeypatch.setattr(doctor, "ENOUGH", 1e9)
    assert doctor.examine() == 1
    out = capsys.readouterr().out
    assert "RuntimeError: the library is torn" in out
    assert "free some" in out
    assert "2 problems" in out
    assert "catalogue" in out


def test_a_taken_port_is_no_problem_for_the_doctor(taken, monkeypatch):
    monkeypatch.setattr(serve, "NOTEBOOK_PORT", taken)
    finding = next(doctor.ports())
    assert "taken by another program" in finding.found
    assert finding.remedy == ""


def test_every_benchmark_can_be_started_by_the_command():
    import ast
    from pathlib import Path

    programs = sorted((Path(__file__).parent / "benchmarks").glob("bench_*.py"))
    assert programs
    for path in programs:
        names = [one.name for one in ast.parse(path.read_text("utf-8")).body if isinstance(one, ast.FunctionDef)]
        assert "main" in names, f"{path.name} has no main()."


def test_a_race_lists_what_there_is_and_runs(capsys, monkeypatch, tmp_path):
    from labkit.workbench import race as races

    assert cli.main(["race"]) == 0
    said = capsys.readouterr().out
    assert "characters" in said
    assert "product-key memory" in said
    monkeypatch.setattr(races, "races_folder", lambda: tmp_path)
    monkeypatch.setitem(races.GROUNDS, "digits", replace(races.GROUNDS["digits"], steps=4))
    assert (
        cli.main(["race", "digits", "--layers", "low rank", "--seeds", "2", "--no-tuning", "--jobs", "1", "--save"])
        == 0
    )
    assert "Low rank learns" in " ".join(capsys.readouterr().out.split())
    assert (tmp_path / "digits.nc").exists()
    assert cli.main(["race", "moon"]) == 2
    assert "There is no ground 'moon'" in capsys.readouterr().err
