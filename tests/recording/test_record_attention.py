"""Recorded attention is what the model attends to: its own weights where it gives them, masks and all."""

import pytest
import torch
from foreign_models import FusedSelfAttention, Head, hugging, tokens
from torch import nn
from torch.nn import functional as F

from labkit.recording.attention_weights import product_weights
from labkit.recording.kinds import Attention
from labkit.recording.observe import observe
from labkit.recording.record import NothingRecorded, record

ARCHITECTURES = {
    "BertModel": "encoder.layer.{}.attention.self",
    "DistilBertModel": "transformer.layer.{}.attention",
    "GPT2LMHeadModel": "transformer.h.{}.attn",
    "LlamaForCausalLM": "model.layers.{}.self_attn",
    "MistralForCausalLM": "model.layers.{}.self_attn",
    "MixtralForCausalLM": "model.layers.{}.self_attn",
    "Qwen2MoeForCausalLM": "model.layers.{}.self_attn",
    "GPTNeoXForCausalLM": "gpt_neox.layers.{}.attention",
}


def padded() -> torch.Tensor:
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[0, 5:] = 0
    return mask


@pytest.mark.parametrize("way", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_transformers_equal_their_own_output_attentions(name, way):
    model, twin = hugging(name, attention=way), hugging(name, attention="eager")
    asked = {"input_ids": tokens(), "attention_mask": padded()}
    trace = observe(model, asked, Attention)
    with torch.no_grad():
        own = twin(**asked, output_attentions=True).attentions
    assert list(trace) == [ARCHITECTURES[name].format(layer) for layer in (0, 1)]
    real = padded().bool()[:, None, :, None]
    for mine, theirs in zip(trace.every(Attention), own, strict=True):
        torch.testing.assert_close(mine.weights * real, theirs * real, rtol=1e-4, atol=1e-5)
        assert mine.weights[0, :, :5, 5:].abs().max() == 0
    causal = trace.every(Attention)[0].weights.triu(1).abs().max() == 0
    assert causal == (not name.startswith(("Bert", "Distil")))


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "GPT2LMHeadModel"])
def test_one_token_at_a_time_with_a_cache(name):
    model, twin = hugging(name), hugging(name, attention="eager")
    with torch.no_grad():
        past = model(tokens()[:, :6], use_cache=True).past_key_values
        theirs = twin(tokens(), output_attentions=True).attentions[0][:, :, -1:]
        with record(model, Attention) as trace:
            model(tokens()[:, 6:], past_key_values=past)
    torch.testing.assert_close(trace.every(Attention)[0].weights, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_first", [True, False])
def test_torchs_attention_equals_what_it_returns_when_asked(batch_first):
    attention = nn.MultiheadAttention(8, 2, batch_first=batch_first).eval()
    x, other = (torch.randn(*((3, 5) if batch_first else (5, 3)), 8) for _ in range(2))
    for options in (
        {"need_weights": False},
        {"need_weights": True},
        {"attn_mask": torch.ones(5, 5).triu(1).bool(), "is_causal": True, "need_weights": False},
        {"key_padding_mask": F.pad(torch.zeros(3, 4).bool(), (0, 1), value=True)},
    ):
        trace_of = nn.Sequential()
        trace_of.add_module("inner", attention)
        with torch.no_grad(), record(trace_of, Attention) as trace:
            attention(x, other, other, **options)
        own = attention(x, other, other, **{**options, "need_weights": True, "average_attn_weights": False})[1]
        torch.testing.assert_close(trace["inner"].weights, own.detach())
        torch.testing.assert_close(trace["inner"].weights.sum(-1), torch.ones(own.shape[:-1]))


@pytest.mark.parametrize("padding", [False, True])
def test_torchs_encoder_is_not_empty_in_evaluation_where_it_fuses_its_layers(padding):
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, dropout=0.0)
    model, x = nn.TransformerEncoder(layer, 2).eval(), torch.randn(3, 5, 8)
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[1, 3:] = True
    inputs = {"src": x, "src_key_padding_mask": mask} if padding else {"src": x}
    with torch.no_grad():
        before = model(**inputs)
        with record(model, Attention) as trace:
            model(**inputs)
        assert torch.equal(model(**inputs), before)
        own = model.layers[0].self_attn(
            x, x, x, key_padding_mask=mask if padding else None, average_attn_weights=False
        )[1]
    assert list(trace) == ["layers.0.self_attn", "layers.1.self_attn"]
    torch.testing.assert_close(trace["layers.0.self_attn"].weights, own)


