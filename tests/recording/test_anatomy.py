"""An anatomy names what is in a model of anybody, and says what it does not recognise."""

import pytest
import torch
from foreign_models import FunctionalCnn, FunctionalMlp, HomeMadeExperts, MobileNetLike, ResNetLike, hugging
from torch import nn

from labkit.layers.feedforward.fast_feedforward import FastFeedforward
from labkit.layers.feedforward.neuron_trees import NeuronTrees
from labkit.recording.anatomy import anatomy


def found(model: nn.Module, kind: str) -> dict[str, int | None]:
    return {block.name: block.units for block in anatomy(model).of(kind)}


ENCODER = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2)


@pytest.mark.parametrize(
    ("model", "hidden", "attention"),
    [
        (ENCODER, "layers.{}", "layers.{}.self_attn"),
        ("BertModel", "encoder.layer.{}", "encoder.layer.{}.attention.self"),
        ("DistilBertModel", "transformer.layer.{}.ffn", "transformer.layer.{}.attention"),
        ("LlamaForCausalLM", "model.layers.{}.mlp", "model.layers.{}.self_attn"),
        ("MistralForCausalLM", "model.layers.{}.mlp", "model.layers.{}.self_attn"),
        ("Qwen2ForCausalLM", "model.layers.{}.mlp", "model.layers.{}.self_attn"),
        ("Phi3ForCausalLM", "model.layers.{}.mlp", "model.layers.{}.self_attn"),
        ("GPTNeoXForCausalLM", "gpt_neox.layers.{}.mlp", "gpt_neox.layers.{}.attention"),
    ],
)
def test_each_layer_of_a_transformer_has_one_feedforward_block_and_one_attention(model, hidden, attention):
    model = hugging(model) if isinstance(model, str) else model
    assert found(model, "feedforward") == {hidden.format(layer): 32 for layer in (0, 1)}
    assert found(model, "attention") == {attention.format(layer): 4 for layer in (0, 1)}
    assert anatomy(model).unknown == ()


def test_a_decoder_layer_has_two_attentions():
    layer = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 12), 1)
    assert found(layer, "attention") == {"layers.0.self_attn": 2, "layers.0.multihead_attn": 2}
    assert found(layer, "feedforward") == {"layers.0": 12}


def test_gpt2_keeps_its_weights_the_other_way_round():
    model = hugging("GPT2LMHeadModel")
    assert found(model, "feedforward") == {"transformer.h.0.mlp": 64, "transformer.h.1.mlp": 64}
    assert found(model, "attention") == {"transformer.h.0.attn": 4, "transformer.h.1.attn": 4}


@pytest.mark.parametrize("name", ["MixtralForCausalLM", "Qwen3MoeForCausalLM", "OlmoeForCausalLM"])
def test_stacked_experts_have_a_router_and_say_why_their_units_are_not_seen(name):
    model = hugging(name)
    assert found(model, "router") == {"model.layers.0.mlp.gate": 4, "model.layers.1.mlp.gate": 4}
    unknown = dict(anatomy(model).unknown)
    assert list(unknown) == ["model.layers.0.mlp.experts", "model.layers.1.mlp.experts"]
    assert "4 experts" in unknown["model.layers.0.mlp.experts"]


def test_a_shared_expert_is_a_feedforward_block_beside_the_router():
    model = hugging("Qwen2MoeForCausalLM")
    assert set(found(model, "feedforward")) == {f"model.layers.{layer}.mlp.shared_expert" for layer in (0, 1)}
    assert set(found(model, "router")) == {f"model.layers.{layer}.mlp.gate" for layer in (0, 1)}


def test_experts_in_a_list_are_blocks_of_their_own():
    model = nn.Sequential(HomeMadeExperts())
    assert found(model, "router") == {"0.gate": 5}
    assert found(model, "feedforward") == {f"0.experts.{place}.1": 8 for place in range(5)}


def test_a_head_for_as_many_classes_as_layers_is_no_router():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 12) for _ in range(3))
            self.head = nn.Linear(8, 3)

    assert found(Model(), "router") == {}


