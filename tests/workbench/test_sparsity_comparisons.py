"""Ways compared on one model: halves are halves, tables are labelled, and the numbers are those of the models."""

import numpy as np
import pytest
import torch
from torch import nn

from labkit.errors import LabError
from labkit.parts.fewer_units import BestUnits, EachInput
from labkit.recording.batches import answer, evaluating, judged
from labkit.transforms.split.fewer_units import fewer_units
from labkit.views.tradeoff import tradeoff
from labkit.workbench.sparsity.chosen_inputs import (
    RULES,
    against_all_choices,
    error_by_layer,
    kept_by_rule,
    times_of_layer,
    uneven_columns,
    unevenness,
)
from labkit.workbench.sparsity.split_layers import (
    LOW_RANK,
    low_rank_table,
    norms_in_order,
    rounding_table,
    steadiness,
    times_of_split,
)
from labkit.workbench.sparsity.ways_compared import halves, speed_by_share, ways_compared

CHANCE = torch.Generator().manual_seed(0)
X, TARGET = torch.randn(40, 6, generator=CHANCE), torch.arange(40) % 3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3)).eval()


def test_ways_are_fitted_on_one_half_and_measured_on_the_other():
    model, ways = (
        network(),
        {"magnitude": EachInput("magnitude"), "fixed units": BestUnits(), "random": EachInput("random")},
    )
    table = ways_compared(model, (X, TARGET), ways, levels=(0.0, 0.75), seconds=0.01)
    assert table.dims == ("method", "level", "quantity")
    fitted, measured = halves((X, TARGET), 0)
    fewer = fewer_units(model, fitted, way=BestUnits(), share=0.25)
    with evaluating(fewer):
        wanted = judged(answer(fewer, measured), measured)
    row = table.sel({"method": "fixed units", "level": 0.75})
    assert np.allclose([row.sel(quantity=name) for name in ("loss", "accuracy")], wanted, atol=1e-5)
    assert float(row.sel(quantity="active fraction")) == 0.25
    whole = table.sel(level=0.0, quantity="loss")
    assert np.allclose(whole, whole[0], atol=1e-4)
    timed = table.sel(quantity="milliseconds")
    assert np.isfinite(timed.sel({"method": ["magnitude", "fixed units"]})).all()
    assert np.isnan(timed.sel({"method": "random"})).all()
    assert np.isfinite(table.threshold.sel({"method": "magnitude"})).all()


def test_the_table_is_drawn_by_the_view_with_the_slider():
    from labkit.analysis.activity.activation_density import activation_density

    model = network()
    table = ways_compared(
        model, (X, TARGET), {"magnitude": EachInput("magnitude")}, levels=(0.0, 0.5, 0.75), seconds=0.01
    )
    figure = tradeoff(activation_density(model, (X, TARGET)).isel(layer=0), table)
    assert len(figure.layout.sliders[0].steps) == 3


def test_halves_share_nothing_and_levels_are_checked():
    one, other = halves((X, TARGET), 3)
    assert len(one[0]) + len(other[0]) == 40
    assert not {tuple(row) for row in one[0].tolist()} & {tuple(row) for row in other[0].tolist()}
    with pytest.raises(LabError, match="3 inputs are too few"):
        halves((X[:3], TARGET[:3]))
    with pytest.raises(LabError, match="from 0 to below 1"):
        ways_compared(network(), (X, TARGET), levels=(1.0,))


def test_speeds_are_positive_and_labelled():
    found = speed_by_share(width=8, units=32, shares=(1.0, 0.25), batches=(1, 4), seconds=0.02)
    assert found.dims == ("arm", "batch", "active")
    assert (found > 0).all()
    assert (times_of_layer(16, (0.5,), (1, 4), 2) > 0).all()
    assert (times_of_split(8, 32, 0.6, (1, 4), 2) > 0).all()


def test_no_choice_beats_wina_on_orthogonal_columns_and_some_do_on_others():
    found = against_all_choices(2, draws=12, inputs=8, outputs=9, kept=4)
    wina = found.sel(rule="WINA")
    assert (wina.sel(columns="orthogonal", quantity="optimal") == 1).all()
    assert (found.sel(columns="orthogonal", quantity="off the formula") < 1e-12).all()
    assert (wina.sel(columns="drawn", quantity="times the least error") > 1).all()
    assert (found.sel(rule="magnitude", quantity="optimal") < 1).all()


def test_equal_columns_make_the_rules_equal():
    found = uneven_columns(2, spreads=(0.0, 1.0), inputs=32, outputs=32, rows=16)
    assert np.allclose(found.sel(arm="WINA", spread=0.0), found.sel(arm="magnitude", spread=0.0), atol=1e-4)
    assert (found.sel(arm="WINA", spread=1.0) < found.sel(arm="magnitude", spread=1.0)).all()


def test_rules_and_splits_begin_with_the_whole_model():
    model, (fitted, measured) = network(), halves((X, TARGET), 0)
    whole = judged(model(measured[0]), measured)
    for table in (
        kept_by_rule(model, fitted, measured, shares=(0.5,)),
        low_rank_table(model, fitted, measured, (0.8,)),
        rounding_table(model, fitted, measured, (4,), units=32),
    ):
        assert np.allclose(table.isel({table.dims[1]: 0}), whole, atol=1e-5)
        assert np.isfinite(table).all()
    assert list(kept_by_rule(model, fitted, measured, shares=(0.5,)).rule.values) == list(RULES)
    assert list(low_rank_table(model, fitted, measured, (0.8,)).way.values) == list(LOW_RANK)


def test_errors_and_norms_of_a_layer():
    model, (fitted, measured) = network(), halves((X, TARGET), 0)
    full = error_by_layer(model, fitted, measured, rules=("WINA", "random"), share=0.999)
    assert (full.sel(rule="WINA") < 1e-5).all()
    assert list(unevenness(model)) == ["0", "2"]
    order = norms_in_order(model, (X, TARGET), places=9)
    assert (np.diff(order.values) <= 1e-6).all()
    found = steadiness(model, fitted, fitted, share=0.25)
    assert (found.sel(quantity="same on other inputs") == 1).all()
    assert ((found >= 0) & (found <= 1)).all()
