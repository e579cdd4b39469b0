"""Sparse training: every schedule keeps its density, moves when it says, and what does not exist is 0."""

import itertools

import pytest
import torch
from test_trainers import ThreeClouds
from torch import nn

from labkit.parts.mask import (
    densities,
    density_of,
    drawn,
    grown,
    strongest,
    strongest_of_all,
    weights_of,
    without_smallest,
)
from labkit.parts.mask_schedules import (
    AtOnce,
    DropAndGrow,
    FromGradients,
    Gradual,
    Lottery,
    Schedule,
    Static,
    WholeUnits,
)
from labkit.trainers.sparse.masked_training import MaskedTraining

STEPS = 60


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 40), nn.ReLU(), nn.Linear(40, 20), nn.ReLU(), nn.Linear(20, 3))


def trained(schedule: Schedule, look=None, steps: int = STEPS):
    model, task = network(), ThreeClouds()
    trainer = MaskedTraining(schedule, learning_rate=1e-2)
    torch.manual_seed(0)
    trainer.start(model, task, steps)
    if look:
        look(0, trainer, model)
    for step, batch in enumerate(itertools.islice(task.batches(0), steps), 1):
        said = trainer.step(model, batch)
        if look:
            look(step, trainer, model, said)
    return trainer, model


SCHEDULES = {
    "dense": (Schedule(), 1.0),
    "static": (Static(0.2), 0.2),
    "static, by degree": (Static(0.2, "erdos_renyi"), 0.2),
    "SNIP": (FromGradients(0.2), 0.2),
    "SET": (DropAndGrow(0.2, every=10), 0.2),
    "RigL": (DropAndGrow(0.2, every=10, by="gradient", fades=True), 0.2),
    "gradual": (Gradual(0.2, every=5), 0.2),
    "at once": (AtOnce(0.2), 0.2),
    "lottery": (Lottery(rounds=2, share=0.5), 0.25),
    "lottery, drawn again": (Lottery(rounds=2, share=0.5, control="drawn again"), 0.25),
    "lottery, random mask": (Lottery(rounds=2, share=0.5, control="random mask"), 0.25),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_ends_at_its_density_and_what_does_not_exist_is_zero(name):
    schedule, density = SCHEDULES[name]

    def look(step, trainer, model, said=None):
        for weight, mask in zip(weights_of(model).values(), trainer.masks.values(), strict=True):
            assert not weight[~mask].any(), f"at step {step} a masked weight is not 0"

    trainer, model = trained(schedule, look)
    assert density_of(trainer.masks) == pytest.approx(density, abs=0.01)
    assert any(weight[trainer.masks[key]].abs().min() > 0 for key, weight in weights_of(model).items())


@pytest.mark.parametrize("name", ["static", "SNIP", "SET", "RigL"])
def test_a_sparse_start_keeps_its_number_of_connections_at_every_step(name):
    counts = []
    trained(SCHEDULES[name][0], lambda step, trainer, *_: counts.append([int(m.sum()) for m in trainer.masks.values()]))
    assert all(count == counts[0] for count in counts)


def test_masks_move_when_they_should_and_only_then():
    moves = {name: [] for name in ("static", "SET", "gradual", "at once")}
    for name, found in moves.items():
        trained(
            SCHEDULES[name][0],
            lambda step, trainer, model, said=None, found=found: (
                found.append(step) if said and said["changed_places"] else None
            ),
        )
    assert moves["static"] == []
    assert moves["SET"] == [10, 20, 30, 40]
    assert moves["at once"] == [36]
    assert moves["gradual"][0] > 6
    assert moves["gradual"][-1] in (41, 42), "the last step may have nothing left to prune"


def test_a_ticket_goes_back_to_its_first_weights():
    first = {name: weight.detach().clone() for name, weight in weights_of(network()).items()}
    seen = {}

    def look(step, trainer, model, said=None):
        seen[step] = ({k: w.detach().clone() for k, w in weights_of(model).items()}, dict(trainer.masks), trainer.since)

    trained(Lottery(rounds=2, share=0.5), look)
    for step in (20, 40):
        weights, masks, since = seen[step]
        assert since == 0
        for name, weight in weights.items():
            torch.testing.assert_close(weight, first[name] * masks[name], rtol=0, atol=0)
    weights, tickets, _ = seen[40]
    trained(Lottery(rounds=2, share=0.5, control="drawn again"), look)
    again, masks, _ = seen[40]
    assert all(torch.equal(masks[name], tickets[name]) for name in masks), "the control has the masks of the tickets"
    assert all(not torch.equal(again[name], weights[name]) for name in again)
    assert all((again[name][masks[name]] != 0).all() for name in again)
    trained(Lottery(rounds=2, share=0.5, control="random mask"), look)
    other, masks, _ = seen[40]
    for name, weight in other.items():
        torch.testing.assert_close(weight, first[name] * masks[name], rtol=0, atol=0)


def test_round_by_round_a_ticket_keeps_a_part_of_what_it_had():
    masks = {}
    trained(Lottery(rounds=2, share=0.5), lambda step, trainer, *_: masks.update({step: dict(trainer.masks)}))
    for name in masks[0]:
        assert int(masks[20][name].sum()) == round(0.5 * masks[0][name].numel())
        assert not (masks[40][name] & ~masks[20][name]).any()


def test_what_is_dropped_is_smallest_of_either_sign():
    weight = torch.tensor([0.1, 0.5, 2.0, 3.0, -0.2, -0.4, -5.0, -6.0, 9.0])
    mask = torch.ones(9, dtype=torch.bool)
    mask[8] = False
    kept = without_smallest(weight, mask, 0.5)
    assert kept.tolist() == [False, False, True, True, False, False, True, True, False]


def test_what_grows_is_where_the_score_is_largest_and_not_what_just_went():
    mask = torch.tensor([True, False, False, False])
    banned = torch.tensor([True, True, False, False])
    assert grown(mask, 1, torch.tensor([9.0, 8, 1, 2]), banned).tolist() == [True, False, False, True]
    assert int(grown(mask, 3, torch.ones(4), banned).sum()) == 4, "without room, what was banned comes back"


def test_small_layers_are_denser_in_a_random_graph():
    weights = weights_of(network())
    share = densities(weights, 0.2, "erdos_renyi")
    assert share["4.weight"] > share["0.weight"] > share["2.weight"]
    total = sum(share[name] * weight.numel() for name, weight in weights.items())
    assert total == pytest.approx(0.2 * sum(weight.numel() for weight in weights.values()))
    assert max(densities(weights, 0.6, "erdos_renyi").values()) == 1.0
    with pytest.raises(ValueError, match="density"):
        densities(weights, 0.0)


def test_a_scale_free_mask_has_hubs_and_as_many_connections():
    weight, draw = torch.randn(300, 200), torch.Generator().manual_seed(0)
    even, hubs = (drawn(weight, 0.05, draw, layout) for layout in ("uniform", "scale_free"))
    assert int(even.sum()) == int(hubs.sum()) == 3000
    for axis in (0, 1):
        assert hubs.sum(axis).float().std() > 2.5 * even.sum(axis).float().std()


def test_whole_units_go_with_all_their_weights():
    trainer, _ = trained(WholeUnits(0.25))
    rows = [mask.float().mean(1) for mask in trainer.masks.values()]
    assert [set(row.tolist()) for row in rows] == [{0.0, 1.0}, {0.0, 1.0}, {1.0}]
    assert [int(row.sum()) for row in rows] == [10, 5, 3]


def test_masks_are_drawn_from_the_given_generator_and_pruned_by_size():
    weight = torch.randn(30, 40)
    one, two = (drawn(weight, 0.1, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two)
    assert int(one.sum()) == 120
    kept = strongest(weight.abs(), 0.25)
    assert weight[kept].abs().min() >= weight[~kept].abs().max()
    both = strongest_of_all({"a": weight.abs(), "b": weight.abs() + 100}, 0.5)
    assert both["b"].all()
    assert not both["a"].any()


class Recurrent(nn.Module):
    """Reads the eight numbers of a row one after the other."""

    def __init__(self):
        super().__init__()
        self.layer, self.out = nn.LSTM(1, 12, batch_first=True), nn.Linear(12, 3)

    def forward(self, x):
        return self.out(self.layer(x.unsqueeze(-1))[0][:, -1])


@pytest.mark.parametrize("name", ["static, by degree", "SNIP", "SET", "gradual"])
def test_recurrent_weights_are_masked_like_others(name):
    schedule, density = SCHEDULES[name]
    torch.manual_seed(0)
    model, task, trainer = Recurrent(), ThreeClouds(), MaskedTraining(schedule, learning_rate=1e-2)
    trainer.start(model, task, STEPS)
    assert set(trainer.masks) == {"layer.weight_ih_l0", "layer.weight_hh_l0", "out.weight"}
    for batch in itertools.islice(task.batches(0), STEPS):
        trainer.step(model, batch)
        assert not any(weight[~trainer.masks[key]].any() for key, weight in weights_of(model).items())
    assert density_of(trainer.masks) == pytest.approx(density, abs=0.02)
    assert model.layer.bias_hh_l0.abs().min() > 0, "biases are not masked"


def test_a_model_without_matrices_is_refused():
    with pytest.raises(ValueError, match="ReLU has no linear"):
        weights_of(nn.ReLU())
    with pytest.raises(ValueError, match="above 0"):
        MaskedTraining(Schedule(), learning_rate=0)
