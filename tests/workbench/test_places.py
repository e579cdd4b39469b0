"""At most N runs at a time: first come, first served, nobody blocks the others, and the queue says how long it is."""

import gc
import os
import threading
import time

import pytest

from labkit.errors import LabError
from labkit.workbench.hold.places import Places


class Run:
    """Something that can be started, rest and be over."""

    def __init__(self, places, name, *, who=None, takes=1):
        self.does, self.starts = "busy", 0
        self.place = places.ask(name, self.start, doing=lambda: self.does, who=who, takes=takes)

    def start(self):
        self.starts += 1


class Hand:
    """A clock that is moved by hand."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Hand()


@pytest.fixture
def places(clock):
    return Places(2, patience=120.0, clock=clock)


def soon(holds) -> bool:
    """Whether something becomes true; the queue looks by itself five times a second."""
    for _ in range(200):
        if holds():
            return True
        time.sleep(0.02)
    return False


def test_the_first_start_at_once_and_the_rest_wait_in_order(places):
    runs = [Run(places, name) for name in "abcd"]
    assert [run.starts for run in runs] == [1, 1, 0, 0]
    assert [run.place.ahead for run in runs] == [0, 0, 1, 2]
    assert runs[3].place.says == "2 runs are before yours; it starts by itself."
    runs[1].place.leave()
    assert [run.starts for run in runs] == [1, 1, 1, 0]
    assert places.held == ["a", "c"]
    assert places.waiting == ["d"]
    assert runs[3].place.says == "1 run is before yours; it starts by itself."


def test_leaving_the_queue_lets_those_behind_move_up(places):
    runs = [Run(places, name) for name in "abcd"]
    assert runs[2].place.leave()
    assert not runs[2].place.leave()
    assert runs[3].place.ahead == 1
    runs[0].place.leave()
    assert [run.starts for run in runs] == [1, 1, 0, 1]
    assert runs[2].place.ahead == 0


def test_a_run_that_ends_gives_its_place_back_without_saying_so(places):
    runs = [Run(places, name) for name in "abc"]
    places.attend()
    runs[0].does = "over"
    assert soon(lambda: runs[2].starts == 1)
    assert runs[0].place.state == "left"


def test_an_owner_that_is_gone_does_not_block_the_others(places):
    first, second, third = (Run(places, name) for name in "abc")
    assert third.starts == 0
    first.place.loop = first  # a cycle, as between a page and its run: only the garbage collector finds it
    del first
    gc.collect()
    assert soon(lambda: third.starts == 1)
    assert places.held == ["b", "c"]
    assert second.starts == 1


def test_somebody_gone_from_the_queue_is_not_counted(places):
    runs = [Run(places, name) for name in "abcd"]
    assert runs[3].place.ahead == 2
    runs[2] = None
    gc.collect()
    assert runs[3].place.ahead == 1


def test_a_run_that_cannot_be_asked_any_more_counts_as_over(places):
    def broken():
        raise RuntimeError("the process died")

    kept = [places.ask("a", lambda: None, doing=broken), places.ask("b", lambda: None)]
    last = Run(places, "c")
    assert soon(lambda: last.starts == 1)
    assert [place.state for place in kept] == ["left", "held"]


def test_a_run_that_cannot_be_started_says_why_and_the_next_one_starts():
    places = Places(1)

    def fails():
        raise LabError("the data set is missing; run ./lab again.")

    first = places.ask("a", fails)
    assert (first.state, first.error) == ("left", "the data set is missing; run ./lab again.")
    assert Run(places, "b").starts == 1


def test_what_a_run_did_before_its_start_does_not_end_it():
    """A run that failed goes on: until its start has returned it still says that it is over."""
    places, said = Places(1), ["over"]

    def start():
        places.attend()
        said.append("busy")

    place = places.ask("a", start, doing=lambda: said[-1])
    places.attend()
    assert place.state == "held"


def test_a_paused_run_keeps_its_place_while_nobody_waits(places, clock):
    runs = [Run(places, name) for name in "ab"]
    runs[0].does = "resting"
    places.attend()
    clock.now += 10_000
    places.attend()
    assert runs[0].place.state == "held"
    assert runs[0].place.says == ""


def test_a_paused_run_loses_its_place_after_a_while_when_others_wait(places, clock):
    runs = [Run(places, name) for name in "abc"]
    runs[0].does = "resting"
    places.attend()
    clock.now += 100
    places.attend()
    assert runs[0].place.says == "Others wait: a paused run keeps its place for 2 minutes, and yours has 20 s left."
    assert runs[2].starts == 0
    clock.now += 20
    places.attend()
    assert runs[2].starts == 1
    assert runs[0].place.state == "lost"
    assert "paused for 2 minutes while others waited" in runs[0].place.says
    assert not runs[0].place.wake()


def test_going_on_in_time_keeps_the_place_and_the_time_begins_anew(places, clock):
    runs = [Run(places, name) for name in "abc"]
    runs[0].does = "resting"
    places.attend()
    clock.now += 119
    assert runs[0].place.wake()
    runs[0].does = "busy"
    clock.now += 119
    places.attend()
    runs[0].does = "resting"
    places.attend()
    clock.now += 119
    places.attend()
    assert runs[0].place.state == "held"
    assert runs[2].starts == 0


def test_a_run_that_wakes_while_it_is_asked_is_not_taken_for_a_paused_one(places, clock):
    """Between the answer "paused" and its consequence the visitor presses Run."""
    runs = [Run(places, name) for name in "abc"]
    runs[0].does = "resting"
    places.attend()
    clock.now += 500

    def answers():
        clock.now += 1
        assert runs[0].place.wake()
        return "resting"

    runs[0].place._doing = answers
    places.attend()
    assert runs[0].place.state == "held"
    assert runs[0].place.says == ""


def test_nobodys_second_run_goes_before_anothers_first(places):
    mine = [Run(places, f"mine {number}", who="me") for number in range(4)]
    yours = Run(places, "yours", who="you")
    assert places.held == ["mine 0", "mine 1"]
    assert places.waiting == ["yours", "mine 2", "mine 3"]
    assert (yours.place.ahead, mine[2].place.ahead, mine[3].place.ahead) == (1, 2, 3)
    mine[0].place.leave()
    assert yours.starts == 1


def test_runs_of_nobody_in_particular_do_not_count_as_one_visitors(places):
    kept = [Run(places, name) for name in "abc"]
    kept.append(Run(places, "d", who="me"))
    assert places.waiting == ["c", "d"]


def test_a_run_of_many_processes_waits_for_all_its_places_and_is_not_overtaken(places):
    small, big = Run(places, "small"), Run(places, "big", takes=5)
    late = Run(places, "late")
    assert (big.starts, late.starts) == (0, 0)
    assert (big.place.ahead, late.place.ahead) == (1, 2)
    small.place.leave()
    assert (big.starts, late.starts) == (1, 0)
    big.place.leave()
    assert late.starts == 1


def test_a_run_of_many_processes_does_not_start_on_the_place_of_one_paused_run(places, clock):
    paused, busy = Run(places, "paused"), Run(places, "busy")
    paused.does = "resting"
    places.attend()
    big = Run(places, "big", takes=2)
    clock.now += 120
    places.attend()
    assert paused.place.state == "lost"
    assert big.starts == 0
    busy.place.leave()
    assert big.starts == 1


def test_many_threads_never_hold_more_than_there_are_places():
    places, lock, now, most, done = Places(3), threading.Lock(), [], [], []

    def visitor(name):
        began = threading.Event()
        place = places.ask(name, began.set)
        assert began.wait(30)
        with lock:
            now.append(name)
            most.append(len(now))
        time.sleep(0.002)
        with lock:
            now.remove(name)
        place.leave()
        done.append(name)

    threads = [threading.Thread(target=visitor, args=(str(number),)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 60
    assert max(most) == 3
    assert (places.held, places.waiting) == ([], [])


def test_the_watching_thread_ends_with_the_last_run(places):
    kept = Run(places, "a")
    watcher = places._watcher
    assert watcher is not None
    assert watcher.is_alive()
    kept.place.leave()
    watcher.join(10)
    assert not watcher.is_alive()
    assert Run(places, "b").starts == 1


def test_the_number_of_places_is_that_of_the_cores_or_what_labkit_runs_says(monkeypatch):
    monkeypatch.delenv("LABKIT_RUNS", raising=False)
    assert 1 <= Places().count <= (os.cpu_count() or 1)
    monkeypatch.setenv("LABKIT_RUNS", "7")
    assert Places().count == 7
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("LABKIT_RUNS", wrong)
        with pytest.raises(LabError, match="LABKIT_RUNS"):
            _ = Places().count
