"""A training that is held, in a real JupyterLab: clicks while a cell runs, reload, restart, errors, loops of one's own."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from lab_server import CONNECTED, ERRORS, KERNEL_SAYS, READY, SHUT_DOWN

pytestmark = pytest.mark.browser
START = """
import threading, time, torch
from labkit.widgets.live_view import LiveView
from labkit.workbench.hold.live_run import LiveRun
from labkit.workbench.tasks.classification import Classification

def small():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))

def until(done, seconds=60):
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(done())

task = Classification("digits")
"""
SHOW = "run = LiveRun(small(), task, name='lab')\nview = LiveView(run, quantity='training_loss')\nview"
LOOP = """
model, told = small(), []
optimizer = torch.optim.SGD(model.parameters(), 0.1)
live = LiveRun.attach(model, optimizer, name='mine', probe=task.test())
own = LiveView(live, quantity='training_loss')
own
"""
TRAIN = """
try:
    for x, y in task.batches(0):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        live.tick(loss=loss)
except KeyboardInterrupt:
    print('interrupted at', live.status()['step'])
"""
BROKEN = """
class Broken(Classification):
    calls = 0
    def loss(self, prediction, target):
        Broken.calls += 1
        if Broken.calls == 40:
            raise RuntimeError('the batch is full of holes')
        return super().loss(prediction, target)

run = LiveRun(small(), Broken('digits'), name='broken')
view = LiveView(run)
view
"""
BEGIN = """(place) => {
    const { content, sessionContext } = jupyterapp.shell.currentWidget;
    content.deselectAll();
    content.activeCellIndex = place;
    window.ended = jupyterapp.commands.execute('notebook:run-cell');
}"""
RESTART = """async () => {
    const { sessionContext } = jupyterapp.shell.currentWidget;
    await sessionContext.session.kernel.restart();
    await sessionContext.session.kernel.info;
}"""
INTERRUPT = "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.interrupt()"
SAVE = "() => jupyterapp.shell.currentWidget.context.save()"
STEP = (
    r"canvas => Number((canvas.getAttribute('aria-label').match(/at step ([\d,]+)/i)?.[1] ?? '-1').replaceAll(',', ''))"
)


class Book:
    """A notebook in JupyterLab, with a person in front of it."""

    def __init__(self, lab: str, page: Any, folder: Path, *cells: str):
        self.page = page
        listed = [
            {
                "cell_type": "code",
                "id": f"cell-{place}",
                "metadata": {},
                "outputs": [],
                "execution_count": None,
                "source": code,
            }
            for place, code in enumerate((START, *cells))
        ]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        book = {"cells": listed, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        (folder / "work" / "hold.ipynb").write_text(json.dumps(book), encoding="utf-8")
        self.address = f"{lab}/lab/tree/hold.ipynb"
        self.open("?reset")
        self.run(0)

    def open(self, how: str = "") -> None:
        self.page.goto(self.address + how, wait_until="domcontentloaded")
        self.page.wait_for_function(READY)
        self.page.evaluate(CONNECTED)

    def begin(self, place: int) -> None:
        """Start a cell and do not wait for it."""
        self.page.evaluate(BEGIN, place)

    def run(self, place: int) -> str:
        """Run a cell to its end; what it printed."""
        self.begin(place)
        return self.ended(place)

    def ended(self, place: int) -> str:
        """Wait for the end of the cell that was started; what it printed."""
        self.page.evaluate("async () => { await window.ended; }")
        return self.page.locator(".jp-CodeCell").nth(place).locator(".jp-OutputArea-output").all_inner_texts().__str__()

    def says(self, code: str) -> str:
        """What the kernel prints."""
        return self.page.evaluate(KERNEL_SAYS, code)

    def is_so(self, code: str) -> bool:
        """Whether the kernel comes to say True."""
        end = time.monotonic() + 20
        while (said := self.says(f"print({code})")) != "True" and time.monotonic() < end:
            time.sleep(0.1)
        return said == "True"

    def click(self, name: str) -> None:
        self.page.locator(f"button[data-name={name}]").last.click()

    def state(self, word: str) -> None:
        """Wait until the deck says this state."""
        self.page.locator(".labkit-deck-state", has_text=word).last.wait_for()

    def shows(self, step: int) -> None:
        """Wait until the deck says this step."""
        self.page.locator(".labkit-deck-place", has_text=re.compile(rf"step {step:,}\b")).last.wait_for()

    def step(self) -> int:
        """The last step that the curve shows."""
        return self.page.locator("canvas.labkit-curve-canvas").last.evaluate(STEP)

    def reaches(self, step: int) -> bool:
        """Whether the curve comes to this step."""
        end = time.monotonic() + 30
        while self.step() < step and time.monotonic() < end:
            time.sleep(0.05)
        return self.step() >= step


@pytest.fixture
def book(lab, page, tmp_path):
    """Open a notebook with these cells; the first one of them is cell 1."""
    yield lambda *cells: Book(lab, page, tmp_path, *cells)
    page.evaluate(SHUT_DOWN)


def test_buttons_and_keys_run_step_and_pause_while_another_cell_is_running(book, page):
    waits = "print('heard' if until(lambda: run.status()['state'] == 'paused') else 'deaf')"
    book = book(SHOW, waits, waits)
    book.run(1)
    book.click("run")
    book.state("Running")
    book.begin(2)
    book.click("run")
    assert "heard" in book.ended(2)
    book.state("Paused")
    at = int(book.says("print(run.status()['step'])"))
    assert at > 0
    book.click("step")
    assert book.is_so(f"run.status()['step'] == {at + 1}")
    deck = page.locator(".labkit-deck-root")
    deck.focus()
    page.keyboard.press(".")
    book.shows(at + 2)
    book.state("Paused")
    page.keyboard.press("Space")
    book.state("Running")
    book.begin(3)
    deck.focus()
    page.keyboard.press("Space")
    assert "heard" in book.ended(3)
    assert page.evaluate(ERRORS) == []
    assert page.errors == []
    assert page.outside == []


def test_after_a_reload_in_the_middle_of_the_training_the_curve_is_whole_and_goes_on(book, page):
    book = book(SHOW)
    book.run(1)
    book.click("run")
    book.state("Running")
    assert book.reaches(20)
    page.evaluate(SAVE)
    before = book.step()
    book.open()
    page.locator(".labkit-deck-root").wait_for()
    assert book.reaches(before + 20)
    whole = "len(run.curve('training_loss')[0]) == run.status()['step']"
    assert book.says(f"with run.held(): print({whole})") == "True"
    book.state("Running")
    book.click("run")
    book.state("Paused")
    assert book.is_so(whole)
    last = int(book.says("print(run.status()['step'])"))
    assert book.reaches(last)
    assert page.locator(".labkit-deck-root").count() == 1


def test_after_a_restart_of_the_kernel_the_earlier_run_is_offered_and_complete(book, page):
    book = book(SHOW)
    book.run(1)
    book.click("run")
    assert book.reaches(30)
    before = int(book.says("print(run.status()['step'])"))
    page.evaluate(RESTART)
    book.run(0)
    assert book.says("print([one.name for one in LiveRun.earlier('lab')])") == "['lab']"
    told = book.says("""
