"""The loss that lies: per layer and pooled, beside Hugging Face's own function and by hand."""

import math

import numpy as np
import pytest
import torch
from analysis.routings import drawn, sent

from labkit.analysis.routing.balance import POOLED, auxiliary_loss, balance, balance_of
from labkit.parts.gate import Routing, everything
from labkit.recording.foreign.huggingface import from_logits


def collapsed(onto: int, tokens: int = 64, choices: int = 4) -> Routing:
    scores = torch.full((tokens, choices), -30.0)
    scores[:, onto] = 30.0
    return sent([onto] * tokens, choices)._replace(scores=scores)


def even(tokens: int = 64, choices: int = 4) -> Routing:
    return sent(np.arange(tokens) % choices, choices)._replace(scores=torch.zeros(tokens, choices))


def test_perfect_balance_and_collapse():
    assert balance_of({"a": even()}).values[0] == pytest.approx([1, 1, 0, 1, 1])
    assert balance_of({"a": collapsed(2)}).values[0] == pytest.approx([4, 0, 3, 4, 1], abs=1e-6)


def test_the_pooled_loss_hides_layers_that_collapsed_onto_different_experts():
    found = balance_of({f"layers.{onto}": collapsed(onto) for onto in range(4)})
    loss = found.sel(quantity="auxiliary loss")
    assert loss.sel(layer=POOLED).item() == pytest.approx(1.0)  # what perfect balance gives
    assert loss.values[:4] == pytest.approx([4.0] * 4)
    assert found.sel(quantity="utilisation", layer=POOLED).item() == pytest.approx(1.0)
    assert found.pooled.values.tolist() == [False] * 4 + [True]


def test_one_bad_layer_among_good_ones_moves_the_pooled_loss_less_than_its_own():
    found = balance_of({"a": even(), "b": even(), "c": collapsed(0)}).sel(quantity="auxiliary loss")
    assert found.sel(layer="c").item() == pytest.approx(4)
    assert 1 < found.sel(layer=POOLED).item() < 2


@pytest.mark.parametrize(("layers", "experts", "chosen"), [(1, 4, 1), (3, 8, 2), (5, 16, 4)])
def test_equals_the_function_of_hugging_face(layers, experts, chosen):
    mixtral = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    torch.manual_seed(layers)
    logits = tuple(torch.randn(96, experts) * 2 + torch.randn(experts) for _ in range(layers))
    routings = from_logits(logits, chosen=chosen, normalised=True)
    found = balance_of(routings).sel(quantity="auxiliary loss")
    theirs = mixtral.load_balancing_loss_func(logits, experts, chosen)
    assert found.values[-1] == pytest.approx(theirs.item(), rel=1e-6)
    for number, layer in enumerate(logits):
        assert found.values[number] == pytest.approx(
            mixtral.load_balancing_loss_func((layer,), experts, chosen).item(), rel=1e-6
        )


def test_equals_the_function_of_hugging_face_with_padding():
    mixtral = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    torch.manual_seed(0)
    logits = tuple(torch.randn(4 * 12, 8) for _ in range(3))
    mask = (torch.arange(12) < torch.tensor([[12], [7], [3], [9]])).long()
    found = balance_of(from_logits(logits, chosen=2, normalised=True, mask=mask)).sel(quantity="auxiliary loss")
    theirs = mixtral.load_balancing_loss_func(logits, 8, 2, mask)
    assert found.sel(layer=POOLED).item() == pytest.approx(theirs.item(), rel=1e-6)
    assert found.sel(layer=POOLED).item() != pytest.approx(
        mixtral.load_balancing_loss_func(logits, 8, 2).item(), rel=1e-4
    )


def test_a_model_of_hugging_face_reports_the_pooled_number_and_hides_the_layers():
    transformers = pytest.importorskip("transformers")
    config = transformers.MixtralConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=6, num_experts_per_tok=2,
    )  # fmt: skip
    model = transformers.MixtralForCausalLM(config).eval()
    for layer in model.model.layers:
        torch.nn.init.normal_(layer.mlp.gate.weight)
    x, mask = torch.randint(0, 64, (3, 9)), (torch.arange(9) < torch.tensor([[9], [4], [6]])).long()
    with torch.no_grad():
        theirs = model(x, attention_mask=mask, output_router_logits=True).aux_loss.item()
    found = balance(model, {"input_ids": x, "attention_mask": mask}).sel(quantity="auxiliary loss")
    assert found.sel(layer=POOLED).item() == pytest.approx(theirs, rel=1e-5)
    assert found.values[:3].max() > theirs


def test_dropped_places_do_not_count_as_assigned():
    routing = drawn(50, 4, 2, dropped=0.3)
    kept = routing.index[routing.index >= 0]
    often = torch.bincount(kept, minlength=4).double() / 50
    slow = 4 * float((often * routing.scores.double().softmax(-1).mean(0)).sum())
    assert auxiliary_loss(routing) == pytest.approx(slow, rel=1e-6)


def test_without_scores_there_is_no_loss_but_a_balance():
    found = balance_of({"a": sent([0, 0, 1], 2)}).values[0]
    assert found[:3] == pytest.approx([4 / 3, 0.9183, 0], abs=1e-4)
    assert math.isnan(found[3])
    assert math.isnan(found[4])


def test_layers_of_different_size_have_no_pooled_number():
    found = balance_of({"a": drawn(30, 4, 2), "b": drawn(30, 8, 2)})
    assert np.isnan(found.sel(layer=POOLED)).all()
    assert np.isfinite(found.values[:2]).all()


def test_a_soft_routing_is_judged_by_its_weights():
    found = balance_of({"a": everything(torch.tensor([[0.9, 0.1], [0.9, 0.1]]))}).values[0]
    assert found[0] == pytest.approx(1.8)
    assert found[2] == 0
