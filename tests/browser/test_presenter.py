"""Presenter mode on a page that is built like JupyterLab's, and once in JupyterLab itself: keys, typing, following."""

import json

import pytest
from lab_server import CONNECTED, ERRORS, READY, RUN_ALL, SHUT_DOWN

from labkit.widgets.presenter import STYLE
from labkit.widgets.source import page as page_of
from labkit.widgets.source import source

pytestmark = pytest.mark.browser
TALK, FOLLOW = (source("notebook_cells.js", name) for name in ("presenter.js", "follow.js"))
BOOK = """(windowed) => {
    const cell = (at) => {
        const one = document.createElement("div");
        one.className = "jp-Cell";
        one.dataset.windowedListIndex = at;
        one.tabIndex = 0;
        one.style.minHeight = "300px";
        one.innerHTML = `<div class="jp-Cell-inputArea"><div class="jp-RenderedMarkdown"><h2>Heading ${at}</h2></div></div>`;
        if (at === 2) one.innerHTML += '<div class="jp-Cell-inputArea"><textarea></textarea></div>';
        return one;
    };
    const here = document.getElementById("here"), book = document.createElement("div"), outer = document.createElement("div");
    book.className = "jp-Notebook";
    outer.className = "jp-WindowedPanel-outer";
    outer.style.cssText = "height: 600px; overflow: auto; position: relative";
    here.before(book);
    book.append(outer);
    const cells = Array.from({ length: 12 }, (_, at) => cell(at));
    cells[0].append(here);
    outer.append(...cells);
    if (!windowed) return;
    // as JupyterLab's full windowing does: what is far from the view is taken off the page, and its room stays
    const spacer = document.createElement("div");
    const window_ = () => {
        const first = Math.max(0, Math.floor(outer.scrollTop / 300) - 1);
        cells.forEach((one, at) => (at === 0 || (at >= first && at < first + 5) ? null : one.remove()));
        cells.slice(first, first + 5).forEach((one, place) => {
            one.style.cssText = `position: absolute; left: 0; right: 0; height: 300px; top: ${(first + place) * 300}px`;
            if (!one.isConnected) outer.append(one);
        });
    };
    spacer.style.height = "3600px";
    outer.append(spacer);
    window_();
    outer.addEventListener("scroll", window_);
}"""
LIT = "() => [...document.querySelectorAll('.labkit-lit')].map((cell) => Number(cell.dataset.windowedListIndex))"


def opened(page, tmp_path, script: str, values: dict, windowed: bool = False) -> None:
    (tmp_path / "talk.html").write_text(page_of(script, "", {"css": STYLE, **values}, "Talk"), encoding="utf-8")
    page.goto((tmp_path / "talk.html").as_uri())
    page.evaluate(BOOK, windowed)


def lit(page, at: int) -> None:
    page.wait_for_function(f"() => JSON.stringify(({LIT})()) === '[{at}]'")


def placed(page) -> int:
    return page.evaluate("labkitModel.get('place').cell")


def in_view(page, at: int) -> bool:
    return page.evaluate(
        """(at) => {
            const cell = document.querySelector(`.jp-Cell[data-windowed-list-index="${at}"]`)?.getBoundingClientRect();
            const frame = document.querySelector(".jp-WindowedPanel-outer").getBoundingClientRect();
            return Boolean(cell) && cell.top >= frame.top - 2 && cell.bottom <= frame.bottom + 2;
        }""",
        at,
    )


