"""Kept states: the bounds hold at every moment, what comes back is the same bit by bit, and trouble loses one, not all."""

import errno
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
import torch

from labkit.errors import LabError
from labkit.workbench.hold import state_files
from labkit.workbench.hold import timeline as timelines
from labkit.workbench.hold.timeline import Timeline

KEEPS_UNTIL_KILLED = """
import sys
from pathlib import Path
import torch
from labkit.workbench.hold.timeline import Timeline

timeline = Timeline(3e6, 20e6, Path(sys.argv[1]))
for step in range(100_000):
    timeline.keep("main", step, {"weight": torch.full((50_000,), float(step)), "step": step})
    if step == 20:
        timeline.flush(60)
        print("going", flush=True)
"""


def state(step: int, floats: int = 1000) -> dict:
    return {"weight": torch.full((floats,), float(step)), "step": step}


def of(timeline: Timeline, branch: str, step: int) -> int:
    found = timeline.at(branch, step)
    assert found is not None
    assert found[0] == found[1]["step"]
    assert (found[1]["weight"] == found[0]).all()
    return found[0]


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape and one.stride() == other.stride()
        return alike and one.reshape(-1).view(torch.uint8).equal(other.reshape(-1).view(torch.uint8))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and type(one) is type(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def in_memory(timeline: Timeline) -> int:
    return sum(one.size.nbytes for one in timeline._all() if one.state is not None)


def bytes_in(folder) -> int:
    """What the files take, each once, also while one is renamed."""
    sizes = {}
    for entry in os.scandir(folder) if folder.exists() else ():
        try:
            found = os.stat(entry.path)
        except FileNotFoundError:
            continue
        sizes[found.st_ino] = found.st_size if entry.name != "branches.json" else 0
    return sum(sizes.values())


@pytest.mark.parametrize("memory", [1e9, 0], ids=["from memory", "from the disk"])
def test_a_state_comes_back_bit_by_bit(tmp_path, memory):
    torch.manual_seed(0)
    base = torch.randn(4, 6)
    bits = torch.tensor([0x7FC00001, -0x80000000, 0x7F800000], dtype=torch.int32)  # a NaN with a payload, -0, infinity
    full = {
        "model": {"weight": base, "same storage": base.t(), "odd": bits.view(torch.float32)},
        "half": [torch.randn(3).bfloat16(), torch.randn(3).half(), torch.randn(2, dtype=torch.complex64)],
        "whole": (torch.arange(5), torch.tensor([True, False]), torch.empty(0, 3), torch.tensor(2.5)),
        "random": torch.get_rng_state(),
        "numbers": {1: 2**70, "rate": 0.1, "none": None, "yes": True, "betas": (0.9, 0.999), "name": "Größe"},
    }
    timeline = Timeline(memory, 1e9, tmp_path)
    timeline.keep("main", 7, full)
    assert timeline.flush(60)
    timeline.keep("main", 8, {"later": 1})
    assert timeline.flush(60)
    step, found = timeline.at("main", 7)
    assert step == 7
    assert same(full, found)
    assert found["model"]["weight"].data_ptr() == found["model"]["same storage"].data_ptr()
    assert (timeline._kept["main"][7].state is None) == (memory == 0)
    file = next(path for path in (tmp_path / "states").glob("0-7-*.pt"))
    assert same(full, torch.load(file, weights_only=True)["state"])


def test_the_bounds_hold_over_a_thousand_states_of_random_sizes(tmp_path):
    memory, disk, rng = 3_000_000, 8_000_000, random.Random(0)
    timeline, tensors, over, most_on_disk = Timeline(memory, disk, tmp_path), [], threading.Event(), [0]

    def watch() -> None:
        while not over.is_set():
            most_on_disk[0] = max(most_on_disk[0], bytes_in(tmp_path / "states"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    most, slack = 0, 4096
    for step in range(1000):
        kept = state(step, rng.randint(10, 60_000))
        tensors.append((weakref.ref(kept["weight"]), kept["weight"].nbytes))
        timeline.keep("main" if step < 600 else "other", step, kept, marked=step % 100 == 50)
        del kept
        alive = sum(nbytes for one, nbytes in tensors if one() is not None)
        most = max(most, alive, timeline.bytes[0])
        tensors = [pair for pair in tensors if pair[0]() is not None]
        assert timeline.bytes[1] <= disk
        if step % 50 == 0:
            time.sleep(0.01)
    assert timeline.flush(60)
    over.set()
    watcher.join()
    assert most <= memory + slack
    assert disk / 2 < most_on_disk[0] <= disk
    assert timeline.bytes[0] == in_memory(timeline)
    assert timeline.bytes[1] >= bytes_in(tmp_path / "states")
    assert timeline.problem is None
    steps = timeline.steps("main")
    assert (steps[0], steps[-1]) == (0, 599)
    assert timeline.steps("other")[-1] == 999
    assert {("main", 50), ("main", 550), ("other", 950)} <= set(timeline.marked)
    assert all(of(timeline, "main", step) == step for step in steps)
    reopened = Timeline.open(tmp_path)
    for branch in ("main", "other"):
        on_disk = reopened.steps(branch)
        assert set(on_disk) <= set(timeline.steps(branch))
        assert all(of(reopened, branch, step) == step for step in on_disk)


@pytest.mark.parametrize("folder", [True, False], ids=["on the disk", "in memory"])
def test_what_stays_is_spread_evenly_with_first_and_last(tmp_path, folder):
    timeline = Timeline(0 if folder else 500_000, 500_000, tmp_path if folder else None)
    for step in range(0, 4000, 10):
        timeline.keep("main", step, state(step), marked=step in (330, 340))
        if folder:
            assert timeline.flush(60)
        steps = timeline.steps("main")
        assert (steps[0], steps[-1]) == (0, step)
    assert {330, 340} <= set(steps)
    assert 40 < len(steps) < 125
    gaps = np.diff([step for step in steps if step < 3900 and step not in (330, 340)])
    assert gaps.max() <= 4 * np.median(gaps)
    assert timeline.bytes[0] <= 500_000
    assert timeline.bytes[1] <= 500_000


def test_marked_ones_go_after_all_others():
    timeline = Timeline(50_000)
    for step in range(40):
        timeline.keep("main", step, state(step), marked=step % 4 == 2)
    steps = timeline.steps("main")
    assert all((step % 4 == 2) or step in (0, 39) for step in steps)
    assert timeline.bytes[0] <= 50_000


@pytest.mark.parametrize("bound", [0, 100, 5000])
def test_the_latest_state_stays_however_small_the_bound(bound):
    timeline = Timeline(bound)
    for step in range(5):
        timeline.keep("main", step, state(step))
        assert of(timeline, "main", 100) == step
    assert timeline.steps("main") == [4]


def test_a_storage_is_counted_once_however_many_views_it_has():
    base = torch.zeros(10_000)
    one = state_files.measured({"a": base, "b": [base[:10], base.view(100, 100).t()]}).nbytes
    assert 40_000 <= one < 41_000
    assert state_files.measured({"only a part": torch.zeros(10_000)[:1]}).nbytes >= 40_000
    assert state_files.measured({"a": torch.zeros(10), "b": torch.zeros(10)}).nbytes >= 80


def test_what_comes_back_belongs_to_the_caller(tmp_path):
    timeline = Timeline(1e6, 0, None)
    timeline.keep("main", 1, state(1))
    timeline.at("main", 1)[1]["weight"].zero_()
    timeline.near("main", 1)[1]["weight"].zero_()
    assert of(timeline, "main", 1) == 1


def test_keeping_never_waits_for_the_disk_and_what_is_being_written_can_be_read(tmp_path, monkeypatch):
    begun, go, real = threading.Event(), threading.Event(), timelines.save

    def slow(path, content, most):
        begun.set()
        assert go.wait(60)
        return real(path, content, most)

    monkeypatch.setattr(timelines, "save", slow)
    timeline = Timeline(20_000, 1e6, tmp_path)
    timeline.keep("main", 1, state(1))
    assert begun.wait(60)
    for step in range(2, 30):  # the disk takes nothing, memory has room for four
        timeline.keep("main", step, state(step))
        assert timeline.bytes[0] <= 20_000
    assert of(timeline, "main", 1) == 1
    assert of(timeline, "main", 29) == 29
    timeline.keep("main", 1, {**state(1), "second": True})  # replaced while the first one is being written
    assert not timeline.flush(0.01)
    go.set()
    assert timeline.flush(60)
    assert Timeline.open(tmp_path).at("main", 1)[1]["second"]
    assert timeline.steps("main") == Timeline.open(tmp_path).steps("main")
    assert timeline.bytes[0] == in_memory(timeline)


def test_a_state_of_the_same_step_is_replaced_in_memory_and_on_the_disk(tmp_path):
    timeline = Timeline(1e6, 1e6, tmp_path)
    timeline.keep("main", 5, {"what": "old"}, marked=True)
    assert timeline.flush(60)
    timeline.keep("main", 5, {"what": "new"})
    assert timeline.flush(60)
    assert timeline.at("main", 5) == (5, {"what": "new"})
    assert Timeline.open(tmp_path).at("main", 5) == (5, {"what": "new"})
    assert timeline.marked == [("main", 5)]
    assert len(list((tmp_path / "states").glob("*.pt"))) == 1


@pytest.mark.parametrize("harm", ["torn", "empty", "deleted", "another file"])
def test_a_state_that_cannot_be_read_is_passed_over_with_a_sentence(tmp_path, harm):
    timeline = Timeline(0, 1e6, tmp_path)
    for step in (1, 2, 3, 4):
        timeline.keep("main", step, state(step))
        assert timeline.flush(60)
    file = next((tmp_path / "states").glob("0-3-*.pt"))
    if harm == "torn":
        os.truncate(file, file.stat().st_size // 2)
    elif harm == "empty":
        os.truncate(file, 0)
    elif harm == "deleted":
        file.unlink()
    else:
        torch.save({"nothing": "of ours"}, file)
    for one in (timeline, Timeline.open(tmp_path)):
        assert of(one, "main", 3) == 2
        assert of(one, "main", 4) == 4
        if harm != "deleted" or one is timeline:
            assert "step 3 of main cannot be read" in one.problem
        assert one.steps("main") == [1, 2, 4]


def test_a_killed_process_leaves_whole_states(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KEEPS_UNTIL_KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "going\n"
    before = len(list((tmp_path / "states").iterdir()))
    deadline = time.monotonic() + 60
    while not (half := list((tmp_path / "states").glob("*.pt.part"))) and time.monotonic() < deadline:
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    left = Timeline.open(tmp_path)
    assert half, "it was not killed while it wrote"
    assert before > 10
    assert len(left.steps("main")) > 10
    assert all(of(left, "main", step) == step for step in left.steps("main"))
    assert left.problem is None
    going_on = Timeline(1e6, 20e6, tmp_path)
    assert not list((tmp_path / "states").glob("*.part"))
    going_on.keep("main", 10**6, state(10**6))
    assert going_on.flush(60)
    assert Timeline.open(tmp_path).steps("main")[-1] == 10**6
    with pytest.raises(LabError, match="only be read"):
        left.keep("main", 1, {})


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_broken_disk_is_told_and_tried_again(tmp_path, monkeypatch, number):
    real, broken = os.write, [True]

    def write(file, data):
        if broken[0] and len(data) > 2000:
            raise OSError(number, os.strerror(number))
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    timeline = Timeline(40_000, 1e6, tmp_path)
    for step in range(50):
        timeline.keep("main", step, state(step))
        assert timeline.bytes[0] <= 40_000
    assert not timeline.flush(60)
    assert os.strerror(number) in timeline.problem
    assert list((tmp_path / "states").glob("*.p*t")) == []
    assert (of(timeline, "main", 0), of(timeline, "main", 99)) == (0, 49)
    broken[0] = False
    assert timeline.flush(60)
    assert timeline.problem is None
    assert Timeline.open(tmp_path).steps("main") == timeline.steps("main")


def test_a_state_larger_than_the_room_on_the_disk_stays_in_memory(tmp_path):
    timeline = Timeline(1e6, 10_000, tmp_path)
    timeline.keep("main", 1, state(1, 10_000))
    assert timeline.flush(60)
    assert "memory only" in timeline.problem
    assert of(timeline, "main", 1) == 1
    assert bytes_in(tmp_path / "states") == 0


def test_a_file_that_grows_too_large_is_not_made(tmp_path):
    for most in (4096, 20_000, 40_000):
        with pytest.raises(state_files.TooLarge):
            state_files.save(tmp_path / "0-1-0.pt", {"state": state(1, 10_000)}, most)
    assert list(tmp_path.iterdir()) == []
    taken = state_files.save(tmp_path / "0-1-0.pt", {"state": state(1, 10_000)}, 50_000)
    assert bytes_in(tmp_path) <= taken <= 50_000


def test_a_state_that_no_file_takes_stays_in_memory(tmp_path):
    timeline = Timeline(1e6, 1e6, tmp_path)
    timeline.keep("main", 1, {"random": np.zeros(3)})
    assert timeline.flush(60)
    assert "ndarray" in timeline.problem
    assert timeline.at("main", 1)[1]["random"].shape == (3,)


def test_the_nearest_one_and_the_ancestors_are_found(tmp_path):
    timeline = Timeline(1e6, 1e6, tmp_path)
    for step in (0, 10, 20):
        timeline.keep("main", step, {"of": "main"})
    timeline.keep("second", 15, {"of": "second"})
    timeline.keep("strange/…/name", 3, {"of": "strange"})
    assert timeline.flush(60)
    for one in (timeline, Timeline.open(tmp_path)):
        assert one.at("main", 19)[0] == 10
        assert one.at("main", -1) is None
        assert one.at("second", 14) is None
        assert one.at("second", 14, [("main", 12)]) == (10, {"of": "main"})
        assert one.at("second", 16, [("main", 12)]) == (15, {"of": "second"})
        assert [one.near("main", step)[0] for step in (-5, 4, 5, 6, 99)] == [0, 0, 0, 10, 20]
        assert one.near("nowhere", 1) is None
        assert one.at("strange/…/name", 9) == (3, {"of": "strange"})
        assert sorted(one.branches) == ["main", "second", "strange/…/name"]
    timeline.forget("main", 5)
    assert timeline.flush(60)
    assert timeline.steps("main") == Timeline.open(tmp_path).steps("main") == [0]


def test_a_timeline_that_nobody_holds_goes_away_with_its_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(timelines, "IDLE", 0.02)
    timeline = Timeline(1e6, 1e6, tmp_path)
    timeline.keep("main", 1, state(1))
    assert timeline.flush(60)
    thread, gone = timeline._writer, weakref.ref(timeline)
    del timeline
    if thread is not None:
        thread.join(60)
    del thread
    gc.collect()
    assert gone() is None


def test_readers_and_the_training_do_not_disturb_each_other(tmp_path):
    timeline, wrong, read, over = Timeline(200_000, 400_000, tmp_path), [], [0], threading.Event()

    def look() -> None:
        rng = random.Random(read[0])
        while not over.is_set():
            step = rng.randint(0, 800)
            found = timeline.at("main", step)
            if found is not None:
                read[0] += 1
                if found[0] > step or found[1]["step"] != found[0] or not (found[1]["weight"] == found[0]).all():
                    wrong.append(found[0])

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for step in range(800):
        timeline.keep("main", step, state(step))
    over.set()
    for reader in readers:
        reader.join()
    assert (wrong, timeline.problem) == ([], None)
    assert read[0] > 10
