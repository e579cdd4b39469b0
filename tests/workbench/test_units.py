"""One hidden unit: what it answers to, how often, what is lost without it; the same numbers as measured one by one."""

import numpy as np
import pytest
import torch
from foreign_models import hugging, tokens
from torch import nn
from torch.nn import functional as F

from labkit.errors import LabError
from labkit.recording.record import NothingRecorded
from labkit.workbench.pretrained.load import pretrained
from labkit.workbench.units import Units


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))


def rows(count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(count, 6), torch.arange(count) % 3


def test_strongest_inputs_density_and_order_are_those_of_the_activations():
    model, (x, labels) = plain(), rows()
    said = model[:2](x).detach()
    units = Units(model, (x, labels))
    assert units.layers == {"1": 12}
    assert units.order("1") == said.mean(0).argsort(descending=True, stable=True).tolist()
    unit = units.order("1")[0]
    facts = units.facts("1", unit, ranks=5)
    best = said[:, unit].topk(5)
    np.testing.assert_allclose(facts.strongest.values, best.values.numpy())
    assert facts.strongest["input"].values.tolist() == best.indices.tolist()
    assert float(facts.density.sum()) == pytest.approx(1, abs=1e-5)
    assert facts.density.attrs["zeros"] == pytest.approx(float((said[:, unit] == 0).float().mean()))


def test_the_effect_is_that_of_the_unit_at_its_mean():
    model, (x, labels) = plain(), rows()
    facts = Units(model, (x, labels)).facts("1", 3)
    hidden = model[:2](x).detach()
    before = model[2](hidden).detach()
    hidden[:, 3] = hidden[:, 3].mean()
    after = model[2](hidden).detach()
    assert facts.effect is not None
    loss = F.cross_entropy(after, labels) - F.cross_entropy(before, labels)
    assert float(facts.effect.sel(quantity="loss")) == pytest.approx(float(loss), abs=1e-6)
    moved = (after - before).norm() / before.norm()
    assert float(facts.effect.sel(quantity="output")) == pytest.approx(float(moved), rel=1e-4)


def test_turning_to_a_unit_leaves_the_model_as_it_was():
    for name in ("digits CNN", "Alice"):
        found = pretrained(name)
        units = Units(found.model, found.batch, texts=found.texts, images=found.images, loss=found.loss)
        layer = list(units.layers)[-1]
        before = found.model.training, [module for module in found.model.modules() if module._forward_hooks]
        for unit in (1, 2, 3):
            units.facts(layer, unit)
        assert before == (found.model.training, [one for one in found.model.modules() if one._forward_hooks])


def test_a_unit_paints_the_text_it_reads_without_the_padding():
    model = hugging("BertModel")
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    batch = {"input_ids": tokens(2, 4), "attention_mask": mask}
    texts = [["a", "b", "c", ""], ["d", "e", "f", "g"]]
    units = Units(model, batch, texts=texts)
    layer = next(iter(units.layers))
    activity = units.facts(layer, 5).activity
    assert activity is not None
    assert activity["text"].values.tolist() == list("abcdefg")
    assert activity["sequence"].values.tolist() == [0, 0, 0, 1, 1, 1, 1]
    np.testing.assert_allclose(activity.values, units.found[layer].values[:, 5].numpy())


def test_pictures_are_those_of_the_inputs_also_where_some_were_taken_of_many():
    x = torch.rand(900, 1, 4, 4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    units = Units(model, x, images=lambda places: x[places, 0].numpy())
    facts = units.facts("2", units.order("2")[0])
    assert facts.images is not None
    for place, picture in zip(facts.images["input"].values, facts.images.values):
        np.testing.assert_array_equal(picture, units.looked.batch[place, 0].numpy())
    itself = Units(model, x).facts("2", units.order("2")[0])
    assert itself.images is not None, "inputs that are pictures are shown without being asked"
    np.testing.assert_array_equal(itself.images.values, facts.images.values)


def test_a_dead_unit_has_no_strongest_input_and_no_picture():
    model, (x, labels) = plain(), rows()
    model[0].bias.data[4] = -1e6
    facts = Units(model, (x, labels), images=np.ones((40, 3, 3))).facts("1", 4)
    assert len(facts.strongest) == 0
    assert facts.images is None
    assert facts.density.attrs["zeros"] == 1


def test_an_effect_that_cannot_be_measured_says_why_and_the_rest_is_there():
    def broken(_output, _batch):
        raise ValueError("planted")

    facts = Units(plain(), rows(), loss=broken).facts("1", 0)
    assert facts.effect is None
    assert facts.note == "ValueError: planted."
    assert np.isfinite(facts.density.values).all()


def test_an_own_loss_is_used():
    facts = Units(plain(), rows(), loss=lambda output, _batch: output.sum() * 0 + 7).facts("1", 0)
    assert facts.effect is not None
    assert float(facts.effect.sel(quantity="loss")) == 0
    assert facts.effect.attrs["loss"] == 7


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (lambda: Units(plain(), rows()).facts("7", 0), "There is no layer '7' with hidden units; there is 1."),
        (lambda: Units(plain(), rows()).facts("1", 12), "1 has the units 0 to 11, and 12 was asked for."),
        (lambda: Units(plain(), rows(), texts=[["a", "b"]] * 40), "texts names 80 tokens"),
        (lambda: Units(plain(), rows(), images=np.ones((3, 2, 2))), "images has 3 pictures and the batch 40 inputs"),
        (lambda: Units(plain(), torch.randn(5, 9)), "could not be run on this batch"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(action, says):
    with pytest.raises(LabError) as refused:
        action()
    assert says in str(refused.value)


def test_units_that_are_no_numbers_are_refused_one_by_one():
    model = plain()
    model[0].weight.data[2] = torch.nan
    units = Units(model, rows())
    with pytest.raises(LabError, match=r"Unit 2 of 1 holds NaN"):
        units.facts("1", 2)
    assert len(units.facts("1", 3).strongest)


def test_a_model_without_hidden_units_is_refused():
    with pytest.raises(NothingRecorded):
        Units(nn.Linear(6, 3), rows())
