"""The bilinear layer is its tensor, its forms and its eigenvectors; gated layers are what their names say."""

import pytest
import torch
from torch.nn import functional as F

from labkit.analysis.geometry.quadratic_directions import quadratic_directions
from labkit.layers.feedforward.bilinear_feedforward import BilinearFeedforward
from labkit.layers.feedforward.gated_feedforward import ACTIVATIONS, GatedFeedforward
from labkit.parts.quadratic import Quadratic, directions_of, forms_of, weighted_squares
from labkit.recording.hidden import hidden
from labkit.recording.record import NothingRecorded

WIDTHS = {"narrow": 3, "as wide as its input": 4, "wider than its input": 20}


def layer_of(width: int, bias: bool = False) -> BilinearFeedforward:
    return BilinearFeedforward(8, 5, width=width, bias=bias).double()


def with_one(x):
    return F.pad(x, (0, 1), value=1.0)


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("bias", [False, True])
def test_layer_tensor_forms_and_eigenvectors_say_the_same(width, bias):
    layer, x = layer_of(width, bias), torch.randn(30, 8).double()
    inputs = with_one(x) if bias else x
    added = layer.out.bias if bias else 0
    by_tensor = torch.einsum("aij,ni,nj->na", layer.tensor(), inputs, inputs) + added
    by_forms = torch.einsum("aij,ni,nj->na", layer.forms(), inputs, inputs) + added
    by_squares = weighted_squares(inputs, *directions_of(layer.factors())) + added
    for said in (by_tensor, by_forms, by_squares):
        torch.testing.assert_close(said, layer(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_directions_are_those_of_the_whole_matrix(width):
    layer = layer_of(width)
    values, vectors = directions_of(layer.factors())
    count = min(2 * width, 8)
    assert values.shape == (5, count)
    assert (values.abs().diff(dim=-1) <= 1e-12).all()
    whole = torch.linalg.eigvalsh(layer.forms())
    strongest = whole.gather(-1, whole.abs().argsort(-1, descending=True))[:, :count]
    torch.testing.assert_close(values, strongest)
    torch.testing.assert_close(vectors @ vectors.mT, torch.eye(count).double().expand(5, -1, -1))
    torch.testing.assert_close(torch.einsum("am,ami,amj->aij", values, vectors, vectors), forms_of(layer.factors()))


def test_the_sign_of_a_direction_is_the_same_whatever_the_basis():
    layer = layer_of(3)
    _, vectors = directions_of(layer.factors())
    largest = vectors.gather(-1, vectors.abs().argmax(-1, keepdim=True))
    assert (largest > 0).all()


def test_the_form_of_a_direction_is_the_mixture_of_the_outputs_forms():
    layer, direction = layer_of(6), torch.randn(5).double()
    torch.testing.assert_close(layer.form(direction), torch.einsum("a,aij->ij", direction, layer.forms()))
    with pytest.raises(ValueError, match=r"shape \(5,\), but this one \(4,\)"):
        layer.form(direction[:4])


def test_without_biases_an_input_and_its_negative_are_the_same():
    layer, x = layer_of(6), torch.randn(4, 8).double()
    torch.testing.assert_close(layer(x), layer(-x))


def test_the_analysis_finds_every_quadratic_layer_and_no_other():
    model = torch.nn.Sequential(BilinearFeedforward(8, 5, width=2), torch.nn.ReLU(), BilinearFeedforward(5, 3, width=9))
    found = quadratic_directions(model, most=3)
    assert list(found.layer.values) == ["0", "2"]
    assert found.shape == (2, 5, 3, 8)
    lengths = (found.sel(layer="0") ** 2).sum("input")
    assert lengths.values == pytest.approx(1, abs=1e-5)
    with pytest.raises(NothingRecorded, match="no layer that is a quadratic form"):
        quadratic_directions(torch.nn.Linear(3, 3))


def test_a_gated_layer_is_no_quadratic_form():
    assert isinstance(BilinearFeedforward(3, 2, width=4), Quadratic)
    assert not isinstance(GatedFeedforward(3, 2, width=4), Quadratic)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_a_gated_layer_is_its_equation(activation, bias):
    layer, x = GatedFeedforward(6, 5, width=7, activation=activation, bias=bias), torch.randn(4, 6)
    curve = {"sigmoid": torch.sigmoid, "relu": torch.relu, "gelu": F.gelu, "silu": F.silu}[activation]
    expected = layer.out(curve(layer.opening(x)) * layer.value(x))
    torch.testing.assert_close(layer(x), expected)


def test_hidden_units_are_found_behind_the_product():
    layer, x = BilinearFeedforward(6, 6, width=9), torch.randn(4, 6)
    (units,) = hidden(torch.nn.Sequential(layer), (x,)).values()
    torch.testing.assert_close(units.values, (layer.left(x) * layer.right(x)).detach())


def test_refuses_what_makes_no_layer():
    with pytest.raises(ValueError, match="one hidden unit or more, not 0"):
        BilinearFeedforward(3, 2, width=0)
    with pytest.raises(ValueError, match="one hidden unit or more, not -1"):
        GatedFeedforward(3, 2, width=-1)
    with pytest.raises(ValueError, match="sigmoid, relu, gelu, silu, not 'swish'"):
        GatedFeedforward(3, 2, width=4, activation="swish")
