"""A race is fair: the same places, cost, data and seeds for all, and a learning rate of its own for each."""

import numpy as np
import pytest
import torch
from torch import nn

from labkit.errors import LabError
from labkit.views.race import race as chart
from labkit.workbench.contenders import BASELINE, CONTENDERS, Contender
from labkit.workbench.grounds import GROUNDS
from labkit.workbench.race import costs, entries, open_race, race, race_study, recorded_races, tuned

SMALL = {"on": "digits", "steps": 12}


@pytest.mark.parametrize("on", GROUNDS)
def test_every_contender_finds_a_size_of_nearly_the_same_cost(on):
    for match in ("parameters", "active_flops"):
        found = entries(CONTENDERS, on, match)
        assert set(found) == set(CONTENDERS)
        for name, entry in found.items():
            assert entry.after == pytest.approx(entry.before, rel=0.06), (on, match, name)


def test_a_race_compares_all_with_the_dense_layer_on_the_same_seeds():
    heard = []
    run = race(["low rank", "trees of neurons"], **SMALL, seeds=2, tune=False, watch=heard.append)
    assert list(run.data.arm.values) == ["dense", "low rank", "trees of neurons"]
    assert run.data.sizes["seed"] == 2
    assert [claim["says"] for claim in run.claims] == [
        "Low rank learns more than the dense layer at the same cost.",
        "Trees of neurons learns more than the dense layer at the same cost.",
    ]
    found = costs(run.data)
    assert list(found.cost.values) == ["parameters", "operations an input", "seconds of training"]
    assert (found > 0).all()
    spread = found.sel(cost="parameters").values
    assert np.ptp(spread) / spread.mean() < 0.05
    assert heard[-1].done == pytest.approx(1)
    assert "Race: " in heard[-1].place
    figure = chart(run.data.test_loss.sel(mode="hard").isel(step=-1, drop=True), found)
    assert "low rank" in figure.layout.meta["alt"]
    assert run.provenance["race"]["match"] == "parameters"
    assert "Size" in run.provenance["race"]["arms"]["low rank"]


def test_the_learning_rate_is_found_without_the_test_data():
    rates = tuned(["low rank"], **SMALL, rates=(1e-7, 0.01))
    assert rates == {"dense": 0.01, "low rank": 0.01}
    found = race_study(["low rank"], **SMALL, rates={"low rank": 0.004})
    assert found.arms["low rank"].trainer().learning_rate == 0.004
    assert found.arms[BASELINE].trainer().learning_rate == 0.01


def test_a_layer_of_ones_own_may_race():
    class Wide(nn.Module):
        def __init__(self, i, o, size):
            super().__init__()
            self.into, self.out = nn.Linear(i, 2 * size), nn.Linear(2 * size, o)

        def forward(self, x):
            return self.out(torch.tanh(self.into(x)))

    also = {"mine": Contender(Wide, "Tanh.")}
    found = race_study(["mine"], **SMALL, also=also)
    assert found.arms["mine"].says.startswith("Tanh. Size 128")


def test_a_contender_whose_loss_is_no_number_is_named():
    class Broken(nn.Module):
        def __init__(self, i, o, size):
            super().__init__()
            self.out = nn.Linear(i, o * size)
            self.width = o

        def forward(self, x):
            return self.out(x)[..., : self.width] * float("nan")

    with pytest.raises(LabError, match="broken cannot be trained at any of the rates"):
        tuned(["broken"], **SMALL, also={"broken": Contender(Broken, "It cannot.")})


def test_wrong_words_get_a_sentence():
    with pytest.raises(LabError, match="Nobody races as 'tre'"):
        race_study(["tre"])
    with pytest.raises(LabError, match="There is no ground 'moon'"):
        race_study(["low rank"], on="moon")
    with pytest.raises(LabError, match="beside the dense one"):
        race_study([BASELINE])


@pytest.mark.parametrize("on", recorded_races())
def test_a_recorded_race_has_all_contenders_of_today(on):
    run = open_race(on)
    assert set(run.data.arm.values) <= set(CONTENDERS)
    assert len(run.provenance["seeds"]) >= 3
