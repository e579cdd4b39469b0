"""A network with cuts: what is stopped is not computed, and what is not stopped is answered as if nothing had been."""

import pytest
import torch

from labkit.errors import LabError
from labkit.layers.routing.gated_compression import GatedCompression
from labkit.studies.sparsity.stop_early import bare, compressing
from labkit.workbench import stopping_probes as probes
from labkit.workbench.backbones.stopping_network import ExitPoint, Lots, StoppingNetwork
from labkit.workbench.budget import flops
from labkit.workbench.stopping_trainer import Stopping
from labkit.workbench.tasks.wanted_garments import WantedGarments


@pytest.fixture(scope="module")
def task():
    return WantedGarments(rows=800, test_rows=400)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return StoppingNetwork(compressing).eval()


def test_rows_that_pass_are_answered_as_with_open_gates(network, task):
    x, label = task.every()
    network.set_open()
    with torch.no_grad():
        whole, everywhere = network.followed(x)
        network.set_thresholds(*task.setting(), 0.3)
        score, where = network.followed(x)
    passed = where == 2
    assert (everywhere == 2).all()
    assert 0 < passed.sum() < len(x)
    assert torch.allclose(score[passed], whole[passed], atol=1e-5)
    assert (score[~passed] < 0).all()
    assert len(label) == len(where)


def test_a_row_is_answered_alone_as_in_a_batch(network, task):
    x = task.every()[0][:40]
    network.set_thresholds(*task.setting(), 0.3)
    with torch.no_grad():
        assert torch.allclose(torch.cat([network(row) for row in x.split(1)]), network(x), atol=1e-5)


def test_what_is_stopped_is_not_computed(network, task):
    x = task.every()[0]
    network.set_open()
    whole = flops(network, x)
    with torch.no_grad():
        network.gates()[0].threshold.fill_(1.1)
    first = flops(network, x)
    assert first < whole / 10
    with torch.no_grad():
        network.gates()[0].threshold.fill_(0)
        network.gates()[1].threshold.fill_(1.1)
    assert first < flops(network, x) < whole / 2


@pytest.mark.parametrize("cut", [compressing, ExitPoint])
def test_thresholds_lose_no_more_than_is_allowed(cut, task):
    torch.manual_seed(1)
    network = StoppingNetwork(cut)
    x, wanted = task.setting()
    for lost in (0.0, 0.05, 0.2):
        network.set_thresholds(x, wanted, lost)
        said, where = probes.answers(network, x[wanted == 1])
        for place in (0, 1):
            gone = ((where == place) & (said < 0)).sum()
            assert gone <= lost * int(wanted.sum())


def test_training_runs_all_rows_and_evaluation_softly_is_the_same(network, task):
    from labkit.parts.relaxation import softened

    x = task.every()[0][:30]
    with torch.no_grad(), softened(network):
        soft = network(x)
    with torch.no_grad():
        assert torch.allclose(network.train()(x), soft, atol=1e-5)


def test_lots_stop_as_many(task):
    torch.manual_seed(0)
    lots = Lots(compressing).eval()
    lots.set_thresholds(*task.setting(), 0.3)
    kept = lots.thresholds()
    x = task.every()[0]
    drawn = probes.answers(lots, x)[1]
    with torch.no_grad():
        ours = StoppingNetwork.followed(lots, x)[1]
    assert torch.equal(drawn.bincount(minlength=3), ours.bincount(minlength=3))
    assert not torch.equal(drawn, ours)
    assert lots.thresholds() == kept


def test_probes_leave_thresholds_and_mode_alone(network, task):
    network.set_thresholds(*task.setting(), 0.1)
    kept = network.thresholds()
    network.train()
    table = probes.tradeoff(network, task)
    probes.gate_values(network, task)
    probes.seconds(network, task)
    assert network.training
    assert network.thresholds() == kept
    assert (table.sel(quantity="others stopped").diff("allowed") >= 0).all()
    assert (probes.ends(network, task).sum("end").round(6) == 1).all()


def test_networks_without_gates_have_nothing_to_set(task):
    plain = StoppingNetwork(bare)
    assert plain.gates() == []
    assert probes.tradeoff(plain, task) is None
    assert probes.stopped(0)(plain, task) is None
    assert probes.sent(plain, task) is None
    assert probes.ends(plain, task) is None


def test_the_stream_has_few_wanted_and_balanced_accuracy_is_not_fooled(task):
    assert task.test_y.float().mean().item() == pytest.approx(0.05, abs=0.005)
    assert task.train_y.float().mean().item() == pytest.approx(0.05, abs=0.005)
    never = torch.tensor([1.0, 0.0]).expand(len(task.test_y), 2)
    assert task.accuracy(never, task.test_y) == 0.5
    with pytest.raises(LabError, match="One kind is wanted"):
        WantedGarments("Hat")


def test_tuning_never_sees_the_test_pictures():
    tuned, judged = WantedGarments(tuning=True), WantedGarments()
    assert torch.equal(tuned.train_x, judged.train_x)
    assert not torch.equal(tuned.every()[0], judged.every()[0])
    seen = {tuple(row[300:340].tolist()) for row in judged.every()[0]}
    assert not any(tuple(row[300:340].tolist()) in seen for row in tuned.every()[0][:200] if row[300:340].sum() > 1)


def test_the_trainer_sets_thresholds_and_the_cut_learns(task):
    torch.manual_seed(0)
    network, trainer = StoppingNetwork(compressing), Stopping(1e-2, alpha=1.0)
    trainer.start(network, task, 60)
    batches = task.batches(0)
    said = [trainer.step(network, next(batches))["early_stopping"] for _ in range(60)]
    assert network.thresholds() != [0.5, 0.5]
    assert sum(said[-10:]) < 0.7 * sum(said[:10])
    assert isinstance(network.cuts[0], GatedCompression)
