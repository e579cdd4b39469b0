"""Several visitors hold runs at once: each finds only their own, nothing of one reaches another's, and runs end in time."""

import gc
import os
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from labkit.dashboard import hold, layout, rerun, visits
from labkit.dashboard.held import HeldRun
from labkit.dashboard.visits import Visit, Visits, grace
from labkit.errors import LabError
from labkit.workbench.find import study as find_study
from labkit.workbench.fit import fit
from labkit.workbench.hold.places import Places
from labkit.workbench.hold.randomness import Randomness
from labkit.workbench.study import Arm

ENOUGH = 60.0


def soon(holds, seconds: float = ENOUGH) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.01)
    return False


class Noisy(nn.Module):
    """A layer that draws random numbers at every training step."""

    def __init__(self, in_width, out_width):
        super().__init__()
        self.inside, self.out, self.drop = nn.Linear(in_width, 16), nn.Linear(16, out_width), nn.Dropout(0.3)

    def forward(self, x):
        return self.out(self.drop(self.inside(x).relu()))


@pytest.fixture(scope="module")
def small():
    """The first study on few rows, with an arm that draws random numbers; long enough to be held."""
    found = find_study("fast_feedforward")
    some = next(iter(found.arms.values()))
    noisy = Arm(Noisy, found.arms["dense 128"].trainer, "baseline", "Dense, with dropout.")
    scales = {"smoke": replace(found.at("smoke"), steps=40), "lesson": replace(found.at("smoke"), steps=100_000)}
    return replace(found, arms={"tree": some, "noisy": noisy}, scales=scales)


@pytest.fixture
def begun(small):
    """Begin a run of a visitor; all of them are ended after the test."""
    kept = []

    def begin(who, arm="tree", seed=0, scale="lesson", places=None):
        one = HeldRun(small, arm, seed, small.at(scale), who, places or Places(4))
        kept.append(one)
        one.prepare()
        assert soon(lambda: one.live is not None and (one.place is not None or one.error)), one.error
        return one

    yield begin
    for one in kept:
        one.end(ENOUGH)


# --- visits --------------------------------------------------------------------------------------------------------


class Thing:
    """Something that a visit keeps."""

    def __init__(self, breaks=False):
        self.breaks, self.halted, self.ended = breaks, False, False

    def halt(self):
        self.halted = True

    def end(self, seconds):
        if self.breaks:
            raise RuntimeError("it does not end")
        self.ended = True


def test_what_a_visitor_keeps_outlives_a_reload_and_ends_after_the_time_of_grace(monkeypatch):
    monkeypatch.setenv("LABKIT_GRACE", "0.3")
    all_visits, thing = Visits(), Thing()
    ticket = all_visits.ticket()
    visit, leave = all_visits.enter(ticket)
    visit.keep("run", thing)
    again, leave_again = all_visits.enter(ticket)
    leave()
    assert again is visit
    leave_again()
    back, leave_back = all_visits.enter(ticket)
    time.sleep(0.6)
    assert back is visit
    assert not thing.halted
    leave_back()
    assert soon(lambda: thing.ended)
    assert all_visits.enter(ticket)[0] is not visit


def test_closing_the_same_page_twice_does_not_count_twice():
    all_visits = Visits()
    ticket = all_visits.ticket()
    visit, leave = all_visits.enter(ticket)
    all_visits.enter(ticket)
    leave()
    leave()
    assert visit._timer is None


def test_another_ticket_is_another_visit_that_finds_nothing():
    all_visits = Visits()
    mine, _ = all_visits.enter(all_visits.ticket())
    mine.keep("run", Thing())
    yours, _ = all_visits.enter(all_visits.ticket())
    assert yours is not mine
    assert yours.find("run") is None


def test_only_tickets_of_this_server_are_taken_and_none_is_like_another():
    all_visits = Visits()
    tickets = {all_visits.ticket() for _ in range(100)}
    assert len(tickets) == 100
    ticket = tickets.pop()
    assert all_visits.ticket(ticket) == ticket
    name, _, signature = ticket.partition(".")
    forged = ["", "a", name, f"{name}.", f"x{ticket}", f"{name}.{signature[:-1]}", f"{name}.{signature}ü", "admin.0"]
    for one in [*forged, Visits().ticket()]:
        assert all_visits.ticket(one) not in (one, ticket)


