"""Runs go to an MLflow store and come back as curves; any client's runs can be read."""

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.workbench import tracking
from labkit.workbench.run import Run


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'runs.db'}"


@pytest.fixture(scope="module")
def logged(uri):
    values = np.linspace(0, 1, 12).reshape(1, 2, 3, 2)
    data = xr.Dataset(
        {"test_accuracy": (("arm", "seed", "step", "mode"), values)},
        {"arm": ["tree"], "seed": [0, 1], "step": [0, 5, 9], "mode": ["soft", "hard"]},
    )
    run = Run("made_up", "P120", "smoke", data, [{"verdict": "shown"}], {"commit": "abc"})
    return tracking.log(run, uri).result(timeout=120)


def test_each_arm_and_seed_is_a_run_with_its_parameters(uri, logged):
    table = tracking.runs(uri)
    assert set(table.run_id) == set(logged)
    assert len(table) == 2
    assert set(table["params.seed"]) == {"0", "1"}
    assert set(table["params.study"]) == {"made_up"}
    assert table.status.unique().tolist() == ["FINISHED"]


def test_curves_come_back_by_step(uri, logged):
    curve = tracking.history(logged[0], "test_accuracy_hard", uri)
    assert curve.step.values.tolist() == [0, 5, 9]
    np.testing.assert_allclose(curve.values, np.linspace(0, 1, 12).reshape(1, 2, 3, 2)[0, 0, :, 1])


def test_an_unknown_metric_and_an_unreachable_store_are_sentences(uri, logged):
    with pytest.raises(LabError, match="no metric 'speed'"):
        tracking.history(logged[0], "speed", uri)
    with pytest.raises(LabError, match="cannot be opened"):
        tracking.runs("nonsense://nowhere")


def test_an_empty_store_is_an_empty_table(tmp_path):
    table = tracking.runs(f"sqlite:///{tmp_path / 'new.db'}")
    assert len(table) == 0
    assert {"run_id", "name", "started"} <= set(table.columns)


def test_a_store_has_begun_when_it_holds_a_run(uri, logged, tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_HOME", str(tmp_path))
    assert not tracking.begun()
    assert not (tmp_path / "runs.db").exists()
    tracking.runs()
    assert (tmp_path / "runs.db").exists()
    assert not tracking.begun()
    monkeypatch.setattr(tracking, "default_uri", lambda: uri)
    assert tracking.begun()
