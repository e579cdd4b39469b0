"""Layers that read few of their inputs: what is exact, what the theorem says, and that units of measurement do not matter."""

import copy

import pytest
import torch
from torch import nn

from labkit.transforms.prune.sparsify_inputs import RULES, SparseInputs, read_share, sparsify_inputs
from labkit.workbench.pretrained.load import pretrained
from labkit.workbench.sparsity.chosen_inputs import errors_of_all, rescaled

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 24), nn.GELU(), nn.Linear(24, 3)).eval()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("by", ["top-k", "threshold"])
def test_with_all_inputs_the_model_is_as_it_was(rule, rotate, by):
    model = network()
    with torch.no_grad():
        assert torch.allclose(
            sparsify_inputs(model, (X,), share=1.0, rule=rule, rotate=rotate, by=by)(X), model(X), atol=1e-5
        )


def orthogonal(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    weight = torch.linalg.qr(torch.randn(9, 7, generator=chance, dtype=torch.float64)).Q
    return weight * torch.randn(7, generator=chance, dtype=torch.float64).exp(), torch.randn(
        7, generator=chance
    ).double()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kept", [1, 3, 6])
def test_with_orthogonal_columns_no_choice_is_better_and_the_error_is_the_sum_of_what_was_dropped(seed, kept):
    weight, x = orthogonal(seed)
    layer = SparseInputs(weight, None, x[None], kept / 7, "WINA", "top-k", False)
    with torch.no_grad():
        error = (layer(x) - weight @ x).square().sum()
    dropped = (x * weight.norm(dim=0))[~layer.keeps(x)].square().sum()
    assert torch.allclose(error, dropped, atol=1e-12)
    assert error <= errors_of_all(weight, x, kept)[1].min() + 1e-12


def test_rotation_makes_the_columns_orthogonal_and_so_any_layer_optimal():
    chance = torch.Generator().manual_seed(3)
    weight, x = torch.randn(9, 6, generator=chance).double(), torch.randn(6, generator=chance).double()
    layer = SparseInputs(weight, None, x[None], 0.5, "WINA", "top-k", True)
    gram = layer.weight.T @ layer.weight
    assert torch.allclose(gram, gram.diag().diag(), atol=1e-10)
    with torch.no_grad():
        error = (layer(x) - weight @ x).square().sum()
    assert torch.isclose(error, errors_of_all(layer.weight.detach(), x @ layer.rotation, 3)[1].min(), atol=1e-12)


def test_other_units_change_what_magnitude_keeps_and_not_what_wina_keeps():
    torch.manual_seed(0)
    model = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 5)).eval()
    other = rescaled(model, [("0", "1")])
    with torch.no_grad():
        assert torch.allclose(other(X), model(X), atol=1e-4)
        for rule, same in (("WINA", True), ("magnitude", False)):
            pair = [sparsify_inputs(one, (X,), rule=rule, where="1")(X) for one in (model, other)]
            assert torch.allclose(*pair, atol=1e-4) is same


def test_few_rows_are_multiplied_like_many():
    model = sparsify_inputs(network(), (X,), share=0.3)
    many = torch.cat([X, X])
    with torch.no_grad():
        assert torch.allclose(model(many)[:5], model(X[:5]), atol=1e-5)
    assert torch.allclose(model(X[:5]), model(many)[:5], atol=1e-5)


def test_each_row_keeps_the_share_that_was_asked_for_and_the_fixed_choice_is_fixed():
    layer = SparseInputs(torch.randn(4, 10), None, torch.randn(32, 10), 0.3, "WINA", "top-k", False)
    assert (layer.keeps(torch.randn(9, 10)).sum(-1) == 3).all()
    fixed = SparseInputs(torch.randn(4, 10), None, torch.randn(32, 10), 0.3, "fixed", "top-k", False)
    kept = fixed.keeps(torch.randn(9, 10))
    assert (kept == kept[0]).all()
    seen = torch.randn(400, 10)
    limited = SparseInputs(torch.randn(4, 10), None, seen, 0.3, "WINA", "threshold", False)
    assert abs(float(limited.keeps(seen).float().mean()) - 0.3) < 0.01


def test_laid_out_weights_follow_the_weights():
    model = sparsify_inputs(network(), (X,), share=0.5)
    with torch.no_grad():
        model(X[:2])
        for part in model.modules():
            if isinstance(part, SparseInputs):
                part.weight.mul_(2)
        twin = copy.deepcopy(model)
        assert torch.equal(model(X[:2]), twin(X[:2]))


@pytest.mark.parametrize("name", ["digits CNN", "t-cell receptors", "Alice"])
def test_models_of_all_kinds_can_be_sparsified(name):
    known = pretrained(name)
    sparse = sparsify_inputs(known.model, known.batch, share=0.25)
    given = known.inputs if isinstance(known.inputs, dict) else {"": known.inputs}

    def said(model):
        with torch.no_grad():
            found = model(**given) if "" not in given else model(given[""])
        return getattr(found, "logits", found)

    whole, part = said(known.model), said(sparse)
    assert torch.isfinite(part).all()
    assert not torch.allclose(whole, part, atol=1e-4)
    read_share(sparse, 1.0)
    assert torch.allclose(said(sparse), whole, atol=1e-3)


def test_words_and_shares_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="above 0 and at most 1, not 0"):
        sparsify_inputs(network(), (X,), share=0)
    with pytest.raises(ValueError, match="kept by one of WINA"):
        sparsify_inputs(network(), (X,), rule="magic")
    with pytest.raises(ValueError, match="'nowhere' occurs"):
        sparsify_inputs(network(), (X,), where="nowhere")
    with pytest.raises(ValueError, match="it has 0"):
        read_share(network(), 0.5)
