"""Routers of other people are read as `Routing`, equal to what the models themselves say."""

import pytest
import torch
from foreign_models import HomeMadeExperts, hugging, tokens
from torch import nn

from labkit.parts.gate import Routing
from labkit.recording.observe import observe
from labkit.recording.record import record
from labkit.recording.routers import routing_of

MIXTURES = ["MixtralForCausalLM", "Qwen2MoeForCausalLM", "Qwen3MoeForCausalLM", "OlmoeForCausalLM"]


@pytest.mark.parametrize("name", MIXTURES)
def test_mixtures_of_transformers_equal_their_own_router_logits(name):
    model = hugging(name)
    trace = observe(model, tokens(), Routing)
    assert list(trace) == [f"model.layers.{layer}.mlp.gate" for layer in (0, 1)]
    with torch.no_grad():
        logits = model(tokens(), output_router_logits=True).router_logits
    for routing, scores in zip(trace.every(Routing), logits, strict=True):
        assert routing.choices == 4
        assert torch.equal(routing.scores, scores)
        chances, index = torch.softmax(scores.float(), -1).topk(2)
        assert torch.equal(routing.index, index)
        if name == "MixtralForCausalLM" or getattr(model.config, "norm_topk_prob", False):
            chances = chances / chances.sum(-1, keepdim=True)
        torch.testing.assert_close(routing.weights, chances)
        assert routing.mixture().shape == (14, 4)


def test_switch_drops_what_does_not_fit():
    model = hugging("SwitchTransformersForConditionalGeneration", attention="eager")
    asked = {"input_ids": tokens(1, 12), "decoder_input_ids": tokens(1, 5)}
    trace = observe(model, asked, Routing)
    assert list(trace) == ["encoder.block.1.layer.1.mlp.router", "decoder.block.1.layer.2.mlp.router"]
    routing = trace["encoder.block.1.layer.1.mlp.router"]
    dropped = routing.index.squeeze(-1) < 0
    assert dropped.any()
    assert (routing.weights[dropped] == 0).all()
    assert torch.bincount(routing.index[~dropped].flatten(), minlength=4).max() <= 3
    chances = torch.softmax(routing.scores, -1)
    assert torch.equal(routing.index.squeeze(-1)[~dropped], chances.argmax(-1)[~dropped])
    torch.testing.assert_close(routing.weights[~dropped].squeeze(-1), chances.max(-1).values[~dropped])


def test_scaled_weights_of_deepseek_are_shares_again():
    sizes = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 4}
    experts = {
        "n_routed_experts": 8,
        "n_group": 2,
        "topk_group": 1,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 8,
    }
    model = hugging(
        "DeepseekV3ForCausalLM",
        **sizes,
        **experts,
        num_key_value_heads=4,
        first_k_dense_replace=1,
        routed_scaling_factor=2.5,
    )
    trace = observe(model, tokens(), Routing)
    routing = trace["model.layers.1.mlp.gate"]
    assert "scaling factor 2.5" in trace.notes["model.layers.1.mlp.gate"]
    torch.testing.assert_close(routing.weights.sum(-1), torch.ones(14))
    assert (routing.weights[:, 0] >= routing.weights[:, 1]).all()


@pytest.mark.parametrize("says", [True, False])
def test_a_home_made_gate_keeps_what_its_block_was_seen_to_pick(says):
    model, x = HomeMadeExperts(says=says), torch.randn(9, 6)
    routing = observe(model, x, Routing)["gate"]
    scores, index = model.gate(x).topk(2)
    assert torch.equal(routing.index, index)
    torch.testing.assert_close(routing.weights, scores.softmax(-1).detach())


def test_a_gate_that_runs_alone_follows_the_number_that_its_holder_states():
    model, x = HomeMadeExperts(), torch.randn(9, 6)
    with torch.no_grad(), record(model, Routing) as trace:
        model.gate(x)
    assert trace["gate"].index.shape == (9, 2)
    assert "2 largest" in trace.notes["gate"]


def test_a_soft_mixture_is_soft_and_says_that_no_choice_was_seen():
    model, x = HomeMadeExperts(says=False, soft=True), torch.randn(9, 6)
    trace = observe(model, x, Routing)
    assert trace["gate"].soft
    torch.testing.assert_close(trace["gate"].weights, model.gate(x).softmax(-1).detach())
    assert "not known" in trace.notes["gate"]


