"""The idle feedforward layer and its folded form say the same; what is folded wrongly is noticed."""

import copy
import pickle

import pytest
import torch
from torch import nn

from labkit import Example, check
from labkit.layers.feedforward.idle_feedforward import FoldedFeedforward, IdleFeedforward
from labkit.parts.folding import Affine, ChannelNorm, identity, linear, of_linear, of_norm
from labkit.transforms.shrink.fold_linear_paths import fold_linear_paths
from labkit.workbench.budget import flops, parameters


def lived(width: int = 12, **sizes) -> IdleFeedforward:
    """A layer whose norms have seen data that are neither centred nor of unit spread, and whose scales have learnt."""
    layer = IdleFeedforward(width, **{"hidden": 4 * width, **sizes}).train()
    with torch.no_grad():
        for norm in (layer.before, layer.between):
            norm.weight.normal_(1, 0.5)
            norm.bias.normal_()
        for _ in range(20):
            layer(torch.randn(50, width) * torch.linspace(0.1, 5, width) + 3)
    return layer.eval()


@pytest.mark.parametrize("idle", [0.0, 0.25, 0.5, 0.75, 0.9])
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_folding_changes_nothing_but_rounding(idle, dtype, most):
    layer, x = lived(idle=idle).to(dtype), (torch.randn(3, 40, 12) * 4 + 2).to(dtype)
    with torch.no_grad():
        wide, folded = layer(x), layer.folded()(x)
    assert folded.dtype == dtype
    assert (wide - folded).abs().max() <= most * wide.abs().max()


def test_gradients_of_the_input_are_the_same():
    layer, x = lived().double(), torch.randn(9, 12, dtype=torch.float64)
    jacobians = [torch.autograd.functional.jacobian(form, x) for form in (layer, layer.folded())]
    assert torch.allclose(*jacobians, atol=1e-10)


@pytest.mark.parametrize("forgotten", ["residual", "idle channels", "first norm", "second norm", "bias"])
def test_a_wrong_fold_is_noticed(forgotten):
    layer, x = lived(), torch.randn(30, 12)
    wrong = copy.deepcopy(layer)
    with torch.no_grad():
        if forgotten == "idle channels":
            wrong.out.weight[:, wrong.active :] = 0
        if forgotten == "first norm":
            wrong.before.reset_running_stats()
        if forgotten == "second norm":
            wrong.between.reset_running_stats()
        if forgotten == "bias":
            wrong.out.bias.zero_()
        folded = wrong.folded()
        if forgotten == "residual":
            folded.straight.weight -= torch.eye(12)
        assert (folded(x) - layer(x)).abs().max() > 1e-2 * layer(x).abs().max()


def test_folding_leaves_the_layer_alone_and_shares_nothing():
    layer = lived()
    before = copy.deepcopy(layer.state_dict())
    folded = layer.folded()
    with torch.no_grad():
        for value in folded.parameters():
            value.zero_()
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@pytest.mark.parametrize("idle", [0.25, 0.5, 0.75, 0.9])
def test_the_folded_cost_is_what_the_docstring_says(idle):
    width, rows = 20, 7
    layer = IdleFeedforward(width, hidden=4 * width, idle=idle)
    x = torch.randn(rows, width)
    assert flops(layer, x) == 2 * rows * 2 * width * layer.hidden
    assert flops(layer.folded(), x) == 2 * rows * (width**2 + 2 * width * layer.active)
    assert parameters(layer.folded()) < parameters(layer)


def test_the_folded_layer_keeps_the_contract():
    def make():
        torch.manual_seed(0)
        return lived(6, hidden=8).folded().train()

    report = check(None, Example(make))
    assert {name: said for name, said in report.items() if said != "passed" and not said.startswith("exempt")} == {}


