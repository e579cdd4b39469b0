"""What is said about single units is true of planted ones, and equals slow computations by hand."""

import numpy as np
import pytest
import torch

from labkit.analysis.activity.activation_density import activation_density_of, range_of
from labkit.analysis.activity.strongest_inputs import strongest_inputs_of
from labkit.analysis.activity.unit_activity import unit_activity_of
from labkit.analysis.activity.unit_density import unit_density_of
from labkit.analysis.activity.unit_health import twins_of, unit_health_of


def health(values):
    return unit_health_of({"a": values}).sel(layer="a")


def marked(values, condition):
    return np.flatnonzero(health(values).sel(condition=condition)).tolist()


# activity


def test_activity_is_the_mean_modulus_and_short_layers_are_filled_with_nothing():
    wide, narrow = torch.randn(7, 5), torch.randn(3, 4, 2)
    found = unit_activity_of({"wide": wide, "narrow": narrow})
    by_hand = [sum(abs(float(wide[row, unit])) for row in range(7)) / 7 for unit in range(5)]
    assert found.sel(layer="wide").values == pytest.approx(by_hand, rel=1e-6)
    assert found.sel(layer="narrow").values[:2] == pytest.approx(narrow.abs().mean((0, 1)).numpy(), rel=1e-6)
    assert np.isnan(found.sel(layer="narrow").values[2:]).all()


def test_activity_is_exact_over_many_rows_of_half_precision():
    values = torch.full((70_000, 3), 0.5, dtype=torch.bfloat16)
    assert unit_activity_of({"a": values}).values[0] == pytest.approx([0.5] * 3, rel=1e-7)


# density


def test_density_counts_every_value_once_and_agrees_with_numpy():
    values = torch.randn(1000, 8)
    found = activation_density_of({"a": values}, bins=20)
    edges = np.linspace(float(values.min()), float(values.max()), 21)
    counts, _ = np.histogram(values.numpy(), edges)
    assert found.sum() == pytest.approx(1, abs=1e-6)
    assert np.abs(found.values[0] * values.numel() - counts).max() <= 1.01  # a value on an edge may fall either way
    assert found["centre"].values[0] == pytest.approx((edges[1:] + edges[:-1]) / 2, rel=1e-5)
    assert float(found["beyond"][0]) == 0


def test_zeros_are_told_apart_from_small_values():
    values = torch.relu(torch.randn(400, 10))
    found = activation_density_of({"a": values})
    assert float(found["zeros"][0]) == pytest.approx(float((values == 0).float().mean()))


def test_one_huge_activation_does_not_squeeze_the_rest_into_one_bin():
    values = torch.randn(2000, 10)
    values[5, 5] = 1e4
    found = activation_density_of({"a": values}, bins=50)
    assert (found.values[0] > 0.005).sum() > 20
    assert found.sum() == pytest.approx(1, abs=1e-6)
    assert 0 < float(found["beyond"][0]) < 0.003


def test_given_ranges_make_two_recordings_comparable():
    ranges = {"a": (-1.0, 3.0)}
    first = activation_density_of({"a": torch.randn(50, 4)}, ranges=ranges)
    second = activation_density_of({"a": torch.randn(50, 4) * 9}, ranges=ranges)
    assert (first["centre"].values == second["centre"].values).all()
    assert second.sum() == pytest.approx(1, abs=1e-6)


def test_a_constant_layer_still_has_a_range():
    low, high = range_of(torch.full((10, 3), 2.0))
    assert low < 2 < high


def test_density_of_one_unit():
    values = torch.relu(torch.randn(500))
    found = unit_density_of(values, bins=10)
    assert float(found.sum()) == pytest.approx(1, abs=1e-6)
    assert found.attrs["zeros"] == pytest.approx(float((values == 0).double().mean()))
    inside = (values >= found.attrs["width"]) & (values < 2 * found.attrs["width"])
    assert float(found[1]) == pytest.approx(float(inside.float().mean()), abs=0.003)


# health


def test_a_planted_dead_unit_is_found_and_no_other():
    values = torch.relu(torch.randn(200, 30))
    values[:, 7] = 0
    assert marked(values, "dead") == [7]


def test_a_unit_that_speaks_once_is_not_dead():
    values = torch.relu(torch.randn(200, 30))
    values[:, 7] = 0
    values[11, 7] = 1
    assert marked(values, "dead") == []


def test_a_smooth_nonlinearity_that_only_whispers_is_dead():
    before = torch.randn(200, 30)
    before[:, 4] -= 12
    assert marked(torch.nn.functional.gelu(before), "dead") == [4]


def test_a_massive_activation_does_not_make_the_others_dead():
    values = torch.randn(200, 30)
    values[:, 3] *= 1e5
    assert marked(values, "dead") == []


def test_a_layer_that_is_silent_is_dead_throughout():
    assert marked(torch.zeros(50, 4), "dead") == [0, 1, 2, 3]


@pytest.mark.parametrize("push", [30, -30])
def test_a_planted_saturated_unit_is_found_at_either_end(push):
    before = torch.randn(300, 20)
    before[:, 5] += push
    assert marked(torch.tanh(before), "saturated") == [5]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_unit_that_rarely_leaves_its_bound_is_saturated(sign):
    values = torch.tanh(torch.randn(300, 20))
    values[:, 9] = torch.where(torch.arange(300) < 290, 1.0, -1.0) * sign
    values[:, 10] = torch.where(torch.arange(300) < 250, 1.0, -1.0) * sign
    assert marked(values, "saturated") == [9]


