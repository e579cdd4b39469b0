"""The commands of workshops and classes: what they print, and mistakes as one sentence."""

import sys
from types import SimpleNamespace

import pytest

from labkit import cli, workshop_commands
from labkit.workshop.building import cells
from labkit.workshop.plans.plan import plan_names


def test_plans_and_notebooks_are_listed(capsys):
    assert cli.main(["workshop"]) == 0
    alone = capsys.readouterr().out
    assert cli.main(["workshop", "list"]) == 0
    assert capsys.readouterr().out == alone
    for name in [*plan_names(), "00_start_here", "hold_it"]:
        assert name in alone


def test_a_workshop_is_built_and_said_where(tmp_path, capsys):
    assert cli.main(["workshop", "build", "90-minutes", "--to", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "run_sheet.html" in said
    assert "Nothing was run" in said
    sheet = (tmp_path / "out" / "run_sheet.html").read_text(encoding="utf-8")
    assert sheet.count('class="step') == 13
    for kind in ("students", "solutions", "instructor"):
        made = cells.read(tmp_path / "out" / kind / "01_feedforward" / "fast_feedforward.ipynb")
        assert "def leaf_of" in cells.written(made)
        assert len(made.cells) > 40
    students = (tmp_path / "out" / "students" / "01_feedforward" / "fast_feedforward.ipynb").read_text(encoding="utf-8")
    assert "goes_right" not in students
    assert "whoever teaches" not in students


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["workshop", "build"], "NOTEBOOK-OR-PLAN"),
        (["workshop", "build", "next_year"], "no notebook and no plan 'next_year'"),
        (["workshop", "sell"], "invalid choice: 'sell'"),
        (["workshop", "site", "no_such"], "no notebook and no plan"),
        (["workshop", "site", "--jobs", "0"], "--jobs takes a number from 1 up"),
        (["class"], "action"),
        (["class", "stop"], "invalid choice: 'stop'"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, sentence, capsys):
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_a_class_is_started_with_what_was_asked_for(monkeypatch):
    asked = {}
    monkeypatch.setitem(
        sys.modules, "labkit.dashboard.class_app", SimpleNamespace(start=lambda **given: asked.update(given))
    )
    assert cli.main(["class", "start", "--here", "--port", "5099", "--folder", "f", "--no-browser"]) == 0
    assert asked == {"folder": "f", "port": 5099, "address": None, "here": True, "store": None, "open_browser": False}


def test_the_port_is_the_one_of_the_class():
    from labkit.workshop.classroom.codes import PORT

    assert workshop_commands.CLASS_PORT == PORT