def test_weights_are_those_before_dropout_and_the_dropout_of_the_model_is_untouched():
    model, x = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, dropout=0.5).train(), torch.randn(3, 5, 8)
    torch.manual_seed(3)
    plain = model(x)
    torch.manual_seed(3)
    with record(model, Attention) as trace:
        recorded = model(x)
    assert torch.equal(plain, recorded)
    torch.testing.assert_close(trace["self_attn"].weights.sum(-1), torch.ones(3, 2, 5))


def test_eager_attention_in_training_is_kept_before_its_dropout():
    model = hugging("BertModel", attention="eager", attention_probs_dropout_prob=0.5).train()
    with record(model, Attention) as trace:
        model(tokens())
    torch.testing.assert_close(trace.every(Attention)[0].weights.sum(-1), torch.ones(2, 4, 7))


def test_a_head_written_by_hand_gets_its_axis_of_heads():
    model, x = nn.Sequential(Head(8, 4)), torch.randn(2, 5, 8)
    weights = observe(model, x, Attention)["0"].weights
    head = model[0]
    scores = (head.query(x) @ head.key(x).transpose(1, 2) / 2).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    torch.testing.assert_close(weights, scores.softmax(-1).unsqueeze(1).detach())


def test_attention_written_by_hand_with_the_fused_function():
    model, x = nn.Sequential(FusedSelfAttention()), torch.randn(2, 5, 8)
    weights = observe(model, x, Attention)["0"].weights
    query, key, _ = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in model[0].qkv(x).chunk(3, -1))
    scores = (query @ key.transpose(2, 3) / 2).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    torch.testing.assert_close(weights, scores.softmax(-1).detach())


def test_the_fused_function_outside_of_any_known_attention_is_found_too():
    class Strange(nn.Module):
        def forward(self, x):
            return F.scaled_dot_product_attention(x, x, x)

    model, x = nn.Sequential(Strange()), torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(observe(model, x, Attention)["0"].weights, (x @ x.mT / 2).softmax(-1))


@pytest.mark.parametrize("kind", ["none", "bool", "float", "causal", "grouped", "scale"])
def test_weights_times_values_are_what_the_fused_function_returns(kind):
    query, key, value = torch.randn(2, 4, 5, 8), torch.randn(2, 4, 6, 8), torch.randn(2, 4, 6, 8)
    mask = torch.rand(2, 1, 5, 6) > 0.4
    mask[0, 0, 2] = False  # a query that may look nowhere
    options = {
        "none": {}, "bool": {"attn_mask": mask}, "float": {"attn_mask": torch.randn(5, 6)}, "causal": {"is_causal": True},
        "grouped": {"enable_gqa": True}, "scale": {"scale": 0.1},
    }[kind]  # fmt: skip
    if kind == "grouped":
        key, value = key[:, :2], value[:, :2]
    weights = product_weights((query, key, value), options)
    fused = F.scaled_dot_product_attention(query, key, value, **options)
    spread = value.repeat_interleave(2, 1) if kind == "grouped" else value
    torch.testing.assert_close(weights @ spread, fused, rtol=1e-4, atol=1e-5)


def test_half_precision_stays_half():
    query = torch.randn(2, 4, 5, 8, dtype=torch.bfloat16)
    assert product_weights((query, query, query), {}).dtype == torch.bfloat16


def test_recorded_attention_can_carry_a_loss():
    model, x = nn.Sequential(FusedSelfAttention()), torch.randn(2, 5, 8)
    with record(model, Attention, attached=True) as trace:
        model(x)
    trace["0"].weights.square().sum().backward()
    assert model[0].qkv.weight.grad.abs().sum() > 0


def test_a_model_without_attention_says_so():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with pytest.raises(NothingRecorded, match="none returned or was Attention"), record(model, Attention):
        model(torch.randn(2, 4))


def test_a_pattern_chooses_attention_by_name():
    model = hugging("LlamaForCausalLM")
    assert list(observe(model, tokens(), Attention, "*.1.self_attn")) == ["model.layers.1.self_attn"]
