"""A run in the background: one start, a stop that is heard, and errors that reach the reader."""

import threading

from labkit.workbench.fit import Stopped
from labkit.workbench.live import Live
from labkit.workbench.study import Progress


def test_hears_points_and_ends_with_the_result():
    def work(watch, stop):
        for step in range(3):
            watch(Progress("tree", 0, step, 2, step / 2, {"test_accuracy": step / 10}))
        return "the run"

    live = Live(work)
    assert live.state == "ready"
    assert live.start()
    assert live.wait(10)
    assert (live.state, live.result, live.fraction) == ("done", "the run", 1.0)
    assert live.points == {("tree", 0): ([0, 1, 2], [0.0, 0.1, 0.2])}


def test_two_clicks_start_one_run():
    started, go = [], threading.Event()

    def work(watch, stop):
        started.append(1)
        go.wait(10)

    live = Live(work)
    assert [live.start(), live.start()] == [True, False]
    go.set()
    assert live.wait(10)
    assert len(started) == 1


def test_a_stop_is_heard():
    def work(watch, stop):
        assert stop.wait(10)
        raise Stopped("Stopped.")

    live = Live(work)
    live.start()
    live.stop()
    assert live.wait(10)
    assert live.state == "stopped"


def test_an_error_in_the_thread_reaches_the_reader():
    def work(watch, stop):
        raise ValueError("the learning rate is a word")

    live = Live(work)
    live.start()
    assert live.wait(10)
    assert live.state == "failed"
    assert live.error == "ValueError: the learning rate is a word"