left = LiveRun.earlier('lab')[0]; steps, values = left.curves('training_loss')['main']
print(len(steps), list(steps) == list(range(steps[0], steps[0] + len(steps))), bool((values > 0).all()), left.lives)""")
    count, *rest = told.split()
    assert int(count) >= before
    assert rest == ["True", "True", "False"]
    assert (
        book.says("run = LiveRun(small(), task, name='lab', go_on=left); print(run.status()['step'] > 0, run.step())")
        == "True True"
    )


def test_an_exception_in_the_training_is_said_and_what_was_recorded_stays(book, page):
    book = book(BROKEN, "print(6 * 7)")
    book.run(1)
    book.click("run")
    book.state("Failed")
    page.locator(".labkit-deck-root").get_by_text("the batch is full of holes").first.wait_for()
    assert book.says("print(run.status()['state'], len(run.curve('training_loss')[0]))") == "failed 39"
    assert "42" in book.run(2)
    assert page.evaluate(ERRORS) == []


def test_a_cell_that_is_run_twice_leaves_one_run(book, page):
    book = book(SHOW)
    book.run(1)
    book.click("run")
    book.state("Running")
    book.says("old = run")
    book.run(1)
    book.click("run")
    book.state("Running")
    assert page.locator(".labkit-deck-root").count() == 1
    assert book.is_so("old.status()['state'] == 'stopped' and run.status()['state'] == 'running'")
    assert book.is_so("sum(one.name == 'labkit-run lab' for one in threading.enumerate()) == 1")


def test_a_loop_of_ones_own_is_paused_stepped_and_interrupted(book, page):
    book = book(LOOP, TRAIN, "print(live.status()['state'], 6 * 7)")
    book.run(1)
    book.begin(2)
    book.state("Running")
    assert book.reaches(10)
    book.click("run")
    book.state("Paused")
    held = book.page.locator(".labkit-deck-place").last
    at = number(held.inner_text())
    book.click("step")
    book.shows(at + 1)
    book.state("Paused")
    book.click("run")
    book.state("Running")
    assert book.reaches(at + 10)
    page.evaluate(INTERRUPT)
    assert "interrupted at" in book.ended(2)
    assert "42" in book.run(3)
    assert page.errors == []


def number(text: str) -> int:
    """The step in the deck's line."""
    return int(re.search(r"step ([\d,]+)", text)[1].replace(",", ""))
