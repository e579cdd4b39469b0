"""Each property check takes right answers however they are written, and tells the usual wrong ones apart."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from labkit.parts.gate import Routing
from labkit.workshop.exercise import check
from labkit.workshop.influence_checks import no_future_leak, rows_do_not_mix
from labkit.workshop.property_checks import finite, gradient_everywhere, same_seed_same_answer, shape, unchanged_model
from labkit.workshop.routing_checks import every_choice_used

X = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))


def said(answer, *tests) -> str:
    finding = check(lambda: answer, *tests)
    assert not finding.right
    return finding.says


def right(answer, *tests) -> bool:
    return check(lambda: answer, *tests).right


def test_shapes():
    assert right(torch.zeros(6, 3), shape(6, 3))
    assert right(torch.zeros(6, 3), shape(-1, 3))
    assert right(nn.Linear(8, 3), shape(6, 3, on=X))
    assert "turned round" in said(torch.zeros(3, 6), shape(6, 3))
    assert "size 1 is too many" in said(torch.zeros(6, 1, 3), shape(6, 3))
    assert "an axis is lost" in said(torch.zeros(6), shape(6, 3))
    assert "look at axis 1" in said(torch.zeros(6, 4), shape(6, 3))
    assert "returns 2 things" in said(nn.LSTM(8, 3), shape(6, 3, on=X))
    assert "returns a str" in said("six by three", shape(6, 3))


def test_numbers_that_are_numbers():
    def by_hand(x):
        return x.exp() / x.exp().sum(-1, keepdim=True)

    assert right(X, finite())
    assert right(lambda x: x.softmax(-1), finite(X))
    assert "exp overflows" in said(by_hand, finite(X))
    assert right(by_hand, finite(X, far=False))
    assert "48 of 48 numbers are NaN" in said(lambda x: (x - x) / (x - x), finite(X))
    assert "infinite" in said(lambda x: (x - x).log(), finite(X))
    assert "no tensor" in said(lambda x: "text", finite(X))


class Layer(nn.Module):
    """Two experts and a router; `how` says which mistake is in it."""

    def __init__(self, how: str):
        super().__init__()
        self.how = how
        self.router = nn.Linear(8, 2)
        experts = [nn.Linear(8, 8), nn.Linear(8, 8)]
        self.experts = experts if how == "list" else nn.ModuleList(experts)
        self.scale = torch.ones(8, requires_grad=True) if how == "tensor" else nn.Parameter(torch.ones(8))
        if how == "frozen":
            self.scale.requires_grad_(False)

    def forward(self, x):
        weights = self.router(x).softmax(-1)
        if self.how == "detached":
            weights = weights.detach()
        if self.how == "top one":
            best = weights.topk(1).indices
            weights = torch.zeros_like(weights).scatter(-1, best, 1.0)
        if self.how == "one choice":
            best = self.router(x).topk(1)
            weights = torch.zeros_like(weights).scatter(-1, best.indices, best.values.softmax(-1))
        if self.how == "root":
            weights = weights * (x.sum(-1, keepdim=True) - x.sum(-1, keepdim=True) + 0 * self.scale[0]).sqrt()
        out = sum(weights[..., [at]] * expert(x) for at, expert in enumerate(self.experts))
        if self.how == "item":
            return torch.tensor(out.tolist())
        return out if self.how == "unused" else out * self.scale


def test_gradients_everywhere():
    test = gradient_everywhere(X)
    assert right(Layer("right"), test)
    assert right(nn.Sequential(nn.Linear(8, 4), nn.Softmax(-1)), test)  # the sum of a softmax alone has no gradient
    wrong = {
        "detached": "no gradient reaches router.weight and router.bias",
        "top one": "no gradient reaches router.weight and router.bias",
        "one choice": "a softmax over one choice",
        "unused": "no gradient reaches scale",
        "list": "use nn.ModuleList",
        "tensor": "use nn.Parameter",
        "frozen": "scale cannot be trained",
        "item": "cut off from all weights",
        "root": "is not a number",
    }
    for how, sentence in wrong.items():
        torch.manual_seed(0)
        assert sentence in said(Layer(how), test), how
    assert "should be a layer" in said(X, test)
    assert "no weights at all" in said(nn.ReLU(), test)


def test_a_check_of_gradients_leaves_none_behind():
    layer = Layer("right")
    assert right(layer, gradient_everywhere(X))
    assert all(weight.grad is None for weight in layer.parameters())


def attention(hidden):
    def layer(x):
        scores = x @ x.mT / 3
        return (scores.masked_fill(hidden(x.shape[1]), -torch.inf)).softmax(-1) @ x

    return layer


def ones(many):
    return torch.ones(many, many, dtype=torch.bool)


def test_no_future():
    test = no_future_leak(TOKENS)
    assert right(attention(lambda many: ones(many).triu(1)), test)
    assert right(lambda x: x.cumsum(1), test)
    assert right(lambda x: x.cumsum(0), no_future_leak(TOKENS, 0))
    assert right(nn.Linear(8, 8), no_future_leak(TOKENS, sees_past=False))
    assert "there is no mask" in said(attention(lambda many: ~ones(many)), test)
    assert "turned round" in said(attention(lambda many: ones(many).tril(-1)), test)
    assert "shifted by one" in said(attention(lambda many: ones(many).triu(2)), test)
    assert "place 0 is NaN" in said(attention(lambda many: ones(many).triu(0)), test)
    assert "nothing of the past arrives" in said(nn.Linear(8, 8), test)
    assert "it should keep them" in said(lambda x: x.mean(1), test)
    assert "whole sequence" in said(lambda x: x - x.mean(1, keepdim=True), test)
    assert "chance in it" in said(lambda x: x + torch.from_numpy(np.random.rand(1)).float(), test)
    swapped = said(lambda x: torch.cat([x[:, :1], x[:, 1:2] + x[:, 4:5], x[:, 2:] + x[:, :1]], 1), test)
    assert "place 1 changes when only place 4" in swapped


def test_places_that_are_whole_numbers_are_changed_too():
    table = nn.Embedding(9, 4)
    words = torch.tensor([[1, 2, 3, 4]])
    assert right(lambda x: table(x).cumsum(1), no_future_leak(words))
    assert "whole sequence" in said(lambda x: table(x) + table(x).mean(1, keepdim=True), no_future_leak(words))


def test_rows_stay_apart():
    test = rows_do_not_mix(X)
    assert right(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)), test)
    assert right(lambda x: x.softmax(-1), test)
    assert "BatchNorm" in said(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)), test)
    assert "dim=0" in said(lambda x: x.softmax(0), test)
    assert "a mean, a norm" in said(lambda x: x - x.mean(0), test)
    assert "a mean, a norm" in said(lambda x: x.sort(0).values, test)
    assert "it should keep them" in said(lambda x: x.sum(0, keepdim=True), test)


class Gate(nn.Module):
    def __init__(self, how: str):
        super().__init__()
        self.how, self.scores = how, nn.Linear(8, 4)
        if how == "zero":
            nn.init.zeros_(self.scores.weight)
            nn.init.zeros_(self.scores.bias)
        if how in ("one", "idle"):
            nn.init.zeros_(self.scores.weight[: 1 if how == "one" else 0])
            self.scores.bias.data[0 if how == "one" else 3] = 99 if how == "one" else -99

    def forward(self, x) -> Routing:
        scores = self.scores(x)
        best = scores.topk(2 if self.how in ("twice", "large") else 1)
        index, weights = best.indices, best.values.softmax(-1)
        if self.how == "twice":
            index = index[..., :1].expand(index.shape)
        if self.how == "range":
            index = index + 1
        if self.how == "negative":
            weights = -weights
        if self.how == "large":
            weights = weights + 1
        if self.how == "shapes":
            weights = weights[..., 0]
        return Routing(index, weights, 4, scores)


def gate(how: str) -> Gate:
    torch.manual_seed(1)
    return Gate(how)


def test_every_choice_gets_its_share():
    tokens = torch.randn(500, 8, generator=torch.Generator().manual_seed(2))
    test = every_choice_used(tokens)
    found = check(lambda: gate("right"), test)
    assert found.right
    assert "used least gets" in found.says
    assert right(nn.Sequential(nn.Identity(), gate("right")), test)  # a layer that holds one
    assert right(lambda x: gate("right")(x), test)
    assert right(lambda x: (x[:, :4]).softmax(-1), test)
    wrong = {
        "zero": "the first of equals",
        "one": "it has collapsed",
        "idle": "3 none at all",
        "twice": "the same expert twice",
        "range": "does not exist",
        "negative": "negative",
        "large": "sum to more than 1",
        "shapes": "each chosen one has its weight",
    }
    for how, sentence in wrong.items():
        assert sentence in said(gate(how), test), how
    assert "4 choices get less than 90% of the tokens (choice" in said(gate("right"), every_choice_used(tokens, 0.9))
    assert "before the softmax" in said(lambda x: x[:, :4], test)
    assert "whole numbers only" in said(lambda x: x[:, :4].argmax(-1, keepdim=True), test)
    assert "a router returns one Routing" in said(lambda x: (x, x), test)


def test_chance_in_order():
    def drawn(seed):
        torch.manual_seed(seed)
        return torch.randn(3)

    assert right(drawn, same_seed_same_answer())
    assert "the seed is not used" in said(lambda seed: drawn(0), same_seed_same_answer())
    assert "numpy's" in said(lambda seed: np.random.rand(), same_seed_same_answer())
    assert "Python's" in said(lambda seed: random.random(), same_seed_same_answer())
    assert "before torch.manual_seed" in said(lambda seed: torch.randn(3), same_seed_same_answer())


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)).eval()


def test_a_model_stays_as_it_is(model):
    def change(act):
        return check(lambda: act() or 1, unchanged_model(model))

    def trained():
        model[0].weight.data += 1

    def seen():
        model.train()(X)
        model.eval()

    def graded():
        model(X).sum().backward()

    assert change(lambda: model(X)).right is False  # an answer that is a tensor of several numbers is no truth value
    assert check(lambda: model(X), unchanged_model(model)).right
    assert "copy.deepcopy" in change(trained).says
    assert "call .eval()" in change(seen).says
    assert "another mode" in change(lambda: model.train() and None).says
    model.eval()
    assert "gradients were left" in change(graded).says
    model.zero_grad()
    assert "requires_grad" in change(lambda: model.requires_grad_(False) and None).says
    assert "a hook was left" in change(lambda: model[0].register_forward_hook(lambda *_: None) and None).says
