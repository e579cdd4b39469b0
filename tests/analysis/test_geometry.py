"""Similarity and spectra equal slow computations by hand, and know what a rotation and pure noise must give."""

import math

import numpy as np
import pytest
import torch

from labkit.analysis.geometry.similarity import similarity_of
from labkit.analysis.geometry.spectrum import spectrum_of
from labkit.errors import LabError


def plain_by_hand(x, y):
    n = len(x)
    centring = np.eye(n) - 1 / n
    k, l = (centring @ (z @ z.T) @ centring for z in (x, y))  # noqa: E741
    return np.trace(k @ l) / math.sqrt(np.trace(k @ k) * np.trace(l @ l))


def unbiased_by_hand(x, y):
    n, one = len(x), np.ones(len(x))

    def hsic(k, l):  # noqa: E741
        k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
        chance = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
        return (np.trace(k @ l) + chance - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3))

    k, l = x @ x.T, y @ y.T  # noqa: E741
    return hsic(k, l) / math.sqrt(hsic(k, k) * hsic(l, l))


@pytest.mark.parametrize(("unbiased", "by_hand"), [(True, unbiased_by_hand), (False, plain_by_hand)])
def test_cka_is_the_published_formula_wherever_the_mean_lies(unbiased, by_hand):
    x, y = torch.randn(40, 6), torch.relu(torch.randn(40, 9))
    y[:, :6] += x
    found = similarity_of({"x": x + 3, "y": y}, unbiased=unbiased).values
    expected = by_hand((x + 3).double().numpy(), y.double().numpy())
    assert found[0, 1] == pytest.approx(expected, abs=1e-5)
    assert found[1, 0] == pytest.approx(expected, abs=1e-5)
    assert found.diagonal() == pytest.approx([1, 1], abs=1e-6)


def test_few_rows_are_no_excuse():
    x, y = torch.randn(5, 3), torch.randn(5, 2)
    y[:, 0] += x[:, 0]
    found = float(similarity_of({"x": x}, {"y": y}).item())
    assert found == pytest.approx(unbiased_by_hand(x.double().numpy(), y.double().numpy()), abs=1e-5)


@pytest.mark.parametrize("unbiased", [True, False])
def test_a_rotation_a_scale_and_a_shift_leave_it_at_one(unbiased):
    x = torch.randn(60, 8)
    rotation = torch.linalg.qr(torch.randn(8, 8)).Q
    other = {"y": 7 * x @ rotation + 2}
    assert float(similarity_of({"x": x}, other, unbiased=unbiased).item()) == pytest.approx(1, abs=1e-5)


def test_a_stretch_does_not_leave_it_at_one():
    x = torch.randn(60, 8)
    assert float(similarity_of({"x": x}, {"y": x * torch.logspace(-2, 2, 8)}).item()) < 0.6


def test_independent_noise_is_alike_only_to_the_plain_estimator():
    x, y = torch.randn(200, 2000), torch.randn(200, 2000)
    assert float(similarity_of({"x": x}, {"y": y}, unbiased=False).item()) > 0.8
    assert abs(float(similarity_of({"x": x}, {"y": y}).item())) < 0.05


def test_the_unbiased_estimate_does_not_depend_on_the_number_of_rows():
    x = torch.randn(1000, 300)
    y = x @ torch.randn(300, 300) / 10 + torch.randn(1000, 300) * 2
    found = {
        (rows, unbiased): float(similarity_of({"x": x}, {"y": y}, unbiased=unbiased, rows=rows).item())
        for rows in (100, 1000)
        for unbiased in (True, False)
    }
    assert found[100, True] == pytest.approx(found[1000, True], abs=0.06)
    assert found[100, False] > found[1000, False] + 0.15


def test_strips_of_rows_give_what_one_matrix_gives(monkeypatch):
    values = {"x": torch.randn(50, 6), "y": torch.randn(50, 3)}
    whole = similarity_of(values)
    monkeypatch.setattr("labkit.analysis.geometry.similarity.CELLS", 700)  # strips of 7 rows
    np.testing.assert_allclose(similarity_of(values).values, whole.values, atol=1e-6)


def test_two_recordings_are_compared_layer_by_layer():
    first = {"a": torch.randn(30, 4), "b": torch.randn(30, 5)}
    second = {"a": first["b"], "c": torch.randn(30, 2), "d": first["a"]}
    found = similarity_of(first, second)
    assert found.shape == (2, 3)
    assert float(found.sel(layer="b", other="a")) == pytest.approx(1, abs=1e-6)
    assert float(found.sel(layer="a", other="d")) == pytest.approx(1, abs=1e-6)


def test_a_layer_that_says_the_same_for_all_inputs_is_alike_to_none():
    found = similarity_of({"a": torch.randn(30, 4), "b": torch.ones(30, 4)})
    assert np.isnan(found.sel(layer="b")).all()
    assert float(found.sel(layer="a", other="a")) == pytest.approx(1)


def test_recordings_of_other_inputs_are_refused_with_a_sentence():
    with pytest.raises(LabError, match="same batch"):
        similarity_of({"a": torch.randn(30, 4)}, {"a": torch.randn(29, 4)})
    with pytest.raises(LabError, match="at least 4 rows"):
        similarity_of({"a": torch.randn(3, 4)})


# spectra


@pytest.mark.parametrize("shape", [(50, 8), (8, 50), (30, 30)])
def test_the_spectrum_is_that_of_the_covariance(shape):
    values = torch.randn(shape) * torch.linspace(0.1, 3, shape[1]) + 5
    found = spectrum_of({"a": values})
    powers = np.linalg.eigvalsh(np.cov(values.double().numpy().T))[::-1]
    share = powers / powers.sum()
    count = found.sizes["component"]
    assert found.values[0] == pytest.approx(share[:count], abs=1e-5)
    assert count == min(shape[0] - 1, shape[1])
    positive = share[share > 1e-12]
    assert float(found["effective_rank"][0]) == pytest.approx(math.exp(-(positive * np.log(positive)).sum()), rel=1e-4)
    assert float(found["participation_ratio"][0]) == pytest.approx(1 / (share**2).sum(), rel=1e-4)


def test_as_many_directions_as_are_used():
    corners = torch.cat([torch.eye(6), -torch.eye(6)])
    inside = torch.zeros(12, 40)
    inside[:, 3:9] = corners
    found = spectrum_of(
        {"six": inside @ torch.linalg.qr(torch.randn(40, 40)).Q, "one": torch.randn(12, 1) @ torch.randn(1, 40)}
    )
    assert found["effective_rank"].values == pytest.approx([6, 1], rel=1e-4)
    assert found["participation_ratio"].values == pytest.approx([6, 1], rel=1e-4)


def test_a_mean_far_from_zero_is_no_direction():
    values = torch.randn(400, 5)
    assert float(spectrum_of({"a": values + 100})["effective_rank"][0]) == pytest.approx(
        float(spectrum_of({"a": values})["effective_rank"][0]), rel=1e-3
    )


def test_a_silent_layer_has_no_spectrum():
    found = spectrum_of({"a": torch.zeros(10, 4)})
    assert np.isnan(found.values).all()
    assert np.isnan(found["effective_rank"].values).all()


def test_a_wide_layer_is_sampled_and_says_so():
    found = spectrum_of({"wide": torch.randn(300, 200), "narrow": torch.randn(300, 20)}, rows=100, components=30)
    assert found["sampled"].values.tolist() == [1, 0]
    assert found["rows"].values.tolist() == [100, 300]
    assert found.sizes["component"] == 30
