"""The exercises on stopping and on thresholds take right answers however they are found, and name usual mistakes."""

import pytest
import torch

from labkit.views.wording import percent
from labkit.workshop.exercise import OPEN, check
from labkit.workshop.stopping_exercises import careful, own_bits
from labkit.workshop.stopping_picture import gate_handle


@pytest.fixture
def gate():
    draw = torch.Generator().manual_seed(0)
    wanted = torch.arange(200) % 5 == 0
    return torch.sigmoid(torch.randn(200, generator=draw) + 3 * wanted), wanted.long()


def said(answer, tests) -> str:
    return check(lambda: answer, *tests).says


def test_a_careful_threshold_is_right_however_it_is_written(gate):
    values, wanted = gate
    tests, ours = careful(values, wanted, 0.1), values[wanted == 1].sort().values
    assert check(lambda: ours[4].item(), *tests).right
    assert check(lambda: ours[4], *tests).right
    assert check(lambda: ours.kthvalue(5).values, *tests).right


def test_careless_thresholds_are_explained(gate):
    values, wanted = gate
    tests, ours, others = careful(values, wanted, 0.1), values[wanted == 1], values[wanted == 0]
    assert "stops" in said(0.999, tests)
    assert "largest values" in said(ours.quantile(0.9).item(), tests)
    assert "looked at the others" in said(
        others.quantile(0.9).item(), careful(values, wanted, 0.1)
    ) or "go higher" in said(others.quantile(0.9).item(), tests)
    assert "go higher" in said(0.0, tests)
    assert "you took it of all pictures" in said(values.quantile(0.1).item(), tests)
    assert "one number" in said(values, tests)
    assert "between 0 and 1" in said(4, tests)
    assert said(..., tests) == OPEN


@pytest.fixture
def activations():
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(6, 3, 7, 7, generator=draw) + torch.randn(6, 3, 1, 1, generator=draw)
    return x, torch.tensor([0.5, -0.4, 0.3]), torch.tensor([0.1, -0.2, 0.0])


def test_own_bits_are_right(activations):
    x, follow, shift = activations
    threshold = follow * (x**3).mean((2, 3)) + shift
    assert check(lambda: torch.where(x >= threshold[:, :, None, None], 1, -1), *own_bits(x, follow, shift)).right
    assert check(lambda: torch.sign(x - threshold[:, :, None, None]), *own_bits(x, follow, shift)).right


def test_bits_of_another_threshold_are_explained(activations):
    x, follow, shift = activations
    tests = own_bits(x, follow, shift)

    def bits(statistic):
        return torch.sign(x - (follow[:, None, None] * statistic + shift[:, None, None]))

    cubes = x.pow(3).mean((2, 3), keepdim=True)
    assert "whole batch" in said(bits(x.pow(3).mean((0, 2, 3))[:, None, None]), tests)
    assert "cube of the mean" in said(bits(x.mean((2, 3), keepdim=True) ** 3), tests)
    assert "you took the mean;" in said(bits(x.mean((2, 3), keepdim=True)), tests)
    assert "all channels" in said(bits(x.pow(3).mean((1, 2, 3), keepdim=True)), tests)
    assert "does not follow" in said(bits(0 * cubes), tests)
    assert "wrong way round" in said(-bits(cubes), tests)
    assert "True and False" in said(bits(cubes) > 0, tests)
    assert "other numbers" in said(x, tests)
    assert "shape" in said(bits(cubes)[:3], tests)
    assert "%" in said(torch.ones_like(x), tests)
    assert said(..., tests) == OPEN


def test_the_handle_counts_what_is_left_of_its_line(gate):
    values, wanted = gate
    figure = gate_handle(values, wanted)
    assert len(figure.frames) == len(figure.layout.sliders[0].steps) > 10
    for frame in (figure.frames[0], figure.frames[-1]):
        at = frame.data[0].x[0]
        share = (values[wanted == 0] < at).double().mean().item()
        assert f"stops {percent(share)} of the others" in frame.data[0].name
