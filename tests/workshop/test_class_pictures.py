"""The board's words and pictures: what they show is what was told, and hostile text stays text."""

import math
import re

import numpy as np
import pytest

from labkit.dashboard import class_figures, class_words
from labkit.dashboard.class_app import todays_class
from labkit.dashboard.class_board import Board
from labkit.dashboard.class_easel import Easel, draw
from labkit.dashboard.class_names import called, initials
from labkit.dashboard.class_takeaway import class_page
from labkit.dashboard.layout import Session
from labkit.errors import LabError
from labkit.reach import free_port, is_free, lan_address
from labkit.views.theme import alt_text
from labkit.workbench.claim import interval
from labkit.workshop.classroom.classroom import Classroom
from labkit.workshop.classroom.journal import Message, Student
from labkit.workshop.classroom.room import ARMS, CURVES, EXERCISES, POINTS, STUDIES, Curve, Guess, Room

EVIL = "<script>alert(1)</script>"


def add(room, student, *told):
    room.add([Message(at, student, at, kind, what, 0) for at, (kind, what) in enumerate(told, 1)])


def check(exercise="leaf", right=False, says="Not yet: the shape is wrong."):
    return "check", {"exercise": exercise, "right": right, "says": says}


@pytest.fixture
def room():
    made = Room()
    for number, name in enumerate(("Ada Lovelace", "Bob", "Ann Lee", EVIL)):
        made.arrive(Student(number, name, name))
    return made


def test_the_matrix_counts_tries_and_says_what_most_get_wrong(room):
    add(room, 0, check(), check(), check(right=True, says="Right."))
    add(room, 1, check(), check(says="Not yet: a leaf is missing."))
    add(room, 2, check(says="Not yet: a leaf is missing."))
    text = class_words.checks(room, called(room.students, "names"), "names")
    assert "<strong>1</strong> of 3" in text
    assert "right, 3 tries" in text
    assert "<strong>2×</strong> a leaf is missing." in text
    assert "the shape is wrong" not in text  # those who had it have gone on


def test_who_was_right_once_stays_right(room):
    add(room, 0, check(right=True, says="Right."), check())
    assert room.checks["leaf"][0].right


def test_nothing_that_was_typed_becomes_markup(room):
    add(room, 3, check(exercise=EVIL, says=f"Not yet: {EVIL}"))
    add(room, 3, ("guess", {"question": EVIL, "points": [[0, 1], [1, 2]]}))
    add(room, 3, ("study", {"name": EVIL, "seed": 3, "arm": EVIL, "value": 1.0}))
    add(room, 3, ("value", {"run": EVIL, "name": EVIL, "step": 1, "value": 1.0}))
    for mode in ("names", "initials", "none"):
        shown = called(room.students, mode)
        page = class_words.checks(room, shown, mode) + class_words.people(room, shown, mode, [EVIL])
        assert "<script" not in page
    for part in ("guesses", "studies", "curves"):
        for figure in (draw(room, part, EVIL, "names", dark) for dark in (False, True)):
            drawn = figure.to_dict()
            drawn["layout"]["meta"].pop("alt")  # is set as an attribute, where markup is text
            assert "<script" not in str(drawn)


def test_names_are_shown_shortened_or_hidden():
    students = {n: Student(n, name, f"{name} {n}") for n, name in enumerate(("Ada Lovelace", "Al Lu", "Zoë", "李明"))}
    assert called(students, "names")[0] == "Ada Lovelace 0"
    assert list(called(students, "initials").values()) == ["AL", "AL2", "ZO", "李明"]
    assert list(called(students, "none").values()) == ["seat 1", "seat 2", "seat 3", "seat 4"]
    assert initials("???")