def test_one_run_that_does_not_end_does_not_keep_the_others_alive():
    visit, last = Visit("key"), Thing()
    visit.keep("a", Thing(breaks=True))
    visit.keep("b", last)
    visit.end()
    assert last.ended
    assert visit.find("b") is None


def test_what_is_kept_too_late_is_ended_at_once():
    visit, late = Visit("key"), Thing()
    visit.end()
    visit.keep("late", late)
    assert late.ended


def test_a_new_run_under_the_same_name_ends_the_old_one():
    visit, old, new = Visit("key"), Thing(), Thing()
    visit.keep("run", old)
    visit.keep("run", new)
    assert old.halted
    assert soon(lambda: old.ended)
    assert visit.find("run") is new
    assert not new.halted


def test_when_the_server_ends_all_are_asked_before_any_is_waited_for():
    all_visits, order = Visits(), []

    class Slow(Thing):
        def halt(self):
            order.append("asked")

        def end(self, seconds):
            order.append("waited")

    for _ in range(3):
        visit, _ = all_visits.enter(all_visits.ticket())
        visit.keep("run", Slow())
    all_visits.close()
    assert order[:3] == ["asked"] * 3
    assert order.count("waited") == 3


@pytest.mark.parametrize("wrong", ["-1", "soon", "inf", "nan", "1e9"])
def test_a_grace_that_is_no_time_is_refused(monkeypatch, wrong):
    monkeypatch.setenv("LABKIT_GRACE", wrong)
    with pytest.raises(LabError, match="LABKIT_GRACE"):
        grace()


# --- one visitor's run ---------------------------------------------------------------------------------------------


def test_a_run_begins_pauses_steps_and_ends_with_its_files(begun):
    one = begun("me")
    assert soon(lambda: one.live.step_number > 3)
    assert one.pause()
    assert soon(lambda: one.status()["state"] == "paused")
    at = one.live.step_number
    assert one.step(2)
    assert soon(lambda: one.live.step_number == at + 2 and one.status()["state"] == "paused")
    folder = Path(one._folder)
    assert any(folder.iterdir())
    one.end(ENOUGH)
    assert soon(lambda: not folder.exists())
    assert one.live.state == "stopped"
    assert not one.run()


def test_nothing_of_an_ended_run_stays_in_memory(small):
    one = HeldRun(small, "tree", 0, small.at("lesson"), "me", Places(1))
    one.prepare()
    assert soon(lambda: one.live is not None and one.live.step_number > 3)
    gone = [weakref.ref(one), weakref.ref(one.live), weakref.ref(one.live.model)]
    number = one.number
    one.end(ENOUGH)
    del one
    assert soon(lambda: gc.collect() is not None and [ref() for ref in gone] == [None] * 3)
    assert soon(lambda: not [thread.name for thread in threading.enumerate() if thread.name.endswith(f" {number}")])


def test_the_third_of_two_places_queues_and_starts_by_itself(begun):
    places = Places(2)
    first, second = begun("a", places=places), begun("b", places=places)
    third, fourth = begun("c", places=places), begun("d", places=places)
    assert third.status()["state"] == "queued"
    assert (third.status()["ahead"], fourth.status()["ahead"]) == (1, 2)
    assert fourth.place.says == "2 runs are before yours; it starts by itself."
    assert third.live.step_number == 0
    assert not third.run()
    first.halt()
    assert soon(lambda: third.live.step_number > 0)
    assert second.live.state == "running"
    assert fourth.live.step_number == 0
    assert fourth.pause()
    assert fourth.status()["state"] == "ready"
    assert places.waiting == []


def test_a_finished_run_gives_its_place_to_the_next(begun):
    places = Places(1)
    first, second = begun("a", scale="smoke", places=places), begun("b", places=places)
    assert soon(lambda: second.live.step_number > 0)
    assert first.status()["state"] == "finished"


