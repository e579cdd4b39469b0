"""Gradients of recorded values are those of autograd, call by call, also through checkpoints."""

import pytest
import torch
from foreign_models import ResNetLike, hugging, tokens
from torch import nn
from torch.utils.checkpoint import checkpoint

from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.recording.kinds import Activations, Attention
from labkit.recording.record import record


class Repeated(nn.Module):
    """One block that runs three times, checkpointed or not."""

    def __init__(self, *, reentrant: bool | None):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 4))
        self.reentrant = reentrant

    def forward(self, x):
        for _ in range(3):
            if self.reentrant is None:
                x = x + self.block(x)
            else:
                x = x + checkpoint(self.block, x, use_reentrant=self.reentrant)
        return x


def test_the_gradient_of_hidden_units_is_that_of_autograd():
    model, x = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), torch.randn(5, 4)
    with record(model, Activations, gradients=True) as trace:
        model(x).square().sum().backward()
    hidden = model[1](model[0](x)).detach().requires_grad_()
    (own,) = torch.autograd.grad(model[2](hidden).square().sum(), hidden)
    assert isinstance(trace.gradients["1"], Activations)
    torch.testing.assert_close(trace.gradients["1"].values, own)


@pytest.mark.parametrize("reentrant", [None, False, True])
def test_a_block_that_runs_three_times_has_three_values_and_three_gradients_in_order(reentrant):
    torch.manual_seed(0)
    model, x = Repeated(reentrant=reentrant), torch.randn(5, 4, requires_grad=True)
    torch.manual_seed(1)
    with record(model, Activations, gradients=True) as trace:
        model(x).square().sum().backward()
    plain = Repeated(reentrant=None)
    plain.load_state_dict(model.state_dict())
    torch.manual_seed(1)
    hidden, y = [], x.detach()
    for _ in range(3):
        hidden.append(torch.relu(plain.block[0](y)))
        hidden[-1].retain_grad()
        y = y + plain.block[3](plain.block[2](hidden[-1]))
    y.square().sum().backward()
    values, gradients = trace.calls("block.1"), trace.gradients.calls("block.1")
    assert len(values) == len(gradients) == 3
    for value, gradient, own in zip(values, gradients, hidden, strict=True):
        torch.testing.assert_close(value.values, own.detach())
        torch.testing.assert_close(gradient.values, own.grad)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_recomputation_is_no_second_call(reentrant):
    model, x = Repeated(reentrant=reentrant), torch.randn(5, 4, requires_grad=True)
    with record(model) as everything:
        model(x).sum().backward()
    assert len(everything.calls("block.0")) == 3
    assert len(everything.calls("")) == 1


@pytest.mark.parametrize("reentrant", [False, True])
def test_recorded_layers_of_a_checkpointed_transformer(reentrant):
    plain, model = hugging("LlamaForCausalLM").train(), hugging("LlamaForCausalLM").train()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    traces = []
    for one in (plain, model):
        one.model.embed_tokens.weight.requires_grad_()
        with record(one, (Activations, Attention), gradients=True) as trace:
            one(tokens(), labels=tokens(), use_cache=False).loss.backward()
        traces.append(trace)
    assert list(traces[0]) == list(traces[1])
    for name in ("model.layers.0.mlp", "model.layers.1.mlp"):
        assert torch.equal(traces[0][name].values, traces[1][name].values)
        torch.testing.assert_close(traces[0].gradients[name].values, traces[1].gradients[name].values)
    for name in ("model.layers.0.self_attn", "model.layers.1.self_attn"):
        assert torch.equal(traces[0][name].weights, traces[1][name].weights)


def test_channels_come_last_in_gradients_too():
    model, x = ResNetLike(), torch.randn(2, 3, 6, 6)
    with record(model, Activations, "layer2.0.conv2", gradients=True) as trace:
        model(x)[:, 0].sum().backward()
    value, gradient = trace["layer2.0.conv2"].values, trace.gradients["layer2.0.conv2"].values
    assert value.shape == gradient.shape == (2, 6, 6, 12)
    torch.testing.assert_close(gradient, (model.fc.weight[0] / 36).expand(2, 6, 6, 12).detach())


def test_two_backward_passes_add_up_as_in_grad():
    model, x = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)), torch.randn(5, 4)
    with record(model, nn.Tanh, gradients=True) as trace:
        loss = model(x).sum()
        loss.backward(retain_graph=True)
        loss.backward()
    torch.testing.assert_close(trace.gradients["1"], 2 * model[2].weight.expand(5, 3).detach())


def test_routers_get_gradients_of_what_they_weigh():
    model = hugging("MixtralForCausalLM").train()
    with record(model, Routing, gradients=True) as trace:
        model(tokens(), labels=tokens()).loss.backward()
    gradient = trace.gradients["model.layers.0.mlp.gate"]
    assert gradient.weights.shape == (14, 2)
    assert gradient.weights.abs().sum() > 0
    assert gradient.index is None


def test_eager_attention_has_gradients():
    model = hugging("BertModel", attention="eager")
    with record(model, Attention, gradients=True) as trace:
        model(tokens()).last_hidden_state.square().sum().backward()
    assert trace.gradients["encoder.layer.0.attention.self"].weights.abs().sum() > 0


@pytest.mark.parametrize(
    "run",
    [
        lambda model, x: model(x),
        lambda model, x: torch.no_grad()(model)(x),
    ],
)
def test_gradients_that_never_came_are_an_error(run):
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    with pytest.raises(LabError, match=r"call backward\(\) inside the block"), record(model, nn.ReLU, gradients=True):
        run(model, torch.randn(2, 4))


def test_weights_of_fused_attention_have_no_gradient_and_the_error_says_so():
    model = hugging("LlamaForCausalLM")
    with pytest.raises(LabError, match="attention weights"), record(model, Attention, gradients=True):
        model(tokens()).logits.sum().backward()


def test_attached_values_inside_a_reentrant_checkpoint_are_refused():
    model, x = Repeated(reentrant=True), torch.randn(5, 4, requires_grad=True)
    with pytest.raises(LabError, match="use_reentrant=False"), record(model, Activations, attached=True):
        model(x)


def test_an_attached_value_that_is_overwritten_later_is_an_error():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True))
    with pytest.raises(LabError, match="1: a later operation overwrote"), record(model, nn.BatchNorm1d, attached=True):
        model(torch.randn(5, 4))


def test_attached_values_are_the_models_own_tensors():
    model, x = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)), torch.randn(5, 4)
    with record(model, Activations, attached=True) as trace:
        out = model(x)
    (gradient,) = torch.autograd.grad(out.sum(), trace["1"].values)
    torch.testing.assert_close(gradient, model[2].weight.expand(5, 6).detach())


def test_no_gradient_of_the_parameters_changes():
    model, x = Repeated(reentrant=None).eval(), torch.randn(5, 4)
    model(x).sum().backward()
    own = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    with record(model, Activations, gradients=True):
        model(x).sum().backward()
    assert all(torch.equal(one, parameter.grad) for one, parameter in zip(own, model.parameters(), strict=True))
