"""Train, prune, train on: what was pruned stays pruned, and what is looked at later is the network as it was before."""

import itertools

import pytest
import torch
from torch import nn

from labkit.parts.kept import Kept
from labkit.parts.mask import weights_of
from labkit.trainers.sparse.masked_training import MaskedTraining
from labkit.transforms.prune.sparsify_weights import sparsify_weights
from labkit.workbench.prune_and_tune import (
    Prunable,
    PruneAndTune,
    accuracies,
    errors,
    keep_means,
    shuffle_values,
    spectra,
)
from labkit.workbench.tasks.classification import Classification


def way(model, density, seed, task):
    return sparsify_weights(model, density=density, by="magnitude", seed=seed)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    task = Classification("digits", batch=50)
    model = Prunable(nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10), way=way, named="largest")
    trainer, counts = PruneAndTune(0.2), []
    trainer.start(model, task, 50)
    for batch in itertools.islice(task.batches(0), 50):
        trainer.step(model, batch)
        counts.append([int((weight != 0).sum()) for weight in weights_of(model).values()])
    return model, task, counts


def test_is_pruned_once_and_stays_so(trained):
    _, _, counts = trained
    assert counts[38] == [1280, 200]
    assert all(count == [256, 40] for count in counts[39:])


def test_the_network_before_is_kept_and_pruned_again(trained):
    model, task, _ = trained
    before = model.trained()
    assert all((weight != 0).all() for weight in weights_of(before).values())
    assert model.looked_at(0.1, task) is model.looked_at(0.1, task)
    found = accuracies((0.5, 0.2), (0.2,))(model, task)
    assert found.shape == (2, 3)
    assert found.sel(when="as pruned", gone=0).item() == pytest.approx(task.accuracy(before(task.test_x), task.test_y))
    assert found.sel(when="fine-tuned").notnull().values.tolist() == [False, False, True]
    thin = model.looked_at(0.2, task)
    assert found.sel(when="as pruned", gone=80).item() == task.accuracy(thin(task.test_x), task.test_y), (
        "not fine-tuned"
    )
    moved = errors((0.5, 0.2))(model, task)
    assert (moved.diff("gone") > 0).all()
    assert (moved < 1).all()
    seen = spectra((0.5, 0.2), 6)(model, task)
    assert (seen.sel(gone=0, component=1) == 1).all()
    assert all((weight != 0).all() for weight in weights_of(model.looked_at(1.0, task)).values()), (
        "probes change nothing"
    )


def test_means_are_kept_by_biases_alone(trained):
    model, task, _ = trained
    dense = model.trained()
    thin = sparsify_weights(dense, density=0.1, by="magnitude")
    weights = [weight.clone() for weight in weights_of(thin).values()]
    x = task.train_x[:200]
    assert not torch.allclose(dense(x).mean(0), thin(x).mean(0), atol=1e-3)
    keep_means(dense, thin, x)
    assert torch.allclose(dense(x).mean(0), thin(x).mean(0), atol=1e-4)
    assert all(torch.equal(*pair) for pair in zip(weights, weights_of(thin).values(), strict=True))


def test_shuffled_values_stay_in_their_places(trained):
    model, _, _ = trained
    thin = sparsify_weights(model.trained(), density=0.1, by="magnitude")
    before = {name: weight.detach().clone() for name, weight in weights_of(thin).items()}
    shuffle_values(thin, 0)
    for name, weight in weights_of(thin).items():
        assert torch.equal(weight != 0, before[name] != 0)
        assert torch.equal(weight.flatten().sort().values, before[name].flatten().sort().values)
        assert not torch.equal(weight, before[name])


def test_what_is_zero_stays_zero_under_a_kept_mask():
    torch.manual_seed(0)
    task, model = Classification("digits", batch=50), nn.Sequential(nn.Linear(64, 10))
    with torch.no_grad():
        model[0].weight[:, ::2] = 0
    trainer = MaskedTraining(Kept())
    trainer.start(model, task, 5)
    for batch in itertools.islice(task.batches(0), 5):
        trainer.step(model, batch)
    assert not model[0].weight[:, ::2].any()
    assert (model[0].weight[:, 1::2] != 0).all()
