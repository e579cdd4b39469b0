"""The tree: the flow adds up, numbers are those of the recording, sizes are checked."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.flow import Flow, flows, level_of, middle
from labkit.views.theme import alt_text, payload
from labkit.views.tree import example, tree


def still(bits, share) -> tuple[xr.DataArray, xr.DataArray]:
    return xr.DataArray(bits, dims="node"), xr.DataArray(share, dims="choice")


def random_tree(depth: int, steps: int = 3) -> tuple[xr.DataArray, xr.DataArray]:
    random = np.random.default_rng(0)
    entropy = xr.DataArray(random.random((steps, 2**depth - 1)), dims=("step", "node"))
    return entropy, xr.DataArray(random.dirichlet(np.full(2**depth, 0.3), steps), dims=("step", "choice"))


def trace(figure, name: str):
    return next(one for one in figure.data if one.name == name)


def test_what_comes_to_a_node_is_what_leaves_it():
    state = Flow(np.zeros(7), np.array([0.1, 0.2, 0.0, 0.3, 0.05, 0.15, 0.0, 0.2]))
    for node in range(7):
        assert state.through[node] == pytest.approx(state.through[2 * node + 1] + state.through[2 * node + 2])
    assert state.through[0] == pytest.approx(1)
    assert state.right[0] == pytest.approx(0.4)
    assert state.right[4] == pytest.approx(1)


def test_a_node_stands_in_the_middle_of_its_leaves():
    nodes = np.arange(15)
    np.testing.assert_array_equal(level_of(nodes), [0, 1, 1, 2, 2, 2, 2, *[3] * 8])
    np.testing.assert_array_equal(middle(nodes, 3), [7, 3, 11, 1, 5, 9, 13, 0, 2, 4, 6, 8, 10, 12, 14])


def test_every_disc_carries_the_number_of_its_node():
    figure = tree(*still([0.1, 0.9, 0.2], [0.25, 0.25, 0.5, 0.0]))
    custom = values_of(trace(figure, "decisions").customdata)
    np.testing.assert_array_equal(custom[:, 0], [0, 1, 2])
    np.testing.assert_allclose(custom[:, 1], [100, 50, 50])
    np.testing.assert_allclose(custom[:, 2], [50, 50, 0])
    assert values_of(trace(figure, "leaves").customdata).tolist() == [0, 1, 2, 3]


def test_thicker_branches_carry_more_inputs():
    figure = tree(*still([0.1, 0.9, 0.2], [0.05, 0.05, 0.9, 0.0]))
    width = {}
    for one in figure.data:
        if one.name.startswith("branches") and len(values_of(one.x)):
            for end in values_of(one.x)[1::3]:
                width[int(end), float(values_of(one.y)[1])] = (one.line.width, one.line.dash)
    by_leaf = [next(value for (at, _), value in width.items() if at == 2 * leaf) for leaf in range(4)]
    assert by_leaf[2][0] > 5 * by_leaf[0][0]
    assert by_leaf[3][1] == "dot", "a dead branch is dotted"


def test_a_node_without_inputs_is_open_and_one_without_entropy_too():
    figure = tree(*still([0.1, np.nan, 0.2], [0.5, 0.5, 0.0, 0.0]))
    assert values_of(trace(figure, "idle").customdata)[:, 0].tolist() == [1, 2]
    assert values_of(trace(figure, "decisions").customdata)[:, 0].tolist() == [0]


def test_undecided_nodes_have_another_shape():
    figure = tree(*still([0.9, 0.1, 0.5], [0.25] * 4))
    assert list(trace(figure, "decisions").marker.symbol) == [2, 0, 2]


def test_the_slider_ends_at_what_is_shown_and_goes_through_all_steps():
    given = example(0)
    figure = tree(**given)
    steps = given["entropy"]["step"].values
    assert [step.label for step in figure.layout.sliders[0].steps] == [str(step) for step in steps]
    assert len(figure.frames) == len(steps)
    names = [one.name for one in figure.data]
    last = figure.frames[-1].data[names.index("decisions")]
    np.testing.assert_array_equal(values_of(last.marker.color), values_of(trace(figure, "decisions").marker.color))
    first = figure.frames[0].data[names.index("leaves")]
    np.testing.assert_allclose(values_of(first.y), 100 * given["load"].values[0], rtol=1e-5)


def test_without_steps_there_is_no_slider():
    figure = tree(*(one.isel(step=-1) for one in example(0).values()))
    assert not figure.frames
    assert not figure.layout.sliders


@pytest.mark.parametrize("depth", [1, 2, 5, 7, 8, 11])
def test_every_depth_is_drawn_with_all_its_load(depth):
    figure = tree(*random_tree(depth))
    assert values_of(trace(figure, "leaves").y).sum() == pytest.approx(100, abs=0.01)
    discs = len(values_of(trace(figure, "decisions").x)) + len(values_of(trace(figure, "idle").x))
    assert discs == (2**depth - 1 if depth <= 7 else 63)
    assert any(one.name == "deep" for one in figure.data) == (depth > 7)
    assert ("as rows" in figure.layout.title.subtitle.text) == (depth > 7)


def test_the_rows_of_a_deep_tree_are_means_of_its_nodes():
    entropy, load = random_tree(9, steps=2)
    rows = values_of(trace(tree(entropy, load), "deep").z)
    bits = entropy.values[-1]
    assert rows.shape == (3, 256)
    np.testing.assert_allclose(rows[0], np.repeat(bits[63:127], 4), rtol=1e-5)
    np.testing.assert_allclose(rows[2], bits[255:511], rtol=1e-5)


def test_many_steps_are_thinned_evenly_and_that_is_said():
    figure = tree(*random_tree(7, steps=500))
    shown = len(figure.frames)
    assert 10 <= shown < 500
    assert f"{shown} of 500 recorded steps" in figure.layout.title.subtitle.text.replace("<br>", " ")
    assert payload(figure) < 300_000


def test_empty_places_at_the_end_are_dropped():
    padded = [np.r_[row, np.full(4, np.nan)] for row in ([0.1, 0.9, 0.2], [0.25, 0.25, 0.5, 0.0])]
    assert tree(*still(*padded)).to_json() == tree(*still([0.1, 0.9, 0.2], [0.25, 0.25, 0.5, 0.0])).to_json()


def test_a_last_node_that_nothing_reaches_still_counts():
    _, (state,) = flows(*still([0.1, 0.4, np.nan], [0.5, 0.5, 0.0, 0.0]))
    assert state.depth == 2


@pytest.mark.parametrize(("nodes", "leaves"), [(3, 3), (7, 4), (2, 4), (3, 8)])
def test_sizes_that_are_no_tree_are_refused_with_both_shapes(nodes, leaves):
    with pytest.raises(LabError, match=rf"'choice': {leaves}.*'node': {nodes}"):
        tree(*still(np.full(nodes, 0.5), np.full(leaves, 1 / leaves)))


def test_one_step_axis_without_the_other_is_refused():
    entropy, load = random_tree(2)
    with pytest.raises(LabError, match="in both entropy and load"):
        tree(entropy, load.isel(step=0))


def test_steps_without_overlap_are_refused():
    entropy, load = random_tree(2)
    with pytest.raises(LabError, match="no step that entropy and load have in common"):
        tree(entropy.assign_coords(step=[1, 2, 3]), load.assign_coords(step=[4, 5, 6]))


def test_the_sentence_names_the_fullest_leaf_and_the_least_decided_node():
    text = alt_text(tree(*still([0.1, 0.9, 0.2], [0.1, 0.2, 0.7, 0.0])))
    assert "Least decided is node 1 with 0.90 bits" in text
    assert "Leaf 2 gets most, 70" in text
    assert "1 of 4 leaves without inputs" in text