def test_a_paused_run_that_lost_its_place_queues_again_when_it_is_to_go_on(begun):
    places = Places(1, patience=0.0)
    first = begun("a", places=places)
    assert soon(lambda: first.live.step_number > 0)
    first.pause()
    second = begun("b", places=places)
    assert soon(lambda: second.live.step_number > 0)
    assert first.status()["says"].startswith("It was paused for 0 seconds while others waited")
    at = first.live.step_number
    assert first.run()
    assert first.status()["state"] == "queued"
    second.halt()
    assert soon(lambda: first.live.step_number > at)


def test_what_cannot_be_prepared_is_said(small, monkeypatch):
    def broken(_size):
        raise LabError("the embedded data sets are not there; run labkit from its checkout.")

    one = HeldRun(replace(small, task=broken), "tree", 0, small.at("smoke"), "me", Places(1))
    one.prepare()
    assert soon(lambda: one.error is not None)
    assert "run labkit from its checkout" in one.error
    one.end(1)


def test_a_run_that_is_ended_while_it_is_prepared_never_trains(small):
    ready, go = threading.Event(), threading.Event()

    def slow(size):
        ready.set()
        assert go.wait(ENOUGH)
        return small.task(size)

    places = Places(1)
    one = HeldRun(replace(small, task=slow), "tree", 0, small.at("smoke"), "me", places)
    one.prepare()
    assert ready.wait(ENOUGH)
    one.end(0.1)
    go.set()
    assert soon(lambda: one.live is not None and one.live.state == "stopped")
    assert one.live.step_number == 0
    assert (places.held, places.waiting) == ([], [])
    assert soon(lambda: one._folder is None)


def turned(one):
    """Where the dial of the learning rate stands."""
    return next(dial.value for dial in one.dials if dial.name == "learning rate")


# --- two visitors --------------------------------------------------------------------------------------------------


def alone(small, arm, seed, steps):
    """The losses of one arm as the study trains it, with nobody else in the program."""
    size, losses = small.at("smoke"), []

    def make():
        task = small.task(size)
        return task, small.backbone(task, small.arms[arm].layer)

    torch.manual_seed(seed)
    task, model = make()
    fit(
        model,
        task,
        small.arms[arm].trainer(),
        steps=size.steps,
        seed=seed,
        watch=lambda _step, values: losses.append(values.get("training_loss")),
    )
    return losses[1 : steps + 1], {name: value.clone() for name, value in model.state_dict().items()}


def test_two_runs_at_once_are_each_bit_identical_to_the_run_alone(begun, small):
    expected = {key: alone(small, *key, 40) for key in [("noisy", 0), ("noisy", 1), ("tree", 0)]}
    places = Places(3)
    runs = {(arm, seed): begun(f"{arm} {seed}", arm, seed, "smoke", places) for arm, seed in expected}
    for key, one in runs.items():
        assert soon(lambda one=one: one.status()["state"] == "finished")
        losses, weights = expected[key]
        assert one.curve("training_loss")[1].tolist() == losses, key
        for name, value in one.live.model.state_dict().items():
            assert torch.equal(value, weights[name]), (key, name)
    assert expected["noisy", 0][0] != expected["noisy", 1][0]


def test_the_model_is_the_studys_whatever_others_draw_meanwhile(small):
    stop = threading.Event()

    def draw():
        while not stop.is_set():
            Randomness(5).call(lambda: torch.randn(10))

    other = threading.Thread(target=draw)
    other.start()
    try:
        made = [Randomness(0).call(lambda: [Noisy(64, 10) for _ in range(30)]) for _ in range(3)]
    finally:
        stop.set()
        other.join()
    torch.manual_seed(0)
    wanted = [Noisy(64, 10) for _ in range(30)]
    for models in made:
        for one, other_one in zip(models, wanted):
            assert torch.equal(one.inside.weight, other_one.inside.weight)


