"""One source, four outputs: what students get, what is right, what is shown on the wall, and what whoever teaches reads."""

import json
import re

import nbformat
import pytest

from labkit.errors import LabError
from labkit.workshop.building import build as builder
from labkit.workshop.building import cells, versions
from labkit.workshop.building import site as sites
from labkit.workshop.building.answered import answered
from labkit.workshop.building.build import build
from labkit.workshop.building.executed import Executed, complaints, execute
from labkit.workshop.building.folder import whole
from labkit.workshop.building.run_sheet import sheet_of_notebook
from labkit.workshop.building.slides import slides

EXERCISE = 'x = [1, 2, 3]\nprint("given:", x)\n\n\ndef double(x):\n    return ...\n\n\nshown = 1'
SOLUTION = f"{cells.VEIL}\ndef double(x):\n    return [2 * one for one in x]"
CHECK = (
    "from labkit.workshop.exercise import check\n\n"
    "check(lambda: double(x), lambda answer: None if answer == [2, 4, 6] else 'no')"
)
TEACH = "<details><summary>For whoever teaches this · 7 minutes</summary>\n\n**Say.** Twice $x$.\n\n</details>"


def code(name, source, *tags, **metadata):
    if tags:
        metadata["tags"] = list(tags)
    return nbformat.v4.new_code_cell(source, id=name, metadata=metadata)


def text(name, source, *tags, slide=""):
    metadata = {"tags": list(tags)} if tags else {}
    if slide:
        metadata["slideshow"] = {"slide_type": slide}
    return nbformat.v4.new_markdown_cell(source, id=name, metadata=metadata)


