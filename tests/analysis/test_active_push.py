"""The push of the loss on active units is autograd's, and at birth it is what theory says."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labkit.analysis.sparsity.active_push import active_push
from labkit.errors import LabError
from labkit.workbench.backbones.vision_transformer import VisionTransformer
from labkit.workbench.baselines import DenseFeedforward


def network(inputs=20, units=200, classes=10):
    return nn.Sequential(nn.Linear(inputs, units), nn.ReLU(), nn.Linear(units, classes))


def test_it_is_the_mean_gradient_where_a_unit_is_active():
    torch.manual_seed(0)
    model, x, labels = network(4, 6, 3), torch.randn(9, 4), torch.arange(9) % 3
    hidden = model[0](x).relu().detach().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(model[2](hidden), labels, reduction="sum"), hidden)
    found = active_push(model, (x, labels)).values[0]
    for unit in range(6):
        rows = hidden[:, unit] > 0
        assert found[unit] == pytest.approx(slope[rows, unit].mean().item(), abs=1e-6)


def test_a_unit_that_is_never_active_has_no_push():
    torch.manual_seed(0)
    model = network(4, 6, 3)
    with torch.no_grad():
        model[0].bias[2] = -100
    found = active_push(model, (torch.randn(9, 4), torch.arange(9) % 3)).values[0]
    assert torch.tensor(found).isnan().tolist() == [False, False, True, False, False, False]


def test_twice_the_batch_is_not_half_the_push():
    torch.manual_seed(0)
    model, x, labels = network(), torch.randn(30, 20), torch.arange(30) % 10
    once, twice = (active_push(model, (x.repeat(n, 1), labels.repeat(n))).values for n in (1, 2))
    torch.testing.assert_close(torch.tensor(once), torch.tensor(twice), equal_nan=True, atol=1e-7, rtol=1e-4)


def test_at_birth_it_is_the_variance_of_the_outgoing_weights_times_the_activation():
    torch.manual_seed(0)
    measured, foretold = [], []
    for _ in range(30):
        model, x, labels = network(), torch.randn(200, 20), torch.randint(10, (200,))
        hidden = model[0](x).relu()
        variance = 1 / (3 * 200)  # of weights drawn evenly between -1/sqrt(200) and 1/sqrt(200)
        foretold.append((variance * 0.9 * hidden.sum(0) / (hidden > 0).sum(0)).mean().item())
        measured.append(active_push(model, (x, labels)).mean().item())
    measured, foretold = torch.tensor(measured), torch.tensor(foretold)
    error = measured.std().item() / 30**0.5
    assert measured.mean().item() > 5 * error
    assert abs(measured.mean() - foretold.mean()).item() < 4 * error


def test_outgoing_weights_of_zero_do_not_push():
    model = network()
    nn.init.zeros_(model[2].weight)
    assert float(abs(active_push(model, (torch.randn(30, 20), torch.arange(30) % 10))).max()) == 0


def test_frozen_networks_can_be_asked_and_stay_frozen():
    model = network().requires_grad_(False)
    assert bool(active_push(model, (torch.randn(30, 20), torch.arange(30) % 10)).notnull().any())
    assert not any(weight.requires_grad for weight in model.parameters())


def test_every_layer_of_a_transformer_is_asked():
    class Task:
        in_width, out_width = 64, 3

    model = VisionTransformer(Task, lambda i, o: DenseFeedforward(i, o, width=12), width=8, depth=2, heads=2, patch=4)
    found = active_push(model, (torch.randn(5, 64), torch.arange(5) % 3))
    assert found.sizes == {"layer": 2, "unit": 12}


def test_without_labels_there_is_no_loss():
    with pytest.raises(LabError, match="without labels"):
        active_push(network(), (torch.randn(30, 20),))
