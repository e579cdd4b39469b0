"""The network behind the examples: its gradients are right, it learns, and what the versions are for really happens."""

import numpy as np
import pytest

from labkit.views import routed_specimen as specimen
from labkit.views.routed_specimen import forward, gradients, measured, routed, select


@pytest.mark.parametrize(("chosen", "balance"), [(2, "layer"), (1, "pooled"), (2, "none")])
def test_the_gradients_are_those_of_the_loss(chosen: int, balance: str):
    alphabet, codes = specimen.texts()
    random = np.random.default_rng(0)
    weights = specimen.drawn(random, len(alphabet), 4, 5)
    windows = np.lib.stride_tricks.sliding_window_view(codes, specimen.CONTEXT + 1)[:40]

    def loss(given: dict) -> float:
        told, _, layers = forward(given, windows, chosen)
        total = -np.log(told[np.arange(40), windows[:, -1]]).mean()
        often = [(layer["gate"] > 0).mean(0) / chosen for layer in layers]
        mean = [layer["p"].mean(0) for layer in layers]
        if balance == "layer":
            total += 0.02 * sum(4 * (one * other).sum() for one, other in zip(often, mean))
        if balance == "pooled":
            total += 0.02 * 4 * (np.mean(often, 0) * np.mean(mean, 0)).sum()
        return float(total)

    slopes = gradients(weights, windows, chosen, 0.0, balance)
    assert set(slopes) == set(weights)
    for name, slope in slopes.items():
        way = np.sign(slope)
        moved = [loss({**weights, name: weights[name] + side * 1e-7 * way}) for side in (1, -1)]
        assert (moved[0] - moved[1]) / 2e-7 == pytest.approx(np.abs(slope).sum(), rel=2e-3), name


def test_it_learns_and_says_the_same_twice():
    run = routed(0)
    assert run.loss[0] > 4.4
    assert run.loss[-1] < 3.1
    again = routed.__wrapped__(0)
    np.testing.assert_array_equal(run.probability, again.probability)


def test_with_a_balance_loss_all_experts_live_and_without_one_some_die():
    assert (routed(0).chosen()[-1] > 0).all()
    dying = routed(0, "none", experts=16, rate=0.02).chosen()
    assert (dying[0] > 0).all()
    assert (dying[-1] == 0).sum() >= 4


def test_a_pooled_loss_looks_fine_while_each_layer_leaves_experts_out():
    run = routed(0, "pooled", rate=0.03, strength=0.1)
    often, mean = run.chosen()[-1], run.probability[-1].mean(1)
    assert (8 * (often * mean).sum(-1)).min() > 1.5
    assert 8 * (often.mean(0) * mean.mean(0)).sum() < 1.1


def test_a_full_expert_takes_no_more_and_first_choices_come_first():
    p = np.array([[0.7, 0.3, 0.0], [0.8, 0.0, 0.2], [0.6, 0.4, 0.0], [0.1, 0.9, 0.0]])
    index, weight = select(p, 2, 0.75)  # room for two of the eight choices in each
    np.testing.assert_array_equal(index, [[0, 1], [0, 2], [-1, -1], [1, -1]])
    assert weight[2].sum() == 0
    np.testing.assert_allclose(select(p, 2, 0.0)[1].sum(1), 1)


def test_sending_a_token_where_it_went_changes_nothing():
    run = routed(0)
    token = 77
    losses, answers = run.sent(token)
    told, _, _ = forward(run.weights, run.codes[[token]], 2)
    np.testing.assert_allclose(answers[run.index[-1, 0, token, 0]], np.log(told[0]), rtol=1e-9)
    assert np.ptp(losses) > 1e-3


def test_measured_arrays_say_what_they_are():
    data = measured(routed(0), routed(0).chosen(), ("step", "layer", "choice"), "share of inputs", "fraction")
    assert data["choice"].attrs["long_name"] == "expert"
    assert data["layer"].values.tolist() == ["layers.0", "layers.1"]
