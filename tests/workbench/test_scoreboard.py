"""The scoreboard: races are fair, failures are said, goals are judged by their rule, and a board lasts."""

import json
import math
import threading
import time
from types import SimpleNamespace

import pytest
import torch

from labkit.errors import LabError
from labkit.parts.kernels.engine import suits
from labkit.workbench.fit import Stopped
from labkit.workbench.scoreboard import board as boards
from labkit.workbench.scoreboard import ceilings as limits
from labkit.workbench.scoreboard import crossover as crossings
from labkit.workbench.scoreboard import timing
from labkit.workbench.scoreboard.arrays import crossover_array, times_array
from labkit.workbench.scoreboard.case import Case, Goal, Work
from labkit.workbench.scoreboard.floors import bandwidth, floor
from labkit.workbench.scoreboard.goals import in_words, judge
from labkit.workbench.scoreboard.machine import limits_in_words, machine, origin
from labkit.workbench.scoreboard.saved import joined, path_of, saved, write
from labkit.workbench.scoreboard.timing import Times, race, ratio, varied
from labkit.workbench.scoreboard.ways import BOTH, FORWARD, plainly, require_alike, timed

CEILING = {
    "matmul": {"MKL": 1e11, "best": 1e11},
    "bandwidth": [[1e5, 1e11], [1e7, 1e10]],
    "scattered": [[1e5, 5e10], [1e7, 5e9]],
    "probed": {"ceiling|products": 100.0, "ceiling|reading": 1e-6},
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Boards are kept in a folder of the test; ceilings take no time."""
    monkeypatch.setenv("LABKIT_ASSETS", str(tmp_path))
    real = limits.ceilings
    monkeypatch.setattr(boards, "ceilings", lambda threads, stop=None: {str(count): CEILING for count in threads})
    return SimpleNamespace(ceilings=real)


class Clock:
    """Time that passes only when a contestant says so."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        for name in ("thread_time", "perf_counter", "process_time"):
            monkeypatch.setattr(timing.time, name, lambda: self.now)
        monkeypatch.setattr(timing.time, "sleep", lambda seconds: None)

    def takes(self, seconds):
        def call():
            self.now += seconds() if callable(seconds) else seconds

        return call


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


# --- racing --------------------------------------------------------------------------------------------------------


def test_a_contestant_takes_what_it_takes_and_ratios_are_exact(clock):
    found = race({"ours": clock.takes(1e-4), "dense": clock.takes(3e-4)})
    assert found["ours"].spread().median == pytest.approx(1e-4)
    assert ratio(found["dense"], found["ours"]).median == pytest.approx(3)
    assert found["ours"].spread().rounds == 15


def test_what_slows_a_whole_round_does_not_change_the_ratio(clock):
    slow = iter([1.0 + (place // 400) % 3 for place in range(10**6)])
    found = race({"ours": clock.takes(lambda: 1e-3 * next(slow)), "dense": clock.takes(2e-3)}, seconds=9)
    assert found["ours"].spread().high >= found["ours"].spread().low
    assert 0.5 < ratio(found["dense"], found["ours"]).median <= 2


def test_the_first_call_is_not_timed(clock):
    calls = []

    def compiles():
        clock.now += 1e-3 if calls else 5.0
        calls.append(clock.now)

    assert race({"ours": compiles})["ours"].spread().high == pytest.approx(1e-3)


def test_a_contestant_that_fails_is_reported_and_the_others_go_on(clock):
    def fails():
        raise ValueError("wants a batch of 8\nand more lines")

    later = iter(range(10**9))

    def fails_later():
        clock.now += 1e-3
        if next(later) > 30:
            raise RuntimeError("out of ink")

    found = race({"ours": clock.takes(1e-3), "peer": fails, "other": fails_later})
    assert found["peer"].error == "ValueError: wants a batch of 8"
    assert found["other"].error == "RuntimeError: out of ink"
    assert found["ours"].spread().rounds == 15
    with pytest.raises(LabError, match="wants a batch"):
        found["peer"].spread()


def test_a_slow_contestant_runs_in_fewer_rounds_but_in_three(clock):
    found = race({"ours": clock.takes(1e-4), "slow": clock.takes(1.0)}, seconds=1.0)
    assert found["slow"].spread().rounds == 3
    assert ratio(found["slow"], found["ours"]).rounds == 3
    assert ratio(found["slow"], found["ours"]).median == pytest.approx(1e4)


def test_a_contestant_that_only_waits_does_not_hold_up_the_race():
    began = time.perf_counter()
    race({"ours": lambda: None, "waits": lambda: time.sleep(0.1)}, rounds=3, seconds=0.1)
    assert time.perf_counter() - began < 10


def test_every_round_has_another_order(clock):
    seen = []

    def named(name):
        def call():
            clock.now += 2 * timing.SLOW  # so long that it is called once a turn
            seen.append(name)

        return call

    race({name: named(name) for name in "abc"}, rounds=12, seconds=60)
    rounds = [tuple(seen[place : place + 3]) for place in range(len(seen) - 36, len(seen), 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(set(rounds)) > 2


def test_caches_that_others_emptied_are_filled_before_the_clock_starts(clock):
    cold = [0]

    def ours():
        clock.now += 3e-3 if cold[0] > 0 else 1e-3
        cold[0] -= 1

    def others():
        clock.now += 5e-3
        cold[0] = 4

    assert race({"ours": ours, "others": others})["ours"].spread().high == pytest.approx(1e-3)


def test_inputs_vary():
    taken = []
    call = varied(taken.append, [1, 2, 3])
    for _ in range(5):
        call()
    assert taken == [1, 2, 3, 1, 2]


def test_a_contestant_with_helpers_is_found_out():
    def with_helper():
        helper = threading.Thread(target=lambda: sum(place * place for place in range(60_000)))
        helper.start()
        helper.join()

    assert "other threads compute" in race({"ours": with_helper})["ours"].error


def test_disturbed_slots_are_thrown_away(clock, monkeypatch):
    stolen = [0.0]
    monkeypatch.setattr(timing, "waited", lambda: stolen[0])
    count = iter(range(10**9))

    def disturbed():
        lost = 0.5 if next(count) % 7 == 0 else 0.0
        stolen[0] += lost
        clock.now += 0.02 + lost

    times = race({"ours": disturbed}, threads=2, seconds=9)["ours"]
    assert times.spread().high == pytest.approx(0.02)
    assert times.spread().rounds == 15


def test_where_all_slots_are_disturbed_the_calmest_count():
    times = Times(seconds=[3.0, 1.0, 2.0, 9.0], waited=[0.5, 0.2, 0.4, 0.9])
    assert times.clean == [True, True, True, False]
    assert times.spread().median == 2.0


def test_the_threads_are_put_back_and_a_stop_is_heard():
    before, stop = torch.get_num_threads(), threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        race({"ours": lambda: None}, stop=stop)
    assert torch.get_num_threads() == before


# --- ways ----------------------------------------------------------------------------------------------------------


def test_twins_must_answer_alike_and_a_few_rows_may_go_astray():
    x = torch.randn(200, 3)
    ways = {"ours": lambda x: 2 * x, "theirs": lambda x: x + x}
    require_alike(ways, x)
    with pytest.raises(AssertionError, match="other gives another answer with the same weights"):
        require_alike({**ways, "other": lambda x: 2.001 * x}, x)

    def one_row_away(x):
        return torch.cat([-x[:1], 2 * x[1:]])

    with pytest.raises(AssertionError):
        require_alike({**ways, "other": one_row_away}, x)
    require_alike({**ways, "other": one_row_away}, x, astray=0.01)
    with pytest.raises(AssertionError):
        require_alike({**ways, "other": lambda x: x * float("nan")}, x)


def test_a_way_is_timed_forward_without_and_back_with_gradients():
    layer, x, index = torch.nn.Linear(3, 2), torch.randn(4, 3), torch.zeros(4, dtype=torch.int64)
    way = lambda x, index: layer(x) + index.unsqueeze(-1)  # noqa: E731
    assert not timed(way, list(layer.parameters()), FORWARD)((x, index)).requires_grad
    back = timed(way, list(layer.parameters()), BOTH)
    back((x, index))
    once = layer.weight.grad.clone()
    back((x, index))
    assert torch.equal(layer.weight.grad, once)  # they do not add up
    assert x.grad is None


def test_what_is_computed_plainly_runs_no_compiled_code():
    assert suits(torch.ones(1))
    assert plainly(lambda: suits(torch.ones(1)))() is False


# --- ceilings ------------------------------------------------------------------------------------------------------


def test_the_floor_is_the_longer_of_computing_and_reading():
    assert floor(Work(1e9, 1e3), CEILING)["seconds"] == pytest.approx(0.01)
    assert floor(Work(1e9, 1e3), CEILING)["bound"] == "arithmetic"
    found = floor(Work(1e3, 1e8), CEILING)
    assert found["seconds"] == found["least"] == pytest.approx(0.01)
    assert (found["bound"], found["says"]) == ("memory", "100 MB at 10 GB/s")


def test_the_floor_of_pieces_is_their_sum_but_less_could_be_enough():
    pieces = Work(1e9, 1e3), Work(1e3, 1e8)
    found = floor(pieces, CEILING)
    assert found["seconds"] == pytest.approx(0.02)
    assert found["least"] == pytest.approx(0.01, rel=1e-3)
    assert found["says"] == "1,000 million operations at 100 a nanosecond, then 100 MB at 10 GB/s"


def test_a_part_of_a_table_comes_from_where_the_table_lies_and_repeats_only_count_in_the_floor():
    assert floor(Work(0, ((1e4, 1e7),)), CEILING)["seconds"] == pytest.approx(1e-6)
    assert floor(Work(0, ((1e4, 1e4),)), CEILING)["seconds"] == pytest.approx(1e-7)
    found = floor(Work(0, 1e4, again=((1e4, 1e5),)), CEILING)
    assert found["seconds"] == pytest.approx(2e-7)
    assert found["least"] == pytest.approx(1e-7)
    found = floor(Work(0, 1e4, scattered=((1e4, 1e7),)), CEILING)
    assert found["seconds"] == found["least"] == pytest.approx(2.1e-6)


def test_a_slower_moment_makes_a_higher_floor():
    pace = {"ceiling|products": 0.5, "ceiling|reading": 0.25}
    slow = limits.slowed(CEILING, pace)
    assert floor(Work(1e9, 1e3), slow)["seconds"] == pytest.approx(0.02)
    assert floor(Work(1e3, 1e8), slow)["seconds"] == pytest.approx(0.04)
    assert CEILING["matmul"]["best"] == 1e11


def test_bandwidth_between_two_working_sets_lies_between_theirs():
    assert bandwidth(1e3, CEILING) == 1e11
    assert bandwidth(1e6, CEILING) == pytest.approx(math.sqrt(1e11 * 1e10))
    assert bandwidth(1e9, CEILING) == 1e10


def test_ceilings_are_measured_and_never_count_what_is_not_float32(elsewhere, monkeypatch):
    monkeypatch.setattr(limits, "PRODUCTS", (64,))
    monkeypatch.setattr(limits, "WORKING_SETS", (2**14, 2**18))
    found = elsewhere.ceilings([1])["1"]
    assert found["matmul"]["best"] >= found["matmul"]["MKL"] > 1e6
    assert ("oneDNN" in found["matmul"]) == (limits.onednn_error() <= limits.EXACT)
    assert all(rate > 1e6 for _, rate in (*found["bandwidth"], *found["scattered"]))
    assert all(rate > 1 for rate in found["probed"].values())
    monkeypatch.setattr(limits, "onednn_error", lambda: 2e-3)
    assert list(limits.both_ways("dense", lambda: None)) == ["dense|mkl"]
    monkeypatch.setattr(limits, "onednn_error", lambda: 1e-7)
    assert list(limits.both_ways("dense", lambda: None)) == ["dense|mkl", "dense|onednn"]


def test_the_way_of_multiplying_is_put_back():
    before = torch.get_float32_matmul_precision()
    with pytest.raises(ZeroDivisionError), limits.precision("oneDNN"):
        _ = 1 / 0
    assert torch.get_float32_matmul_precision() == before


# --- goals ---------------------------------------------------------------------------------------------------------


def row(batch=1, ours=1.0, floor=None, least=None, **others):
    """A row of a board: seconds of ours, and how many times as long the others take; 10 % spread."""
    timed = {"ours": {"median": ours, "low": 0.9 * ours, "high": 1.1 * ours}}
    for name, times in others.items():
        name = name.replace("_", "|")
        timed[name] = {"median": times * ours, "low": ours, "high": ours, "times": [times, 0.9 * times, 1.1 * times]}
    facts = {"setting": {"batch": batch}, "contestants": timed}
    return facts | ({"floor": {"seconds": floor, "least": least or floor, "says": "1 MB"}} if floor else {})


def judged(goal, *rows):
    case = Case("c", "C", "", (), lambda setting: {}, goals=(goal,))
    return judge(case, rows)[0]


@pytest.mark.parametrize(
    ("goal", "rows", "verdict", "says"),
    [
        (Goal("", "dense", at_least=5), [row(dense=6), row(8, dense=5.2)], "met", "5.2 times as fast as dense"),
        (Goal("", "dense", at_least=5), [row(dense=6), row(8, dense=3)], "missed", "at batch 8; holds at 1 of 2"),
        (Goal("", "dense", at_most=1.25), [row(dense=0.9)], "met", "1.11 times the time of dense (1.01 to 1.23)"),
        (Goal("", "dense", at_most=1.25), [row(dense=0.5)], "missed", "2 times the time of dense"),
        (Goal("", "floor", at_least=0.5), [row(floor=0.6)], "met", "60 % of the speed that the hardware allows"),
        (Goal("", "floor", at_most=1.5), [row(floor=0.5)], "missed", "2 times the time of the floor"),
        (Goal("", "dense", at_least=5), [row(dense=5.2)], "met", "the limit lies within the spread"),
        (Goal("", "dense", at_least=5), [row(dense_mkl=8, dense_onednn=3)], "missed", "3 times as fast as dense"),
    ],
)
def test_a_goal_is_judged_by_its_worst_setting_against_the_fastest_way(goal, rows, verdict, says):
    found = judged(goal, *rows)
    assert found["verdict"] == verdict
    assert says in found["measured"]


def test_what_even_the_hardware_cannot_give_is_out_of_reach():
    goal = Goal("", "dense", at_least=5)
    found = judged(goal, row(dense=3, floor=0.7), row(8, dense=6, floor=0.1))
    assert found["verdict"] == "out of reach"
    assert found["holds"] == 1
    assert found["why"] == "this machine allows 4.29 times as fast at batch 1 and no more (1 MB)"
    missed = judged(goal, row(dense=3, floor=0.5))  # six times would do
    assert (missed["verdict"], missed["why"]) == ("missed", "the hardware would allow 6 times as fast there")
    assert judged(goal, row(dense=3, floor=0.7, least=0.5))["verdict"] == "missed"  # in another order it could
    assert judged(goal, row(dense=6, floor=2))["verdict"] == "met"
    both = judged(goal, row(dense=3, floor=0.7), row(8, dense=4, floor=0.1))
    assert both["verdict"] == "missed"
    assert "4 times as fast as dense" in both["measured"]
    assert "at 1 other this machine allows" in both["why"]
    assert judged(Goal("", "dense", at_most=1.1), row(dense=0.5, floor=0.8))["verdict"] == "out of reach"
    assert judged(goal, row(dense=4.8, floor=1.01))["verdict"] == "missed"  # a floor that we are faster than
    assert judged(goal, row(dense=3, floor=0.61))["verdict"] == "missed"  # 4.92 and 5 cannot be told apart
    assert judged(Goal("", "floor", at_least=0.9), row(floor=0.5))["verdict"] == "missed"


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "none of its settings"),
        ([row()], "no_such_package is not installed: pip install 'labkit[peers]'"),
        ([{"setting": {}, "contestants": {"ours": {"error": "out of ink"}}}], "ours failed: out of ink"),
        (
            [row() | {"contestants": {**row()["contestants"], "no_such_package": {"error": "no"}}}],
            "no_such_package failed",
        ),
        ([{"setting": {}, "contestants": {}, "error": "cannot be built"}], "cannot be built"),
    ],
)
def test_what_cannot_be_measured_says_why(rows, why):
    found = judged(Goal("", "no_such_package", at_least=2), *rows)
    assert found["verdict"] == "not measurable"
    assert why in found["why"]


def test_a_goal_that_holds_only_where_it_was_measured_is_not_met():
    assert judged(Goal("", "dense", at_least=2), row(dense=3), row(8))["verdict"] == "not measurable"
    assert judged(Goal("", "dense", at_least=9), row(dense=3), row(8))["verdict"] == "missed"


def test_a_goal_is_for_its_settings_only():
    goal = Goal("", "dense", at_least=5, where=lambda setting: setting["batch"] == 8)
    assert judged(goal, row(1, dense=1), row(8, dense=6))["verdict"] == "met"


def test_a_setting_is_said_in_words():
    assert in_words({"depth": 5, "leaf_width": 4096, "threads": 1}) == "depth 5, leaf width 4,096"
    assert in_words({"threads": 2, "share": 0.5}) == "threads 2, share 0.5"
    assert in_words({"form": "low rank", "width": 8, "pass": "forward"}) == "low rank, width 8, forward"


# --- boards --------------------------------------------------------------------------------------------------------


def small(name="trees", **more):
    """A case that takes milliseconds."""

    def contestants(setting):
        if setting["batch"] == 3:
            raise ImportError("this size needs a package")
        a = torch.randn(setting["batch"], 64)
        b = torch.randn(64, 64)

        def fails():
            raise TypeError("not like this")

        return {"ours": lambda: a @ b, "dense|mkl": lambda: [a @ b for _ in range(4)], "somebody": fails}

    given = {
        "work": lambda setting: Work(2 * setting["batch"] * 64 * 64, 4 * 64 * 64),
        "goals": (Goal("at least 1.5 times as fast as dense", "dense", at_least=1.5, where=lambda s: s["batch"] != 3),),
        "quick": ({"batch": 2},),
        "peers": ("no-such-package",),
        **more,
    }
    return Case(name, name.capitalize(), "A product.", ({"batch": 2}, {"batch": 3}), contestants, **given)


def test_a_board_has_every_row_and_every_failure():
    stages = []
    found = boards.measure([small()], watch=stages.append)
    case = found["cases"][0]
    assert [one["setting"] for one in case["rows"]] == [{"batch": 2}, {"batch": 3}]
    assert case["rows"][0]["contestants"]["somebody"] == {"error": "TypeError: not like this"}
    assert case["rows"][0]["contestants"]["dense|mkl"]["times"][0] > 1.5
    assert case["rows"][0]["floor"]["bound"] in ("arithmetic", "memory")
    assert case["rows"][1]["error"] == "ImportError: this size needs a package"
    assert case["goals"][0]["verdict"] == "met"
    assert case["missing"] == ["no-such-package"]
    assert [stage.done for stage in stages] == sorted(stage.done for stage in stages)
    assert json.loads(json.dumps(found)) == found
    assert times_array(case).sizes == {"setting": 1, "contestant": 2, "quantile": 3}


def test_what_all_rows_share_is_said_once():
    rows = [row() | {"setting": {"width": 512, "batch": batch, "threads": 1}} for batch in (1, 8)]
    data = times_array({"title": "T", "rows": rows})
    assert data["setting"].values.tolist() == ["batch 1", "batch 8"]
    assert data.attrs["always"] == "width 512"
    assert times_array({"title": "T", "rows": rows[:1]})["setting"].values.tolist() == ["width 512, batch 1"]


def test_a_quick_board_takes_the_few_settings():
    assert [one["setting"] for one in boards.measure([small()], quick=True)["cases"][0]["rows"]] == [{"batch": 2}]
    assert boards.settings_of(small(quick=()), True) == ({"batch": 2},)


def test_a_board_says_the_machine_but_not_its_name():
    import getpass
    import platform

    text = json.dumps(boards.measure([small()], quick=True))
    assert machine()["processor"] in text
    for secret in (platform.node(), str(path_of("bench").parent)):
        assert not secret or secret not in text
    assert getpass.getuser() == "root" or getpass.getuser() not in text


def test_a_stop_ends_a_board():
    stop = threading.Event()

    def watch(stage):
        if "batch 2" in stage.place:
            stop.set()

    with pytest.raises(Stopped):
        boards.measure([small()], watch=watch, stop=stop)


def test_the_cases_of_the_house_are_found_and_have_names_of_their_own():
    for name, case in boards.cases().items():
        assert name == case.name
        assert case.title
        assert case.settings
        assert name not in ("all", "crossover", "contract")


def test_a_board_is_kept_and_comes_back():
    assert saved() is None
    made = boards.measure([small()])
    assert write(made) == path_of("bench")
    assert saved() == made
    assert len(path_of("bench").read_text().splitlines()) > 8
    path_of("bench").write_text('{"made": ')
    with pytest.raises(LabError, match=r"bench.json cannot be read"):
        saved()
    path_of("bench").write_text('{"made": {}}')
    with pytest.raises(LabError, match="lacks ceilings, cases"):
        saved()


def test_a_board_that_is_too_large_is_not_kept():
    with pytest.raises(LabError, match="300,000 at most"):
        write({"made": "x" * 400_000})
    assert not path_of("bench").exists()


def test_a_case_takes_the_place_of_its_own_and_leaves_the_others():
    old = boards.measure([small("trees"), small("mixtures")])
    new = boards.measure([small("trees")])
    both = joined(new, old)
    assert [case["name"] for case in both["cases"]] == ["mixtures", "trees"]
    assert both["cases"][1] == new["cases"][0]
    with pytest.raises(LabError, match="--quick is less"):
        joined(boards.measure([small("trees")], quick=True), old)
    old["made"]["machine"] = {"processor": "another"}
    with pytest.raises(LabError, match="another machine"):
        joined(new, old)
    assert joined(new, None) == new


def test_where_a_board_comes_from_is_a_sentence():
    found = boards.measure([small()], quick=True)
    assert machine()["processor"] in origin(found["made"])
    assert limits_in_words(found["ceilings"])[0].startswith("At best, 1 thread: 100 billion operations")


# --- crossover -----------------------------------------------------------------------------------------------------


def grid(**more):
    def build(size):
        time.sleep(0)
        return (lambda x: x @ x.T), (lambda x: [x @ x.T for _ in range(3)])

    given = {"sizes": (8, 16, 32), "batches": (1, 4), "inputs": lambda batch, size: torch.randn(batch, size), **more}
    return crossings.Grid("tiny", "Tiny", "A product and three.", "width", "wide", build=build, **given)


def test_a_crossover_measures_every_cell_where_there_is_time(monkeypatch):
    monkeypatch.setattr(crossings, "GRIDS", (grid(),))
    found = crossings.crossover(seconds=30)
    data = crossover_array(found["grids"][0])
    assert data.dims == ("batch", "width")
    assert bool(data.notnull().all())
    assert float(data.median()) > 1.2
    assert bool((data.low <= data).all())
    assert json.loads(json.dumps(found)) == found


def test_a_crossover_without_time_measures_one_cell_and_says_the_rest_is_missing(monkeypatch):
    monkeypatch.setattr(crossings, "GRIDS", (grid(),))
    data = crossover_array(crossings.crossover(seconds=0)["grids"][0])
    assert int(data.notnull().sum()) == 1


def test_a_size_that_cannot_be_built_leaves_its_cells_empty(monkeypatch):
    def inputs(batch, size):
        if size == 16:
            raise RuntimeError("not enough memory")
        return torch.randn(batch, size)

    monkeypatch.setattr(crossings, "GRIDS", (grid(inputs=inputs),))
    found = crossings.crossover(seconds=30)["grids"][0]
    assert found["error"] == "RuntimeError: not enough memory"
    assert [one is None for one in found["ratio"][0]] == [False, True, False]


def test_the_cells_near_break_even_come_first():
    import numpy as np

    ratios = np.full((5, 6), np.nan)
    tried = np.zeros((5, 6), bool)
    truth = np.exp(np.add.outer(np.arange(5), np.arange(6)) - 2.5)
    for _ in range(20):
        cell = crossings._next(ratios, tried)
        assert not tried[cell]
        tried[cell], ratios[cell] = True, truth[cell]
    assert tried[2, 0]
    assert tried[0, 2]


def test_an_unknown_crossover_is_refused():
    with pytest.raises(LabError, match="there is trees, mixtures"):
        crossings.crossover(["tree"])
