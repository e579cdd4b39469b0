"""The networks behind the examples: really trained, the same on every start."""

import numpy as np

from labkit.views.network_specimen import HELD, digits_network, measured_tradeoff, pruned_weights, text_network


def test_the_digits_network_learns_and_some_of_its_units_die():
    network = digits_network(0)
    assert network.judged(network.answers(0))[1] < 0.3
    assert network.judged(network.answers())[1] > 0.93
    assert sum(int((activity.max(0) == 0).sum()) for activity in network.hidden()) > 10


def test_the_text_network_guesses_better_than_the_most_frequent_character():
    network = text_network(0)
    often = np.bincount(network.labels).max() / HELD
    assert network.judged(network.answers())[1] > often + 0.08


def test_the_same_seed_gives_the_same_network():
    first = digits_network(3).weights[-1][1][0]
    digits_network.cache_clear()
    np.testing.assert_array_equal(first, digits_network(3).weights[-1][1][0])


def test_hidden_activity_is_what_the_sums_are_above_zero():
    network = digits_network(0)
    for activity, sums in zip(network.hidden(), network.sums()):
        np.testing.assert_array_equal(activity, np.maximum(sums, 0))
    np.testing.assert_array_equal(network.after(1, network.hidden()[1]), network.answers())


def test_a_dead_unit_can_be_taken_out_without_any_effect():
    network = digits_network(0)
    dead = network.hidden()[1].max(0) == 0
    assert np.abs(network.ablated(1)[:, dead]).max() < 1e-5
    assert network.ablated(1)[1, ~dead].min() > 0


def test_pruned_weights_are_copies():
    before = digits_network(0).weights[-1][0][0].copy()
    pruned_weights(0)
    np.testing.assert_array_equal(before, digits_network(0).weights[-1][0][0])


def test_silencing_nothing_is_the_network_itself_and_times_are_positive():
    network = digits_network(0)
    methods, levels, quantities, values, _ = measured_tradeoff(0)
    odd = (network.answers()[1::2].argmax(-1) == network.labels[1::2]).mean()
    np.testing.assert_allclose(values[:, 0, quantities.index("accuracy")], odd)
    assert (values[..., quantities.index("milliseconds")] > 0).all()
    assert (len(methods), len(levels)) == values.shape[:2]