@pytest.mark.parametrize("windowed", [False, True])
def test_keys_and_clickers_go_from_cell_to_cell(page, tmp_path, windowed):
    opened(page, tmp_path, TALK, {"told": True, "place": {}, "said": ""}, windowed)
    page.get_by_role("button", name="▶ Present").click()
    lit(page, 1)
    for key, at in (("PageDown", 2), ("ArrowRight", 3), ("PageUp", 2), ("ArrowLeft", 1), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        lit(page, at)
    page.keyboard.press("ArrowLeft")
    lit(page, 0)
    for at in range(1, 12):
        page.keyboard.press("PageDown")
        lit(page, at)
        page.wait_for_function(f"() => labkitModel.get('place').cell === {at}")
    page.keyboard.press("PageDown")  # there is no thirteenth
    page.wait_for_timeout(200)
    assert placed(page) == 11
    assert in_view(page, 11)
    assert page.evaluate("labkitModel.get('place').words") == "Heading 11"
    assert page.get_by_text("the class can follow").is_visible()
    page.keyboard.press("Escape")
    assert page.locator(".labkit-stage-bar, .labkit-lit, .labkit-presenting").count() == 0
    page.keyboard.press("PageUp")
    assert placed(page) == 11
    assert page.errors == []


def test_whoever_types_is_left_alone(page, tmp_path):
    opened(page, tmp_path, TALK, {"told": False, "place": {}, "said": ""})
    page.get_by_role("button", name="▶ Present").click()
    page.locator("textarea").click()
    lit(page, 2)
    page.keyboard.type("ab")
    page.keyboard.press("ArrowLeft")
    page.keyboard.type("c")
    assert page.locator("textarea").input_value() == "acb"
    page.keyboard.press("Escape")
    assert page.locator(".labkit-stage-bar").count() == 1
    lit(page, 2)
    page.get_by_role("button", name="On", exact=True).click()
    lit(page, 3)
    page.get_by_role("button", name="Leave presenter mode").click()
    assert page.locator(".labkit-stage-bar").count() == 0


def test_a_class_that_does_not_hear_is_said(page, tmp_path):
    opened(page, tmp_path, TALK, {"told": True, "place": {}, "said": ""})
    page.get_by_role("button", name="▶ Present").click()
    lit(page, 1)
    page.evaluate("labkitModel.set('said', 'the class does not hear this: gone.')")
    assert page.get_by_text("the class does not hear this: gone.").is_visible()


def teacher_at(page, cell: int, words: str) -> None:
    page.evaluate("([cell, words]) => labkitModel.set('place', { cell, words, notebook: 'talk' })", [cell, words])


def here(page) -> list:
    return page.evaluate(
        "() => [...document.querySelectorAll('.labkit-teacher-here')].map((cell) => cell.querySelector('h2').textContent)"
    )


def test_a_notebook_follows_the_words_and_never_takes_the_focus(page, tmp_path):
    opened(page, tmp_path, FOLLOW, {"place": {}, "following": True, "mine": True})
    page.locator(".jp-Cell").nth(1).focus()
    teacher_at(page, 9, "Heading 7")  # the student's notebook lacks two cells
    page.wait_for_function("() => document.querySelector('.labkit-teacher-here')")
    assert here(page) == ["Heading 7"]
    assert in_view(page, 7)
    assert page.evaluate("() => document.activeElement.dataset.windowedListIndex") == "1"
    assert page.get_by_text("Following the teacher: Heading 7").count() == 1
    teacher_at(page, 3, "Nobody says this here")
    page.wait_for_function("() => !document.querySelector('.labkit-teacher-here')")
    page.get_by_role("button", name="Stop").click()
    teacher_at(page, 4, "Heading 4")
    assert here(page) == []
    page.get_by_role("button", name="Go there").click()
    assert here(page) == ["Heading 4"]
    page.get_by_role("button", name="Follow again").click()
    teacher_at(page, 5, "Heading 5")
    page.wait_for_function("() => document.querySelector('.labkit-teacher-here h2').textContent === 'Heading 5'")
    assert page.errors == []


@pytest.mark.parametrize("words", ["Heading 10", ""])
def test_a_windowed_notebook_is_scrolled_until_the_cell_is_there(page, tmp_path, words):
    opened(page, tmp_path, FOLLOW, {"place": {}, "following": True, "mine": True}, windowed=True)
    assert page.locator(".jp-Cell", has_text="Heading 10").count() == 0
    teacher_at(page, 10, words)
    page.wait_for_function("() => document.querySelector('.labkit-teacher-here')")
    assert here(page) == ["Heading 10"]
    assert in_view(page, 10)
    teacher_at(page, 5, "Nobody says this here")
    page.wait_for_function("() => !document.querySelector('.labkit-teacher-here')")
    page.wait_for_timeout(300)
    assert in_view(page, 10)


def test_whoever_types_is_not_moved(page, tmp_path):
    opened(page, tmp_path, FOLLOW, {"place": {}, "following": True, "mine": True})
    page.locator("textarea").click()
    page.keyboard.type("thinking")
    before = page.evaluate("() => document.querySelector('.jp-WindowedPanel-outer').scrollTop")
    teacher_at(page, 9, "Heading 9")
    page.wait_for_timeout(150)
    assert here(page) == []
    assert page.evaluate("() => document.querySelector('.jp-WindowedPanel-outer').scrollTop") == before
    assert page.get_by_text("you are typing").count() == 1
    page.keyboard.type("!")
    assert page.locator("textarea").input_value() == "thinking!"


def test_hostile_words_are_words(page, tmp_path):
    opened(page, tmp_path, FOLLOW, {"place": {}, "following": True, "mine": True})
    teacher_at(page, 1, "<img src=x onerror=alert(1)>")
    assert page.get_by_text("<img src=x onerror=alert(1)>").count() == 1
    assert page.locator("img").count() == 0


SEAT = """
import sys, types
class Seat:
    acts = []
    def hear(self, kind, act):
        self.acts.append(act)
        return lambda: None
seat = Seat()
module = types.ModuleType("labkit.workshop.seat")
module.joined = lambda: seat
sys.modules["labkit.workshop.seat"] = module
from labkit.widgets.presenter import follow, present
follow()
"""


def cell(name: str, text: str, kind: str = "code") -> dict:
    code = {"outputs": [], "execution_count": None} if kind == "code" else {}
    return {"cell_type": kind, "id": name, "metadata": {}, "source": text, **code}


def test_in_jupyterlab_a_talk_runs_cells_and_a_class_follows(lab, page, tmp_path):
    cells = [cell("seat", SEAT), cell("talk", "present()")]
    cells += [cell(f"text-{at}", f"## Heading {at}\n\n" + 60 * "words ", "markdown") for at in range(10)]
    cells += [cell("run", "print('it ran')")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    book = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "work" / "talk.ipynb").write_text(json.dumps(book), encoding="utf-8")
    page.goto(f"{lab}/lab/tree/talk.ipynb?reset", wait_until="domcontentloaded")
    page.wait_for_function(READY)
    page.evaluate(CONNECTED)
    try:
        page.evaluate(RUN_ALL)
        assert page.evaluate(ERRORS) == []
        page.get_by_role("button", name="▶ Present").click()
        lit(page, 2)
        before = page.evaluate("() => getComputedStyle(document.querySelector('.labkit-lit p')).fontSize")
        assert before == "24px"
        for at in range(3, 13):
            page.keyboard.press("PageDown")
            lit(page, at)
        active = "() => document.querySelector('.jp-Cell.jp-mod-active').dataset.windowedListIndex"
        assert page.evaluate(active) == "12"
        page.keyboard.press("Enter")  # JupyterLab's edit mode: the keys are the editor's
        page.keyboard.press("Home")
        page.keyboard.press("ArrowRight")
        lit(page, 12)
        page.keyboard.press("Escape")
        assert page.locator(".labkit-stage-bar").count() == 1
        page.keyboard.press("Escape")
        assert page.locator(".labkit-stage-bar").count() == 0
        page.evaluate(
            """() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code:
                "for act in seat.acts: act({'cell': 3, 'words': 'Heading 1', 'notebook': 'talk', 'cursor': {}})" }).done"""
        )
        page.wait_for_function(
            "() => document.querySelector('.labkit-teacher-here')?.textContent.includes('Heading 1')", timeout=10_000
        )
        assert page.errors == []
        assert page.outside == []
    finally:
        page.evaluate(SHUT_DOWN)
