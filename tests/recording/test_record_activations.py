"""Recorded hidden units are the right ones: each is computed again from the weights, by another way."""

import pytest
import torch
from foreign_models import FunctionalCnn, FunctionalMlp, HomeMadeExperts, MobileNetLike, ResNetLike, hugging, tokens
from torch import nn
from torch.nn import functional as F

from labkit.recording.kinds import Activations
from labkit.recording.observe import observe
from labkit.recording.record import record


def entered(model: nn.Module, name: str, run) -> torch.Tensor:
    """What a module was given while the model ran."""
    seen = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].clone()))
    with torch.no_grad():
        run()
    handle.remove()
    return seen[0]


def same(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_torchs_encoder_layer(training, first):
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=first, dropout=0.0)
    model, x = nn.TransformerEncoder(layer, 2).train(training), torch.randn(2, 5, 16)
    with record(model, Activations) as trace:
        model(x)
    for name in ("layers.0", "layers.1"):
        given = entered(model, f"{name}.linear1", lambda: model(x))
        assert trace[name].values.shape == (2, 5, 32)
        same(trace[name].values, torch.relu(model.get_submodule(name).linear1(given)))


def test_torchs_decoder_layer_with_gelu():
    model = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 12, activation="gelu", dropout=0.0), 1)
    x, memory = torch.randn(5, 2, 8), torch.randn(4, 2, 8)
    trace = observe(model, (x, memory), Activations)
    given = entered(model.eval(), "layers.0.linear1", lambda: model(x, memory))
    same(trace["layers.0"].values, F.gelu(model.layers[0].linear1(given)))


def bert(layer, given):
    return F.gelu(given @ layer.intermediate.dense.weight.T + layer.intermediate.dense.bias)


def distilbert(block, given):
    return F.gelu(F.linear(given, block.lin1.weight, block.lin1.bias))


def gpt2(block, given):
    return F.gelu(given @ block.c_fc.weight + block.c_fc.bias, approximate="tanh")


def gated(block, given):
    return F.silu(given @ block.gate_proj.weight.T) * (given @ block.up_proj.weight.T)


@pytest.mark.parametrize(
    ("name", "block", "up", "again"),
    [
        ("BertModel", "encoder.layer.{}", "encoder.layer.{}.intermediate", bert),
        ("DistilBertModel", "transformer.layer.{}.ffn", "transformer.layer.{}.ffn.lin1", distilbert),
        ("GPT2LMHeadModel", "transformer.h.{}.mlp", "transformer.h.{}.mlp", gpt2),
        ("LlamaForCausalLM", "model.layers.{}.mlp", "model.layers.{}.mlp", gated),
        ("MistralForCausalLM", "model.layers.{}.mlp", "model.layers.{}.mlp", gated),
        ("Qwen2MoeForCausalLM", "model.layers.{}.mlp.shared_expert", "model.layers.{}.mlp.shared_expert", gated),
    ],
)
def test_transformers(name, block, up, again):
    model = hugging(name)
    trace = observe(model, {"input_ids": tokens()}, Activations)
    assert list(trace) == [block.format(layer) for layer in (0, 1)]
    for layer in (0, 1):
        given = entered(model, up.format(layer), lambda: model(tokens()))
        same(trace[block.format(layer)].values, again(model.get_submodule(block.format(layer)), given))


def test_a_sequence_with_in_place_nonlinearities_keeps_what_was_true_at_that_moment():
    class Doubles(nn.Module):
        def forward(self, x):
            return x.mul_(2)

    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), Doubles(), nn.Linear(6, 2))
    x = torch.randn(5, 4)
    with torch.no_grad(), record(model, Activations) as trace, record(model, nn.Linear) as linear:
        model(x)
    before = F.linear(x, model[0].weight, model[0].bias)
    same(trace["1"].values, before.clamp_min(0))
    same(linear["0"], before)


def test_one_nonlinearity_for_two_layers_speaks_for_each_in_turn():
    relu = nn.ReLU()
    model, x = nn.Sequential(nn.Linear(4, 3), relu, nn.Linear(3, 3), relu), torch.randn(5, 4)
    trace = observe(model, x, Activations)
    same(trace["1"].values, model[0](x).relu().detach())
    same(trace["3"].values, model[2](model[0](x).relu()).relu().detach())


def test_functions_as_nonlinearities():
    model, x = FunctionalMlp(), torch.randn(5, 6)
    trace = observe(model, x, Activations)
    same(trace["fc1"].values, model.fc1(x).relu().detach())
    same(trace["fc2"].values, model.fc2(model.fc1(x).relu()).tanh().detach())


def test_convolutions_have_their_channels_last():
    model, x = FunctionalCnn().eval(), torch.randn(2, 1, 8, 8)
    trace = observe(model, x, Activations)
    first = model.conv1(x).relu()
    second = F.max_pool2d(model.conv2(first).relu(), 2)
    same(trace["conv1"].values, first.permute(0, 2, 3, 1).detach())
    same(trace["conv2"].values, second.flatten(2).transpose(1, 2).detach())
    same(trace["fc1"].values, model.fc1(second.flatten(1)).relu().detach())


