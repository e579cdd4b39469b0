"""Several seeds at once: the same results as one after the other, and a process that dies takes its seed only."""

import itertools
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import psutil
import pytest
import torch
import xarray as xr

import labkit
from labkit.errors import LabError
from labkit.widgets.several_seeds import seeds
from labkit.workbench.claim import Claim, Rule, last, leaves_in_use
from labkit.workbench.crew.crew import Begun, Done, Lost, Told, cores, work_off
from labkit.workbench.crew.seeds import Seeds
from labkit.workbench.find import study
from labkit.workbench.fit import Stopped
from labkit.workbench.live import Live
from labkit.workbench.study import Arm

ROOT = Path(labkit.__file__).parents[1]
THREE = [("tree", seed) for seed in range(3)]


def workers() -> list[psutil.Process]:
    """The worker processes of this test run that live."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if child.status() != psutil.STATUS_ZOMBIE and "crew.worker" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.fixture(autouse=True)
def _leaves_no_process():
    yield
    assert workers() == []


def gone(pid: int) -> bool:
    """Whether a process ends; one that was killed does so when it next has its turn."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def events(train, jobs, **options) -> list:
    with closing(work_off(train, jobs, **options)) as happened:
        return list(happened)


def results(happened: list) -> dict:
    return {event.number: event.result for event in happened if isinstance(event, Done)}


def losses(happened: list) -> dict[int, str]:
    return {event.number: event.says for event in happened if isinstance(event, Lost)}


