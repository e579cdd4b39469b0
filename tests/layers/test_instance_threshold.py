"""Thresholds of one's own: at the start they are the learnt ones, they follow their own input only, and bits are bits."""

import pytest
import torch

from labkit.layers.activation.excited_threshold import ExcitedThreshold
from labkit.layers.activation.instance_prelu import InstancePReLU
from labkit.layers.activation.instance_threshold import InstanceThreshold
from labkit.parts.binary import BinaryConv2d, ShiftedPReLU, ShiftedSign, moment, one_bit, sign_through


@pytest.fixture
def x():
    return torch.randn(10, 4, 5, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [InstanceThreshold, ExcitedThreshold])
def test_it_begins_as_the_learnt_threshold(kind, x):
    layer, plain = kind(4), ShiftedSign(4)
    with torch.no_grad():
        layer.shift.copy_(torch.tensor([0.1, -0.5, 0.0, 1.0]))
        plain.shift.copy_(layer.shift)
    assert torch.equal(layer(x), plain(x))


def test_the_prelu_begins_as_the_shifted_one(x):
    assert torch.allclose(InstancePReLU(4)(x), ShiftedPReLU(4)(x))


@pytest.mark.parametrize("kind", [InstanceThreshold, ExcitedThreshold])
def test_it_says_only_one_and_minus_one(kind, x):
    assert kind(4)(x).unique().tolist() == [-1, 1]
    assert kind(4)(torch.zeros(1, 4, 2, 2)).unique().tolist() == [1]


def test_with_the_mean_and_slope_one_a_brighter_picture_has_the_same_bits(x):
    layer = InstanceThreshold(4, power=1)
    with torch.no_grad():
        layer.follow.fill_(1)
    assert torch.equal(layer(x), layer(x + torch.arange(10.0).view(10, 1, 1, 1)))
    with torch.no_grad():
        layer.follow.fill_(0)
    assert not torch.equal(layer(x), layer(x + torch.arange(10.0).view(10, 1, 1, 1)))


def test_an_excited_threshold_hears_the_other_channels_and_a_plain_one_does_not(x):
    torch.manual_seed(0)
    excited, plain = ExcitedThreshold(4), InstanceThreshold(4)
    with torch.no_grad():
        excited.excite.weight.normal_()
        excited.squeeze.bias.fill_(2)
        plain.follow.fill_(0.5)
    louder = x.clone()
    louder[:, 0] += 1
    assert torch.equal(plain.threshold(x)[:, 1:], plain.threshold(louder)[:, 1:])
    assert not torch.allclose(excited.threshold(x)[:, 1:], excited.threshold(louder)[:, 1:])


@pytest.mark.parametrize("kind", [InstanceThreshold, ExcitedThreshold, InstancePReLU])
def test_even_moments_are_refused(kind):
    with pytest.raises(ValueError, match="odd"):
        kind(4, power=2)


def test_the_mean_of_cubes_holds_mean_spread_and_skewness(x):
    values = x[0, 0].double()
    mean, spread = values.mean(), values.std(unbiased=False)
    skewness = (((values - mean) / spread) ** 3).mean()
    assert moment(x.double(), 3)[0, 0] == pytest.approx((mean**3 + 3 * mean * spread**2 + skewness * spread**3).item())


def test_the_gradient_of_the_sign_is_that_of_the_ramp():
    x = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0], requires_grad=True)
    bits = sign_through(x)
    bits.sum().backward()
    assert bits.tolist() == [-1, -1, 1, 1, 1]
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 0]
    assert sign_through(torch.tensor(torch.nan)).isnan()


def test_weights_of_one_bit_have_one_size_a_channel():
    weight = torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    sizes = one_bit(weight).abs().flatten(1)
    assert torch.allclose(sizes, weight.abs().flatten(1).mean(1, keepdim=True).expand_as(sizes))
    assert torch.equal(one_bit(weight).sign(), weight.sign())
    layer = BinaryConv2d(2, 3)
    assert layer(torch.randn(1, 2, 5, 5)).shape == (1, 3, 5, 5)
    assert layer.bias is None
