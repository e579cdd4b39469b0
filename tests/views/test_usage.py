"""Usage: rows or columns sum to 100 %, merging loses nothing."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.theme import alt_text
from labkit.views.usage import example, usage


def shares(leaves: int, classes: int) -> xr.DataArray:
    values = np.random.default_rng(0).dirichlet(np.full(leaves * classes, 0.3)).reshape(leaves, classes)
    names = [f"class number {place}" for place in range(classes)]
    return xr.DataArray(values, dims=("choice", "class"), coords={"class": names})


def cells(figure) -> np.ndarray:
    return values_of(figure.data[0].z)


def test_each_class_goes_somewhere():
    figure = usage(shares(8, 5))
    np.testing.assert_allclose(cells(figure).sum(1), 100, rtol=1e-5)
    assert list(figure.data[0].y) == [f"class number {place}" for place in range(5)]


def test_each_leaf_gets_something():
    figure = usage(shares(8, 5), share="leaf")
    np.testing.assert_allclose(cells(figure).sum(0), 100, rtol=1e-5)
    assert figure.layout.title.text == "What each leaf gets"


def test_the_bars_are_the_load_of_the_leaves():
    data = shares(8, 5)
    np.testing.assert_allclose(values_of(usage(data).data[1].y), 100 * data.sum("class").values, rtol=1e-5)


def test_a_leaf_without_inputs_is_empty_not_zero():
    data = shares(4, 3)
    data[2] = 0
    assert np.isnan(cells(usage(data, share="leaf"))[:, 2]).all()
    assert "1 of 4 leaves without inputs" in usage(data).layout.title.subtitle.text


@pytest.mark.parametrize(("leaves", "classes"), [(1024, 10), (16, 1000), (4096, 200)])
def test_neighbours_are_put_together_and_nothing_gets_lost(leaves, classes):
    data = shares(leaves, classes)
    figure = usage(data)
    assert cells(figure).shape[0] <= 64
    assert cells(figure).shape[1] <= 128
    assert values_of(figure.data[1].y).sum() == pytest.approx(100, abs=0.01)
    np.testing.assert_allclose(cells(figure).sum(1), 100, rtol=1e-4)
    assert "the first one named" in figure.layout.title.subtitle.text.replace("<br>", " ")


def test_classes_of_one_name_stay_apart():
    data = shares(4, 3).assign_coords({"class": ["shirt", "shirt", "bag"]})
    assert list(usage(data).data[0].y) == ["shirt", "shirt (2)", "bag"]


def test_padding_is_dropped():
    data = shares(4, 3)
    padded = data.pad(choice=(0, 4))
    assert usage(padded).to_json() == usage(data).to_json()


def test_the_numbers_stand_in_the_cells_of_a_small_map():
    figure = usage(**example(0))
    assert np.shape(figure.data[0].text) == cells(figure).shape
    assert usage(shares(64, 10)).data[0].text is None


def test_an_unknown_share_is_refused():
    with pytest.raises(LabError, match="share is 'row'"):
        usage(shares(4, 3), share="row")  # type: ignore[arg-type]


def test_negative_shares_are_refused():
    with pytest.raises(LabError, match="from 0 to 1"):
        usage(shares(4, 3) - 1)


def test_the_sentence_names_class_and_leaf():
    data = xr.DataArray([[0.5, 0.0], [0.1, 0.4]], dims=("choice", "class"), coords={"class": ["bag", "shirt"]})
    text = alt_text(usage(data)).replace("\u00a0", " ")
    assert "leaf 1 takes 100 % of class shirt" in text
    assert "every leaf gets inputs" in text


@pytest.mark.parametrize(("noun", "many"), [("expert", "experts"), ("slot", "slots"), ("leaf", "leaves")])
def test_the_picture_speaks_of_what_was_chosen(noun, many):
    data = shares(4, 3)
    data[2] = 0
    data = data.assign_coords(choice=("choice", np.arange(4), {"long_name": noun}))
    figure = usage(data, share="choice")
    assert figure.layout.title.text == f"What each {noun} gets"
    assert f"1 of 4 {many} without inputs" in figure.layout.title.subtitle.text.replace("<br>", " ")
    assert f"of 4 {many} by 3 classes" in alt_text(figure)
    assert f"{noun} %{{x}}" in figure.data[0].hovertemplate
    assert figure.layout.xaxis.title.text.startswith(noun.capitalize())
    assert ("leaf" in str(figure.to_json())) == (noun == "leaf")
    assert figure.to_json() == usage(data, share="leaf").to_json()


def test_old_recordings_are_of_leaves():
    assert usage(shares(4, 3), share="choice").layout.title.text == "What each leaf gets"