def test_a_unit_that_is_nothing_but_a_bias_is_saturated():
    values = torch.relu(torch.randn(300, 20))
    values[:, 9] = 0.7 + 1e-3 * torch.randn(300)
    assert marked(values, "saturated") == [9]
    far = 1e4 + 200 * torch.randn(3000, 20)
    far[:, 9] = 1e4 + 50 * torch.randn(3000)
    assert marked(far, "saturated") == [9]


def test_sparse_units_are_not_saturated():
    assert marked(torch.relu(torch.randn(300, 20) - 2.5), "saturated") == []


def test_a_bounded_unit_at_rest_is_not_saturated():
    before = torch.randn(300, 20)
    before[:, 5] -= 30
    found = health(torch.sigmoid(before))
    assert not found.sel(condition="saturated").any()
    assert np.flatnonzero(found.sel(condition="dead")).tolist() == [5]


@pytest.mark.parametrize("scale", [1.0, -3.0])
def test_a_planted_duplicate_is_found_at_any_scale_and_sign(scale):
    values = torch.randn(300, 20)
    values[:, 11] = scale * values[:, 2] + 5
    found = health(values)
    assert np.flatnonzero(found.sel(condition="duplicate")).tolist() == [2, 11]
    assert found["twin"].values[[2, 11]].tolist() == [11, 2]
    assert found["twin"].values[0] == -1


def test_what_is_only_similar_is_no_duplicate():
    values = torch.randn(2000, 20)
    values[:, 11] = values[:, 2] + 0.5 * torch.randn(2000)
    assert marked(values, "duplicate") == []


def test_dead_units_and_units_that_spoke_once_are_no_duplicates():
    values = torch.relu(torch.randn(300, 20))
    values[:, 3] = values[:, 4] = 0
    values[:, 5] = values[:, 6] = 0
    values[9, 5], values[9, 6] = 1.0, 2.0
    assert marked(values, "duplicate") == []


def test_units_that_only_whisper_are_no_duplicates():
    values = torch.randn(300, 20)
    values[:, 4] = values[:, 7] = 1e-5 * torch.randn(300)
    found = health(values)
    assert np.flatnonzero(found.sel(condition="dead")).tolist() == [4, 7]
    assert not found.sel(condition="duplicate").any()


def test_duplicates_among_many_units_are_found_from_the_sketch():
    values = torch.relu(torch.randn(256, 5000))
    pairs = {(int(a), int(b)) for a, b in torch.randperm(5000)[:200].view(100, 2)}
    for a, b in pairs:
        values[:, b] = values[:, a] * 1.5
    twins = twins_of(values)
    assert {(unit, int(twins[unit])) for unit in range(5000) if twins[unit] >= 0} == pairs | {(b, a) for a, b in pairs}


def test_the_sketch_and_the_exact_search_agree():
    values = torch.randn(300, 600)
    values[:, 100:200] = values[:, :100] + torch.linspace(0, 0.3, 100) * torch.randn(300, 100)
    assert torch.equal(twins_of(values) >= 0, twins_of(values, exact=0) >= 0)
    truth = np.corrcoef(values.numpy().T)
    np.fill_diagonal(truth, 0)
    assert ((np.abs(truth).max(1) >= 0.99) == (twins_of(values) >= 0).numpy()).all()


def test_short_layers_have_no_health_where_there_is_no_unit():
    found = unit_health_of({"wide": torch.randn(20, 5), "narrow": torch.randn(20, 2)})
    assert np.isnan(found.sel(layer="narrow").values[:, 2:]).all()
    assert found["twin"].values[1].tolist() == [-1] * 5


# strongest inputs


def test_the_strongest_inputs_are_those_of_a_sort():
    values = torch.randn(40, 6)
    found = strongest_inputs_of({"a": values}, ranks=5).sel(layer="a")
    for unit in range(6):
        order = sorted(range(40), key=lambda row: -float(values[row, unit]))[:5]
        assert found["input"].values[unit].tolist() == order
        assert found.values[unit] == pytest.approx(values[order, unit].numpy())


def test_an_input_counts_once_at_its_strongest_place():
    values = torch.randn(8, 3, 4, 5)  # inputs, rows, columns, units
    found = strongest_inputs_of({"a": values}, ranks=8).sel(layer="a")
    flat = values.flatten(1, 2)
    for unit in range(5):
        inputs = found["input"].values[unit]
        assert sorted(inputs) == list(range(8))
        assert found.values[unit] == pytest.approx(flat[inputs, :, unit].max(1).values.numpy())
        assert found["place"].values[unit].tolist() == flat[inputs, :, unit].argmax(1).tolist()


def test_a_dead_unit_has_no_strongest_input():
    values = torch.relu(torch.randn(40, 6))
    values[:, 2] = 0
    values[17, 3], values[torch.arange(40) != 17, 3] = 1.0, 0.0
    found = strongest_inputs_of({"a": values}, ranks=4).sel(layer="a")
    assert (found["input"].values[2] == -1).all()
    assert np.isnan(found.values[2]).all()
    assert found["input"].values[3].tolist() == [17, -1, -1, -1]


def test_fewer_inputs_than_ranks_leave_ranks_empty():
    found = strongest_inputs_of({"a": torch.randn(3, 2)}, ranks=5)
    assert found.shape == (1, 2, 5)
    assert (found["input"].values[..., 3:] == -1).all()
