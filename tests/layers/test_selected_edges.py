"""Curves whose families are chosen: what the choice can and cannot change, and what pruning leaves as it was."""

import pytest
import torch

from labkit.layers.feedforward.selected_edges import SelectedEdges
from labkit.layers.feedforward.spline_edges import SplineEdges
from labkit.parts.bases import BASES


@pytest.fixture
def layer():
    torch.manual_seed(0)
    made = SelectedEdges(3, 4, terms=6)
    with torch.no_grad():
        made.scores.normal_()
    return made


X = 3 * torch.randn(50, 3, generator=torch.Generator().manual_seed(1))


def test_with_splines_only_it_is_the_network_of_splines():
    one, other = SelectedEdges(3, 4, families=("spline",), terms=8), SplineEdges(3, 4, cells=5)
    with torch.no_grad():
        other.edges.copy_(torch.cat((one.straight.unsqueeze(1), one.curves[:, 0]), 1))
    assert torch.allclose(one(X), other(X), atol=1e-5)
    assert "scores" not in dict(one.named_parameters())


def test_the_selection_says_nothing_that_the_curves_could_not(layer):
    equal = SelectedEdges(3, 4, terms=6)
    with torch.no_grad():
        equal.straight.copy_(layer.straight)
        equal.curves.copy_(layer.curves * layer.selection.T.unsqueeze(1) * len(BASES))
    assert torch.allclose(equal(X), layer(X), atol=1e-5)


def test_the_selection_of_every_output_sums_to_one(layer):
    assert torch.allclose(layer.selection.sum(-1), torch.ones(4))
    layer.prune(2)
    assert torch.allclose(layer.selection.sum(-1), torch.ones(4))


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_what_is_kept_says_what_it_said(layer, keep):
    parts, strongest = [], layer.selection.topk(keep, -1).indices
    for j in range(4):
        kept = torch.zeros(5).scatter(0, strongest[j], 1.0)
        alone = SelectedEdges(3, 4, terms=6)
        alone.load_state_dict(layer.state_dict())
        with torch.no_grad():
            alone.curves.mul_(kept.view(1, 5, 1, 1))
        parts.append(alone(X)[:, j])
    layer.prune(keep)
    assert torch.allclose(layer(X), torch.stack(parts, -1), atol=1e-5)
    assert torch.equal(layer.kept.sum(-1), torch.full((4,), float(keep)))


def test_to_keep_all_changes_nothing(layer):
    before = layer(X)
    layer.prune(5)
    assert torch.allclose(layer(X), before, atol=1e-6)


def test_what_was_dropped_stays_dropped(layer):
    layer.prune(2)
    kept = layer.kept.clone()
    layer.prune(1)
    assert ((kept - layer.kept) >= 0).all()
    layer.prune(3)
    assert torch.equal(layer.kept.sum(-1), torch.ones(4))
    assert layer(X).isfinite().all()


def test_what_was_dropped_learns_nothing(layer):
    layer.prune(1)
    layer(X).sum().backward()
    gone = layer.kept.T.unsqueeze(1).expand_as(layer.curves) == 0
    assert (layer.curves.grad[gone] == 0).all()
    assert layer.curves.grad[~gone].any()


def test_a_table_of_ones_own_decides_what_is_kept(layer):
    table = torch.zeros(4, 5)
    table[:, 3] = 1.0
    layer.prune(1, table)
    assert torch.equal(layer.kept.argmax(-1), torch.full((4,), 3))


def test_the_mask_survives_in_the_state(layer):
    layer.prune(2)
    other = SelectedEdges(3, 4, terms=6)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(X), layer(X))


def test_numbers_left_are_counted(layer):
    assert layer.numbers_left() == sum(p.numel() for p in layer.parameters())
    layer.prune(1)
    assert layer.numbers_left() == 3 * 4 * (6 + 1)


def test_contributions_are_the_spread_of_what_each_family_says(layer):
    with torch.no_grad():
        found = layer.contributions(X)
        silent = SelectedEdges(3, 4, terms=6)
        silent.load_state_dict(layer.state_dict())
        silent.straight.zero_()
        silent.curves[:, [0, 1, 2, 4]] = 0
        assert torch.allclose(found[:, 3], silent(X).std(0), atol=1e-5)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"families": ("spline", "sine")}, "not sine"),
        ({"families": ()}, "not none"),
        ({"terms": 3}, "at least 4 terms, not 3"),
    ],
)
def test_what_it_cannot_be_made_of_is_said(how, sentence):
    with pytest.raises(ValueError, match=sentence):
        SelectedEdges(3, 4, **how)


@pytest.mark.parametrize("keep", [0, 6])
def test_what_cannot_be_kept_is_said(layer, keep):
    with pytest.raises(ValueError, match=f"not {keep}"):
        layer.prune(keep)