def test_noise_between_the_scores_and_the_choice_is_seen():
    class Noisy(HomeMadeExperts):
        def forward(self, x):
            scores = self.gate(x) + 5 * torch.randn(len(x), 5, generator=torch.Generator().manual_seed(0))
            self.picked = scores.softmax(-1).topk(2).indices
            return x

    model, x = Noisy(), torch.randn(9, 6)
    routing = observe(model, x, Routing)["gate"]
    assert torch.equal(routing.index, model.picked)
    assert not torch.equal(routing.index, model.gate(x).topk(2).indices)


def test_a_choice_of_one_by_argmax_is_seen():
    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.router = nn.Linear(6, 3)
            self.experts = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))

        def forward(self, x):
            best = self.router(x).argmax(dim=-1)
            return torch.stack([self.experts[place](row) for place, row in zip(best.tolist(), x)])

    model, x = One(), torch.randn(9, 6)
    routing = observe(model, x, Routing)["router"]
    assert torch.equal(routing.index.squeeze(-1), model.router(x).argmax(-1))


def test_scores_alone_that_sum_to_one_are_taken_as_shares():
    model = HomeMadeExperts(says=False, soft=True)
    model.gate = nn.Sequential(nn.Linear(6, 5), nn.Softmax(-1))
    x = torch.randn(9, 6)
    trace = observe(model, x, Routing)
    torch.testing.assert_close(trace["gate"].weights, model.gate(x).detach())


def test_routing_of_a_mixture_can_carry_a_loss():
    model = hugging("MixtralForCausalLM").train()
    with record(model, Routing, attached=True) as trace:
        model(tokens())
    trace.every(Routing)[0].weights[:, 0].sum().backward()
    assert model.model.layers[0].mlp.gate.weight.grad.abs().sum() > 0


class Returns(nn.Module):
    """A router that returns what it is told to."""

    def __init__(self, *output):
        super().__init__()
        self.output = output

    def forward(self, x):
        return self.output


SCORES = torch.tensor([[0.1, 2.0, 1.0], [3.0, 0.0, 1.0]])


def test_the_best_choice_comes_first_whatever_the_order_of_the_router():
    index, weights = torch.tensor([[2, 1], [0, 2]]), torch.tensor([[0.2, 0.5], [0.6, 0.3]])
    for output in (
        (index, weights, SCORES),
        (SCORES, weights, index),
        {"scores": SCORES, "weights": weights, "index": index},
    ):
        routing, _ = routing_of(output, 3, None, Returns())
        assert routing.index.tolist() == [[1, 2], [0, 2]]
        assert routing.weights.tolist() == [[0.5, pytest.approx(0.2)], [pytest.approx(0.6), pytest.approx(0.3)]]
        assert torch.equal(routing.scores, SCORES)


def test_weights_that_sum_to_more_than_one_become_shares():
    index, weights = torch.tensor([[1, 2], [0, 2]]), torch.tensor([[3.0, 1.0], [0.5, 0.25]])
    routing, how = routing_of((SCORES, weights, index), 3, None, Returns())
    torch.testing.assert_close(routing.weights, torch.tensor([[0.75, 0.25], [2 / 3, 1 / 3]]))
    assert "as shares" in how


def test_an_index_beyond_the_experts_is_a_dropped_token():
    routing, _ = routing_of((SCORES, torch.tensor([[0.9], [0.8]]), torch.tensor([[3], [0]])), 3, None, Returns())
    assert routing.index.tolist() == [[-1], [0]]
    assert routing.weights[0].item() == 0


def test_scores_of_which_most_are_zero_are_a_choice_when_the_number_is_known():
    sparse = torch.tensor([[0.0, 0.9, 0.0], [0.7, 0.0, 0.0]])
    routing, _ = routing_of((sparse, SCORES), 3, 1, Returns())
    assert routing.index.tolist() == [[1], [0]]
    assert torch.equal(routing.scores, SCORES)
    assert routing.weights.squeeze(-1).tolist() == [pytest.approx(0.9), pytest.approx(0.7)]


def test_what_holds_no_scores_is_no_routing():
    assert routing_of(torch.randn(4, 7), 3, 1, Returns()) is None
    assert routing_of(None, 3, 1, Returns()) is None
