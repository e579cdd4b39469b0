"""Running statistics equal those of two passes over all the data, on data that is out to break them."""

import numpy as np
import pytest
import torch

from labkit.recording.density import FINE, Density, RunningDensity
from labkit.recording.duplicates import duplicates
from labkit.recording.moments import RunningMoments, _sums_of, some_rows


def hostile(kind):
    """Batches of very different size (rows, units)."""
    torch.manual_seed(1)
    sizes = [3, 700, 1, 64, 2000, 5]
    draw = {
        "a large mean and a small variance": lambda n: 1e4 + 0.01 * torch.randn(n, 5),
        "a mean that moves": lambda n: 100 * torch.randn(1, 5) + torch.randn(n, 5),
        "one huge outlier": lambda n: torch.cat([torch.randn(n - 1, 5), torch.full((1, 5), 1e6)]),
        "mostly exact zeros": lambda n: torch.relu(torch.randn(n, 5) - 2),
        "constants": lambda n: torch.full((n, 5), 0.1),
        "tiny numbers": lambda n: 1e-20 * torch.randn(n, 5),
        "units of different size": lambda n: torch.randn(n, 5) * torch.tensor([1e-6, 1, 1e3, 1e6, 0.0]) + 3,
    }[kind]
    return [draw(size) for size in sizes]


KINDS = [
    "a large mean and a small variance",
    "a mean that moves",
    "one huge outlier",
    "mostly exact zeros",
    "constants",
    "tiny numbers",
    "units of different size",
]


@pytest.mark.parametrize("kind", KINDS)
def test_mean_and_variance_equal_two_passes_over_all_rows(kind):
    batches, running, windows = hostile(kind), RunningMoments(), []
    for at, batch in enumerate(batches):
        running.add(batch)
        if at % 2:
            windows.append(running.drain())
    merged = windows[0].merged(windows[1]).merged(windows[2])
    whole = torch.cat(batches).double()
    mean, variance = whole.mean(0).numpy(), whole.var(0, correction=0).numpy()
    # an error of one rounding of the numbers themselves cannot be told from none
    grain = np.finfo(np.float32).eps * whole.abs().amax(0).numpy()
    assert merged.count == len(whole)
    np.testing.assert_allclose(merged.mean, mean, rtol=1e-6, atol=1e-3 * np.sqrt(variance).max() + 1e-3 * grain.max())
    assert (np.abs(merged.variance - variance) <= 1e-4 * variance + grain**2).all()
    np.testing.assert_array_equal(merged.active, (whole != 0).sum(0).numpy())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threshold", [0.0, 0.05])
def test_sums_by_torch_on_other_devices_equal_those_on_the_processor(kind, threshold):
    for batch in hostile(kind):
        centre = batch[:1].mean(0)
        running = RunningMoments()
        running._sums, running._centre = torch.zeros(3, 5, dtype=torch.float64), centre
        running.add(batch, threshold)
        scale = (batch - centre).square().sum(0).max() + 1e-30
        torch.testing.assert_close(
            _sums_of(batch, centre, threshold).double(), running._sums, rtol=1e-4, atol=1e-5 * float(scale)
        )


def test_sums_of_squares_in_single_precision_would_fail_the_same_data():
    whole = torch.cat(hostile("a large mean and a small variance"))
    naive = whole.square().mean(0) - whole.mean(0).square()
    true = whole.double().var(0, correction=0)
    assert ((naive - true).abs() > 0.5 * true).any()


def test_a_threshold_makes_small_activations_count_as_none():
    running, batch = RunningMoments(), torch.tensor([[0.01, -0.5], [0.2, 0.0]])
    running.add(batch, threshold=0.05)
    assert running.drain().active.tolist() == [1, 1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_added_up_as_precisely(dtype):
    running, batch = RunningMoments(), torch.randn(500, 3).to(dtype)
    running.add(batch)
    window = running.drain()
    np.testing.assert_allclose(window.mean, batch.double().mean(0).numpy(), atol=1e-6)
    np.testing.assert_allclose(window.variance, batch.double().var(0, correction=0).numpy(), rtol=1e-5)


def test_a_window_with_nan_says_so_and_the_next_one_is_clean():
    running = RunningMoments()
    running.add(torch.tensor([[1.0, float("nan")], [3.0, 1.0]]))
    window = running.drain()
    assert window.mean[0] == 2
    assert np.isnan(window.mean[1])
    running.add(torch.ones(4, 2))
    assert running.drain().mean.tolist() == [1, 1]
    assert running.drain() is None


def test_every_value_stays_counted_while_the_range_doubles():
    running, seen = RunningDensity(), []
    for scale in (0.01, 1.0, 0.1, 300.0, 5.0):
        values = scale * torch.randn(997)
        seen.append(values)
        running.add(values)
    density, whole = running.drain(), torch.cat(seen).double().numpy()
    assert density.counts.sum() == len(whole)
    assert len(density.counts) <= FINE
    edges = density.width * (density.first + np.arange(len(density.counts) + 1))
    np.testing.assert_array_equal(density.counts, np.histogram(whole, edges)[0])


def test_merging_bins_equals_counting_in_wider_bins():
    fine = Density(-3, -13, np.arange(1, 41))
    wide = fine.coarser(0)
    assert wide.counts.sum() == fine.counts.sum()
    places = np.repeat(fine.width * (fine.first + np.arange(40) + 0.5), fine.counts)
    edges = wide.first + np.arange(len(wide.counts) + 1)
    np.testing.assert_array_equal(wide.counts, np.histogram(places, edges)[0])


@pytest.mark.parametrize(
    "values",
    [
        torch.zeros(10),
        torch.full((7,), 3.25),
        torch.tensor([-1e30, 1e30]),
        torch.tensor([1e-38, 2e-38]),
        torch.tensor([float("nan"), 1.0, float("inf"), 2.0]),
        torch.tensor([1e8, 1e8 + 8]),
    ],
)
def test_odd_values_are_counted_and_those_that_are_no_numbers_left_out(values):
    running = RunningDensity()
    running.add(values)
    assert running.drain().counts.sum() == values.isfinite().sum()


def test_rows_are_those_of_the_flat_table_whatever_the_memory_looks_like():
    flat = torch.randn(4, 6, 5)
    assert torch.equal(some_rows(flat, 3, 1), flat.reshape(-1, 5)[1::3])
    image = torch.randn(8, 5, 4, 4).movedim(1, -1)
    assert not image.is_contiguous()
    assert some_rows(image).shape == (8 * 16, 5)
    kept = some_rows(image, 32, 3)
    assert kept.shape == (4, 5)
    assert all((image.reshape(-1, 5) == row).all(1).any() for row in kept)


def test_units_that_say_the_same_are_found_once_and_rare_ones_are_not_accused():
    torch.manual_seed(0)
    values = torch.relu(torch.randn(128, 1500))
    values[:, 7] = 2 * values[:, 3] + 1
    values[:, 1400] = -values[:, 20]
    values[:, 50:60] = 0
    values[:3, 50:52] = 1.0  # two units that are active three times, on the same rows: no evidence
    found = duplicates(values)
    assert found.nonzero().flatten().tolist() == [7, 1400]
    values[5, 9] = float("nan")
    assert duplicates(values)[7]


def test_correlations_are_not_rounded_inside_autocast():
    torch.manual_seed(0)
    values = torch.randn(128, 1) + torch.linspace(0.05, 0.4, 200) * torch.randn(128, 200)
    found = duplicates(values)
    assert 0 < found.sum() < 199
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(duplicates(values), found)
