"""What presenter mode tells the class, and what a notebook that follows makes of it."""

import sys
from threading import Event
from types import ModuleType

import pytest

from labkit.errors import LabError
from labkit.widgets import presenter
from labkit.widgets.cursor import Cursor
from labkit.widgets.presenter import Follower, follow, present
from labkit.workshop.classroom.teacher_door import plain


class Teacher:
    """Stands in for the teacher's end of a class."""

    def __init__(self, fails: str = ""):
        self.said, self.fails, self.heard = [], fails, Event()

    def say(self, kind, **what):
        try:
            if self.fails:
                raise LabError(self.fails)
            self.said.append((kind, what))
        finally:
            self.heard.set()


class Seat:
    """Stands in for a student's seat: keeps who listens."""

    def __init__(self):
        self.acts = []

    def hear(self, kind, act):
        assert kind == "place"
        self.acts.append(act)
        return lambda: self.acts.remove(act)

    def says(self, **what):
        for act in list(self.acts):
            act(what)


@pytest.fixture(autouse=True)
def _notebook(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "/somewhere/routers.ipynb")


def moved(talk, **place):
    talk.teacher.heard.clear()
    talk.place = place
    assert talk.teacher.heard.wait(10)


def test_each_move_is_said_with_the_notebook_and_the_cursor():
    cursor = Cursor(step=300)
    talk = present(Teacher(), cursor)
    assert talk.told
    moved(talk, cell=4, words="The router", count=1)
    assert plain(talk.teacher.said[0][1]) == talk.teacher.said[0][1]  # the door of a class takes it as it is
    assert talk.teacher.said == [
        (
            "place",
            {"notebook": "routers", "cell": 4, "words": "The router", "step": 300, "cursor": '{"step": 300}'},
        )
    ]
    talk.teacher.heard.clear()
    cursor.step = 400
    assert talk.teacher.heard.wait(10)
    assert talk.teacher.said[-1][1]["step"] == 400
    talk.close()
    cursor.step = 500
    assert talk.teacher.said[-1][1]["step"] == 400


def test_without_a_teacher_nothing_is_said_and_nothing_runs():
    talk = present()
    talk.place = {"cell": 3}
    assert talk._voice is None
    assert not talk.told
    with pytest.raises(LabError, match="teach"):
        present("127.0.0.1:5010")


def test_a_class_that_is_gone_is_said_and_ends_no_talk():
    talk = present(Teacher(fails="The class cannot be reached."))
    moved(talk, cell=1)
    for _ in range(200):
        if talk.said:
            break
        Event().wait(0.02)
    assert talk.said == "the class does not hear this: The class cannot be reached."
    talk.teacher.fails = ""
    moved(talk, cell=2)
    assert talk.teacher.said[-1][1]["cell"] == 2


def test_following_takes_the_place_and_the_cursor():
    seat, cursor = Seat(), Cursor()
    line = Follower(seat, cursor)
    seat.says(notebook="routers", cell=4, words="The router", step=300, cursor='{"step": 300, "layer": "layers.0"}')
    assert line.place == {"cell": 4, "words": "The router", "notebook": "routers"}
    assert line.mine
    assert cursor.places == {"step": 300, "layer": "layers.0"}
    line.following = False
    seat.says(notebook="routers", cell=5, words="", cursor='{"step": 400}')
    assert cursor.step == 300
    seat.says(notebook="another", cell=5, words="")
    assert not line.mine
    line.close()
    assert seat.acts == []


@pytest.mark.parametrize(
    "what",
    [
        {},
        {"cell": "4"},
        {"cell": True},
        {"cell": None, "cursor": '{"step": 1}'},
        {"cell": 1, "cursor": {"step": 1}},
        {"cell": 1, "cursor": "[1, 2]"},
        {"cell": 1, "cursor": '{"step": 1'},
        {"cell": 1, "cursor": "step", "words": 7, "notebook": None},
        {"cell": 1, "cursor": '{"observe": 1, "__class__": 2, "no axis": 3}', "words": "x" * 10_000},
    ],
)
def test_whatever_comes_over_the_network_breaks_nothing(what):
    seat, cursor = Seat(), Cursor()
    line = Follower(seat, cursor)
    seat.says(**what)
    assert len(line.place.get("words", "")) <= 80
    assert cursor.places == {}
    assert callable(cursor.observe)


def test_who_has_no_seat_is_told_how_to_get_one(monkeypatch):
    monkeypatch.delitem(sys.modules, "labkit.workshop.seat", raising=False)
    with pytest.raises(LabError, match="first join"):
        follow()
    module, seat = ModuleType("labkit.workshop.seat"), Seat()
    module.joined = lambda: seat
    monkeypatch.setitem(sys.modules, "labkit.workshop.seat", module)
    assert len(seat.acts) == 0
    assert isinstance(follow(), presenter.Follower)
    assert len(seat.acts) == 1
