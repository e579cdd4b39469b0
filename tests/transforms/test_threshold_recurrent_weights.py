"""Thresholds in recurrent layers: exactly so many of exactly that group go, the smallest ones, and they stay away."""

import itertools

import pytest
import torch
from torch import nn

from labkit.parts.kept import Kept
from labkit.parts.mask import weights_of
from labkit.trainers.sparse.masked_training import MaskedTraining
from labkit.transforms.prune.threshold_recurrent_weights import GROUPS, recurrent_weights, threshold_recurrent_weights
from labkit.workbench.tasks.reber_strings import ReberStrings

CELLS = {
    "tanh": lambda: nn.RNN(5, 6, batch_first=True),
    "GRU, two layers, both ways": lambda: nn.GRU(5, 6, num_layers=2, bidirectional=True, batch_first=True),
    "LSTM": lambda: nn.LSTM(5, 6, batch_first=True),
    "a cell": lambda: nn.GRUCell(5, 6),
}


class Reader(nn.Module):
    def __init__(self, layer: nn.Module):
        super().__init__()
        self.embedding, self.layer, self.out = nn.Embedding(8, 5), layer, nn.Linear(6, 2)

    def forward(self, x):
        return self.out(self.layer(self.embedding(x))[0][:, -1])


def weights(model: nn.Module) -> dict:
    return {name: weight for name, weight in model.named_parameters() if "weight_" in name}


@pytest.mark.parametrize(("cell", "of"), list(itertools.product(CELLS, GROUPS)))
def test_exactly_so_many_of_the_group_go_and_they_are_the_smallest(cell, of):
    torch.manual_seed(0)
    model = CELLS[cell]()
    total = sum(weight.numel() for weight in recurrent_weights(model, of).values())
    for share in (0.0, 0.3, 0.9, 1.0):
        found = threshold_recurrent_weights(model, share=share, of=of)
        group, gone, stay = recurrent_weights(found, of), [], []
        for name, before in model.named_parameters():
            after = dict(found.named_parameters())[name]
            if name in group:
                gone.append(before[after == 0].abs())
                stay.append(before[after != 0].abs())
            assert torch.equal(before[after != 0], after[after != 0])
            assert name in group or torch.equal(before, after), f"{name} is not of the group"
        gone, stay = torch.cat(gone), torch.cat(stay)
        assert len(gone) == total - round((1 - share) * total)
        assert not len(gone) or not len(stay) or gone.max() <= stay.min()


def test_groups_have_the_weights_of_their_kind():
    model = nn.Sequential(nn.Linear(3, 5), CELLS["GRU, two layers, both ways"]())
    into, along, both = (set(recurrent_weights(model, of)) for of in GROUPS)
    assert len(into) == len(along) == 4
    assert all("weight_ih" in name for name in into)
    assert all("weight_hh" in name for name in along)
    assert both == into | along


def test_at_random_any_may_go():
    torch.manual_seed(0)
    model = CELLS["LSTM"]()
    one, same, other = (threshold_recurrent_weights(model, share=0.5, by="random", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.weight_hh_l0, same.weight_hh_l0)
    assert not torch.equal(one.weight_hh_l0, other.weight_hh_l0)
    for weight in recurrent_weights(one).values():
        assert int((weight == 0).sum()) == weight.numel() // 2
    assert model.weight_hh_l0[one.weight_hh_l0 == 0].abs().max() > model.weight_hh_l0[one.weight_hh_l0 != 0].abs().min()


@pytest.mark.parametrize("cell", ["tanh", "LSTM"])
def test_what_went_stays_away_and_the_rest_learns(cell):
    torch.manual_seed(0)
    task = ReberStrings(rows=200, test_rows=50)
    model = threshold_recurrent_weights(Reader(CELLS[cell]()), share=0.8, of="hidden-hidden")
    zero = model.layer.weight_hh_l0 == 0
    before = model.layer.weight_hh_l0.detach().clone()
    trainer = MaskedTraining(Kept(), learning_rate=1e-2)
    trainer.start(model, task, 6)
    for batch in itertools.islice(task.batches(0), 6):
        trainer.step(model, batch)
    assert not model.layer.weight_hh_l0[zero].any()
    assert (model.layer.weight_hh_l0[~zero] != before[~zero]).any()
    assert (model.layer.weight_ih_l0 != 0).all()


def test_refuses_what_is_not_there():
    with pytest.raises(ValueError, match="no recurrent layer"):
        threshold_recurrent_weights(nn.Linear(3, 3))
    with pytest.raises(ValueError, match="input-hidden, hidden-hidden, both"):
        threshold_recurrent_weights(CELLS["tanh"](), of="output")
    with pytest.raises(ValueError, match="from 0 to 1"):
        threshold_recurrent_weights(CELLS["tanh"](), share=60)


def test_all_schedules_see_recurrent_weights():
    assert set(weights_of(Reader(CELLS["LSTM"]()))) == {"layer.weight_ih_l0", "layer.weight_hh_l0", "out.weight"}
    assert len(weights_of(nn.LSTM(5, 6, num_layers=2, proj_size=3))) == 6, "projections are weights, too"