def test_in_evaluation_rows_stand_alone_whatever_their_axes():
    layer, x = lived(), torch.randn(6, 12)
    whole = layer(x)
    assert torch.allclose(layer(x.unflatten(0, (2, 3))).flatten(0, 1), whole, atol=1e-6)
    assert torch.allclose(layer(x[2]), whole[2], atol=1e-6)
    assert layer(x[:0]).shape == (0, 12)
    far = x.clone()
    far[0], far[1] = 1e4, float("nan")
    assert torch.allclose(layer(far)[2:], whole[2:], atol=1e-6)
    assert layer(far)[1].isnan().all()


def test_in_training_the_axes_of_the_rows_do_not_matter():
    layer, x = lived().train(), torch.randn(6, 12)
    assert torch.allclose(layer(x.unflatten(0, (2, 3))).flatten(0, 1), layer(x), atol=1e-5)


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_for_a_variance_are_normalised_as_in_evaluation(rows):
    layer, x = lived(), torch.randn(rows, 12)
    wanted, before = layer(x), copy.deepcopy(layer.state_dict())
    assert torch.equal(layer.train()(x), wanted)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@pytest.mark.parametrize("idle", [1.0, 0.99, -0.1])
def test_a_share_that_leaves_no_channel_active_is_refused(idle):
    with pytest.raises(ValueError, match=r"of 8 channels active"):
        IdleFeedforward(4, hidden=8, idle=idle)


def test_a_whole_model_folds_and_copies():
    torch.manual_seed(0)
    one = lived()
    model = nn.Sequential(nn.Linear(5, 12), one, nn.ModuleDict({"again": one})["again"], lived(), nn.Linear(12, 3))
    model.train()
    x = torch.randn(8, 5)
    folded = fold_linear_paths(model)
    assert [type(part) for part in folded] == [nn.Linear, *[FoldedFeedforward] * 3, nn.Linear]
    assert folded[1] is folded[2]
    assert not folded.training
    assert model.training
    said = model.eval()(x)
    assert (folded(x) - said).abs().max() < 1e-4 * said.abs().max()
    assert torch.equal(pickle.loads(pickle.dumps(folded))(x), folded(x))


def test_a_layer_alone_folds_and_a_model_without_such_layers_is_copied():
    assert isinstance(fold_linear_paths(lived()), FoldedFeedforward)
    plain = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    copied = fold_linear_paths(plain)
    assert copied[0].weight is not plain[0].weight
    assert torch.equal(copied[0].weight, plain[0].weight)


def test_what_a_layer_says_of_itself_is_asked_not_guessed():
    class Folded(nn.Module):
        folded = True  # a value of this name is no method

    assert isinstance(fold_linear_paths(Folded()), Folded)


def test_maps_add_up_and_follow_each_other():
    first, second, x = nn.Linear(4, 6), nn.Linear(6, 4, bias=False), torch.randn(10, 4)
    norm = ChannelNorm(6)
    norm(torch.randn(40, 6) * 3 + 1)
    path = of_linear(second).after(of_norm(norm.eval())).after(of_linear(first)).beside(identity(4, x))
    assert torch.allclose(linear(path, x)(x), x + second(norm(first(x))), atol=1e-5)


def test_maps_that_do_not_fit_are_refused_with_both_shapes():
    one, other = of_linear(nn.Linear(4, 6)), of_linear(nn.Linear(4, 5))
    with pytest.raises(ValueError, match=r"\(6, 4\).*\(5, 4\)"):
        one.after(other)
    with pytest.raises(ValueError, match=r"\(6, 4\).*\(5, 4\)"):
        one.beside(other)


def test_a_norm_without_scales_folds_and_one_without_statistics_is_refused():
    norm, x = nn.BatchNorm1d(3, affine=False), torch.randn(20, 3)
    norm(x)
    assert torch.allclose(linear(of_norm(norm.eval()), x)(x), norm(x), atol=1e-5)
    with pytest.raises(ValueError, match="depends on its batch"):
        of_norm(nn.BatchNorm1d(3, track_running_stats=False))
    assert isinstance(of_norm(norm), Affine)
