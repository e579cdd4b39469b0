"""The exercise on keeping inputs takes right answers however they are found, and names what people really get wrong."""

import torch

from labkit.workshop.exercise import OPEN, check
from labkit.workshop.keeping_exercises import kept_inputs

DRAW = torch.Generator().manual_seed(0)
X, WEIGHT = torch.randn(6, 16, generator=DRAW), torch.randn(16, 16, generator=DRAW) * torch.rand(16, generator=DRAW)
TESTS = kept_inputs(X, WEIGHT, 5)


def said(answer) -> str:
    return check(lambda: answer, *TESTS).says


def mask(score) -> torch.Tensor:
    return torch.zeros_like(score, dtype=torch.bool).scatter_(-1, score.topk(5, dim=-1).indices, True)


def test_right_answers_are_right_however_they_are_found():
    score = X.abs() * WEIGHT.norm(dim=0)
    assert check(lambda: mask(score), *TESTS).right
    assert check(lambda: mask(score.square()), *TESTS).right
    limit = score.sort(dim=-1, descending=True).values[:, 4:5]
    assert check(lambda: score >= limit, *TESTS).right


def test_wrong_answers_are_explained():
    columns = WEIGHT.norm(dim=0)
    assert "weights were not asked" in said(mask(X.abs()))
    assert "rows of W" in said(mask(X.abs() * WEIGHT.norm(dim=1)))
    assert "x.abs()" in said(mask(X * columns))
    assert "matter least" in said(mask(-X.abs() * columns))
    assert "not times its square" in said(mask(X.abs() * columns.square()))
    flat = (X.abs() * columns).flatten()
    together = torch.zeros_like(flat, dtype=torch.bool).scatter_(0, flat.topk(30).indices, True).view_as(X)
    assert "within each row" in said(together)
    assert "should keep 5 inputs" in said(X.abs() > 0)
    assert "others than those" in said(mask(torch.rand(6, 16, generator=torch.Generator().manual_seed(1))))
    assert "scatter them" in said((X.abs() * columns).topk(5).indices)
    assert "float32" in said(X * mask(X.abs()))
    assert "list" in said([1])
    assert said(...) == OPEN
