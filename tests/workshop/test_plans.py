"""The ready workshops keep their time, name cells that are there, and are told what is wrong with a plan."""

import pytest

from labkit.errors import LabError
from labkit.workshop.building import cells, versions
from labkit.workshop.building.executed import complaints, execute
from labkit.workshop.plans.plan import open_plan, plan_names, problems

PLAN = """
title = "A test"
minutes = 12

[[steps]]
title = "Look"
minutes = {minutes}
notebook = "00_start_here.ipynb"
first = "{first}"
last = "{last}"
{more}

[[steps]]
title = "Rest"
minutes = 3
pause = true
"""


def test_there_are_three_from_short_to_long():
    assert plan_names() == ["90-minutes", "half-a-day", "a-day"]


@pytest.mark.parametrize("name", plan_names())
def test_a_plan_keeps_its_time_and_names_cells_that_are_there(name):
    plan = open_plan(name)
    assert problems(plan) == []
    assert plan.starts()[-1] + plan.steps[-1].minutes == plan.minutes


@pytest.mark.parametrize("name", plan_names())
def test_a_plan_says_what_whoever_teaches_must_know(name):
    plan = open_plan(name)
    assert plan.for_whom
    assert len(plan.afterwards) >= 4
    assert plan.prerequisites
    assert plan.before
    assert any(step.pause for step in plan.steps)
    assert any(step.exercise for step in plan.steps)
    assert sum("redict" in step.title for step in plan.steps) >= 2


@pytest.mark.parametrize("name", plan_names())
def test_nobody_sits_for_two_hours_without_a_break(name):
    sitting = 0
    for step in open_plan(name).steps:
        sitting = 0 if step.pause else sitting + step.minutes
        assert sitting <= 90, step.title


def test_the_shortest_plan_has_a_study_made_by_the_class():
    assert any('joined().tell("study"' in step.say for step in open_plan("90-minutes").steps)


def taught():
    return sorted({name for plan in map(open_plan, plan_names()) for name in plan.notebooks})


@pytest.mark.parametrize("name", taught())
def test_every_notebook_of_a_plan_tells_whoever_teaches_what_to_do(name):
    notebook = cells.read(cells.notebooks_folder() / name)
    told = [cell for cell in notebook.cells if cells.INSTRUCTOR in cells.tags(cell)]
    assert len(told) >= 5
    for cell in told:
        assert cells.minutes(cell) > 0, cell.id
        assert cell.source.startswith("<details><summary>"), cell.id
        assert cell.source.endswith("</details>"), cell.id
        assert "**Say" in cell.source or "**Do" in cell.source, cell.id
    assert sum("Common mistakes" in cell.source for cell in told) >= 0.7 * len(told)
    assert any(cell.metadata.get("slideshow") for cell in notebook.cells)


def read_as_plan(tmp_path, **changes):
    given = {"minutes": 9, "first": "train", "last": "run-the-training", "more": ""} | changes
    (tmp_path / "mine.toml").write_text(PLAN.format(**given), encoding="utf-8")
    return open_plan(tmp_path / "mine.toml")


def test_a_plan_of_ones_own_is_read(tmp_path):
    plan = read_as_plan(tmp_path)
    assert problems(plan) == []
    assert (plan.name, plan.notebooks, plan.starts()) == ("mine", ["00_start_here.ipynb"], [0, 9])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"minutes": 8}, "take 11 minutes and the plan promises 12"),
        ({"minutes": 8}, "its cells for whoever teaches say 9"),
        ({"last": "no-such-cell"}, "There is no cell 'no-such-cell'"),
        ({"first": "run-the-training", "last": "train"}, "comes before"),
        ({"more": 'exercise = "exercise-one"'}, "its exercise exercise-one"),
    ],
)
def test_what_is_wrong_with_a_plan_is_said(tmp_path, changes, sentence):
    assert sentence in " ".join(problems(read_as_plan(tmp_path, **changes)))


def test_a_plan_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(LabError, match="no entry of a plan"):
        read_as_plan(tmp_path, more='minuts = "3"')
    (tmp_path / "broken.toml").write_text("title = ", encoding="utf-8")
    with pytest.raises(LabError, match="no TOML file"):
        open_plan(tmp_path / "broken.toml")
    with pytest.raises(LabError, match="no plan next-week"):
        open_plan("next-week")


@pytest.mark.notebook
def test_the_shortest_plan_runs_from_top_to_bottom_with_its_solutions(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path))
    for name in open_plan("90-minutes").notebooks:
        source = cells.read(cells.notebooks_folder() / name)
        found = execute(versions.solution(source), tmp_path, scale="smoke")
        assert complaints(found, cells.exercises(source), solved=True, scale="smoke") == []
