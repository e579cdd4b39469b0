"""Hidden units are changed where they are recorded, while the block runs and no longer."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labkit.errors import LabError
from labkit.recording.anatomy import anatomy
from labkit.recording.intervene import ablate, changed, clamp, keep_above, keep_strongest, scale
from labkit.recording.kinds import Activations
from labkit.recording.observe import observe
from labkit.recording.record import record


class Functional(nn.Module):
    """A block whose nonlinearity is no module: what enters the second layer is all there is to see."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(6, 24), nn.Linear(24, 6)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(6, 24), nn.Linear(6, 24), nn.Linear(24, 6)

    def forward(self, x):
        return self.down_proj(input=F.silu(self.gate_proj(x)) * self.up_proj(x))


class Residual(nn.Module):
    """One ReLU after two convolutions."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.relu = nn.Conv2d(6, 7, 3, padding=1), nn.Conv2d(7, 6, 3, padding=1), nn.ReLU()

    def forward(self, x):
        return x + self.relu(self.conv2(self.relu(self.conv1(x))))


def transformer():
    layer = nn.TransformerEncoderLayer(6, 2, 24, dropout=0.1, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


MODELS = {
    "sequential": (lambda: nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Dropout(0.5), nn.Linear(24, 6)), (5, 6)),
    "functional": (lambda: nn.Sequential(Functional(), Functional()), (5, 3, 6)),
    "gated": (lambda: nn.Sequential(Gated(), Gated()), (5, 3, 6)),
    "transformer": (transformer, (5, 3, 6)),
    "convolutions": (lambda: nn.Sequential(Residual(), Residual()), (5, 6, 8, 8)),
}


@pytest.fixture(params=MODELS)
def model(request):
    make, shape = MODELS[request.param]
    built = make().eval()
    built.x = torch.randn(shape)
    return built


def blocks(model):
    return [block.name for block in anatomy(model).blocks if block.site]


def seen(model, name):
    return observe(model, model.x, Activations).calls(name)[0].values


@torch.no_grad()
def test_a_change_acts_where_the_recording_reads_and_a_recording_inside_sees_it(model):
    for name in blocks(model):
        before = seen(model, name)
        with changed(model, {name: ablate([2, 4], "zero")}):
            inside = seen(model, name)
        assert (inside[..., [2, 4]] == 0).all()
        kept = [unit for unit in range(before.shape[-1]) if unit not in (2, 4)]
        assert torch.equal(inside[..., kept], before[..., kept])
        assert torch.equal(seen(model, name), before)


@torch.no_grad()
def test_what_comes_after_changes_and_afterwards_nothing_is_left_of_it(model):
    for name in blocks(model):
        state, whole = copy.deepcopy(model.state_dict()), model(model.x)
        with changed(model, {name: scale(range(seen(model, name).shape[-1]), 3.0)}):
            assert not torch.equal(model(model.x), whole)
        assert torch.equal(model(model.x), whole)
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


@torch.no_grad()
def test_a_change_that_changes_nothing_leaves_the_answer_as_it_was_to_the_bit(model):
    with changed(model, {}):
        whole = model(model.x)  # without the fused path of nn.TransformerEncoder, which rounds otherwise
    with changed(model, {name: lambda values: values.clone() for name in blocks(model)}):
        assert torch.equal(model(model.x), whole)


@torch.no_grad()
def test_an_ablation_equals_a_model_without_the_units_weights():
    model = nn.Sequential(Functional())
    x = torch.randn(5, 6)
    cut = copy.deepcopy(model)
    cut[0].down.weight[:, [1, 7]] = 0
    with changed(model, {"0": ablate([1, 7], "zero")}):
        assert torch.allclose(model(x), cut(x), atol=1e-6)


@torch.no_grad()
def test_the_mean_is_that_of_the_call_unless_given():
    model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval(), torch.randn(50, 6)
    before = observe(model, x, Activations)["1"].values
    with changed(model, {"1": ablate([3, 5])}):
        inside = observe(model, x, Activations)["1"].values
    assert torch.allclose(inside[:, [3, 5]], before[:, [3, 5]].mean(0).expand(50, 2))
    with changed(model, {"1": ablate(torch.tensor([3, 5]), torch.tensor([1.0, 2.0]))}):
        inside = observe(model, x, Activations)["1"].values
    assert torch.equal(inside[:, [3, 5]], torch.tensor([1.0, 2.0]).expand(50, 2))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (clamp([0], 7.0), [7.0, -2.0, 0.5, 3.0]),
        (scale([1, 3], 2.0), [1.0, -4.0, 0.5, 6.0]),
        (keep_strongest(2), [0.0, -2.0, 0.0, 3.0]),
        (keep_strongest(1, torch.tensor([9.0, 1, 1, 1])), [1.0, 0.0, 0.0, 0.0]),
        (keep_above(0.9), [1.0, -2.0, 0.0, 3.0]),
        (keep_above(1.9, torch.tensor([2.0, 0.1, 1, 1])), [1.0, 0.0, 0.0, 3.0]),
    ],
)
def test_the_ready_made_changes_do_what_they_say(change, expected):
    values = torch.tensor([[1.0, -2.0, 0.5, 3.0]])
    given = values.clone()
    assert change(values).tolist() == [expected]
    assert torch.equal(values, given)


@torch.no_grad()
def test_changes_in_changes_add_up_the_outer_one_first():
    model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval(), torch.randn(5, 6)
    with changed(model, {"1": clamp([3], 1.0)}):
        with changed(model, {"1": scale([3], 5.0)}):
            assert (observe(model, x, Activations)["1"].values[:, 3] == 5).all()
        assert (observe(model, x, Activations)["1"].values[:, 3] == 1).all()


@torch.no_grad()
def test_every_call_of_a_block_is_changed():
    shared = Functional()
    model, x = nn.Sequential(shared, shared), torch.randn(5, 6)
    with changed(model, {"0": clamp([3], 1.0)}):
        calls = observe(model, x, Activations).calls("0")
    assert len(calls) == 2
    assert all((call.values[:, 3] == 1).all() for call in calls)


def test_gradients_pass_through_a_change():
    model, x = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), torch.randn(5, 6)
    with changed(model, {"1": ablate([2], "zero")}):
        model(x).sum().backward()
    assert (model[0].weight.grad[2] == 0).all()
    assert (model[0].weight.grad[[0, 1, 3]] != 0).any()


def test_a_change_is_gone_after_an_error():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(ZeroDivisionError), changed(model, {"1": clamp([2], 1.0)}):
        raise ZeroDivisionError
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_a_recording_begun_before_sees_what_the_block_itself_said():
    model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval(), torch.randn(5, 6)
    whole = observe(model, x, Activations)["1"].values
    with record(model, Activations) as trace, changed(model, {"1": clamp([2], 1.0)}):
        model(x)
    assert torch.equal(trace["1"].values, whole)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nowhere": clamp([0], 1.0)}, "no block 'nowhere'.*the blocks are 1"),
        ({"1": clamp([8], 1.0)}, "the units 0 to 7, and 8"),
        ({"1": lambda values: values[:, :3]}, r"shape \(5, 8\) and returned \(5, 3\)"),
    ],
)
def test_mistakes_are_told_in_a_sentence(changes, reason):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(LabError, match=reason), changed(model, changes):
        model(torch.randn(5, 6))
    with pytest.raises(LabError, match="'mean', to 'zero' or"):
        ablate([1], "median")


def test_a_block_that_did_not_run_is_told():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(LabError, match="1 did not run"), changed(model, {"1": clamp([0], 1.0)}):
        pass
