"""Clicks on chosen widgets are heard while a cell is running, in a real kernel; nothing else changes."""

import sys
import threading
import time
from collections.abc import Callable
from queue import Empty
from typing import Any

import ipywidgets
import pytest
import traitlets
from jupyter_client.manager import KernelManager
from jupyter_client.session import Session

from labkit.widgets import clicks

SETUP = """
import os, sys, threading, time, ipywidgets, traitlets
from labkit.widgets import clicks

class Knob(ipywidgets.DOMWidget):
    turned = traitlets.Int(0).tag(sync=True)

def knob(told):
    made = Knob()
    made.observe(lambda change: told(change["new"]), "turned")
    return made
"""
PATIENT = 30
OLD = "int(__import__('ipykernel').__version__.split('.')[0]) < 7"


class Talk:
    """A kernel and what a browser says to it."""

    def __init__(self, manager: KernelManager):
        self.manager = manager
        self.client = manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.heard: list[dict[str, Any]] = []

    def start(self, code: str) -> str:
        """Begin a cell; its id."""
        return self.client.execute(code, store_history=False)

    def turn(self, knob: str, value: int, client: Any = None) -> str:
        """Say from the browser that a knob was turned; the message's id."""
        session = (client or self.client).session
        data = {"method": "update", "state": {"turned": value}, "buffer_paths": []}
        message = session.msg("comm_msg", {"comm_id": knob, "data": data})
        (client or self.client).shell_channel.send(message)
        return message["header"]["msg_id"]

    def until(self, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """A message that fits, of those heard already or else the first that comes. All that was heard is kept."""
        for message in self.heard:
            if done(message):
                return message
        end = time.monotonic() + PATIENT
        while time.monotonic() < end:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except Empty:
                continue
            self.heard.append(message)
            if done(message):
                return message
        raise AssertionError(f"Nothing of the kind in {PATIENT} s: {[each['msg_type'] for each in self.heard[-20:]]}")

    def idle(self, parent: str) -> None:
        self.until(lambda message: of(message, parent) and message["content"].get("execution_state") == "idle")

    def printed(self, parent: str) -> str:
        """What was printed so far that belongs to a cell or a click."""
        return "".join(
            each["content"]["text"] for each in self.heard if each["msg_type"] == "stream" and of(each, parent)
        )

    def run(self, code: str) -> str:
        """Run a cell to its end; what it printed."""
        cell = self.start(code)
        self.idle(cell)
        errors = [each["content"] for each in self.heard if each["msg_type"] == "error" and of(each, cell)]
        assert not errors, "\n".join(errors[0]["traceback"])
        return self.printed(cell)

    def begun(self, cell: str) -> None:
        """Wait until a cell is at its line `print("begun", flush=True)`."""
        self.until(lambda message: "begun" in self.printed(cell))


def of(message: dict[str, Any], parent: str) -> bool:
    return message["parent_header"].get("msg_id") == parent


@pytest.fixture(scope="module")
def kernel():
    manager = KernelManager()
    manager.start_kernel()
    talk = Talk(manager)
    try:
        talk.run(SETUP)
        yield talk
    finally:
        talk.client.stop_channels()
        manager.shutdown_kernel(now=True)


def made(kernel: Talk, code: str, *names: str) -> list[str]:
    """Run a cell that makes knobs; their ids."""
    return kernel.run(f"{code}\nprint({', '.join(f'{name}.model_id' for name in names)})").split()


def test_a_click_is_heard_before_the_running_cell_ends(kernel):
    if kernel.run(f"print({OLD})").strip() == "True":
        pytest.skip("ipykernel 6 reads messages between two cells only")
    code = "heard = threading.Event(); one = knob(lambda value: heard.set()); print(clicks.at_once(one), clicks.says() == '')"
    said = made(kernel, code, "one")
    assert said[:2] == ["True", "True"]
    cell = kernel.start(f"print('begun', flush=True); print(heard.wait({PATIENT}), one.turned)")
    kernel.begun(cell)
    kernel.turn(said[-1], 7)
    kernel.idle(cell)
    assert "True 7" in kernel.printed(cell)


def test_a_loop_that_pumps_hears_a_click_under_every_kernel(kernel):
    (one,) = made(
        kernel, "heard = threading.Event(); one = knob(lambda value: heard.set()); clicks.at_once(one)", "one"
    )
    loop = f"""
print('begun', flush=True); end = time.monotonic() + {PATIENT}
while not heard.is_set() and time.monotonic() < end: clicks.pump()
print(heard.is_set())"""
    cell = kernel.start(loop)
    kernel.begun(cell)
    kernel.turn(one, 1)
    kernel.idle(cell)
    assert "True" in kernel.printed(cell)


def test_other_widgets_of_the_user_are_handled_between_two_cells_as_ever(kernel):
    code = "told = []; one = knob(lambda v: (told.append('ours'), heard.set())); two = knob(lambda v: told.append('theirs'))"
    first, second = made(kernel, f"heard = threading.Event(); {code}; clicks.at_once(one)", "one", "two")
    cell = kernel.start(f"""
print('begun', flush=True); end = time.monotonic() + {PATIENT}
while not heard.is_set() and time.monotonic() < end: clicks.pump(); time.sleep(0.01)
told.append('cell')""")
    kernel.begun(cell)
    theirs = kernel.turn(second, 1)
    kernel.turn(first, 1)
    kernel.idle(cell)
    kernel.idle(theirs)
    assert kernel.run("print(*told)").split() == ["ours", "cell", "theirs"]


def test_the_browser_is_told_busy_and_idle_and_gets_the_echo(kernel):
    (one,) = made(kernel, "one = knob(lambda value: None); clicks.at_once(one)", "one")
    click = kernel.turn(one, 3)
    kernel.idle(click)
    states = [
        each["content"].get("execution_state")
        for each in kernel.heard
        if of(each, click) and each["msg_type"] == "status"
    ]
    assert states == ["busy", "idle"]
    echoes = [each["content"]["data"] for each in kernel.heard if of(each, click) and each["msg_type"] == "comm_msg"]
    assert echoes[0] == {"method": "echo_update", "state": {"turned": 3}, "buffer_paths": []}


def test_what_a_callback_prints_belongs_to_the_click_and_never_to_the_cell_that_runs(kernel):
    code = "heard = threading.Event(); one = knob(lambda value: (print('from the click'), heard.set())); clicks.at_once(one)"
    (one,) = made(kernel, code, "one")
    cell = kernel.start(f"""
stop = threading.Event()
def speak():
    while not stop.wait(0.01): print('from a thread of the cell', flush=True)
thread = threading.Thread(target=speak); thread.start()
print('begun', flush=True); end = time.monotonic() + {PATIENT}
while not heard.is_set() and time.monotonic() < end: clicks.pump(); time.sleep(0.001)
time.sleep(0.1); stop.set(); thread.join(); print('from the cell')""")
    kernel.begun(cell)
    click = kernel.turn(one, 1)
    kernel.idle(cell)
    assert "from the click" in kernel.printed(click)
    assert "from the click" not in kernel.printed(cell)
    assert "from the cell" in kernel.printed(cell)
    if kernel.run(f"print({OLD})").strip() == "False":
        assert "thread" not in kernel.printed(click)


def test_a_callback_that_fails_does_not_end_the_clicks(kernel):
    code = "told = []; one = knob(lambda value: told.append(6 / (value - 1))); clicks.at_once(one)"
    (one,) = made(kernel, code, "one")
    failed = kernel.turn(one, 1)
    kernel.idle(failed)
    kernel.idle(kernel.turn(one, 4))
    assert kernel.run("print(told)").strip() == "[2.0]"
    said = str([each["content"] for each in kernel.heard if of(each, failed)])
    assert "ZeroDivisionError" in said


def test_an_interrupt_reaches_the_loop_of_the_cell_and_not_a_callback(kernel):
    if kernel.run(f"print({OLD})").strip() == "True":
        pytest.skip("ipykernel 6 runs callbacks in the thread of the cells")
    code = """
told, began, go_on = [], threading.Event(), threading.Event()
def slow(value):
    began.set(); go_on.wait(20); told.append('callback')
one = knob(slow); clicks.at_once(one)"""
    (one,) = made(kernel, code, "one")
    cell = kernel.start("""
try:
    print('begun', flush=True); began.wait(20); print('in the callback', flush=True); time.sleep(20)
except KeyboardInterrupt:
    told.append('cell')
go_on.set()""")
    kernel.begun(cell)
    click = kernel.turn(one, 1)
    kernel.until(lambda message: "in the callback" in kernel.printed(cell))
    kernel.manager.interrupt_kernel()
    kernel.idle(cell)
    kernel.idle(click)
    assert kernel.run("print(*told)").split() == ["cell", "callback"]


def test_two_browsers_and_what_comes_into_a_box_later_are_heard_and_a_closed_widget_is_forgotten(kernel):
    code = """
told = []; box = ipywidgets.VBox(); clicks.at_once(box)
one = knob(told.append); box.children = (one,); clicks.at_once(box)"""
    (one,) = made(kernel, code, "one")
    other = kernel.manager.client(session=Session(key=kernel.manager.session.key))
    other.start_channels()
    try:
        kernel.idle(kernel.turn(one, 1))
        kernel.idle(kernel.turn(one, 2, other))
    finally:
        other.stop_channels()
    admitted = "one.model_id in clicks._opened.lines"
    said = kernel.run(f"key = one.model_id; print(told, {admitted}); one.close(); print(key in clicks._opened.lines)")
    assert said.split("\n")[:2] == ["[1, 2] True", "False"]


def test_a_long_callback_of_one_widget_does_not_keep_another_waiting(kernel):
    if kernel.run(f"print({OLD})").strip() == "True":
        pytest.skip("ipykernel 6 has one thread for all")
    code = """
go_on = threading.Event(); one = knob(lambda value: print('waited', go_on.wait(20)))
two = knob(lambda value: go_on.set()); box = ipywidgets.VBox([one, two]); clicks.at_once(two, box)"""
    first, second = made(kernel, code, "one", "two")
    slow = kernel.turn(first, 1)
    kernel.turn(second, 1)
    kernel.idle(slow)
    assert kernel.printed(slow).strip() == "waited True"


def test_a_training_loop_of_ones_own_is_paused_and_stopped_by_clicks_under_every_kernel(kernel):
    code = """
import torch
from labkit.workbench.fit import Stopped
from labkit.workbench.hold.live_run import LiveRun
live = LiveRun.attach(torch.nn.Linear(2, 2), name='own', folder=False)
one = knob(lambda value: print(live.pause())); two = knob(lambda value: live.stop()); clicks.at_once(one, two)"""
    first, second = made(kernel, code, "one", "two")
    cell = kernel.start("""
try:
    print('begun', flush=True)
    while True: live.tick(loss=1.0); live.step_number == 20 and print('going', flush=True)
except Stopped: print('stopped')""")
    kernel.until(lambda message: "going" in kernel.printed(cell))
    pause = kernel.turn(first, 1)
    kernel.idle(pause)
    assert kernel.printed(pause).strip() == "True"
    assert not any(of(each, cell) and each["content"].get("execution_state") == "idle" for each in kernel.heard)
    kernel.turn(second, 1)
    kernel.idle(cell)
    assert "stopped" in kernel.printed(cell)


def test_the_thread_of_clicks_ends_when_none_come_and_the_next_click_starts_another(kernel):
    code = (
        "clicks.IDLE = 0.05; told = []; one = knob(lambda v: told.append(threading.get_ident())); clicks.at_once(one)"
    )
    (one,) = made(kernel, code, "one")
    if kernel.run(f"print({OLD})").strip() == "True":
        pytest.skip("ipykernel 6 has no such thread")
    alive = "[each for each in threading.enumerate() if each.name == 'labkit-clicks' and each.ident in told]"
    kernel.idle(kernel.turn(one, 1))
    gone = kernel.run(f"""
end = time.monotonic() + {PATIENT}
while {alive} and time.monotonic() < end: time.sleep(0.01)
clicks.IDLE = 30.0; print({alive})""")
    assert gone.strip() == "[]"
    kernel.idle(kernel.turn(one, 2))
    assert kernel.run("print(len(told))").strip() == "2"


def test_outside_a_kernel_nothing_happens():
    widget = ipywidgets.IntSlider()
    assert clicks.at_once(widget) is False
    assert clicks.says() == ""
    clicks.pump()
    assert "set_state" not in vars(widget)


class Picture(ipywidgets.DOMWidget):
    """A widget whose two parts must travel together."""

    state = traitlets.Int(0).tag(sync=True)
    points = traitlets.Int(0).tag(sync=True)
    acked = traitlets.Int(0).tag(sync=True)


def test_a_picture_travels_whole_while_the_browser_acknowledges_the_last_one(monkeypatch):
    monkeypatch.setattr(clicks, "PATIENCE", 60.0)  # a machine that stands still for a moment is not what is tried here
    picture = Picture()
    sent: list[dict[str, Any]] = []

    def publish(kind: str, data: Any = None, **others: Any) -> None:
        if kind == "comm_msg":  # and not that the widget is closed, which whoever comes later may do
            sent.append(data["state"])

    picture.comm.publish_msg = publish
    clicks._take_turns(picture)
    stop = threading.Event()

    def acknowledge() -> None:
        told = 0
        while not stop.is_set():
            told += 1
            picture.set_state({"acked": told})

    thread = threading.Thread(target=acknowledge)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        for shown in range(1, 2001):
            with picture.hold_sync():
                picture.state, picture.points = shown, shown
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)
    parts = [state for state in sent if "state" in state or "points" in state]
    assert len(parts) == 2000
    assert all(state.get("state") == state.get("points") for state in parts)
