"""Product keys and the reading of large tables: what is compiled finds what sorting everything would find."""

import copy

import pytest
import torch
from torch import nn

from labkit.layers.memory.product_key_memory import ProductKeyMemory
from labkit.parts.gate import Routing
from labkit.parts.kernels.engine import kernels
from labkit.parts.product_keys import RowNorm, best_pairs, read_rows
from labkit.recording.record import record

pytest.importorskip("numba", reason="without numba nothing is compiled")
GRID = [(512, 32), (33, 33), (100, 17), (1, 1), (600, 128), (16, 5), (64, 64)]


def every_pair(query, keys):
    """The scores of all n² slots: (tokens, heads, n²)."""
    scores = torch.einsum("thsw,hsnw->thsn", query, keys)
    return (scores[:, :, 0].unsqueeze(-1) + scores[:, :, 1].unsqueeze(-2)).flatten(-2)


def drawn(keys, tokens=6, heads=2, width=8, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, heads, 2, width, generator=draw), torch.randn(heads, 2, keys, width, generator=draw)


@pytest.mark.parametrize("way", ["compiled", "reference"])
@pytest.mark.parametrize(("count", "chosen"), GRID)
def test_the_pruned_pairs_hold_the_best_of_all_slots(count, chosen, way):
    query, keys = drawn(count)
    with kernels(way):
        scores, index = best_pairs(query, keys, chosen)
    everything = every_pair(query, keys)
    torch.testing.assert_close(scores, everything.topk(chosen).values, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(everything.gather(-1, index), scores, rtol=1e-5, atol=1e-5)
    assert all(len(set(one.tolist())) == chosen for one in index.flatten(0, 1))


@pytest.mark.parametrize("distinct", [1, 2, 5])
@pytest.mark.parametrize(("count", "chosen"), GRID)
def test_equal_scores_choose_different_slots(count, chosen, distinct):
    query, keys = drawn(count)
    query, keys = query.mul(distinct / 2).round(), keys.mul(distinct / 2).round()
    with kernels("compiled"):
        scores, index = best_pairs(query, keys, chosen)
    everything = every_pair(query, keys)
    assert torch.equal(scores, everything.topk(chosen).values)
    assert torch.equal(everything.gather(-1, index), scores)
    assert all(len(set(one.tolist())) == chosen for one in index.flatten(0, 1))


@pytest.mark.parametrize("count", [33, 40, 47, 100, 129])
def test_scores_below_zero_are_chosen_from_too(count):
    query, keys = drawn(count, tokens=20, width=1)
    with kernels("compiled"):
        scores, index = best_pairs(-query.abs(), keys.abs() + 1, 6)
    everything = every_pair(-query.abs(), keys.abs() + 1)
    assert torch.equal(scores, everything.topk(6).values)
    assert torch.equal(everything.gather(-1, index), scores)


@pytest.mark.parametrize("odd", [float("inf"), float("-inf"), float("nan")])
def test_what_is_not_finite_stays_so_and_points_into_the_table(odd):
    query, keys = drawn(40, width=1)
    query[1, 0, 0], query[2, 1] = odd, odd
    with kernels("compiled"):
        scores, index = best_pairs(query, keys, 7)
    with kernels("reference"):
        wanted, _ = best_pairs(query, keys, 7)
    assert torch.equal(scores.isnan(), wanted.isnan())
    assert torch.equal(scores.nan_to_num(), wanted.nan_to_num())
    assert bool(((index >= 0) & (index < 1600)).all())


def test_a_row_is_chosen_alike_in_any_company():
    query, keys = drawn(64, tokens=300, heads=1, width=16)
    with kernels("compiled"):
        together, alone = best_pairs(query, keys, 9), best_pairs(query[150:151], keys, 9)
    assert torch.equal(together[1][150], alone[1][0])


@pytest.mark.parametrize("index", [[[0, 5]], [[-2, 0]]])
def test_a_row_that_is_not_there_is_refused(index):
    with kernels("compiled"), pytest.raises(IndexError, match="5 rows"):
        read_rows(torch.randn(5, 3), torch.tensor(index), torch.ones(1, 2))


def test_a_sparse_gradient_equals_the_dense_one():
    table, index = torch.randn(50, 9, requires_grad=True), torch.randint(-1, 50, (7, 3, 4))
    weights, found = torch.rand(7, 3, 4), {}
    for sparse in (False, True):
        (read_rows(table, index, weights, sparse=sparse) ** 2).sum().backward()
        found[sparse], table.grad = table.grad, None
    assert found[True].is_sparse
    assert found[True]._indices()[0].tolist() == sorted(set(index[index >= 0].tolist()))
    torch.testing.assert_close(found[True].to_dense(), found[False])


def test_gradients_add_up_where_they_are_not_cleared():
    table, index = nn.Parameter(torch.randn(40, 8)), torch.randint(0, 40, (5, 3))
    for times in (1, 2, 3):
        read_rows(table, index, torch.ones(5, 3)).sum().backward()
        wanted = torch.bincount(index.flatten(), minlength=40).float() * times
        torch.testing.assert_close(table.grad, wanted.unsqueeze(1).expand(40, 8))


@pytest.mark.parametrize("norm", ["layer", "batch", "none"])
def test_the_compiled_memory_learns_like_the_plain_one(norm):
    torch.manual_seed(0)
    ways = {"compiled": ProductKeyMemory(24, 10, keys=20, heads=3, chosen=6, norm=norm)}
    ways["reference"] = copy.deepcopy(ways["compiled"])
    x, answers = torch.randn(4, 9, 24), {}
    for way, layer in ways.items():
        with kernels(way):
            answers[way] = layer(x)
            (answers[way] * torch.linspace(-1, 1, 10)).sum().backward()
    torch.testing.assert_close(answers["compiled"], answers["reference"])
    for fast, slow in zip(ways["compiled"].parameters(), ways["reference"].parameters(), strict=True):
        torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-4, atol=1e-5)


def test_who_listens_hears_the_same_answer():
    layer, x = ProductKeyMemory(24, 10, keys=20, heads=3, chosen=6).eval(), torch.randn(5, 24)
    with torch.no_grad():
        quiet = layer(x)
        with record(layer, Routing) as trace:
            heard = layer(x)
    assert torch.equal(quiet, heard)
    routing = trace["gate"]
    assert (routing.choices, routing.index.shape) == (400, (5, 18))
    torch.testing.assert_close(routing.weights.sum(-1), torch.ones(5))
    rows = torch.einsum("tk,tko->to", 3 * routing.weights, layer.values[routing.index])
    torch.testing.assert_close(quiet, rows)


def test_normalising_over_the_batch_takes_any_number_of_rows():
    norm = RowNorm(6)
    rows = norm(torch.randn(3, 50, 6) * 4 + 1)
    torch.testing.assert_close(rows.mean((0, 1)), torch.zeros(6), atol=1e-5, rtol=0)
    for few in (torch.randn(0, 6), torch.randn(1, 6), torch.randn(6)):
        assert norm(few).shape == few.shape
        assert bool(norm(few).isfinite().all())


@pytest.mark.parametrize("wrong", [{"chosen": 9}, {"chosen": 0}, {"heads": 5}, {"norm": "group"}])
def test_settings_that_make_no_memory_are_refused(wrong):
    with pytest.raises(ValueError, match="ProductKeyMemory"):
        ProductKeyMemory(12, 4, **{"keys": 8, "heads": 2, "chosen": 4, **wrong})
