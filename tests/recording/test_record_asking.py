"""A wrong question is answered by a sentence that says what is wrong and what is near."""

import pytest
import torch
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.recording.kinds import Activations, Attention
from labkit.recording.record import NothingRecorded, record


@pytest.fixture
def model():
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), 2)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (nn.ReLU(), "class nn.ReLU, not for a module"),
        (3, "not 3"),
        (int, "int is neither a class of module nor a type of output"),
        (lambda: None, "not a function"),
        ((Routing, 3), "not 3"),
        (type("Activation", (), {}), r"did you mean Activations\?"),
    ],
)
def test_what_is_no_type(model, what, says):
    with pytest.raises(LabError, match=says), record(model, what):
        pass


@pytest.mark.parametrize(
    ("what", "names", "says"),
    [
        (None, "layers.*.linaer1", "did you mean layers"),
        (Activations, "layer.0", r"did you mean layers\.0 "),
        (Activations, "nowhere", "for instance: layers"),
        (nn.Linear, "layers.*.norm1", "has no Linear under 'layers.\\*.norm1'; it has LayerNorm"),
        (nn.Conv2d, "*", "has no Conv2d"),
        (Activations, "layers.0.norm1", "No block with hidden units is named"),
    ],
)
def test_names_that_are_not_there(model, what, names, says):
    with pytest.raises(NothingRecorded, match=says), record(model, what, names):
        model(torch.randn(2, 3, 8))


def test_a_typo_in_a_single_string(model):
    with pytest.raises(NothingRecorded, match=r"did you mean layers\.0\.linear1"), record(model, "layers.0.liner1"):
        pass


def test_a_model_without_hidden_units_says_what_it_did_not_recognise():
    with pytest.raises(NothingRecorded, match="recurrent"), record(nn.Sequential(nn.GRU(3, 4)), Activations):
        pass


def test_what_is_not_a_model():
    with pytest.raises(LabError, match=r"an nn\.Module, not into a module"), record(max.__self__, Activations):
        pass


def test_what_torchscript_hides_is_refused():
    scripted = torch.jit.trace(nn.Sequential(nn.Linear(3, 3), nn.ReLU()), torch.randn(1, 3))
    with pytest.raises(LabError, match="TorchScript"), record(scripted, nn.ReLU):
        pass


def test_values_inside_torch_func_are_refused():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    with pytest.raises(LabError, match=r"torch\.func"), record(model, Activations):
        torch.func.vmap(model)(torch.randn(4, 3))


def test_several_questions_at_once_are_answered_as_far_as_they_go(model):
    with record(model.eval(), (Activations, Attention, Routing, nn.LayerNorm)) as trace:
        model(torch.randn(2, 3, 8))
    assert {type(value) for name in trace for value in trace.calls(name)} == {Activations, Attention, Tensor}
