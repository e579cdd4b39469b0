"""Sums of units in one reading: as exact as double precision, the same on any number of threads, and not needed to record."""

import pytest
import torch

from labkit.parts.kernels import engine
from labkit.parts.kernels.engine import kernels
from labkit.parts.kernels.unit_sums import load, pays, plain, unit_sums
from labkit.recording.moments import RunningMoments

WITHOUT_CENTRE = [(1, 1), (33, 16), (32, 31), (100, 130), (7, 32)]

needs_numba = pytest.mark.skipif(not engine.FOUND, reason="numba is not installed")


def drawn(rows, units, seed=0):
    return torch.randn(rows, units, generator=torch.Generator().manual_seed(seed)).relu()


@needs_numba
@pytest.mark.parametrize("size", WITHOUT_CENTRE)
@pytest.mark.parametrize("threshold", [0.0, 0.7])
def test_nan_and_infinity_are_summed_and_counted_as_plain_torch_does(size, threshold):
    values = drawn(*size)
    values[0, 0], values[-1, -1] = float("nan"), float("inf")
    found, wanted = unit_sums(values, None, threshold), plain(values, None, threshold)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6, equal_nan=True)
    assert torch.equal(found[2], wanted[2])


@needs_numba
def test_the_number_of_threads_and_the_columns_beside_it_do_not_change_a_sum():
    values, before = drawn(3000, 999) - 0.2, torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(unit_sums(values, None))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[0][:, 16:32], unit_sums(values[:, 16:32].contiguous(), None))
    torch.testing.assert_close(found[0], plain(values, None), rtol=1e-6, atol=1e-4)


@needs_numba
def test_sums_of_many_rows_err_no_more_than_a_block_of_them():
    values = 0.1 + 0.01 * drawn(200_000, 3)
    found, wanted = unit_sums(values, None), plain(values, None)
    assert ((found - wanted).abs() / wanted).max() < 3e-7


@needs_numba
@pytest.mark.parametrize(
    "view",
    [
        lambda: drawn(60, 40)[3::7, :33],
        lambda: drawn(40, 60).T,
        lambda: drawn(40, 6)[:, 2:3],
        lambda: torch.randn(20, 1, dtype=torch.complex64).conj().imag,
        lambda: torch._neg_view(drawn(20, 20)),
        lambda: torch.ones(1, 20).expand(50, 20),
    ],
)
def test_values_that_do_not_lie_together_are_read_where_they_are(view):
    values = view()
    torch.testing.assert_close(unit_sums(values, None), plain(values, None), rtol=1e-6, atol=1e-6)


@needs_numba
def test_sums_are_added_onto_what_was_there():
    values, onto = drawn(50, 70), torch.ones(3, 70, dtype=torch.float64)
    assert unit_sums(values, values[0], onto=onto) is onto
    torch.testing.assert_close(onto, 1 + plain(values, values[0]), rtol=1e-6, atol=1e-6)


def windows(batches):
    running = RunningMoments()
    for batch in batches:
        running.add(batch)
    return running.drain()


@pytest.mark.filterwarnings("ignore:numba is not installed")
def test_a_recording_without_numba_sees_the_same(monkeypatch):
    batches = [drawn(300, 100, seed) + 20 * (seed % 2) for seed in range(4)]
    compiled = windows(batches)
    monkeypatch.setattr(engine, "FOUND", False)
    load()
    assert not pays(batches[0], None)
    found = windows(batches)
    for one, other in ((compiled.mean, found.mean), (compiled.variance, found.variance)):
        torch.testing.assert_close(torch.from_numpy(one), torch.from_numpy(other), rtol=2e-6, atol=1e-9)
    assert (compiled.active == found.active).all()


def test_few_values_other_types_and_who_asks_for_the_reference_go_the_plain_way():
    assert not pays(drawn(4, 4), None)
    assert not pays(drawn(400, 400).double(), None)
    with kernels("reference"):
        assert not pays(drawn(400, 400), None)