def test_orders_of_one_visitor_never_reach_anothers_run(small, monkeypatch):
    """Two pages as two visitors have them; each presses everything on their own."""
    monkeypatch.setattr(HeldRun.__init__, "__defaults__", (Places(4),))
    mine, yours = (hold.HoldIt(layout.Session({}), small) for _ in range(2))
    try:
        for card in (mine, yours):
            card.begin()
            assert soon(lambda card=card: card.held.live is not None and card.held.live.step_number > 3)
            card.look()
        assert mine.held is not yours.held
        assert mine.session.visit.key != yours.session.visit.key
        order = '[{"id": 1, "do": "pause"}, {"id": 2, "do": "change", "name": "learning rate", "value": 0.5}]'
        mine.parts[0].deck.command = order
        assert soon(lambda: mine.held.status()["state"] == "paused" and turned(mine.held) == 0.5)
        assert turned(yours.held) != 0.5
        assert [event.kind for event in yours.held.events] == []
        assert yours.held.status()["state"] == "running"
        mine.parts[0].deck.command = '[{"id": 3, "do": "stop"}]'
        assert soon(lambda: mine.held.status()["state"] == "stopped")
        at = yours.held.live.step_number
        assert soon(lambda: yours.held.live.step_number > at)
    finally:
        for card in (mine, yours):
            card.visit.end(ENOUGH)


# --- the card ------------------------------------------------------------------------------------------------------


@pytest.fixture
def card(small, monkeypatch):
    """The card of a visitor, on a server with one place."""
    monkeypatch.setattr(HeldRun.__init__, "__defaults__", (Places(1),))
    session = layout.Session({})
    made = hold.HoldIt(session, small)
    yield made
    made.close()
    session.visit.end(ENOUGH)


def running(card):
    """The card after its run has taken a few steps."""
    assert soon(lambda: card.held.live is not None and card.held.live.step_number > 3), card.held.error
    card.look()
    return card


def test_the_card_starts_on_the_method_and_says_how_long_a_run_is_kept(card, monkeypatch):
    assert card.arm.value == "tree"
    assert "for 60 s after that" in card.words.object
    assert card.held is None
    assert not card.stage.visible


def test_a_second_tab_and_a_reload_find_the_run_as_it_was(card, small):
    card.begin()
    running(card).held.pause()
    session = layout.Session({})
    session.visit = card.session.visit
    again = hold.HoldIt(session, small)
    assert again.held is card.held
    assert again.parts
    assert again.start.label == hold.ANEW
    again.begin()
    card.look()
    assert card.held is again.held
    running(card)


def test_the_queue_is_said_and_can_be_left(card, small):
    card.begin()
    running(card)
    other = hold.HoldIt(layout.Session({}), small)
    try:
        other.begin()
        assert soon(lambda: other.held.waits)
        other.look()
        assert other.queue.visible
        assert "1 run is before yours; it starts by itself." in other.queue[0].object
        other.give_up()
        assert not other.queue.visible
        assert other.held.status()["state"] == "ready"
        other.held.run()
        other.look()
        assert other.queue.visible
        card.held.halt()
        assert soon(lambda: other.held.live.step_number > 0)
        other.look()
        assert not other.queue.visible
    finally:
        other.visit.end(ENOUGH)


def test_a_run_that_cannot_be_prepared_is_a_sentence_in_the_page(small, monkeypatch):
    def broken(_size):
        raise LabError("the data are gone; fetch them again.")

    session = layout.Session({})
    card = hold.HoldIt(session, replace(small, task=broken))
    card.begin()
    assert soon(lambda: card.held.error is not None)
    card.look()
    assert "fetch them again" in session.message.object


def test_a_study_that_waits_says_so_and_leaves_the_queue(small, monkeypatch):
    places = Places(1)
    first = places.ask("other", lambda: None)
    monkeypatch.setattr(rerun.StudyRun.__init__, "__defaults__", (places,))
    shown = rerun.Rerun(layout.Session({}), small, None, lambda _run, _first: None)
    shown.start()
    assert shown.kept.state == "queued"
    assert "1 run is before yours" in shown.label.object
    assert shown.stop.label == "■ Leave the queue"
    shown.halt()
    assert places.waiting == []
    assert shown.kept.state == "stopped"
    assert not shown.run.disabled
    assert first.state == "held"


def test_no_ticket_is_kept_outside_of_a_server():
    assert layout.Session({}).visit is not layout.Session({}).visit
    assert visits.VISITS._visits == {}
    assert "LABKIT_GRACE" not in os.environ
