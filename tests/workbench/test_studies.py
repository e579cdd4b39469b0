"""Every study in the folders runs at smoke scale, and every recorded run belongs to the study as it is."""

import itertools

import numpy as np
import pytest

from labkit.catalogue.papers import paper
from labkit.errors import LabError
from labkit.recording.batches import some_of
from labkit.workbench.find import study, study_names
from labkit.workbench.fit import Stopped
from labkit.workbench.hold.lenses import lenses
from labkit.workbench.hold.live_run import LiveRun
from labkit.workbench.hold.randomness import Randomness
from labkit.workbench.run import open_run, recorded_runs

NAMES = study_names()


def test_the_walk_finds_the_studies():
    assert {"fast_feedforward", "master_leaf_feedforward", "neuron_trees"} <= set(NAMES)


@pytest.mark.study
@pytest.mark.parametrize("name", NAMES)
def test_runs_at_smoke_scale_and_decides_its_claims(name, tmp_path):
    heard = []
    run = study(name).run("smoke", watch=heard.append)
    assert [row["says"] for row in run.claims] == [claim.says for claim in study(name).claims]
    assert {row["verdict"] for row in run.claims} <= {"shown", "inconclusive", "contradicted", "out of reach"}
    assert run.data.sizes["seed"] >= 2
    assert list(run.data.arm.values) == list(study(name).arms)
    judged = run.data[study(name).shows].values
    assert np.isfinite(judged).all()
    if study(name).shows == "test_accuracy":
        assert ((judged >= 0) & (judged <= 1)).all()
    assert heard[-1].done == 1
    assert all(one.done <= other.done for one, other in itertools.pairwise(heard))
    assert open_run(run.save(tmp_path)).claims == run.claims


@pytest.mark.parametrize("name", NAMES)
def test_says_whom_it_measures_and_has_controls(name):
    one = study(name)
    assert one.name == name
    assert paper(one.paper).id == one.paper
    assert one.question.endswith("?")
    assert {arm.role for arm in one.arms.values()} == {"method", "baseline", "control"}
    assert {"smoke", "lesson"} <= set(one.scales)
    assert one.scales["lesson"].seeds >= 3


@pytest.mark.parametrize("name", list(recorded_runs()))
def test_a_recorded_run_is_whole_and_of_today(name):
    run, one = open_run(name), study(name)
    assert run.paper == one.paper
    assert list(run.data.arm.values) == list(one.arms)
    assert [row["says"] for row in run.claims] == [claim.says for claim in one.claims]
    assert [row["rule"] for row in run.claims] == [claim.shows.text if claim.shows else "" for claim in one.claims]
    assert len(run.provenance["seeds"]) >= 3
    assert run.scale in one.scales


@pytest.mark.parametrize("name", list(recorded_runs()))
def test_recorded_verdicts_are_what_the_rules_say_of_the_recorded_data(name):
    from labkit.workbench.claim import decide

    run = open_run(name)
    assert [decide(claim, run.data).verdict for claim in study(name).claims] == [row["verdict"] for row in run.claims]


@pytest.mark.study
@pytest.mark.parametrize("name", NAMES)
def test_a_study_can_be_held(name, tmp_path):
    """The dashboard offers it for every arm: the model is looked into before its first step, and trained step by step."""
    one, made = study(name), {}
    for arm, chosen in one.arms.items():

        def make(layer=chosen.layer):
            task = one.task(one.at("smoke"))
            return task, one.backbone(task, layer)

        task, model = Randomness(0).call(make)
        lenses(model, some_of(model, task.probe(), 16)[0])
        made[arm] = task, model
    arm = next(name for name, found in one.arms.items() if found.role == "method")
    task, model = made[arm]
    run = LiveRun(model, task, one.arms[arm].trainer(), steps=3, name=name, folder=tmp_path)
    try:
        run.step(2)
        run.wait(60)
        assert run.status()["error"] is None
        assert run.step_number == 2
        assert "training_loss" in run.quantities
    finally:
        run.stop()


def test_every_study_has_a_recorded_run():
    assert set(NAMES) == set(recorded_runs())


def test_processes_give_what_one_process_gives():
    one = study("fast_feedforward")
    serial, parallel = (one.run("smoke", jobs=jobs).data.test_accuracy for jobs in (1, 2))
    assert serial.equals(parallel)


def test_stops_within_the_arm_it_is_at():
    import threading

    stop = threading.Event()
    with pytest.raises(Stopped):
        study("fast_feedforward").run("smoke", stop=stop, watch=lambda progress: stop.set())


def test_wrong_words_get_a_sentence_with_the_right_ones():
    with pytest.raises(LabError, match="fast_feedforward"):
        study("fast_feedfoward")
    with pytest.raises(LabError, match="smoke, lesson"):
        study("fast_feedforward").run("gigantic")
    with pytest.raises(LabError, match="two seeds"):
        study("fast_feedforward").run("smoke", seeds=1)