def learning():
    """A small network learns to add, with numbers from all three generators."""

    def learn(seed, tell):
        import random

        import numpy as np
        import torch
        import xarray as xr

        x = torch.randn(64, 8) + random.random() + float(np.random.rand())
        model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for step in range(1, 21):
            loss = (model(x)[:, 0] - x.sum(1)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            tell(step, loss=loss)
        return xr.Dataset({"weights": (("row", "column"), model[0].weight.detach().numpy().copy())})

    return learn


# The same results


def test_processes_give_to_the_bit_what_one_after_the_other_gives():
    here, there = Seeds(learning(), 3, jobs=1)(), Seeds(learning(), 3, jobs=2)()
    xr.testing.assert_identical(here, there)
    assert list(there.seed.values) == [0, 1, 2]
    assert not np.array_equal(there.weights.sel(seed=0), there.weights.sel(seed=1))


def test_what_was_told_is_the_result_of_a_training_that_returns_nothing():
    def train(seed, tell):
        for step in range(3):
            tell(step, loss=seed + step)

    data = Seeds(train, [4, 7])()
    np.testing.assert_array_equal(data.loss.transpose("seed", "step"), [[4, 5, 6], [7, 8, 9]])


def test_functions_by_name_are_compared():
    data = Seeds({"half": lambda seed, tell: seed / 2, "twice": lambda seed, tell: {"value": 2 * seed}}, 3)()
    np.testing.assert_array_equal(data.value.sel(arm="half"), [0, 0.5, 1])
    np.testing.assert_array_equal(data.value.sel(arm="twice"), [0, 2, 4])


def test_a_worker_has_one_thread_and_computes_as_the_parent_does():
    def train(arm, seed, tell, stop):
        import torch

        return torch.get_num_threads(), torch.get_default_dtype()

    torch.set_default_dtype(torch.float64)
    try:
        assert results(events(train, THREE[:1]))[0] == (1, torch.float64)
    finally:
        torch.set_default_dtype(torch.float32)


def test_all_cores_that_this_process_may_use_are_used():
    assert cores() == min(8, len(os.sched_getaffinity(0)))


def test_seeds_run_at_the_same_time_and_are_heard_while_they_run(tmp_path):
    def train(seed, tell):
        import time
        from pathlib import Path

        until = time.monotonic() + 60
        for step in range(3):
            tell(step, loss=seed + step)
            while not (Path(folder) / str(step)).exists():
                assert time.monotonic() < until, "the parent did not hear of both seeds while they ran"
                time.sleep(0.01)

    def watch(progress):
        heard.append(progress)
        told = [(one.seed, one.step) for one in heard if one.values]
        for step in range(3):
            if {(0, step), (1, step)} <= set(told):
                (tmp_path / str(step)).touch()

    folder, heard = str(tmp_path), []
    Seeds(train, 2, jobs=2, steps=2)(watch)
    assert [one.step for one in heard if one.values] == [0, 0, 1, 1, 2, 2]
    assert (heard[-1].done, heard[-1].finished, heard[-1].running) == (1, 2, 0)
    assert "0 of 2 trainings done, 2 running" in {one.place for one in heard}
    assert all(one.done <= other.done for one, other in itertools.pairwise(heard))


def test_live_has_the_points_of_all_seeds():
    live = Live(Seeds(learning(), 2, steps=20))
    live.start()
    assert live.wait(60)
    assert (live.state, live.shows, live.lost) == ("done", "loss", ())
    assert [live.points["learn", seed][0] for seed in range(2)] == [list(range(1, 21))] * 2


def test_what_a_training_prints_is_printed_here(capsys):
    def train(arm, seed, tell, stop):
        print("half", end=" ")
        print("a line")

    events(train, THREE[:1])
    assert capsys.readouterr().out == "half a line\n"


# Processes that die


def test_a_killed_worker_loses_its_training_only_and_says_so():
    def train(arm, seed, tell, stop):
        import os
        import time

        for step in range(1, 4):
            tell(step, {"process": os.getpid()})
        if seed == 1:
            time.sleep(60)
        return seed

    happened = []
    with closing(work_off(train, THREE, workers=2)) as crew:
        for event in crew:
            happened.append(event)
            if isinstance(event, Told) and (event.number, event.step) == (1, 3):
                os.kill(event.values["process"], signal.SIGKILL)
    assert results(happened) == {0: 0, 2: 2}
    assert list(losses(happened)) == [1]
    assert losses(happened)[1].startswith("tree, seed 1 was lost after step 3: its worker process was killed (SIGKILL")


def test_another_worker_takes_the_place_of_one_that_died():
    def train(arm, seed, tell, stop):
        import os

        if seed == 0:
            os._exit(3)
        return seed

    happened = events(train, THREE, workers=1)
    assert results(happened) == {1: 1, 2: 2}
    assert losses(happened) == {
        0: "tree, seed 0 was lost before its first step: its worker process ended with exit code 3."
    }


def test_a_process_that_a_dead_worker_had_started_does_not_hide_its_death():
    def train(arm, seed, tell, stop):
        import os
        import subprocess
        import sys

        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
        tell(1, {"child": child.pid})
        import time

        time.sleep(0.3)
        os._exit(3)

    happened = events(train, THREE[:1])
    assert list(losses(happened)) == [0]
    (child,) = [int(event.values["child"]) for event in happened if isinstance(event, Told)]
    assert gone(child)


def test_memory_that_runs_out_loses_the_training_only():
    def train(arm, seed, tell, stop):
        if seed == 1:
            raise MemoryError
        return seed

    happened = events(train, THREE)
    assert results(happened) == {0: 0, 2: 2}
    assert losses(happened) == {1: "tree, seed 1 was lost before its first step: it ran out of memory."}


class Poison:
    """Ends the process that unpacks it."""

    def __reduce__(self):
        return os._exit, (5,)


def test_workers_that_die_before_they_begin_are_said_once():
    poison = Poison()
    with pytest.raises(LabError, match="die before they begin: the last one ended with exit code 5"):
        events(lambda arm, seed, tell, stop: poison, THREE)


def test_a_training_that_cannot_be_sent_is_refused():
    lock = Event()
    with pytest.raises(LabError, match=r"cannot be sent to a worker process .*jobs=1"):
        events(lambda arm, seed, tell, stop: lock, THREE)


def test_seeds_warns_of_a_lost_one_and_raises_when_none_is_left():
    def train(seed, tell):
        import os

        return seed if seed in kept else os._exit(1)

    kept = (0, 2)
    with pytest.warns(UserWarning, match="train, seed 1 was lost before its first step"):
        data = seeds(train, 3)
    assert list(data.seed.values) == [0, 2]
    assert len(data.attrs["lost"]) == 1
    kept = ()
    with pytest.raises(LabError, match="No seed of train came to its end"):
        seeds(train, 2)


def frail(dies: tuple[int, ...]):
    """A study of two arms at smoke scale; the tree's process dies at these seeds."""

    def layer(in_width, out_width):
        import os

        import torch

        if torch.initial_seed() in dies:
            os._exit(7)
        return tree(in_width, out_width)

    whole = study("fast_feedforward")
    tree = whole.arms["fast feedforward"].layer
    arms = {
        "tree": Arm(layer, whole.arms["fast feedforward"].trainer, "method", ""),
        "dense 12": whole.arms["dense 12"],
    }
    rules = {
        "difference": lambda data: last(data, "test_accuracy", "tree") - last(data, "test_accuracy", "dense 12"),
        "leaves": lambda data: leaves_in_use(data, "tree"),
    }
    claims = [Claim(name, Rule(name, measure, 0.0)) for name, measure in rules.items()]
    return replace(whole, arms=arms, claims=claims, extra={})


def test_a_lost_training_leaves_the_others_and_claims_stand_on_whole_seeds():
    frail_run, whole = frail((1,)).run("smoke", seeds=4, jobs=2), frail(()).run("smoke", seeds=4)
    (sentence,) = frail_run.provenance["lost"]
    assert sentence == "tree, seed 1 was lost before its first step: its worker process ended with exit code 7."
    assert "lost" not in whole.provenance
    assert np.isnan(frail_run.data.test_accuracy.sel(arm="tree", seed=1)).all()
    for arm, kept in (("tree", [0, 2, 3]), ("dense 12", [0, 1, 2, 3])):
        one, other = (run.data.test_accuracy.sel(arm=arm, seed=kept) for run in (frail_run, whole))
        np.testing.assert_array_equal(one, other)
    expected = whole.data.sel(seed=[0, 2, 3])
    for row, claim in zip(frail_run.claims, frail(()).claims):
        assert row["seeds"] == 3
        assert row["estimate"] == pytest.approx(claim.shows.measure(expected).mean())


def test_claims_need_two_whole_seeds():
    with pytest.raises(LabError, match=r"Of 3 seeds 1 can still be finished by every arm.*tree, seed 2 was lost"):
        frail((1, 2)).run("smoke", seeds=3, jobs=2)


# Errors, stops and ends


def test_an_error_of_a_training_is_raised_here_and_ends_the_others():
    def train(arm, seed, tell, stop):
        import time

        if seed == 1:
            raise ValueError("the learning rate is a word")
        time.sleep(60)

    with pytest.raises(ValueError, match="the learning rate is a word") as caught:
        events(train, THREE, workers=2)
    assert "In the worker process of tree, seed 1" in caught.value.__notes__[0]
    assert "raise ValueError" in caught.value.__notes__[0]


def test_an_error_that_cannot_travel_and_an_exit_are_said_in_words():
    def odd(arm, seed, tell, stop):
        import threading

        class Odd(Exception):
            lock = threading.Lock()

        error = Odd("very odd")
        error.held = threading.Lock()
        raise error

    def leave(arm, seed, tell, stop):
        raise SystemExit("enough")

    with pytest.raises(LabError, match="tree, seed 0 failed: Odd: very odd"):
        events(odd, THREE[:1])
    with pytest.raises(LabError, match=r"tree, seed 0 failed: its training ended Python \(SystemExit: enough\)"):
        events(leave, THREE[:1])


def test_a_stop_ends_all_workers():
    def train(arm, seed, tell, stop):
        import time

        tell(1, {"loss": 1.0})
        time.sleep(60)

    def listen():
        with closing(work_off(train, THREE, workers=2, stop=stop)) as happened:
            for event in happened:
                if isinstance(event, Told):
                    stop.set()

    stop = Event()
    with pytest.raises(Stopped):
        listen()


def test_a_training_hears_of_the_stop_at_its_next_word(tmp_path):
    def train(seed, tell):
        import time
        from pathlib import Path

        try:
            for step in range(100_000):
                tell(step, loss=1.0)
                time.sleep(0.001)
        finally:
            (Path(folder) / "tidied").touch()

    folder = str(tmp_path)
    live = Live(Seeds(train, 1))
    live.start()
    while not live.points:
        assert not live.wait(0.02)
    live.stop()
    assert live.wait(30)
    assert live.state == "stopped"
    assert (tmp_path / "tidied").exists()


def test_an_interrupt_is_for_the_parent_alone():
    def train(arm, seed, tell, stop):
        import os
        import signal

        os.kill(os.getpid(), signal.SIGINT)
        return os.getpgid(0) == os.getpid()

    assert results(events(train, THREE[:1])) == {0: True}


def test_a_crew_left_early_leaves_no_process():
    def train(arm, seed, tell, stop):
        import time

        time.sleep(60)

    with closing(work_off(train, THREE, workers=2)) as happened:
        assert isinstance(next(happened), Begun)


def test_a_crew_of_nobody_is_refused():
    with pytest.raises(LabError, match="one worker or more, not 0"):
        events(lambda *_: None, THREE, workers=0)


SCRIPT = """
import os, sys, time
from labkit.workbench.crew.seeds import Seeds
print("body", flush=True)
offset = 10
def shifted(seed):
    return seed + offset
def watch(progress):
    if progress.values:
        print(int(progress.values["process"]), flush=True)
def train_for(seconds):
    def train(seed, tell):
        tell(0, process=os.getpid())
        time.sleep(seconds)
        return float(shifted(seed))
    return train
print(Seeds(train_for(float(sys.argv[1])), 2, jobs=2)(watch).value.values.tolist())
"""


def script(tmp_path, wait: float) -> subprocess.Popen:
    path = tmp_path / "of_a_user.py"
    path.write_text(SCRIPT)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, path, str(wait)],
        stdout=subprocess.PIPE,
        text=True,
        env=env,
        cwd=tmp_path,
        start_new_session=True,
        preexec_fn=hears_ctrl_c,
    )


def hears_ctrl_c() -> None:
    """A job that a script puts into the background ignores Ctrl-C, and so would every process that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_functions_of_a_script_work_and_the_script_is_run_once(tmp_path):
    lines = script(tmp_path, 0).communicate(timeout=120)[0].splitlines()
    assert lines.count("body") == 1
    assert lines[-1] == "[10.0, 11.0]"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(tmp_path, end):
    parent = script(tmp_path, 600)
    assert parent.stdout.readline() == "body\n"
    working = [int(parent.stdout.readline()) for _ in range(2)]
    assert not any(map(gone, working))
    (os.killpg if end == signal.SIGINT else os.kill)(parent.pid, end)
    parent.wait(60)
    parent.stdout.close()
    until = time.monotonic() + 60
    while not all(map(gone, working)):
        assert time.monotonic() < until, "a worker outlived its parent"
        time.sleep(0.05)