def source():
    hint = (
        "## Try it\nSee [the other](../other.ipynb).\n\n<details open><summary>A hint</summary>\n\ntwice\n\n</details>"
    )
    return nbformat.v4.new_notebook(
        cells=[
            text("title", "# Doubling\n\n$$y = 2x$$", slide="slide"),
            text("teach", TEACH, "instructor"),
            text("exercise-text", hint, slide="slide"),
            code("exercise-one", EXERCISE, slideshow={"slide_type": "subslide"}),
            code("check-exercise-one", CHECK),
            code("solution-one", SOLUTION, "solution", jupyter={"source_hidden": True}),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )


def ids(notebook):
    return [cell.id for cell in notebook.cells]


def test_students_get_neither_solutions_nor_the_teachers_words():
    made = versions.student(source(), near=set())
    assert ids(made) == ["title", "exercise-text", "exercise-one", "check-exercise-one"]
    told = cells.written(made)
    assert "2 * one" not in told
    assert "whoever teaches" not in told
    assert "<details open>" not in told
    assert "other.ipynb" not in told
    assert "“the other”" in told
    assert made.cells[2].source == EXERCISE


def test_a_link_to_a_notebook_of_the_same_workshop_stays():
    assert "[the other](../other.ipynb)" in cells.written(versions.student(source(), near={"../other.ipynb"}))


def test_the_solution_stands_in_the_exercise():
    made = versions.solution(source())
    assert ids(made) == ["title", "exercise-text", "exercise-one", "check-exercise-one"]
    answer = made.cells[2].source
    assert answer.startswith('x = [1, 2, 3]\nprint("given:", x)')
    assert "2 * one" in answer
    assert "..." not in answer
    assert cells.VEIL not in answer
    assert answer.endswith("shown = 1")


def test_whoever_teaches_gets_everything_with_the_clock():
    made = versions.instructor(source())
    assert ids(made) == [
        "title",
        "teach",
        "exercise-text",
        "exercise-one",
        "check-exercise-one",
        "here-is-solution-one",
        "solution-one",
    ]
    assert "<details open><summary>For whoever teaches this · from 0:00 · 7 minutes" in made.cells[1].source
    assert made.cells[-1].metadata == {}


def test_the_source_is_left_as_it_was():
    given = source()
    before = cells.written(given)
    for version in (versions.student, versions.solution, versions.instructor):
        version(given)
    slides(given)
    assert cells.written(given) == before


@pytest.mark.parametrize(
    ("exercise", "solution", "made"),
    [
        ("A = ...  # a number", "A = 3", "A = 3"),
        ("a = 1\nB: int = ...\nc = 2", "B = 3", "a = 1\nB = 3\nc = 2"),
        ("@once\ndef f():\n    return ...", "@once\ndef f():\n    return 1", "@once\ndef f():\n    return 1"),
        ("def f():\n    ...\n\n\ndef g():\n    ...\n\n\nf()", "def f():\n    pass\n\n\ndef g():\n    pass", None),
    ],
)
def test_an_answer_takes_the_place_of_what_was_open(exercise, solution, made):
    found = answered(exercise, solution)
    assert "..." not in found
    if made:
        assert found == made
    else:
        assert found.count("def f") == found.count("def g") == 1
        assert found.rstrip().endswith("f()")


def test_faults_of_a_source_are_said():
    closed = source()
    closed.cells[3].source = SOLUTION
    with pytest.raises(LabError, match="leaves nothing open"):
        versions.student(closed)
    without = source()
    without.cells = without.cells[:-1]
    with pytest.raises(LabError, match="has no solution"):
        versions.solution(without)
    other = source()
    other.cells[-1].source = "def triple(x):\n    return 3"
    with pytest.raises(LabError, match="defines triple"):
        versions.solution(other)
    unchecked = source()
    del unchecked.cells[4]
    with pytest.raises(LabError, match="has no cell check-exercise-one"):
        cells.exercises(unchecked)


def test_slides_need_no_network_and_give_nothing_away():
    page = slides(source())
    outside = re.sub(
        r"(?s)<script>.*?</script>", "", page
    )  # reveal.js writes such tags itself, for slides that have videos
    loaded = re.findall(r"""<(?:link|script|img|iframe)[^>]*?(?:src|href)=["']?([^"'> ]+)""", outside)
    assert [one for one in loaded if not one.startswith(("data:", "#"))] == []
    assert "@import" not in page
    assert "Reveal.initialize" in page
    assert "renderMathInElement" in page
    assert page.count("<h2") >= 1
    for secret in ("2 * one", "whoever teaches", "A hint", "check(lambda"):
        assert secret not in page


def test_a_notebook_without_slide_types_has_a_slide_for_every_heading():
    given = source()
    for cell in given.cells:
        cell.metadata.pop("slideshow", None)
    page = slides(given)
    assert page.count("Doubling") >= 1
    assert "check(lambda" not in page or "double(x)" in page


def test_the_run_sheet_has_the_clock_and_the_words():
    page = sheet_of_notebook(source(), "instructor/doubling.ipynb")
    assert 'data-minutes="7"' in page
    assert "<strong>Say.</strong>" in page
    assert "renderMathInElement" in page
    assert "{{" not in page.split("<script>")[0]


def test_hostile_words_stay_words(tmp_path):
    given = source()
    given.cells[0].source = "# <script>alert(1)</script> & more"
    assert "<title>Run sheet: <script>" not in sheet_of_notebook(given, "a.ipynb")
    assert "<title><script>" not in slides(given)


def test_a_workshop_of_a_single_notebook_is_built_and_run(tmp_path):
    (tmp_path / "doubling.ipynb").write_text(cells.written(source()), encoding="utf-8")
    told = []
    made = build(str(tmp_path / "doubling.ipynb"), tmp_path / "out", run=True, scale="smoke", say=told.append)
    kinds = ("students", "solutions", "instructor")
    for kind in kinds:
        stored = json.loads((made.folder / kind / "doubling.ipynb").read_text(encoding="utf-8"))
        assert all(cell.get("outputs", []) == [] for cell in stored["cells"])
    assert (made.folder / "slides" / "doubling.html").is_file()
    assert made.sheet.is_file()
    assert any("solutions run from top to bottom. check-exercise-one “Right" in line for line in told)
    assert any("students run from top to bottom. check-exercise-one “Not answered yet" in line for line in told)


def test_a_solution_that_is_wrong_stops_the_build_and_writes_nothing(tmp_path, monkeypatch):
    told = iter(("Not answered yet: ...", "Not yet: no"))
    monkeypatch.setattr(
        builder, "execute", lambda notebook, *_, **__: Executed(notebook, {"check-exercise-one": next(told)})
    )
    (tmp_path / "doubling.ipynb").write_text(cells.written(source()), encoding="utf-8")
    with pytest.raises(LabError, match="check-exercise-one should say “Right”"):
        build(str(tmp_path / "doubling.ipynb"), tmp_path / "out", run=True, scale="smoke")
    assert not (tmp_path / "out").exists()


def test_a_cell_that_stops_is_named(tmp_path):
    given = source()
    given.cells[3].source = EXERCISE + "\n1 / 0"
    with pytest.raises(LabError, match="cell exercise-one stopped with ZeroDivisionError"):
        execute(versions.solution(given), tmp_path)


def test_a_check_that_trains_may_be_wrong_only_where_it_trains_briefly():
    task = cells.Exercise("exercise-two", "check-exercise-two", "solution-two", trains=True)
    brief = Executed(source(), {task.check: "Not yet: the gap is large."})
    assert complaints(brief, [task], solved=True, scale="smoke") == []
    assert complaints(brief, [task], solved=True, scale="lesson")
    assert complaints(Executed(source(), {task.check: "Not answered yet: ..."}), [task], solved=True, scale="smoke")
    assert complaints(Executed(source(), {task.check: "Right."}), [task], solved=False, scale=None)


def test_a_folder_of_somebody_else_is_not_touched(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(LabError, match="holds other things"), whole(tmp_path / "mine", "workshop"):
        pass
    with pytest.raises(LabError, match="is a file"), whole(tmp_path / "mine" / "thesis.txt", "workshop"):
        pass
    assert (tmp_path / "mine" / "thesis.txt").read_text(encoding="utf-8") == "years of work"


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    def written(text, kind="workshop", fail=False):
        with whole(tmp_path / "out", kind) as growing:
            assert not (growing / "left").exists()
            (growing / "left").write_text("x", encoding="utf-8")
            (growing / text).write_text(text, encoding="utf-8")
            if fail:
                raise KeyboardInterrupt

    written("one")
    with pytest.raises(KeyboardInterrupt):
        written("two", fail=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".made-by-labkit", "left", "one"}
    written("three")
    assert not (tmp_path / "out" / "one").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(LabError, match="holds other things"):
        written("four", kind="site")


def test_what_is_asked_for_and_not_there_is_said():
    with pytest.raises(LabError, match="labkit workshop list"):
        build("no_such_notebook")
    assert cells.find("fast_feedforward").name == "fast_feedforward.ipynb"


def test_a_page_that_was_made_before_is_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "notebooks_folder", lambda: tmp_path / "books")
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path / "home"))
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "doubling.ipynb").write_text(cells.written(source()), encoding="utf-8")
    runs = []
    monkeypatch.setattr(sites, "execute", lambda notebook, *_, **__: runs.append(notebook))
    for scale in ("smoke", "smoke", "lesson"):
        made = sites.site(tmp_path / "out", scale=scale)
    assert len(runs) == 2
    assert [row[0] for row in made.rows] == ["doubling"]
    page = (tmp_path / "out" / "doubling.html").read_text(encoding="utf-8")
    assert "A solution" in page
    assert "whoever teaches" not in page
    assert "mathml" not in page  # formulas are set by the script that all pages share
    with pytest.raises(LabError, match="holds other things"):
        sites.site(tmp_path / "books")


def test_the_clock_goes_on_from_step_to_step():
    given = source()
    given.cells.insert(3, text("teach-again", TEACH.replace("7 minutes", "4 minutes"), "instructor"))
    told = [cell.source for cell in versions.instructor(given).cells if "whoever teaches this" in cell.source]
    assert ["from 0:00 · 7 minutes" in told[0], "from 0:07 · 4 minutes" in told[1]] == [True, True]
    assert [versions.clock_time(passed) for passed in (0, 59, 60, 135)] == ["0:00", "0:59", "1:00", "2:15"]
    page = sheet_of_notebook(given, "instructor/doubling.ipynb")
    assert 'data-start="0" data-minutes="7"' in page
    assert 'data-start="7" data-minutes="4"' in page
