"""Co-activation: groups in order, and an honest word on whether they mean anything."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.alternative import values_of
from labkit.views.coactivation import coactivation
from labkit.views.theme import alt_text


def groups(*cluster: int, **attrs) -> xr.DataArray:
    """1 within a group, -1 between groups."""
    group = np.array(cluster)
    values = np.where(group[:, None] == group, 1.0, -1.0)
    units = 10 + np.arange(len(group))
    coords = {"unit": units, "other": units, "cluster": ("unit", group)}
    return xr.DataArray(values, dims=("unit", "other"), coords=coords, attrs={"units": "bits", **attrs})


def test_units_are_put_in_the_order_of_their_groups_with_a_border_between():
    figure = coactivation(groups(0, 1, 0, 1, 1))
    assert list(figure.data[0].y) == ["10", "12", "11", "13", "14"]
    cells = values_of(figure.data[0].z)
    assert np.isnan(np.diag(cells)).all()
    assert cells[0, 1] == 1
    assert cells[0, 2] == -1
    assert {(line.x0, line.y0) for line in figure.layout.shapes} == {(-0.5, 1.5), (1.5, -0.5)}


@pytest.mark.parametrize(
    ("attrs", "sentence"),
    [
        (
            {"modularity": 0.4, "modularity_shuffled": 0.1},
            "More modular than shuffled activity: modularity 0.4 against 0.1",
        ),
        ({"modularity": 0.1, "modularity_shuffled": 0.1}, "No more modular than shuffled activity"),
        ({"modularity": 0.2, "modularity_shuffled": 0.1, "modularity_shuffled_high": 0.3}, "No more modular than"),
        ({"modularity": 0.2}, "the shuffled control was not measured"),
        ({}, "Whether the groups are more than chance was not measured"),
    ],
)
def test_the_sentence_compares_with_shuffled_activity(attrs, sentence):
    figure = coactivation(groups(0, 0, 1, 1, **attrs))
    assert sentence in figure.layout.title.subtitle.text.replace("<br>", " ")
    assert sentence in alt_text(figure)


def test_the_means_inside_and_between_groups_leave_out_the_diagonal():
    data = groups(0, 0, 1, 1)
    data.values[np.eye(4, dtype=bool)] = 50
    assert "within a group 1 bits on average, between groups −1 bits" in alt_text(coactivation(data))


def test_many_units_are_averaged_and_the_borders_stay_at_their_place():
    figure = coactivation(groups(*np.repeat([0, 1], 500)))
    assert values_of(figure.data[0].z).shape[0] <= 190
    assert "mean of 6 x 6 pairs" in figure.layout.title.subtitle.text.replace("<br>", " ")
    assert max(line.y0 for line in figure.layout.shapes) == pytest.approx(500 / 6 - 0.5)


def test_units_without_groups_are_refused():
    with pytest.raises(LabError, match="coordinate cluster"):
        coactivation(groups(0, 1).drop_vars("cluster"))
