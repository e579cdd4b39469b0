"""A swapped layer takes the place of the old one at the same cost, and the old one comes back as it was."""

import copy

import pytest
import torch
from foreign_models import hugging, tokens
from torch import nn

from labkit.errors import LabError
from labkit.layers.feedforward.fast_feedforward import FastFeedforward
from labkit.workbench.backbones.character_transformer import CharacterTransformer
from labkit.workbench.backbones.hidden_layers import HiddenLayers
from labkit.workbench.backbones.vision_transformer import VisionTransformer
from labkit.workbench.baselines import DenseFeedforward
from labkit.workbench.budget import flops, parameters
from labkit.workbench.swap import swap


class Task:
    """Only the sizes that a backbone asks for."""

    def __init__(self, symbols=30, length=8, in_width=784, out_width=10):
        self.symbols, self.length, self.in_width, self.out_width = symbols, length, in_width, out_width


def dense(i, o):
    return DenseFeedforward(i, o, width=48)


def tree(i, o, size):
    return FastFeedforward(i, o, depth=2, leaf_width=size)


MODELS = {
    "characters": (
        lambda: CharacterTransformer(Task(), dense, width=16),
        "blocks.*.slot",
        (torch.arange(16).view(2, 8),),
    ),
    "images": (lambda: VisionTransformer(Task(), dense, width=16), "blocks.*.slot", (torch.rand(3, 784),)),
    "plain": (lambda: HiddenLayers(Task(in_width=5), dense, width=16), "slots.*", (torch.rand(3, 5),)),
    "Llama": (lambda: hugging("LlamaForCausalLM"), "model.layers.*.mlp", (tokens(),)),
    "GPT-2": (lambda: hugging("GPT2LMHeadModel"), "transformer.h.*.mlp", (tokens(),)),
    "DistilBERT": (lambda: hugging("DistilBertModel"), "transformer.layer.*.ffn", (tokens(),)),
}


def answer(model, example):
    model.eval()
    with torch.no_grad():
        said = model(*example)
    return said if isinstance(said, torch.Tensor) else said[0]


@pytest.fixture(params=MODELS)
def case(request):
    make, where, example = MODELS[request.param]
    torch.manual_seed(0)
    return make(), where, example


@pytest.mark.parametrize("match", ["parameters", "active_flops"])
def test_every_place_gets_a_layer_of_the_same_cost_and_the_old_one_comes_back(case, match):
    model, where, example = case
    before, said = copy.deepcopy(model.state_dict()), answer(model, example)
    old = dict(model.named_modules())
    with swap(model, where, tree, match=match, example=example) as swapped:
        assert len(swapped.places) == 2
        for place in swapped.places:
            new = model.get_submodule(place.name)
            assert isinstance(new, FastFeedforward)
            assert place.after == pytest.approx(place.before, rel=0.15)
            if match == "parameters":
                assert (place.before, place.after) == (parameters(old[place.name]), parameters(new))
            else:
                x = torch.randn(20, place.in_width)
                assert flops(new, x) / 20 == place.after
        assert answer(model, example).shape == said.shape
        assert not torch.equal(answer(model, example), said)
    assert dict(model.named_modules()) == old
    assert torch.equal(answer(model, example), said)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert swapped.back() is model


def test_a_swapped_model_learns():
    make, where, example = MODELS["Llama"]
    model = make()
    swapped = swap(model, where, tree, match="parameters").model.train()
    loss = swapped(*example, labels=example[0]).loss
    loss.backward()
    slopes = [one.grad for name, one in model.named_parameters() if ".mlp." in name]
    assert slopes
    assert all(slope is not None and torch.isfinite(slope).all() for slope in slopes)


def test_equal_time_is_found_by_measuring():
    model = nn.Sequential(nn.Linear(64, 64), DenseFeedforward(64, 64, width=512))
    swapped = swap(
        model, "1", lambda i, o, size: DenseFeedforward(i, o, width=size), match="latency", example=torch.rand(64, 64)
    )
    assert 128 <= swapped.places[0].size <= 2048
    assert "of its time" in str(swapped)


def test_without_matching_the_layer_is_built_as_it_is_and_widths_are_read_off():
    model = nn.Sequential(nn.Linear(5, 6), nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4)), nn.Linear(4, 2))
    swapped = swap(model.double().eval(), "1", lambda i, o: nn.Linear(i, o))
    new = model[1]
    assert (new.in_features, new.out_features, new.weight.dtype, new.training) == (6, 4, torch.float64, False)
    assert "6 to 4" in str(swapped)
    assert "<td>1</td><td>6 to 4</td>" in swapped._repr_html_()


def test_a_shared_block_is_replaced_by_one_that_is_shared():
    shared = DenseFeedforward(8, 8, width=32)

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.ModuleDict({"mlp": shared}), nn.ModuleDict({"mlp": shared})

        def forward(self, x):
            return self.second["mlp"](self.first["mlp"](x))

    model = Two()
    swapped = swap(model, "*.mlp", tree, match="parameters", example=torch.rand(2, 8))
    assert [place.name for place in swapped.places] == ["first.mlp", "second.mlp"]
    assert model.first["mlp"] is model.second["mlp"] is not shared
    swapped.back()
    assert model.first["mlp"] is model.second["mlp"] is shared


def test_only_the_outermost_of_nested_places_is_replaced():
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)))
    assert [place.name for place in swap(model, ["0", "0.*"], lambda i, o: nn.Linear(i, o)).places] == ["0"]


def test_what_cannot_be_swapped_is_said_and_nothing_is_changed():
    model = hugging("LlamaForCausalLM")
    old = dict(model.named_modules())
    with pytest.raises(
        LabError, match=r"No module .* is called blocks\.\*\.mlp; its feedforward blocks are model\.layers\.0\.mlp"
    ):
        swap(model, "blocks.*.mlp", tree, match="parameters")
    with pytest.raises(LabError, match="give swap an example batch"):
        swap(model, "model.layers.*.mlp", tree, match="active_flops")
    with pytest.raises(LabError, match="cannot be replaced by a layer of one tensor in"):
        swap(model, "model.layers.*.self_attn", tree, match="parameters", example=tokens())
    with pytest.raises(LabError, match="No size of this layer costs"):
        swap(
            model, "model.layers.*.mlp", lambda i, o, size: DenseFeedforward(i, o, width=500 + size), match="parameters"
        )
    assert dict(model.named_modules()) == old
    assert not any(module._forward_hooks for module in model.modules())
    assert model.training is False