def test_hidden_names_are_nowhere_on_the_board(tmp_path):
    classroom = Classroom(tmp_path / "class", tracked=False)
    for name in ("Xanthippe", "Yorick"):
        student, _ = classroom.seat(name)
        add(classroom.room, student.number, check(), ("value", {"run": "n", "name": "l", "step": 1, "value": 1.0}))
    board = Board(Session({}), classroom, Easel(classroom.room))
    board.names.value = "none"
    page = board.people.object + board.checks.object + str(draw(classroom.room, "curves", "l", "none", False))
    assert "Xan" not in page
    assert "Yor" not in page
    board.names.value = "names"
    assert "Xanthippe" in board.people.object
    assert classroom.address in board.top.object.replace("&quot;", '"')
    classroom.end()
    board.look()
    assert "has ended" in board.top.object
    classroom.close()


def test_the_interval_of_a_study_is_the_one_of_claims():
    values = {f"s{n}": value for n, value in enumerate(np.random.default_rng(0).normal(0.9, 0.02, 30))}
    figure = class_figures.study({"dense": {**values, "lost": math.nan}}, "accuracy")
    mean, low, high = interval(np.array(list(values.values())))
    bar = next(trace for trace in figure.data if trace.error_x.array is not None)
    assert bar.x[0] == pytest.approx(mean)
    assert bar.x[0] + bar.error_x.array[0] == pytest.approx(high)
    assert bar.x[0] - bar.error_x.arrayminus[0] == pytest.approx(low)
    assert "30 seeds; 1 gave no number" in alt_text(figure)
    assert sum(len(trace.x) for trace in figure.data) == 31


def test_a_study_begins_with_one_seed_and_with_none():
    assert "one seed" in alt_text(class_figures.study({"a": {"x": 1.0}}, "s"))
    assert "nothing yet" in alt_text(class_figures.study({"a": {"x": math.nan}}, "s"))


def test_guesses_are_pooled_and_the_truth_comes_when_it_is_revealed():
    guesses = {f"s{n}": Guess([[0, n], [10, n + 10]]) for n in range(9)}
    hidden = class_figures.pooled(guesses, "q")
    middle = next(trace for trace in hidden.data if trace.name == "middle guess")
    assert list(middle.y[[0, -1]]) == [4, 14]
    assert not any(trace.name == "what happened" for trace in hidden.data)
    guesses["s0"] = Guess([[0, 0], [10, 10]], 2.0, [[0, 1], [10, 1]])
    guesses["liar"] = Guess([[0, 0], [10, 10]], 2.0, [[0, 1e9], [10, 1e9]])
    guesses["s1"] = Guess([[0, 0], [10, 10]], 4.0, [[0, 1], [10, 1]])
    shown = class_figures.pooled(guesses, "q")
    truth = next(trace for trace in shown.data if trace.name == "what happened")
    assert set(truth.y) == {1.0}  # one who says otherwise does not move it
    assert "off on average" in alt_text(shown)


@pytest.mark.parametrize("points", [[[1, 2]], [[1, 2], [1, 3]], [[0, 1e300], [1, -1e300]], [[3, 1], [1, 2], [2, 0]]])
def test_strange_guesses_are_drawn_all_the_same(points):
    class_figures.pooled({"a": Guess(points), "b": Guess([[0, 1], [5, 2]]), "c": Guess(points)}, "q").to_json()
    class_figures.pooled({"a": Guess(points)}, "q").to_json()


def test_curves_of_the_class_share_an_axis_and_what_is_not_finite_leaves_a_gap(room):
    for student in range(3):
        told = [("value", {"run": "n", "name": "loss", "step": s, "value": float(student)}) for s in range(50)]
        add(room, student, *told)
    add(room, 3, ("value", {"run": "n", "name": "loss", "step": 1, "value": "nan"}))
    figure = draw(room, "curves", "loss", "names", False)
    assert "3 trainings of 3 students" in figure.layout.title.text
    room.curves["loss"].clear()
    add(room, 3, ("value", {"run": "n", "name": "loss", "step": 1, "value": "inf"}))
    with pytest.raises(LabError, match="finite"):
        draw(room, "curves", "loss", "names", False)


