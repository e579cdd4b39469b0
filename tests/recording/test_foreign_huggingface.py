"""Router logits of small models of each family say the same as the routers themselves."""

import numpy as np
import pytest
import torch

from labkit.analysis.routing.choice_load import load_of
from labkit.analysis.routing.dtype_flips import choice_flips
from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.recording.foreign.huggingface import from_logits
from labkit.recording.foreign.open_routing import open_routing
from labkit.recording.record import record
from labkit.recording.routings import joined

transformers = pytest.importorskip("transformers")

COMMON = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2}
LOCAL = {"num_local_experts": 6, "num_experts_per_tok": 2}
OWN = {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}
FAMILIES = {
    "MixtralConfig": LOCAL,
    "MiniMaxConfig": LOCAL | {"head_dim": 8, "block_size": 8},
    "GptOssConfig": LOCAL | {"head_dim": 8, "layer_types": ["full_attention"] * 4},
    "GraniteMoeConfig": LOCAL,
    "GraniteMoeSharedConfig": LOCAL | {"shared_intermediate_size": 16},
    "GraniteMoeHybridConfig": LOCAL | {"mamba_n_heads": 8, "layer_types": ["attention"] * 4},
    "HunYuanMoEV1Config": {"num_experts": 6, "moe_topk": 2, "head_dim": 8},
    "Qwen2MoeConfig": EXPERTS | OWN | {"norm_topk_prob": False, "mlp_only_layers": [1]},
    "Qwen3MoeConfig": EXPERTS | OWN | {"norm_topk_prob": True, "decoder_sparse_step": 2, "head_dim": 8},
    "Qwen3NextConfig": EXPERTS | OWN | {"head_dim": 8, "layer_types": ["full_attention"] * 4},
    "OlmoeConfig": {"num_experts": 6, "num_experts_per_tok": 3},
    "FlexOlmoConfig": EXPERTS,
    "JambaConfig": EXPERTS
    | {"attn_layer_period": 1, "attn_layer_offset": 0, "expert_layer_period": 2, "expert_layer_offset": 1},
}


def decided(model):
    """Router weights large enough that tokens differ."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and ("gate.weight" in name or "router" in name or ".wg." in name):
            torch.nn.init.normal_(parameter, std=0.7)
    return model.eval()


def returned(model, ending, *inputs, **named):
    """What the modules whose names end so returned in one pass, and the model's output."""
    seen = {}
    handles = [
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.__setitem__(name, out))
        for name, module in model.named_modules()
        if name.endswith(ending)
    ]
    with torch.no_grad():
        output = model(*inputs, output_router_logits=True, **named)
    for handle in handles:
        handle.remove()
    return seen, output


@pytest.mark.parametrize("family", FAMILIES)
def test_says_the_same_as_the_routers_of_the_family(family):
    config = getattr(transformers, family)(**COMMON | FAMILIES[family])
    model = decided(transformers.AutoModelForCausalLM.from_config(config))
    seen, output = returned(model, (".gate", ".router"), torch.randint(3, 64, (2, 7)))
    found = open_routing(output, config=model.config)
    assert list(found) == list(seen)
    for name, (_, weights, index) in seen.items():
        own = torch.zeros(14, 6).scatter(1, index, weights.float())
        assert torch.allclose(found[name].mixture(), own, atol=1e-6)
        assert (found[name].weights.diff(dim=-1) <= 0).all()  # best first


@pytest.mark.parametrize("family", ["MixtralConfig", "Qwen2MoeConfig", "GptOssConfig", "JambaConfig"])
def test_says_the_same_as_a_recording_of_the_model(family):
    config = getattr(transformers, family)(**COMMON | FAMILIES[family])
    model = decided(transformers.AutoModelForCausalLM.from_config(config))
    x = torch.randint(3, 64, (2, 7))
    with torch.no_grad(), record(model, Routing) as trace:
        output = model(x, output_router_logits=True)
    found, live = open_routing(output, config=model.config), joined(trace)
    assert list(found) == list(live)
    assert not choice_flips(found, trace).any()
    assert load_of(found).values == pytest.approx(load_of(trace).values, abs=1e-6)