def test_a_sequence_names_its_nonlinearities():
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(9, 8),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(8, 7),
        nn.BatchNorm1d(7),
        nn.GELU(),
        nn.Linear(7, 2),
    )
    assert found(model, "feedforward") == {"2": 8, "6": 7}


def test_the_last_sigmoid_of_a_model_is_its_answer_and_no_hidden_unit():
    assert found(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1), nn.Sigmoid()), "feedforward") == {"1": 3}


def test_one_nonlinearity_for_two_layers_is_two_blocks():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 3), relu, nn.Linear(3, 5), relu, nn.Linear(5, 1))
    assert found(model, "feedforward") == {"1": 3, "3": 5}


def test_functions_as_nonlinearities_are_read_where_the_next_layer_begins():
    assert found(FunctionalMlp(), "feedforward") == {"fc1": 8, "fc2": 7}
    assert found(FunctionalCnn(), "convolution") == {"conv1": 4, "conv2": 6}
    assert found(FunctionalCnn(), "feedforward") == {"fc1": 10}


def test_a_residual_network_names_its_convolutions():
    blocks = found(ResNetLike(), "convolution")
    assert blocks["conv1"] == 8
    assert blocks["layer2.0.conv1"] == blocks["layer2.0.conv2"] == 12
    assert len(blocks) == 7


def test_a_norm_that_holds_its_nonlinearity_is_a_convolutions_end():
    assert found(MobileNetLike(), "convolution") == {
        "bn1.act": 6, **{f"blocks.{block}.bn{norm}.act": 24 for block in (0, 1) for norm in (1, 2)}
    }  # fmt: skip


def test_a_block_with_a_convolution_and_two_linear_layers_speaks_between_the_two():
    model = hugging("ConvNextModel", attention="eager", hidden_sizes=[4, 4, 4, 4], depths=[1, 1, 1, 1])
    assert found(model, "feedforward") == {f"encoder.stages.{stage}.layers.0": 16 for stage in range(4)}
    assert found(model, "convolution") == {}


def test_two_projections_side_by_side_are_no_feedforward_block():
    class TwoTowers(nn.Module):
        def __init__(self):
            super().__init__()
            self.visual_projection, self.text_projection = nn.Linear(6, 4), nn.Linear(4, 4)

    assert anatomy(TwoTowers()).blocks == ()


def test_our_own_layers_have_their_gates():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), FastFeedforward(4, 4, depth=2, leaf_width=3))
    assert found(model, "router") == {"2.gate": 4}
    assert found(model, "feedforward") == {"1": 4}
    assert dict(anatomy(model).unknown).keys() == {"2.leaves"}
    assert found(NeuronTrees(4, 4, depth=3), "router") == {"gate": 7}


def test_every_module_with_parameters_is_in_a_block_or_plain_or_named_as_unknown():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.zeros(3, 4))
            self.inner = nn.GRU(4, 4)

    unknown = dict(anatomy(nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), Odd())).unknown)
    assert set(unknown) == {"2", "2.inner"}
    assert "table (3, 4)" in unknown["2"]
    assert "recurrent" in unknown["2.inner"]


def test_the_table_is_short_for_a_deep_model_and_escapes_for_a_page():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), 12)
    text = str(anatomy(model))
    assert "layers.0-11 " in text
    assert len(text.splitlines()) <= 6
    assert ">layers.0-11</td>" in anatomy(model)._repr_html_()
    odd = nn.Sequential()
    odd.add_module("<b>", nn.GRU(2, 2))
    assert "&lt;b&gt;" in anatomy(odd)._repr_html_()


def test_a_run_tells_which_blocks_really_speak():
    class Bottleneck(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.conv2(self.relu(self.conv1(x)))

    model = nn.Sequential(Bottleneck())
    assert set(found(model, "convolution")) == {"0.conv1", "0.conv2"}
    heard = anatomy(model, torch.randn(1, 3, 8, 8))
    assert [(block.name, block.units) for block in heard.blocks] == [("0.conv1", 4)]
    assert heard.unknown[0][0] == "0.conv2"


def test_names_are_free_of_wrappers():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
    assert found(torch.compile(model, backend="eager"), "feedforward") == {"1": 3}