def test_a_long_curve_keeps_its_shape_and_its_last_value():
    curve = Curve()
    for step in range(100_000):
        curve.add(step, step / 2)
    steps, values = curve.points()
    assert len(steps) <= POINTS + 1
    assert (steps[0], steps[-1], values[-1]) == (0, 99_999, 99_999 / 2)
    assert max(np.diff(steps)) <= 2 * 100_000 / POINTS * 2
    curve.add(0, 7.0)  # the cell was run again
    assert curve.points() == ([0], [7.0])


def test_nobody_can_crowd_out_the_others(room):
    for n in range(5000):
        add(room, 3, check(exercise=f"mine {n}"))
        add(room, 3, ("value", {"run": f"r{n}", "name": f"n{n}", "step": 1, "value": 1.0}))
        add(room, 3, ("study", {"name": f"s{n}", "seed": n, "arm": "a", "value": 1.0}))
    assert len(room.checks) == EXERCISES
    assert len(room.curves) == CURVES
    assert len(room.studies) == STUDIES * ARMS
    for student in (0, 1):
        add(room, student, check(exercise="ours"), ("value", {"run": "r", "name": "ours", "step": 1, "value": 1.0}))
    assert "ours" in class_words.checks(room, called(room.students, "names"), "names")
    assert Easel(room).names("curves")[0] == "ours"


def test_one_student_is_one_dot_however_often_it_is_told(room):
    add(room, 3, *[("study", {"name": "s", "seed": seed, "arm": "a", "value": 100.0}) for seed in range(500)])
    add(room, 0, ("study", {"name": "s", "seed": 0, "arm": "a", "value": 1.0}))
    assert room.studies["s"]["a"] == {3: 100.0, 0: 1.0}


def test_the_page_to_take_away_is_whole_and_harmless(tmp_path):
    classroom = Classroom(tmp_path / "class", tracked=False)
    student, _ = classroom.seat(EVIL)
    add(classroom.room, student.number, check(exercise=EVIL, says=EVIL))
    add(classroom.room, student.number, ("guess", {"question": EVIL, "points": [[0, 1], [1, 2]]}))
    text = class_page(classroom, Easel(classroom.room), "names")
    assert EVIL not in text
    assert not re.search(r"""(src|href)=["']https?://""", text)
    assert "&lt;script&gt;alert(1)" in text
    empty = Classroom(tmp_path / "empty", tracked=False)
    assert "Nothing was told" in class_page(empty, Easel(empty.room), "nonsense")
    empty.close()
    classroom.close()


def test_the_easel_draws_once_for_all_and_rests_in_between(room):
    import time

    add(room, 0, ("value", {"run": "n", "name": "loss", "step": 1, "value": 1.0}))
    easel = Easel(room)
    end = time.monotonic() + 20
    while easel.look("curves", "loss", "names", False).figure is None and time.monotonic() < end:
        time.sleep(0.02)
    first = easel.look("curves", "loss", "names", False)
    assert first is easel.look("curves", "loss", "names", False)
    figure = first.figure
    add(room, 0, ("value", {"run": "n", "name": "loss", "step": 2, "value": 1.0}))
    assert easel.look("curves", "loss", "names", False).figure is figure
    easel.close()


def test_a_taken_port_gives_the_next_and_an_impossible_one_a_sentence():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free(port)
        assert free_port(port) != port
    with pytest.raises(LabError, match="no port"):
        free_port(0)
    with pytest.raises(LabError, match="--address"):
        free_port(5010, "203.0.113.7")


def test_a_machine_without_a_network_is_told_what_to_do(monkeypatch):
    import socket

    monkeypatch.setattr(socket.socket, "connect", lambda *_: (_ for _ in ()).throw(OSError("no route")))
    with pytest.raises(LabError, match="--here"):
        lan_address()


def test_a_class_that_has_ended_is_followed_by_a_new_one(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path))
    first = todays_class(None)
    code = first.journal.code
    first.close()
    again = todays_class(None)
    assert again.journal.code == code
    again.end()
    again.close()
    new = todays_class(None)
    assert new.folder != first.folder
    new.close()