def test_the_configuration_may_be_a_dictionary_or_be_spelt_out():
    config = transformers.MixtralConfig(**COMMON | LOCAL)
    logits = tuple(torch.randn(5, 6) for _ in range(4))
    found = from_logits(logits, config)
    for other in (from_logits(logits, config.to_dict()), from_logits(logits, chosen=2, normalised=True)):
        assert all(
            torch.equal(*pair) for a, b in zip(found.values(), other.values()) for pair in [(a.weights, b.weights)]
        )
    assert list(other) == ["router.0", "router.1", "router.2", "router.3"]


def test_switch_tells_which_tokens_were_dropped():
    config = transformers.SwitchTransformersConfig(
        vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=4, num_decoder_layers=4, num_sparse_encoder_layers=2,
        num_sparse_decoder_layers=2, num_heads=4, num_experts=4, expert_capacity=3, decoder_start_token_id=0,
    )  # fmt: skip
    model = decided(transformers.SwitchTransformersForConditionalGeneration(config))
    x = torch.randint(3, 64, (2, 9))
    seen, output = returned(model, ".router", input_ids=x, decoder_input_ids=x[:, :5])
    found = open_routing(output, config=model.config)
    assert list(found) == ["encoder.router.0", "encoder.router.1", "decoder.router.0", "decoder.router.1"]
    for routing, (dispatched, probability, _) in zip(found.values(), seen.values()):
        assert torch.equal(routing.mixture() > 0, dispatched > 0)
        assert torch.allclose(routing.mixture(), dispatched * probability)
    assert (found["encoder.router.0"].index < 0).any()
    assert not found.aligned
    with pytest.raises(LabError, match="each with its own mask"):
        open_routing(output, config=config, mask=torch.ones(2, 9))


def test_padding_is_left_out():
    logits = tuple(torch.randn(6, 4) for _ in range(2))
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    found = from_logits(logits, chosen=1, normalised=False, mask=mask)
    assert [tuple(routing.index.shape) for routing in found.values()] == [(3, 1), (3, 1)]
    assert found.positions == [0, 1, 3]
    assert found.says == ("3 places of padding were left out.",)


def test_router_logits_saved_as_numbers_are_read_again(tmp_path):
    logits = torch.randn(3, 10, 4)
    np.save(tmp_path / "logits.npy", logits.numpy())
    found = open_routing(tmp_path / "logits.npy", chosen=2, normalised=True)
    direct = open_routing(tuple(logits), chosen=2, normalised=True)
    assert all(torch.equal(found[name].index, direct[name].index) for name in direct)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda: open_routing((torch.randn(4, 6),), config={"model_type": "deepseek_v3", "num_experts_per_tok": 2}),
         "How models of type 'deepseek_v3' choose does not follow"),
        (lambda: open_routing((torch.randn(4, 6),)), "How many experts a token gets is not known"),
        (lambda: open_routing((torch.randn(4, 6),), chosen=2), "a model without a configuration"),
        (lambda: open_routing((torch.randn(4, 6),), chosen=7, normalised=True), "of which 7 cannot be chosen"),
        (lambda: open_routing((torch.randn(4),), chosen=1, normalised=True), r"router_logits\[0\] has shape \(4,\)"),
        (lambda: open_routing((torch.arange(4).view(2, 2),), chosen=1, normalised=True), "type torch.int64"),
        (lambda: open_routing({"router_logits": ()}), "is no recording of routing|output_router_logits=True"),
        (lambda: from_logits((), chosen=1, normalised=True), "the model has no sparse layer"),
        (lambda: from_logits((torch.randn(4, 6),), chosen=1, normalised=True, names=["a", "b"]), "but 2 names"),
        (lambda: from_logits((torch.randn(4, 6),), {"model_type": "mixtral", "num_local_experts": 8,
                                                    "num_experts_per_tok": 2}), "the configuration says 8"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_reason(act, reason):
    with pytest.raises(LabError, match=reason):
        act()
