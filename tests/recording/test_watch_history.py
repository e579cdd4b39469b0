"""A history is bounded, thinned evenly and exactly, and labelled; a budget is kept and told truthfully."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from labkit.recording.budget import AIM, Budget
from labkit.recording.density import RunningDensity
from labkit.recording.history import Event, GateRow, History, Row, UnitRow
from labkit.recording.history_arrays import BINS, common_bins, placed
from labkit.recording.moments import RunningMoments
from labkit.recording.watch import watch


def filled(steps=100, **limits):
    """A history of rows whose windows' values are known, and all the values."""
    history, values = History(**limits), []
    torch.manual_seed(0)
    for step in range(1, steps + 1):
        batch = torch.relu(torch.randn(20 + step % 7, 6) + step / 50)
        moments, density = RunningMoments(), RunningDensity()
        moments.add(batch)
        density.add(batch)
        values.append(batch)
        window = moments.drain()
        flags = np.zeros(6, bool)
        units = UnitRow(window.count, window, np.zeros(6), flags, flags, None, density.drain())
        gate = GateRow(
            10, np.array([6.0, 4.0]), np.array([6.0, 4.0]), np.zeros(2, bool), 0.2, np.arange(9) % (1 + step % 2)
        )
        history.keep(Row(step, 20 * step, step / 10, {"a": units}, {"g": gate}, {"w": float(step)}, {"w": 0.1}))
    return history, values


def test_rows_stay_few_cover_the_whole_run_and_lose_no_value():
    history, values = filled(500, rows=32)
    assert len(history) <= 32
    assert history.steps[0] == 1
    assert history.steps[-1] == 500
    data, whole = history.data, torch.cat(values).double()
    assert float(data.seen.sel(layer="a").sum()) == len(whole)
    weight = data.seen.sel(layer="a")
    mean = (data["mean"].sel(layer="a") * weight).sum("step") / weight.sum()
    np.testing.assert_allclose(mean, whole.mean(0), rtol=1e-5)
    active = (data["active_fraction"].sel(layer="a") * weight).sum("step") / weight.sum()
    np.testing.assert_allclose(active, (whole > 0).double().mean(0), rtol=1e-5)
    assert "thinned" in str(history)


def test_a_long_watch_is_thinned_evenly(monkeypatch):
    monkeypatch.setattr("labkit.recording.watch.APART", 1)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with watch(model, every=1, optimizer=optimizer, keep=16) as watching:
        for _ in range(200):
            model(torch.randn(8, 4)).square().mean().backward()
            optimizer.step()
    gaps = np.diff(watching.history.steps)
    assert 8 <= len(watching.history) <= 16
    assert gaps[:-1].max() <= 2 * gaps[:-1].min()
    assert watching.history.steps[0] == 1
    assert watching.history.steps[-1] == 200
    assert float(watching.history["seen"].sum()) == 1600


def test_a_merged_row_equals_one_window_over_both():
    history, values = filled(10, rows=100)
    rows = history.rows
    merged = rows[3].merged(rows[4])
    both = torch.cat(values[3:5]).double()
    np.testing.assert_allclose(merged.units["a"].moments.variance, both.var(0, correction=0), rtol=1e-5)
    assert merged.units["a"].density.counts.sum() == both.numel()
    assert merged.gates["g"].load.tolist() == [12, 8]
    assert merged.step == rows[4].step
    assert merged.windows == 2


def test_memory_is_bounded_by_bytes_too():
    history, _ = filled(200, rows=10_000, nbytes=20_000)
    assert sum(row.nbytes for row in history.rows) <= 2 * 20_000
    assert len(history) >= 8


def test_the_dataset_has_the_promised_axes_names_and_units():
    data = filled(5)[0].data
    axes = {name: one.dims for name, one in data.data_vars.items()}
    assert axes == {
        **dict.fromkeys(("active_fraction", "mean", "variance", "dead", "saturated"), ("step", "layer", "unit")),
        "duplicate": ("step", "layer", "unit"),
        "density": ("step", "layer", "bin"),
        "seen": ("step", "layer"),
        **dict.fromkeys(("gradient_norm", "update_ratio"), ("step", "parameter")),
        "load": ("step", "layer", "choice"),
        **dict.fromkeys(("entropy", "margin", "flips"), ("step", "layer")),
    }
    assert {"examples", "seconds"} <= set(data.coords)
    assert data.centre.dims == ("layer", "bin")
    assert data.width.dims == ("layer",)
    assert all({"long_name", "units"} <= set(one.attrs) for one in data.variables.values())
    assert all(
        one.dtype in (np.float32, np.float64, np.int64) or one.dtype.kind == "U" for one in data.variables.values()
    )


def test_one_measurement_comes_without_the_layers_that_have_none():
    history = filled(5)[0]
    assert history["mean"].layer.values.tolist() == ["a"]
    assert history["load"].layer.values.tolist() == ["g"]
    assert history["unit_health"].dims == ("step", "condition", "layer", "unit")
    assert history["flips"].step.values.tolist() == [2, 3, 4, 5]
    np.testing.assert_allclose(history["flips"].values, 4 / 9, rtol=1e-6)


