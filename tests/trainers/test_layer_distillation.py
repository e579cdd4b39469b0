"""Layer distillation: nothing but the students learns, from the teacher's inputs alone, and what is known is not recomputed."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labkit.errors import LabError
from labkit.studies.attention import sequence_feedforward as measured
from labkit.trainers.distillation.layer_distillation import Exchanged, LayerDistillation, exchange, missed, recorded
from labkit.workbench.backbones.encoder_decoder import EncoderDecoder
from labkit.workbench.tasks.toy_sequences import ToySequences


class Task:
    loss = staticmethod(F.mse_loss)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))


def batch(seed=0):
    torch.manual_seed(seed)
    return torch.randn(64, 4), torch.randn(64, 2)


def trained(places, steps, teaching=0.5, rate=1e-2):
    model, trainer = network(), LayerDistillation(places, rate, 1e-2, teaching)
    trainer.start(model, Task(), steps)
    said = [trainer.step(model, batch(step))["training_loss"] for step in range(steps)]
    return model, said


def affine(original):
    return nn.Linear(original.in_features, original.out_features)


def test_until_the_second_half_the_network_keeps_its_layers():
    model, _ = trained({"2": affine}, 1, teaching=1.0)
    assert not any(isinstance(part, Exchanged) for part in model)


def test_in_the_second_half_nothing_but_students_learns():
    model, trainer = network(), LayerDistillation({"2": affine}, teaching=0.0)
    before = copy.deepcopy(model.state_dict())
    trainer.start(model, Task(), 5)
    states = []
    for step in range(5):
        trainer.step(model, batch(step))
        states.append(copy.deepcopy(model[2].student.state_dict()))
    for name in ("0.weight", "4.weight", "4.bias"):
        assert torch.equal(model.state_dict()[name], before[name])
    assert torch.equal(model[2].original.weight, before["2.weight"])
    assert not torch.equal(states[0]["weight"], states[-1]["weight"])


def test_a_student_of_the_same_kind_becomes_the_layer():
    model, said = trained({"2": affine}, 400, teaching=0.0, rate=3e-2)
    assert said[0] > 0.5
    assert said[-1] < 0.005
    hidden = model[1](model[0](batch()[0]))
    assert torch.allclose(model[2](hidden), model[2].original(hidden), atol=0.1)


def test_students_do_not_disturb_each_other():
    """Taught together or alone, a student becomes the same, as far as rounding allows."""
    made = {place: affine(network()[place]) for place in (0, 2)}

    def taught(*places):
        torch.manual_seed(0)
        model, _ = trained({str(one): lambda _, one=one: copy.deepcopy(made[one]) for one in places}, 20, teaching=0.0)
        return model

    together = taught(0, 2)
    for place in (0, 2):
        alone = taught(place)
        assert torch.allclose(together[place].student.weight, alone[place].student.weight, atol=1e-6)


def test_labels_play_no_part_for_students():
    ends = []
    for sign in (1, -1):
        model, trainer = network(), LayerDistillation({"2": affine}, teaching=0.0)
        torch.manual_seed(1)
        trainer.start(model, Task(), 3)
        for step in range(3):
            x, target = batch(step)
            torch.manual_seed(step)
            trainer.step(model, (x, sign * target))
        ends.append(model[2].student.weight)
    assert torch.equal(*ends)


def test_students_read_what_the_teacher_s_layers_were_given():
    """Also behind another student: its recorded inputs are those of the network as it was."""
    model, (x, _) = network(), batch()
    inputs = {}
    for place in (0, 2):
        model[place].register_forward_hook(lambda _, given, said, place=place: inputs.update({place: (given[0], said)}))
    model(x)
    clean = dict(inputs)
    exchange(model, {"0": affine, "2": affine})
    heard = recorded(model, x)
    for place in (0, 2):
        ((given,), said), *rest = heard[str(place)]
        assert rest == []
        assert torch.equal(given, clean[place][0])
        assert torch.equal(said, clean[place][1])
    assert not torch.allclose(model(x), recorded_output(x))


def recorded_output(x):
    return network()(x)


def test_what_is_missed_is_a_share():
    x, answer = batch()[0], torch.randn(64, 4)
    heard = [((x,), answer)]
    assert missed(lambda _: answer, heard).item() == 0
    assert missed(lambda _: 0 * answer, heard).item() == pytest.approx(1)
    assert missed(lambda _: 1.1 * answer, heard).item() == pytest.approx(0.01, rel=1e-3)


def test_the_original_is_neither_counted_nor_saved():
    model = network()
    before = sum(value.numel() for value in model.parameters())
    exchange(model, {"2": lambda original: nn.Identity()})
    assert sum(value.numel() for value in model.parameters()) == before - 72
    assert not any("original" in name for name in model.state_dict())
    assert copy.deepcopy(model)[2].original is not model[2].original


def test_a_pattern_means_the_outermost_module():
    model = nn.ModuleDict({"block": nn.ModuleDict({"attend": nn.Sequential(nn.Linear(2, 2))})})
    made = exchange(model, {"block.*": lambda original: nn.Identity()})
    assert list(made) == ["block.attend"]


def test_a_place_that_is_not_there_is_refused():
    with pytest.raises(LabError, match="No module of this Sequential is called nowhere"):
        exchange(network(), {"nowhere": affine})


@pytest.mark.parametrize("wrong", [{"learning_rate": 0}, {"teacher_rate": -1}, {"teaching": 1.5}])
def test_numbers_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r"LayerDistillation|teaching steps"):
        LayerDistillation({}, **wrong)


def test_a_lesson_that_is_remembered_is_the_lesson():
    """The study computes the first half of a seed once: with and without, every number is the same."""
    ends = []
    for forget in (True, True, False):
        if forget:
            measured.LESSONS.clear()
        torch.manual_seed(3)
        task = ToySequences(length=measured.LENGTH, batch=4, rows=4)
        model = EncoderDecoder(task, width=measured.WIDTH)
        trainer = measured.OneTeacher(measured.taught(measured.CROSS, hidden=4))
        torch.manual_seed(3)
        trainer.start(model, task, 6)
        known = bool(trainer.known)
        said = [trainer.step(model, one)["training_loss"] for one in itertools.islice(task.batches(3), 6)]
        ends.append((said, model.state_dict(), known))
    assert [known for _, _, known in ends] == [False, False, True]
    for said, state, _ in ends[1:]:
        assert said == ends[0][0]
        assert all(torch.equal(value, ends[0][1][name]) for name, value in state.items())
    measured.LESSONS.clear()
