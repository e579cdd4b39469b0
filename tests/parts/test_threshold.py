"""Score rules keep what they say, and a product with the kept units alone is the whole product."""

import pytest
import torch
from torch.nn import functional as F

from labkit.parts.gathered import gathered_row, gathered_rows
from labkit.parts.sparseness import sparseness
from labkit.parts.threshold import above, calibrated, strongest


def test_a_calibrated_threshold_silences_the_share_it_was_asked_for():
    values = torch.randn(400, 50)
    for share in (0.1, 0.5, 0.93):
        kept = above(values, calibrated(values.abs(), share))
        assert float(kept.float().mean()) == pytest.approx(1 - share, abs=1e-3)


def test_level_zero_keeps_all_but_exact_zeros():
    values = torch.relu(torch.randn(40, 50))
    assert torch.equal(above(values, calibrated(values.abs(), 0.0)), values > 0)


def test_the_strongest_are_counted_in_each_row_and_zeros_never_kept():
    values = torch.randn(40, 50)
    kept = strongest(values, 7)
    assert (kept.sum(-1) == 7).all()
    assert (values.abs().masked_fill(~kept, 9).amin(-1) >= values.abs().masked_fill(kept, 0).amax(-1)).all()
    assert strongest(torch.zeros(2, 5), 3).sum() == 0
    assert strongest(values, 99).all()


def test_norms_change_who_is_kept():
    values, norms = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([10.0, 1.0, 1.0])
    assert strongest(values, 1, norms).tolist() == [[True, False, False]]
    assert above(values, 2.5, norms).tolist() == [[True, False, True]]


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("biased", [True, False])
def test_the_gathered_product_is_the_dense_one(share, biased):
    values = torch.randn(9, 60) * (torch.rand(9, 60) < share)
    values[4] = 0
    weight, bias = torch.randn(7, 60), torch.randn(7) if biased else None
    expected = F.linear(values, weight, bias)
    assert torch.allclose(gathered_rows(values, weight.T.contiguous(), bias), expected, atol=1e-5)
    for row, dense in zip(values, expected):
        assert torch.allclose(gathered_row(row, weight.T.contiguous(), bias), dense, atol=1e-5)


def test_sparseness_of_one_response_is_not_defined():
    assert sparseness(torch.ones(2), torch.ones(2), 1).isnan().all()
