"""Every property of the layer contract is tripped by the fault it is for: a check that no fault trips is no check."""

import itertools

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

import labkit
from labkit.contract.check import PROPERTIES, check
from labkit.contract.proving import prove_on
from labkit.example import Example
from labkit.layers.feedforward.fast_feedforward import FastFeedforward
from labkit.parts.gate import Routing
from labkit.parts.shapes import shaped
from labkit.parts.tree import TreeGate

BY_NAME = {prove.__name__: prove for prove in PROPERTIES}
_ticks = itertools.count()


class Sound(nn.Module):
    """A linear map without faults; the faulty layers below change one thing."""

    def __init__(self):
        super().__init__()
        self.width = 4
        self.weight = nn.Parameter(torch.randn(4, 4))

    @shaped
    def forward(self, x: Float[Tensor, "*batch {self.width}"]) -> Float[Tensor, "*batch {self.width}"]:
        return self.change(x @ self.weight, x)

    def change(self, out: Tensor, x: Tensor) -> Tensor:
        return out


def faulty(change, prepare=lambda layer: None):
    """A `Sound` layer whose answer is changed."""

    class Faulty(Sound):
        def __init__(self):
            super().__init__()
            prepare(self)

        def change(self, out, x):
            return change(self, out, x)

    return Faulty


class WrongSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, slope):
        return slope


class UncheckedShape(nn.Module):
    width = 4

    def forward(self, x: Float[Tensor, "*batch {self.width}"]) -> Float[Tensor, "*batch {self.width}"]:
        return x[..., :4] * 2


class NegativeGate(nn.Module):
    def forward(self, x: Tensor) -> Routing:
        return Routing(torch.zeros(*x.shape[:-1], 1, dtype=torch.long), -torch.ones(*x.shape[:-1], 1), 3)


class DropsBias(FastFeedforward):
    """What the public implementation does: evaluation forgets the leaf's output bias."""

    def forward(self, x: Float[Tensor, "*batch {self.in_width}"]) -> Float[Tensor, "*batch {self.out_width}"]:
        out = super().forward(x)
        if self.training:
            return out
        return out - self.leaves.out_bias[self.gate(x).index.squeeze(-1)]


class SeesAhead(nn.Module):
    width = 4

    @shaped
    def forward(self, x: Float[Tensor, "*batch tokens {self.width}"]) -> Float[Tensor, "*batch tokens {self.width}"]:
        return x - x.mean(-2, keepdim=True)


def cached(layer: nn.Module, out: Tensor, x: Tensor) -> Tensor:
    if layer.kept is None:
        layer.kept = layer.weight.detach().clone()
    return x @ layer.kept


def only_once_stored(layer: nn.Module) -> None:
    layer.register_buffer("secret", torch.randn(4), persistent=False)


FAULTS = {
    "shape_fits_its_annotation_and_is_finite": faulty(lambda s, out, x: out[..., :3]),
    "returns_only_a_tensor": faulty(lambda s, out, x: (out, 0.0)),
    "any_leading_dimensions_also_an_empty_batch": faulty(lambda s, out, x: out.view(-1, 4)),
    "float64_and_bfloat16_in_the_same_out": faulty(lambda s, out, x: out.float()),
    "non_contiguous_input_gives_the_same": faulty(lambda s, out, x: out + x.view(-1).view(x.shape)),
    "every_parameter_and_input_learns": faulty(
        lambda s, out, x: out, lambda s: setattr(s, "idle", nn.Parameter(torch.ones(2)))
    ),
    "gradients_are_right": faulty(lambda s, out, x: WrongSlope.apply(out)),
    "same_seed_gives_the_same_output": faulty(lambda s, out, x: out + next(_ticks)),
    "evaluation_is_pure": faulty(lambda s, out, x: out + torch.rand(())),
    "hardened_training_equals_evaluation": lambda: DropsBias(4, 3, depth=2, leaf_width=2),
    "rows_do_not_mix": faulty(lambda s, out, x: out - out.mean(0, keepdim=True)),
    "state_survives_a_safe_file": faulty(lambda s, out, x: out + s.secret, only_once_stored),
    "copies_and_pickles": faulty(lambda s, out, x: out, lambda s: setattr(s, "act", lambda y: y)),
    "runs_with_other_weights": faulty(cached, lambda s: setattr(s, "kept", None)),
    "compiles_as_one_graph": faulty(lambda s, out, x: out * 2 if out.sum().item() > 0 else out),
    "exports": faulty(lambda s, out, x: out * 2 if out.sum().item() > 0 else out),
    "runs_as_an_ensemble": faulty(lambda s, out, x: out * 2 if out.sum().item() > 0 else out),
    "refuses_a_wrong_shape_with_a_sentence": UncheckedShape,
    "the_past_does_not_see_the_future": SeesAhead,
    "what_is_not_a_number_stays_in_its_row": faulty(lambda s, out, x: out.nan_to_num()),
    "without_gradients_the_answer_is_the_same": faulty(lambda s, out, x: out + float(torch.is_grad_enabled())),
    "runs_under_autocast": faulty(lambda s, out, x: out + torch.dot(out.flatten(), x.flatten()) * 0),
    "routing_is_a_choice": faulty(
        lambda s, out, x: out + s.gate(x).weights.sum() * 0, lambda s: setattr(s, "gate", NegativeGate())
    ),
}


def example_of(name: str) -> Example:
    if name == "equals_its_reference_forward_and_backward":
        return Example(Sound, reference=lambda layer, x: x @ layer.weight.T)
    return Example(FAULTS[name])


@pytest.mark.parametrize("name", BY_NAME)
def test_the_planted_fault_trips(name):
    example = example_of(name)
    with pytest.raises(Exception, match=r"\w"):
        prove_on(BY_NAME[name], example)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_sound_layer_passes(name):
    prove_on(BY_NAME[name], Example(Sound, reference=lambda layer, x: x @ layer.weight))


def test_the_report_is_public_and_names_faults_and_exemptions():
    report = labkit.check(DropsBias, Example(FAULTS["hardened_training_equals_evaluation"]))
    assert report["hardened training equals evaluation"].startswith("hardened training and evaluation differ")
    assert report["returns only a tensor"] == "passed"
    excused = Example(FAULTS["rows_do_not_mix"], exempt={"rows do not mix": "it centres the batch on purpose"})
    assert check(Sound, excused)["rows do not mix"] == "exempt: it centres the batch on purpose"


def test_an_exemption_needs_a_reason():
    with pytest.raises(ValueError, match="needs a reason"):
        Example(Sound, exempt={"rows do not mix": "no"})


def test_refusals_name_layer_argument_and_both_shapes():
    layer = FastFeedforward(6, 2, depth=1, leaf_width=2)
    with pytest.raises(ValueError, match=r"FastFeedforward takes x of shape \(\*batch, in_width=6\), but got \(3, 7\)"):
        layer(torch.randn(3, 7))
    with pytest.raises(ValueError, match=r"but x is torch\.float64"):
        layer(torch.randn(3, 6).double())
    with pytest.raises(ValueError, match=r"x\.float\(\)"):
        layer(torch.ones(3, 6, dtype=torch.long))
    with pytest.raises(ValueError, match="depth is 0 or more"):
        TreeGate(4, depth=-1)
