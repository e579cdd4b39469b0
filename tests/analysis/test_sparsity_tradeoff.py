"""Silencing costs what a slow evaluation says it costs, thresholds never see what they are measured on, times are measured."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labkit.analysis.sparsity.active_fraction import active_fraction
from labkit.analysis.sparsity.threshold_tradeoff import METHODS, threshold_tradeoff
from labkit.errors import LabError


def network(between=nn.Tanh, width=40):
    return nn.Sequential(nn.Linear(6, width), between(), nn.Linear(width, 3)).eval()


def batch(count=200):
    return torch.randn(count, 6), torch.arange(count) % 3


def measure(model, given, **options):
    return threshold_tradeoff(model, given, seconds=0.05, **options)


@torch.no_grad()
def test_loss_accuracy_and_active_fraction_are_those_of_a_slow_evaluation():
    model, (x, y) = network(), batch()
    model[2].weight *= torch.logspace(-1, 1, 40)
    found = measure(model, (x, y), levels=[0, 0.5, 0.9])
    setting, measured, truth = x[0::2], x[1::2], y[1::2]
    before, said, norms = model[:2](setting), model[:2](measured), model[2].weight.norm(dim=0)
    for level in (0.5, 0.9):
        kept = {
            "magnitude": said.abs() > np.quantile(before.abs().numpy(), level, method="inverted_cdf"),
            "WINA": said.abs() * norms > np.quantile((before.abs() * norms).numpy(), level, method="inverted_cdf"),
            "top-k": said.abs() >= said.abs().sort(-1, descending=True).values[:, [round(40 * (1 - level)) - 1]],
        }
        for method, mask in kept.items():
            output = model[2:](said * mask)
            row = found.sel({"method": method, "level": level})
            assert float(row.sel(quantity="active fraction")) == pytest.approx(float(mask.float().mean()), abs=1e-6)
            assert float(row.sel(quantity="loss")) == pytest.approx(float(F.cross_entropy(output, truth)), abs=1e-5)
            right = (output.argmax(-1) == truth).float().mean()
            assert float(row.sel(quantity="accuracy")) == pytest.approx(float(right), abs=1e-6)
        share = found.sel({"method": "random", "level": level, "quantity": "active fraction"})
        assert float(share) == pytest.approx(1 - level, abs=1e-6)


def test_at_level_zero_all_rules_leave_the_model_as_it_is():
    model, (x, y) = network(nn.ReLU), batch()
    found = measure(model, (x, y), levels=[0, 0.5]).sel(level=0)
    loss = float(F.cross_entropy(model(x[1::2]), y[1::2]).detach())
    assert found.sel(quantity="loss").values == pytest.approx([loss] * 4, abs=1e-6)
    active = float((model[:2](x[1::2]) > 0).float().mean())
    assert found.sel(quantity="active fraction").values == pytest.approx([active] * 4, abs=1e-6)


def test_all_but_the_times_is_the_same_whatever_the_mode_and_twice():
    model, given = network(nn.ReLU), batch()
    answers = [measure(model.train(training), given, levels=[0, 0.5]) for training in (True, False, False)]
    kept = [answer.sel(quantity=["active fraction", "loss", "accuracy"]) for answer in answers]
    assert kept[0].identical(kept[1])
    assert kept[1].identical(kept[2])


def test_thresholds_are_set_on_inputs_that_are_not_measured():
    model, (x, y) = network(), batch()
    first = measure(model, (x, y), levels=[0.5])["threshold"]
    other = x.clone()
    other[1::2] *= 5
    assert measure(model, (other, y), levels=[0.5])["threshold"].equals(first)
    other[0::2] *= 5
    assert not measure(model, (other, y), levels=[0.5])["threshold"].equals(first)


@torch.no_grad()
def test_wina_sees_the_weights_that_magnitude_does_not():
    model, given = network(), batch(400)
    model[2].weight[:, :20] *= 30
    found = measure(model, given, levels=[0.5]).sel(level=0.5, quantity="loss")
    untouched = float(measure(model, given, levels=[0]).sel(quantity="loss")[0, 0])
    cost = {method: abs(float(found.sel({"method": method})) - untouched) for method in METHODS}
    assert cost["WINA"] < cost["magnitude"] / 3


def test_every_level_has_times_that_were_measured():
    model, given = nn.Sequential(nn.Linear(6, 4096), nn.Tanh(), nn.Linear(4096, 512)).eval(), batch(130)
    found = threshold_tradeoff(model, given, levels=[0, 0.98], seconds=2)
    for kind in ("milliseconds", "milliseconds of a batch"):
        times = found.sel({"method": "magnitude", "quantity": kind}).values
        assert (times > 0).all()
        assert len(set(times)) == 2, "each level is timed by itself"
    dense = found.sel({"method": "magnitude", "quantity": "dense milliseconds"}).values
    assert (dense > 0).all()


def test_what_follows_is_unknown_then_there_are_no_times_and_no_wina():
    model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.LayerNorm(10), nn.Linear(10, 3)).eval()
    found = measure(model, batch(), levels=[0, 0.8])
    assert np.isnan(found.sel({"method": "WINA"})).all()
    assert np.isnan(found.sel(quantity=["milliseconds", "dense milliseconds"])).all()
    assert np.isfinite(found.sel({"method": ["magnitude", "top-k", "random"]}).sel(quantity=["loss", "accuracy"])).all()


def test_the_control_keeps_as_many_active_units_as_top_k_and_costs_more():
    torch.manual_seed(1)
    model, (x, _) = network(nn.ReLU), batch(400)
    given = x, model(x).argmax(-1)  # the model is right about everything, until something is taken away
    found = measure(model, given, levels=[0.5, 0.9])
    active = found.sel(quantity="active fraction")
    assert active.sel({"method": "random"}).values == pytest.approx(active.sel({"method": "top-k"}).values, abs=1e-6)
    right = found.sel(quantity="accuracy", level=0.9)
    assert float(right.sel({"method": "top-k"})) > float(right.sel({"method": "random"})) + 0.1


def test_one_layer_of_several_can_be_changed():
    model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 12), nn.Tanh(), nn.Linear(12, 3)).eval()
    found = measure(model, batch(), levels=[0, 0.5], layers="3")
    assert found.attrs["layers"] == "3"
    assert "threshold" in found.coords
    assert "threshold" not in measure(model, batch(), levels=[0, 0.5]).coords  # each layer has its own
    assert float(found.sel({"method": "magnitude", "level": 0, "quantity": "active fraction"})) == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"levels": [1.0]}, "share of units to silence"), ({"layers": "nowhere"}, "No block's name matches.*1")],
)
def test_mistakes_are_told(options, reason):
    with pytest.raises(LabError, match=reason):
        measure(network(), batch(), **options)
    with pytest.raises(LabError, match="2 inputs or more"):
        measure(network(), batch(1))


# tokens


def test_active_fraction_names_tokens_and_sequences():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
    x = torch.randn(3, 5, 4)
    words = [f"w{place}" for place in range(15)]
    found = active_fraction(model, (x,), text=words)
    assert found["sequence"].values.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert found["text"].values.tolist() == words
    said = torch.relu(model[0](x)).flatten(0, 1)
    assert found.sel(threshold=0, layer="1").values == pytest.approx((said > 0).float().mean(-1).numpy())
    few = active_fraction(model, (x,), text=words, tokens=5)
    assert few["token"].values.tolist() == [0, 3, 6, 9, 12]
    assert few["text"].values.tolist() == ["w0", "w3", "w6", "w9", "w12"]
    rows = active_fraction(model, (x,), text=[words[:5], words[5:10], words[10:]])
    assert rows["text"].values.tolist() == words
    with pytest.raises(LabError, match="15 tokens and text names 2"):
        active_fraction(model, (x,), text=["a", "b"])


def test_layers_of_a_convolutional_network_meet_at_the_input():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU())
    found = active_fraction(model, (torch.randn(6, 1, 12, 12),))
    assert found.sizes["token"] == 6
    assert "averaged" in found.attrs
    assert found.attrs["averaged"] == "over the places of each input"
