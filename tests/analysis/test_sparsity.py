"""What is said about sparsity equals slow computations by hand, and is right at the extremes that are known."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from labkit.analysis.sparsity.active_fraction import active_fraction_of, levels_of
from labkit.analysis.sparsity.coactivation import coactivation_of, groups_of, lift_of, modularity
from labkit.analysis.sparsity.lifetime_sparsity import lifetime_sparsity_of
from labkit.analysis.sparsity.population_sparsity import population_sparsity_of
from labkit.analysis.sparsity.weight_pattern import weight_pattern, weight_pattern_of
from labkit.errors import LabError


def vinje_and_gallant(responses):
    """The formula as the paper prints it, one response at a time."""
    n = len(responses)
    mean = sum(abs(r) / n for r in responses)
    square = sum(r * r / n for r in responses)
    return (1 - mean**2 / square) / (1 - 1 / n)


# lifetime and population sparseness


def test_lifetime_sparseness_is_the_published_formula():
    values = torch.randn(30, 6)
    found = lifetime_sparsity_of({"a": values}).values[0]
    assert found == pytest.approx([vinje_and_gallant(values[:, unit].tolist()) for unit in range(6)], abs=1e-6)


def test_lifetime_sparseness_at_its_extremes():
    values = torch.zeros(50, 3)
    values[:, 0] = 2.0
    values[8, 1] = 2.0
    found = lifetime_sparsity_of({"a": values}).values[0]
    assert found[0] == pytest.approx(0, abs=1e-7)
    assert found[1] == pytest.approx(1, abs=1e-7)
    assert np.isnan(found[2])


def test_population_sparseness_is_the_same_formula_along_the_units():
    values = torch.randn(12, 9)
    found = population_sparsity_of({"a": values}).values[0]
    assert found == pytest.approx([vinje_and_gallant(row.tolist()) for row in values], abs=1e-6)


# active fraction


def test_active_fraction_counts_what_exceeds_the_threshold():
    values = {"a": torch.relu(torch.randn(10, 7)), "b": torch.randn(10, 4)}
    found = active_fraction_of(values, thresholds=[0, 0.5, 2])
    assert found.dims == ("threshold", "layer", "token")
    for layer, table in values.items():
        for threshold in (0, 0.5, 2):
            by_hand = [sum(abs(v) > threshold for v in row) / len(row) for row in table.tolist()]
            assert found.sel(layer=layer, threshold=threshold).values == pytest.approx(by_hand)


def test_the_thresholds_start_at_zero_and_rise_through_the_data():
    values = {"small": torch.relu(torch.randn(300, 7)), "large": 10 * torch.relu(torch.randn(300, 4))}
    levels = levels_of(values)
    assert levels[0] == 0
    assert levels == sorted(set(levels))
    found = active_fraction_of(values).mean(("layer", "token")).values
    assert (np.diff(found) < 0).all()
    assert np.abs(np.diff(found) - np.diff(found).mean()).max() < 0.02  # parts of equal size
    assert levels_of({"a": torch.zeros(4, 3)}) == [0.0]


# co-activation


def experts(rows=600, groups=4, size=8, noise=0.02):
    """Activity of units of which a whole group is on where its expert is chosen."""
    chosen = torch.randint(groups, (rows,))
    on = (chosen.unsqueeze(1) == torch.arange(groups)).repeat_interleave(size, dim=1)
    flip = torch.rand(on.shape) < noise
    return (on ^ flip).float()


def test_lift_is_the_logarithm_of_how_much_more_often_than_by_chance():
    active = (torch.rand(200, 5) < 0.4).float().numpy()
    found = lift_of(active)
    for i in range(5):
        for j in range(5):
            together = sum(active[row, i] and active[row, j] for row in range(200))
            chance = active[:, i].sum() * active[:, j].sum() / 200
            assert found[i, j] == pytest.approx(math.log2((together + 0.5) / (chance + 0.5)), abs=1e-6)


def test_planted_experts_are_found_as_clusters_in_any_order():
    shuffled = torch.randperm(32)
    found = coactivation_of(experts()[:, shuffled])
    truth = (shuffled // 8).numpy()[found["unit"].values]
    cluster = found["cluster"].values
    assert found.attrs["clusters"] == 4
    assert all(len(set(truth[cluster == one])) == 1 for one in range(4))
    assert (np.diff(cluster) >= 0).all()
    assert found.attrs["modularity"] > 0.6 > 3 * found.attrs["modularity_shuffled"]


def test_units_that_act_independently_are_no_more_modular_than_shuffled_ones():
    found = coactivation_of((torch.rand(600, 32) < 0.3).float())
    assert found.attrs["modularity"] == pytest.approx(found.attrs["modularity_shuffled"], abs=0.05)


def test_modularity_is_the_published_sum():
    weights = np.triu(np.random.default_rng(0).random((6, 6)), 1)
    weights += weights.T
    group = np.array([0, 0, 1, 1, 1, 2])
    total = weights.sum()
    by_hand = sum(
        (weights[i, j] - weights[i].sum() * weights[j].sum() / total) / total
        for i in range(6)
        for j in range(6)
        if group[i] == group[j]
    )
    assert modularity(weights, group) == pytest.approx(by_hand)
    assert modularity(weights, np.zeros(6, dtype=int)) == pytest.approx(0, abs=1e-12)


def test_two_cliques_are_two_groups():
    weights = np.kron(np.eye(2), np.ones((5, 5))) - np.eye(10)
    group, quality = groups_of(weights)
    assert sorted(set(group[:5])) != sorted(set(group[5:]))
    assert len(set(group)) == 2
    assert quality == pytest.approx(0.5)


def test_without_zeros_a_fifth_of_the_activations_counts_as_active():
    values = torch.randn(500, 20)
    found = coactivation_of(values)
    assert float((values.abs() > found.attrs["threshold"]).float().mean()) == pytest.approx(0.2, abs=0.01)
    assert coactivation_of(torch.relu(values)).attrs["threshold"] == 0


def test_more_units_than_wanted_are_reduced_to_those_that_vary():
    values = experts()
    values[:, 5] = 1  # always on: together with all, by chance
    values[:, 6] = 0
    values[:, 7] = (torch.rand(600) < 0.97).float()
    found = coactivation_of(values, units=20)
    assert len(found["unit"]) == 20
    assert not {5, 6, 7} & set(found["unit"].values.tolist())
    assert "20 of 32 units" in found.attrs["sampled"]


def test_a_layer_that_never_varies_is_refused_with_a_sentence():
    with pytest.raises(LabError, match="choose another threshold"):
        coactivation_of(torch.ones(20, 5))


# weight patterns


def pattern(weight):
    return weight_pattern_of({"w": weight}).sel(parameter="w")


def test_a_dense_matrix_has_no_pattern():
    found = pattern(torch.randn(32, 64))
    assert found.values.tolist() == [0] * 6
    assert str(found["usable"].values) == "nothing"


def test_two_of_four_is_recognised_and_one_group_too_full_spoils_it():
    weight = torch.randn(16, 32)
    weight.view(16, 8, 4)[..., 1:3] = 0
    found = pattern(weight)
    assert float(found.sel(pattern="2:4")) == 1
    assert float(found.sel(pattern="4:8")) == 1
    assert float(found.sel(pattern="zeros")) == 0.5
    assert "2:4" in str(found["usable"].values)
    weight[3, 1] = 1
    assert float(pattern(weight).sel(pattern="2:4")) == pytest.approx(1 - 1 / 128)
    assert "2:4" not in str(pattern(weight)["usable"].values)


def test_four_of_eight_need_not_be_two_of_four():
    weight = torch.randn(16, 32)
    weight.view(16, 4, 8)[..., :4] = 0
    found = pattern(weight)
    assert float(found.sel(pattern="4:8")) == 1
    assert float(found.sel(pattern="2:4")) == 0.5


def test_empty_rows_columns_and_blocks_are_counted():
    weight = torch.randn(32, 64)
    weight[:8] = 0
    weight[:, 60:] = 0
    weight[16:, 16:32] = 0
    found = pattern(weight)
    assert float(found.sel(pattern="empty rows")) == 0.25
    assert float(found.sel(pattern="empty columns")) == pytest.approx(4 / 64)
    assert float(found.sel(pattern="empty 16x16 blocks")) == pytest.approx(1 / 8)


def test_a_matrix_too_small_for_a_pattern_says_nothing_about_it():
    found = pattern(torch.randn(3, 3))
    assert np.isnan(found.sel(pattern=["2:4", "4:8", "empty 16x16 blocks"]).values).all()


def test_pruned_and_parametrised_weights_are_seen_as_the_model_uses_them():
    class Halved(nn.Module):
        def forward(self, weight):
            return weight * (torch.arange(weight.shape[1]) % 4 < 2)

    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16), nn.Embedding(3, 16), nn.LayerNorm(16))
    prune.l1_unstructured(model[0], "weight", amount=0.75)
    parametrize.register_parametrization(model[1], "weight", Halved())
    found = weight_pattern(model)
    assert found["parameter"].values.tolist() == ["0.weight", "1.weight"]
    assert float(found.sel(parameter="0.weight", pattern="zeros")) == 0.75
    assert float(found.sel(parameter="1.weight", pattern="2:4")) == 1


def test_a_convolution_is_grouped_along_its_input_channels():
    convolution = nn.Conv2d(8, 16, 3)
    with torch.no_grad():
        convolution.weight[:, 1::2] = 0
    assert float(weight_pattern(convolution).sel(pattern="2:4").item()) == 1
    assert float(weight_pattern(convolution).sel(pattern="empty columns").item()) == 0.5


def test_a_model_without_matrices_is_refused_with_a_sentence():
    with pytest.raises(LabError, match="no weight matrix"):
        weight_pattern(nn.ReLU())
