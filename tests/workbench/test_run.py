"""A recorded run comes back as it was, small, or not at all."""

import errno
import json
import os

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.workbench.run import LARGEST, Run, open_run, recorded_runs


@pytest.fixture
def run():
    values = np.random.default_rng(0).random((2, 3, 5), dtype=np.float32)
    values[0, 0, 0] = np.nan
    data = xr.Dataset(
        {"test_accuracy": (("arm", "seed", "step"), values, {"units": "fraction", "long_name": "test accuracy"})},
        {"arm": ["a tree", "dense"], "seed": [0, 1, 2], "step": [0, 10, 20, 40, 80]},
    )
    return Run(
        "made_up", "P120", "smoke", data, [{"says": "x", "verdict": "shown"}], {"commit": "abc", "seeds": [0, 1, 2]}
    )


def test_comes_back_with_axes_attributes_and_four_digits(run, tmp_path):
    back = open_run(run.save(tmp_path))
    assert (back.study, back.paper, back.scale, back.claims) == (run.study, run.paper, run.scale, run.claims)
    assert back.provenance == run.provenance
    assert list(back.data.arm.values) == ["a tree", "dense"]
    assert back.data.test_accuracy.attrs == run.data.test_accuracy.attrs
    np.testing.assert_allclose(back.data.test_accuracy, run.data.test_accuracy, rtol=5e-4)


@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b[:-1] + b"x", lambda b: b""])
def test_a_broken_file_names_both_checksums(run, tmp_path, spoil):
    path = run.save(tmp_path)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(LabError, match=r"checksum should be .* but is"):
        open_run(path)


def test_broken_or_missing_notes_are_a_sentence(run, tmp_path):
    path = run.save(tmp_path)
    notes = path.with_suffix(".json")
    facts = json.loads(notes.read_text())
    notes.write_text("{")
    with pytest.raises(LabError, match="not readable JSON"):
        open_run(path)
    notes.write_text(json.dumps({key: facts[key] for key in facts if key != "claims"}))
    with pytest.raises(LabError, match="lack claims"):
        open_run(path)
    notes.unlink()
    with pytest.raises(LabError, match="lacks its notes"):
        open_run(path)


def test_an_unknown_study_says_which_are_recorded(run, tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_ASSETS", str(tmp_path))
    run.save()
    assert list(recorded_runs()) == ["made_up"]
    with pytest.raises(LabError, match="recorded: made_up"):
        open_run("nonsense")


def test_a_full_disk_leaves_the_old_run_whole(run, tmp_path, monkeypatch):
    path = run.save(tmp_path)
    before = sorted((one.name, one.read_bytes()) for one in tmp_path.iterdir())

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(LabError, match=r"could not be saved .* No space left"):
        run.save(tmp_path)
    assert sorted((one.name, one.read_bytes()) for one in tmp_path.iterdir()) == before
    monkeypatch.undo()
    assert open_run(path).study == "made_up"


def test_a_run_that_is_too_large_is_refused(run, tmp_path):
    noise = np.random.default_rng(0).random((400, 1000), dtype=np.float32)
    run.data["noise"] = (("x", "y"), noise)
    with pytest.raises(LabError, match=f"{LARGEST:,} at most"):
        run.save(tmp_path)
    assert list(tmp_path.iterdir()) == []