def test_histograms_of_all_rows_share_bins_and_one_explosion_does_not_spoil_them():
    rows = []
    for scale in (1.0, 1.2, 0.8, 1e6, 1.1, *([1.0] * 300)):
        running = RunningDensity()
        running.add(scale * torch.randn(1000))
        rows.append(running.drain())
    exponent, first = common_bins(rows)
    assert 2.0**exponent < 1
    for row in rows:
        assert placed(row, exponent, first).sum() == 1000
    ordinary = placed(rows[0], exponent, first)
    assert (ordinary > 0).sum() > 15
    assert placed(rows[3], exponent, first)[[0, -1]].sum() > 950


def test_common_bins_hold_what_np_histogram_finds_there():
    batches = [scale * torch.randn(4000) for scale in (0.3, 1.0, 0.05, 2.0)]
    rows = []
    for values in batches:
        running = RunningDensity()
        running.add(values)
        rows.append(running.drain())
    exponent, first = common_bins(rows)
    edges = 2.0**exponent * (first + np.arange(BINS + 1))
    edges[0], edges[-1] = -np.inf, np.inf
    for values, row in zip(batches, rows, strict=True):
        np.testing.assert_array_equal(placed(row, exponent, first), np.histogram(values.double().numpy(), edges)[0])


def test_silent_units_stay_at_zero_even_in_a_row_that_explodes():
    rows = []
    for scale in (*([1.0] * 400), 1e5):
        running = RunningDensity()
        running.add(torch.cat([torch.zeros(900), scale * torch.rand(100)]))
        rows.append(running.drain())
    exponent, first = common_bins(rows)
    assert first == 0
    assert placed(rows[-1], exponent, first)[0] >= 900


def test_events_come_in_the_order_of_their_steps():
    history = History()
    history.happened(Event(9, "a", "b", "later."))
    history.happened(Event(2, "a", "b", "earlier."))
    assert [event.step for event in history.events] == [2, 9]


def run(budget, price, steps=4000, length=0.01):
    """A training whose looks cost what `price` says, on a clock of its own."""
    spent, rng = 0.0, np.random.default_rng(0)
    for number in range(1, steps + 1):
        looked = budget.due()
        own = price(budget.stride_for(1024)) if looked else 2e-6
        budget.step(number, length * rng.uniform(0.9, 1.1) + own, own, looked)
        spent += own
    return spent / (steps * length)


@pytest.mark.parametrize("share", [0.01, 0.03, 0.1])
@pytest.mark.parametrize("price", [2e-4, 2e-3, 2e-2])
def test_the_budget_is_kept_whatever_a_look_costs(share, price):
    budget = Budget(share)
    used = run(budget, lambda stride: price)
    assert used <= share
    assert used >= 0.5 * AIM * share or price * 4000 < share * 0.5 * 40
    assert budget.overhead().fraction == pytest.approx(used, rel=0.02)


def test_looks_that_would_become_rare_are_taken_at_fewer_rows():
    budget = Budget(0.03)
    run(budget, lambda stride: 1e-3 + 2e-2 / stride)
    assert budget.stride > 4
    assert budget.looks > 4000 / 40


def test_steps_that_are_slower_for_another_reason_than_the_own_code_are_charged():
    hidden, plain = Budget(0.03), Budget(0.03)
    looks = {}
    for name, budget, extra in (("plain", plain, 0.0), ("hidden", hidden, 2e-3)):
        for number in range(1, 3001):
            looked = budget.due()
            budget.step(number, 0.01 + (1e-3 + extra) * looked, 1e-3 * looked, looked)
        looks[name] = budget.looks
    assert looks["hidden"] < 0.5 * looks["plain"]
    assert hidden.overhead().difference == pytest.approx(3 * hidden.overhead().fraction, rel=0.1)


def test_a_pause_of_the_training_does_not_pay_for_looks():
    budget = Budget(0.03)
    for number in range(1, 200):
        looked = budget.due()
        budget.step(number, (60.0 if number == 100 else 0.01) + 2e-3 * looked, 2e-3 * looked, looked)
    assert budget.looks < 200 * 0.01 / 2e-3 * 0.03 * 2


def test_the_measured_overhead_is_that_of_a_clock_beside_it(monkeypatch):
    monkeypatch.setattr("labkit.recording.looking.Looker._read", lambda self, name, value: time.sleep(0.002))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    with watch(model, every=2, optimizer=optimizer) as watching:
        start = time.perf_counter()
        for _ in range(60):
            time.sleep(0.004)
            model(torch.randn(8, 4)).sum().backward()
            optimizer.step()
        whole = time.perf_counter() - start
    overhead = watching.overhead
    assert overhead.looks == 30
    assert 30 * 0.002 <= overhead.seconds < 0.5 * whole
    assert overhead.training >= 60 * 0.004
    assert overhead.seconds + overhead.training == pytest.approx(whole, rel=0.1)
    assert overhead.fraction == pytest.approx(overhead.seconds / overhead.training)
    assert overhead.difference is not None
    assert "steps with a look against steps without" in str(overhead)


def test_overhead_before_any_step_says_so():
    assert "no training step" in str(Budget(0.03).overhead())
    assert SimpleNamespace(value=float(Budget(0.03).overhead())).value == 0
