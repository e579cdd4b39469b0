"""A network on the flattened sequence: tokens mix, rows do not, places have weights of their own, and the sizes fit."""

import pytest
import torch

from labkit import Example, check
from labkit.layers.attention.sequence_feedforward import SequenceFeedforward, slowly
from labkit.parts.shapes import ShapeError
from labkit.studies.attention import sequence_feedforward as measured
from labkit.workbench.backbones.encoder_decoder import attention
from labkit.workbench.budget import parameters


def test_every_token_hears_of_every_other():
    torch.manual_seed(0)
    layer, x = SequenceFeedforward(5, 4, hidden=6), torch.randn(3, 5, 4)
    for token in range(5):
        other = x.clone()
        other[:, token] = torch.randn(3, 4)
        assert ((layer(other) - layer(x)).norm(dim=-1) > 1e-4).all()


def test_places_have_weights_of_their_own():
    torch.manual_seed(0)
    layer, x, order = SequenceFeedforward(5, 4, hidden=6), torch.randn(3, 5, 4), torch.tensor([1, 0, 2, 3, 4])
    assert not torch.allclose(layer(x[:, order]), layer(x)[:, order], atol=1e-3)


def test_a_layer_that_gives_another_length_keeps_the_contract():
    example = Example(lambda: SequenceFeedforward(5, 4, hidden=6, out_length=1), reference=slowly)
    report = check(None, example)
    assert {name: said for name, said in report.items() if said != "passed" and not said.startswith("exempt")} == {}


def test_another_length_is_refused():
    with pytest.raises(ShapeError, match=r"SequenceFeedforward takes x of shape .* but got \(2, 6, 4\)"):
        SequenceFeedforward(5, 4, hidden=6)(torch.randn(2, 6, 4))


@pytest.mark.parametrize("place", [measured.ENCODER, measured.DECODER, measured.CROSS])
def test_small_students_have_the_parameters_of_attention(place):
    make = measured.STUDENTS[place](measured.small(place))
    sizes = [parameters(one(measured.LENGTH, measured.WIDTH)) for one in (make, attention)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.06)
