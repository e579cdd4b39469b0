"""Hidden units come as rows that know their input, and batches of every form are understood."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labkit.errors import LabError
from labkit.recording.batches import (
    accuracy_of,
    answer,
    extent_of,
    labels_of,
    loss_of,
    part_of,
    scores_of,
    size_of,
    some_of,
)
from labkit.recording.entering import entering
from labkit.recording.following import following, norms_of
from labkit.recording.hidden import aligned, by_input, hidden, rows_of
from labkit.recording.once import once
from labkit.recording.timing import product_times, side_by_side


class Words(nn.Module):
    """A language model as people have them: it takes named tensors and returns an object with logits."""

    def __init__(self, flat=False):
        super().__init__()
        self.embed, self.up, self.act, self.down = nn.Embedding(9, 4), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 9)
        self.block, self.flat = nn.Sequential(self.up, self.act, self.down), flat

    def forward(self, input_ids, attention_mask=None, labels=None):
        x = self.embed(input_ids)
        logits = self.block(x.flatten(0, 1)).unflatten(0, x.shape[:2]) if self.flat else self.block(x)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        return SimpleNamespace(logits=logits, loss=loss)


def words():
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    return {"input_ids": torch.randint(9, (3, 4)), "attention_mask": mask}


def plain():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


# rows


def test_rows_know_their_input_and_place():
    values = torch.randn(3, 2, 5, 7)
    rows = rows_of(values)
    assert rows.values.shape == (30, 7)
    assert torch.equal(rows.values[rows.input.tolist().index(2) + 6], values[2, 1, 1])
    assert rows.input.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert rows.place.tolist() == [*range(10)] * 3


@pytest.mark.parametrize("flat", [False, True])
def test_padding_is_left_out_also_where_all_tokens_stand_in_one_row(flat):
    batch = words()
    (found,) = hidden(Words(flat), batch).values()
    assert found.input.tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2]
    assert found.place.tolist() == [0, 1, 2, 3, 0, 1, 0, 1, 2]


def test_an_expert_that_saw_some_tokens_does_not_claim_to_know_which():
    rows = rows_of(torch.randn(5, 7), size=3, length=4)
    assert rows.input.tolist() == [-1] * 5


def test_the_mean_over_the_places_of_each_input():
    batch = words()
    (found,) = hidden(Words(), batch).values()
    means = by_input(found)
    assert torch.allclose(means[1], found.values[4:6].mean(0))
    assert torch.allclose(means[2], found.values[6:].mean(0))


def test_layers_with_other_places_are_aligned_by_input():
    one, two = torch.randn(4, 6, 6, 3), torch.randn(4, 3, 3, 5)
    values, which, left_out = aligned(
        {"one": rows_of(one), "two": rows_of(two), "expert": rows_of(torch.randn(5, 2), 4, 9)}
    )
    assert which is None
    assert left_out == ["expert"]
    assert torch.allclose(values["one"], one.mean((1, 2)), atol=1e-6)
    same, which, _ = aligned({"one": rows_of(one), "three": rows_of(torch.randn(4, 6, 6, 2))})
    assert which is not None
    assert len(same["three"]) == 144


def test_several_calls_of_one_block_stand_one_after_the_other():
    shared = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    (found,) = hidden(nn.Sequential(shared, shared, nn.Linear(4, 2)), (torch.randn(3, 4),)).values()
    assert found.values.shape == (6, 4)
    assert found.input.tolist() == [0, 1, 2, 0, 1, 2]
    assert found.place.tolist() == [0, 0, 0, 1, 1, 1]


# batches


def test_a_part_of_a_batch_keeps_what_belongs_together():
    batch = ({**words(), "flag": True}, torch.arange(3))
    part = part_of(batch, torch.tensor([2, 0]))
    assert size_of(part) == 2
    assert torch.equal(part[0]["input_ids"], batch[0]["input_ids"][[2, 0]])
    assert part[1].tolist() == [2, 0]
    assert part[0]["flag"] is True
    assert extent_of(batch) == (3, 4)
    assert extent_of((torch.randn(2, 1, 28, 28),)) == (2, None)


def test_models_are_called_with_tensors_tuples_and_names():
    class Two(nn.Module):
        def forward(self, a, b):
            return a + 2 * b

    a, b = torch.randn(3, 2), torch.randn(3, 2)
    expected = a + 2 * b
    assert torch.equal(answer(Two(), ((a, b), torch.arange(3))), expected)
    assert torch.equal(answer(Two(), {"a": a, "b": b}), expected)
    assert torch.equal(answer(nn.Identity(), (a,)), a)
    assert labels_of({"a": a}) is None
    assert labels_of((a, b)) is None


def test_fewer_inputs_are_taken_evenly_and_not_more_than_scores_can_be_kept(monkeypatch):
    batch = (torch.arange(100.0).unsqueeze(1), torch.arange(100))
    some, count = some_of(nn.Identity(), batch, 4)
    assert count == 4
    assert some[0].flatten().tolist() == [0, 25, 50, 75]
    monkeypatch.setattr("labkit.recording.batches.SCORES", 30)
    assert some_of(nn.Linear(1, 10), batch, 50)[1] == 3


def test_loss_and_accuracy_by_labels():
    scores, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, -100, 1])
    scores[0, 0] += 9
    loss, accuracy = loss_of(scores, (None, labels)), accuracy_of(scores, (None, labels))
    kept = labels >= 0
    assert loss == pytest.approx(float(F.cross_entropy(scores[kept], labels[kept])))
    assert accuracy == pytest.approx(float((scores.argmax(-1) == labels)[kept].float().mean()))


def test_a_model_that_predicts_the_next_token_is_judged_by_the_next_token():
    batch = words()
    batch["labels"] = batch["input_ids"]
    output = answer(Words().eval(), batch)
    loss, accuracy = loss_of(output, batch), accuracy_of(output, batch)
    assert loss == pytest.approx(output.loss.item())
    right = output.logits[:, :-1].argmax(-1) == batch["labels"][:, 1:]
    assert accuracy == pytest.approx(float(right.float().mean()))


def test_without_labels_nothing_is_claimed_and_a_loss_of_ones_own_is_used():
    scores = torch.randn(6, 3)
    assert math.isnan(loss_of(scores, (scores,)))
    assert math.isnan(accuracy_of(scores, (scores,)))
    assert loss_of(scores, (scores,), lambda output, batch: output.sum()) == pytest.approx(
        float(scores.sum()), rel=1e-5
    )
    with pytest.raises(LabError, match="without a tensor"):
        scores_of(object())


# what follows a block


def test_the_next_product_is_found_by_its_input():
    model = plain()
    assert following(model, (torch.randn(5, 6),)) == {"1": model[3]}
    assert torch.allclose(norms_of({"1": model[3]})["1"], model[3].weight.norm(dim=0))


def test_a_product_that_is_given_its_input_by_name_is_found_too():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 6)

        def forward(self, x):
            return self.down(input=F.relu(self.up(input=x)))

    model, x = nn.Sequential(Named()), torch.randn(5, 6)
    assert following(model, (x,)) == {"0": model[0].down}
    assert torch.equal(entering(model, (x,))["0"][0].values, x)


def test_what_was_looked_at_before_does_not_hide_what_follows():
    model, batch = plain().eval(), (torch.randn(4, 6),)
    with once():
        hidden(model, batch)
        assert following(model, batch) == {"1": model[3]}
        assert torch.equal(entering(model, batch)["1"][0].values, batch[0])


def test_a_norm_between_means_that_nothing_follows():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 3))
    assert following(model, (torch.randn(5, 6),)) == {}


def test_a_convolution_follows_by_channels():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
    assert following(model, (torch.randn(3, 2, 9, 9),)) == {"1": model[2]}
    norms = norms_of({"1": model[2]})["1"]
    assert torch.allclose(norms, model[2].weight.pow(2).sum((0, 2, 3)).sqrt())
    assert not any(part._forward_pre_hooks for part in model.modules())


# timing


def test_a_long_act_takes_longer_than_a_short_one_and_threads_are_as_before():
    threads = torch.get_num_threads()
    a, b = torch.randn(400, 400), torch.randn(8, 8)
    long, short = side_by_side((lambda: a @ a, lambda: b @ b), seconds=0.02)
    assert long > 3 * short > 0
    assert torch.get_num_threads() == threads


def test_a_product_with_few_active_units_is_measured_to_be_faster_than_with_all():
    weight, many = torch.randn(512, 4096), torch.randn(4, 4096)
    few = many * (torch.arange(4096) < 40)
    assert product_times(few, weight)[0] < product_times(many, weight)[0] / 4