def test_a_residual_network_whose_in_place_relu_serves_two_convolutions():
    model, x = ResNetLike().eval(), torch.randn(2, 3, 6, 6)
    trace = observe(model, x, Activations)
    with torch.no_grad():
        stem = F.relu(model.bn1(model.conv1(x)))
        block = model.layer1[0]
        first = F.relu(block.bn1(block.conv1(stem)))
        second = F.relu(block.bn2(block.conv2(first)) + stem)
    for name, value in (("conv1", stem), ("layer1.0.conv1", first), ("layer1.0.conv2", second)):
        same(trace[name].values, value.permute(0, 2, 3, 1))


def test_a_mobile_network_whose_norms_hold_the_nonlinearity():
    model, x = MobileNetLike().eval(), torch.randn(2, 3, 6, 6)
    trace = observe(model, x, Activations)
    norm, block = model.bn1, model.blocks[0]
    with torch.no_grad():
        stem = F.relu(F.batch_norm(model.conv_stem(x), norm.running_mean, norm.running_var, norm.weight, norm.bias))
        wide = block.conv_pw(stem)
        wide = F.relu(
            (wide - block.bn1.running_mean[:, None, None]) / (block.bn1.running_var[:, None, None] + 1e-5).sqrt()
        )
    same(trace["bn1.act"].values, stem.permute(0, 2, 3, 1))
    same(trace["blocks.0.bn1.act"].values, wide.permute(0, 2, 3, 1))


def test_a_convolutional_block_with_two_linear_layers():
    model, x = (
        hugging("ConvNextModel", attention="eager", hidden_sizes=[4, 4, 4, 4], depths=[1, 1, 1, 1]),
        torch.randn(1, 3, 32, 32),
    )
    trace = observe(model, x, Activations)
    block = model.encoder.stages[0].layers[0]
    given = entered(model, "encoder.stages.0.layers.0.pwconv1", lambda: model(x))
    same(
        trace["encoder.stages.0.layers.0"].values, F.gelu(given @ block.pwconv1.weight.T + block.pwconv1.bias).detach()
    )


def test_each_expert_of_a_list_keeps_the_tokens_it_saw():
    model, x = HomeMadeExperts(), torch.randn(9, 6)
    trace = observe(model, x, Activations)
    chosen = model.gate(x).topk(2).indices
    for place, expert in enumerate(model.experts):
        rows = x[(chosen == place).any(-1)]
        if len(rows):
            same(trace[f"experts.{place}.1"].values, expert[0](rows).relu().detach())


def test_a_pattern_chooses_blocks_by_name_or_by_the_module_they_are_in():
    model = hugging("LlamaForCausalLM")
    by_name = observe(model, tokens(), Activations, "model.layers.1.*")
    inside = observe(model, tokens(), Activations, "model.layers.1")
    assert list(by_name) == list(inside) == ["model.layers.1.mlp"]


def test_weights_of_what_was_recorded_are_copies_with_their_names():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), FunctionalMlp())
    weights = observe(model[:3], torch.randn(2, 4), Activations).weights()
    assert set(weights["1"]) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert torch.equal(weights["1"]["0.weight"], model[0].weight)
    weights["1"]["0.weight"].zero_()
    assert model[0].weight.abs().sum() > 0
    by_class = observe(model[:3], torch.randn(2, 4), nn.Linear).weights()
    assert set(by_class["0"]) == {"weight", "bias"}


def test_padding_in_evaluation_where_torch_would_pack_the_tokens():
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    model, x = nn.TransformerEncoder(layer, 2).eval(), torch.randn(3, 5, 8)
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[1, 3:] = True
    trace = observe(model, {"src": x, "src_key_padding_mask": mask}, Activations)
    assert trace["layers.0"].values.layout == torch.strided
    assert trace["layers.0"].values.shape == (3, 5, 12)


def test_what_is_left_over_from_one_run_of_a_block_is_not_heard_in_the_next():
    class PreActivation(nn.Module):
        """Norm and nonlinearity before each convolution; one nonlinearity, whose first call belongs to no convolution."""

        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
            self.act = nn.Tanh()

        def forward(self, x):
            return x + self.conv2(self.act(self.conv1(self.act(x))))

    block = PreActivation()
    model, x = nn.Sequential(block, block), torch.randn(1, 4, 3, 3)
    with torch.no_grad():
        own = [torch.tanh(block.conv1(torch.tanh(given))) for given in (x, block(x))]
        with record(model, Activations) as trace:
            model(x)
    assert list(trace) == ["0.conv1"]
    for call, value in zip(trace.calls("0.conv1"), own, strict=True):
        same(call.values, value.permute(0, 2, 3, 1))
