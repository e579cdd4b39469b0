"""The axes choose the picture."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views import (
    choice_load,
    curves,
    hardening,
    heatmap,
    images,
    latency,
    lifetime,
    show,
    tree,
    unit_map,
    usage,
)


def same(figure, other) -> bool:
    return figure.to_json() == other.to_json()


def test_each_measurement_finds_its_view():
    data = curves.example(0)["data"]
    assert same(show.show(data), curves.curves(data))
    data = usage.example(0)["by_class"]
    assert same(show.show(data), usage.usage(data))
    data = latency.example(0)["data"]
    assert same(show.show(data), latency.latency(data))
    data = heatmap.example(0)["data"]
    assert same(show.show(data, dark=True), heatmap.heatmap(data, dark=True))


def test_two_that_belong_together_find_theirs_in_either_order():
    first, second = tree.example(0).values()
    assert same(show.show(first, second), tree.tree(first, second))
    assert same(show.show(second, first), tree.tree(first, second))
    first, second = hardening.example(0).values()
    assert same(show.show(second, first), hardening.hardening(first, second))
    given = images.example(0)
    assert same(show.show(given["left"], given["right"]), images.sides(given["left"], given["right"]))


def test_modes_are_compared_as_curves():
    accuracy = hardening.example(0)["accuracy"]
    assert same(show.show(accuracy), curves.curves(accuracy, compare="mode"))


def test_another_axis_with_step_is_a_heat_map_over_time():
    margin = hardening.example(0)["margin"].isel(seed=0)
    figure = show.show(margin)
    assert figure.data[0].type == "heatmap"
    assert figure.layout.xaxis.title.text == "Training step"


def test_three_axes_with_step_get_a_slider():
    data = xr.DataArray(np.random.default_rng(0).random((5, 3, 4)), dims=("step", "layer", "expert"))
    assert len(show.show(data).frames) == 5


def test_latency_without_a_dense_arm_compares_nothing():
    data = latency.example(0)["data"].isel(arm=[1, 2])
    assert same(show.show(data), latency.latency(data, baseline=None))


def test_timings_are_compared_along_whatever_their_third_axis_is():
    data = latency.example(0)["data"]
    figure = show.show(data.rename(arm="timed"))
    assert same(figure, latency.latency(data))
    with pytest.raises(LabError, match="no picture"):
        show.show(data.drop_vars("batch").expand_dims(batch=[1, 2]).isel(arm=[0, 1]).transpose())


def test_unknown_axes_are_refused_with_what_would_work():
    data = xr.DataArray(np.ones((2, 2, 2, 2)), dims=("arm", "seed", "layer", "choice"))
    with pytest.raises(LabError) as caught:
        show.show(data)
    text = str(caught.value)
    assert "(arm, seed, layer, choice)" in text
    assert "choose one arm first with data.sel" in text
    assert "curves (step; arm, seed)" in text


def test_two_that_do_not_belong_together_are_refused():
    with pytest.raises(LabError, match=r"\(step, expert\) and \(width\)"):
        show.show(
            xr.DataArray(np.ones((2, 2)), dims=("step", "expert")),
            xr.DataArray(np.ones(3), dims="width"),
        )


def test_a_whole_dataset_is_refused_with_advice():
    with pytest.raises(LabError, match="take one variable of it"):
        show.show(xr.Dataset())  # type: ignore[arg-type]


def test_measurements_of_the_analyses_find_the_view_that_was_made_for_them():
    layers = {"layer": ["a", "b"]}
    load = xr.DataArray(np.full((2, 4), 0.25), dims=("layer", "choice"), coords=layers, name="choice_load")
    units = xr.DataArray(np.arange(8.0).reshape(2, 4) / 8, dims=("layer", "unit"), coords=layers, name="unit_activity")
    assert same(show.show(load), choice_load.choice_load(load))
    assert same(show.show(units), unit_map.unit_map(units))
    sparsity = units.rename("lifetime_sparsity")
    assert same(show.show(sparsity), lifetime.lifetime(sparsity)), "told from other units by its name"
    told = load.rename("information_by_choice")
    assert same(show.show(told), heatmap.heatmap(told)), "bits are no load"
