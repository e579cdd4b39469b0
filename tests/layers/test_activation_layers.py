"""Learnt activations: what they are equal to, where they come from, and what they refuse."""

import pytest
import torch
from torch.nn import functional as F

from labkit.analysis.activity.activation_curve import activation_curve
from labkit.layers.activation.cauchy_activation import CauchyActivation
from labkit.layers.activation.corrected_relu import CorrectedReLU
from labkit.layers.activation.mixed_activation import FUNCTIONS, GroupedActivation, MixedActivation
from labkit.parts.selection import drawn, gumbel_like, straight_through
from labkit.recording.record import NothingRecorded

X = torch.linspace(-5, 5, 41)[:, None]


def test_without_its_correction_a_corrected_relu_is_relu():
    assert torch.equal(CorrectedReLU(start=0.0)(X), F.relu(X))


def test_far_from_zero_a_corrected_relu_is_relu_whatever_it_learnt():
    far = torch.tensor([[-9.0, 9.0]])
    assert torch.allclose(CorrectedReLU(start=3.0)(far), F.relu(far), atol=1e-12)


def test_the_correction_is_odd_and_largest_at_one():
    more = CorrectedReLU(start=0.5)(X) - F.relu(X)
    assert torch.allclose(more, -more.flip(0), atol=1e-6)
    assert X[more.argmax()].item() == pytest.approx(1.0)


def test_a_cauchy_unit_is_the_real_part_of_cauchys_kernel():
    odd, even, spread = 0.7, 0.3, 0.5
    layer = CauchyActivation(1, odd=odd, even=even, spread=spread)
    kernel = complex(odd, -even / spread) / (X.double() - 1j * spread)  # Re (λ / (x - id)) with λ = λ₁ - iλ₂/d
    assert torch.allclose(layer(X).double(), kernel.real, atol=1e-6)


def test_a_cauchy_unit_fades_on_both_sides():
    said = CauchyActivation(1)(torch.tensor([[-1e4], [0.0], [1e4]])).abs()
    assert said[0] < 1e-3 < said[1] > said[2]


def test_the_sign_of_the_width_does_not_matter_and_no_width_is_refused():
    assert torch.equal(CauchyActivation(1, spread=-0.4)(X), CauchyActivation(1, spread=0.4)(X))
    with pytest.raises(ValueError, match="spread 0"):
        CauchyActivation(1, spread=0.0)


def test_a_width_that_vanished_in_training_gives_no_infinity():
    layer = CauchyActivation(2)
    with torch.no_grad():
        layer.spread.zero_()
    said = layer(torch.zeros(3, 2))
    said.sum().backward()
    assert torch.isfinite(said).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in layer.parameters())


def test_shared_curves_have_three_numbers_and_own_ones_three_a_unit():
    assert [sum(p.numel() for p in CauchyActivation(7, shared=shared).parameters()) for shared in (True, False)] == [
        3,
        21,
    ]


def test_what_is_chosen_is_one_hot_to_the_bit_and_learns_as_the_soft_choice():
    scores = torch.randn(5000, 6, requires_grad=True)
    chosen = straight_through(scores, 0.5)
    assert torch.equal(chosen.detach().unique(), torch.tensor([0.0, 1.0]))
    assert torch.equal(chosen.argmax(-1), scores.argmax(-1))
    weight = torch.randn(5000, 6)
    hard = torch.autograd.grad((chosen * weight).sum(), scores)[0]
    soft = torch.autograd.grad(((scores / 0.5).softmax(-1) * weight).sum(), scores)[0]
    assert torch.allclose(hard, soft)


@pytest.mark.parametrize("temperature", [0.1, 5.0])
def test_a_choice_is_drawn_as_often_as_its_softmax_says_whatever_the_temperature(temperature):
    torch.manual_seed(0)
    scores = torch.tensor([0.0, 1.0, 2.0])
    often = drawn(scores.expand(40_000, 3), temperature).mean(0)
    assert torch.allclose(often, scores.softmax(-1), atol=0.01)


def test_noise_is_finite_in_every_type():
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        assert torch.isfinite(gumbel_like(torch.zeros(20_000, dtype=dtype))).all()


def test_a_frozen_layer_says_what_the_choosing_one_says_in_evaluation():
    torch.manual_seed(0)
    layer = MixedActivation(200).eval()
    frozen = layer.freeze()
    x = 3 * torch.randn(50, 200)
    assert torch.allclose(frozen(x), layer(x), atol=1e-6)
    assert torch.equal(frozen.choice, layer.choice)
    assert not list(frozen.parameters())


def test_each_neuron_goes_through_the_function_of_its_own_choice():
    for place, function in enumerate(FUNCTIONS.values()):
        assert torch.allclose(GroupedActivation([place] * 3)(X.expand(-1, 3)), function(X).expand(-1, 3))
        mixed = GroupedActivation([place, (place + 1) % 6, place])(X.expand(-1, 3))
        assert torch.allclose(mixed[:, [0, 2]], function(X).expand(-1, 2))


def test_scores_that_are_sure_make_training_and_evaluation_the_same():
    layer = MixedActivation(30)
    with torch.no_grad():
        layer.scores.mul_(1e9)
    x = torch.randn(8, 30)
    assert torch.allclose(layer.train()(x), layer.eval()(x), atol=1e-6)


def test_neurons_find_the_function_that_fits():
    """Every neuron is asked for a tanh: with nothing else to learn, tanh or what looks most like it is chosen."""
    torch.manual_seed(0)
    layer, x = MixedActivation(20), 3 * torch.randn(256, 20)
    optimizer = torch.optim.Adam(layer.parameters(), 0.1)
    for _ in range(150):
        optimizer.zero_grad()
        (layer(x) - x.tanh()).square().mean().backward()
        optimizer.step()
    assert (layer.choice == list(FUNCTIONS).index("tanh")).float().mean() > 0.9


def test_a_frozen_layer_survives_its_state_and_refuses_what_is_no_choice():
    frozen = GroupedActivation([0, 5, 2, 0])
    other = GroupedActivation([0, 5, 2, 0])
    other.load_state_dict(frozen.state_dict())
    assert torch.equal(other(X.expand(-1, 4)), frozen(X.expand(-1, 4)))
    for wrong in ([0, 6], [-1], []):
        with pytest.raises(ValueError, match="from 0 to 5"):
            GroupedActivation(wrong)
    with pytest.raises(ValueError, match="above 0"):
        MixedActivation(3, temperature=0.0)


def test_a_curve_is_what_the_activation_says():
    torch.manual_seed(0)
    layer = MixedActivation(4)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), layer, torch.nn.Linear(4, 4), torch.nn.GELU())
    found = activation_curve(model, (torch.randn(100, 3),))
    assert list(found.layer.values) == ["1", "3"]
    x = torch.tensor(found.x.values.tolist())
    frozen = layer.freeze()(x[:, None].expand(-1, 4)).T
    seen = torch.as_tensor(found.sel(layer="1").values)
    there = seen.isfinite()
    assert there.any(1).all()
    assert torch.allclose(seen[there], frozen[there], atol=1e-6)


def test_a_network_without_activations_has_no_curves():
    with pytest.raises(NothingRecorded, match="value by value"):
        activation_curve(torch.nn.Sequential(torch.nn.Linear(3, 3)), (torch.randn(2, 3),))
