"""The transform contract: what every model -> model in the folders keeps, and that a broken one is noticed."""

import copy
import io
import pickle
import re

import pytest
import torch
from torch import nn
from walk import modules, short

from labkit.catalogue.papers import paper
from labkit.parts.folding import ChannelNorm

TRANSFORMS = modules("transforms")
ROUNDING = 1e-5


def of(module):
    return getattr(module, module.__name__.split(".")[-1])


def hooked(model: nn.Module) -> nn.Module:
    """The model with a hook on every module, which a transform may neither remove nor add to."""
    for part in model.modules():
        part.register_forward_hook(_quiet)
    return model


def _quiet(*_):
    return None


def state_of(model: nn.Module) -> dict:
    """Everything of a model that must stay: values, places in memory, modes, gradients, hooks, and what it is built of."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {
        "values": {name: value.detach().clone() for name, value in named},
        "places": {name: value.data_ptr() for name, value in named},
        "learning": {name: (value.requires_grad, value.grad is None) for name, value in named},
        "parts": [(name, id(part), part.training) for name, part in model.named_modules()],
        "hooks": [
            (list(part._forward_hooks), list(part._forward_pre_hooks), list(part._backward_hooks))
            for part in model.modules()
        ],
    }


def differences(before: dict, after: dict) -> list[str]:
    """What of a model's state is no longer the same."""
    moved = [what for what in ("places", "learning", "parts", "hooks") if before[what] != after[what]]
    names = before["values"].keys() & after["values"].keys()
    same = all(torch.equal(before["values"][name], after["values"][name]) for name in names)
    return moved + ["values"] * (not same or before["values"].keys() != after["values"].keys())


def touched(transform, make) -> list[str]:
    """What a transform changes of the model that it is given, in training or in evaluation mode."""
    found = []
    for training in (True, False):
        model = hooked(make()).train(training)
        before = state_of(model)
        transform(model)
        found += differences(before, state_of(model))
    return found


def shared(model: nn.Module, result: nn.Module) -> list[str]:
    """Names of what the result holds in the model's own memory: training one would then change the other."""
    own = {value.untyped_storage().data_ptr() for value in (*model.parameters(), *model.buffers())}
    held = (*result.named_parameters(), *result.named_buffers())
    return [name for name, value in held if value.untyped_storage().data_ptr() in own]


def gap(one: nn.Module, other: nn.Module, inputs: tuple) -> float:
    """The largest difference of two models' answers in evaluation, relative to the largest answer."""
    with torch.no_grad():
        left, right = one.eval()(*inputs), other.eval()(*inputs)
    return float((left - right).abs().max() / left.abs().max().clamp_min(1))


@pytest.fixture(params=TRANSFORMS, ids=short)
def case(request):
    module = request.param
    return module, of(module), module.example.make(), module.example.inputs(0)


def test_the_walk_finds_the_transforms():
    assert len(TRANSFORMS) >= 1


def test_its_argument_is_left_bitwise_alone(case):
    module, transform, _, _ = case
    assert touched(transform, module.example.make) == []


def test_answers_with_a_module_that_shares_no_memory_with_the_model(case):
    _, transform, model, inputs = case
    result = transform(model)
    assert isinstance(result, nn.Module)
    assert result is not model
    assert shared(model, result) == []
    assert torch.isfinite(result.eval()(*inputs)).all()


def test_says_the_same_where_it_claims_to(case):
    module, transform, model, inputs = case
    if not getattr(module, "equal", False):
        pytest.skip("this transform does not claim that the answers stay")
    assert gap(model, transform(model), inputs) < ROUNDING
    wide = tuple(x.double() for x in inputs)
    assert gap(model.double(), transform(model.double()), wide) < 1e-12


def test_says_what_its_reference_says(case):
    module, transform, model, inputs = case
    if module.example.reference is None:
        pytest.skip("no reference was given to compare it with")
    with torch.no_grad():
        wanted = module.example.reference(model, *inputs)
        assert torch.allclose(transform(model).eval()(*inputs), wanted, atol=ROUNDING)


def test_twice_is_once_where_it_says_so(case):
    module, transform, model, _ = case
    if not getattr(module, "idempotent", False):
        pytest.skip("this transform does not claim to be done after one time")
    once = transform(model)
    twice = transform(once)
    assert [type(part) for part in once.modules()] == [type(part) for part in twice.modules()]
    assert all(torch.equal(*pair) for pair in zip(once.state_dict().values(), twice.state_dict().values(), strict=True))


def test_the_same_model_gives_the_same_result(case):
    _, transform, model, inputs = case
    assert gap(transform(model), transform(model), inputs) == 0


def test_the_result_is_copied_and_pickled(case):
    _, transform, model, inputs = case
    result = transform(model)
    for twin in (copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert gap(result, twin, inputs) == 0


def test_the_results_state_survives_a_safe_file(case):
    module, transform, model, inputs = case
    result, file = transform(model), io.BytesIO()
    torch.save(result.state_dict(), file)
    file.seek(0)
    torch.manual_seed(99)
    other = transform(module.example.make())
    other.load_state_dict(torch.load(file, weights_only=True))
    assert gap(result, other, inputs) == 0


def test_the_result_can_be_trained_on(case):
    _, transform, model, inputs = case
    result = transform(model).train()
    result(*inputs).square().sum().backward()
    silent = [name for name, value in result.named_parameters() if value.requires_grad and value.grad is None]
    assert silent == []


def test_explains_itself_and_names_a_known_paper(case):
    module, transform, _, _ = case
    assert len(module.__doc__.splitlines()[0].split()) >= 5
    assert transform.__doc__
    cited = re.findall(r"P\d{3}", module.__doc__.split("Source:")[1])
    assert cited
    assert all(paper(number).id == number for number in cited)


def _model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), ChannelNorm(4))


def _in_place(model):
    with torch.no_grad():
        next(model.parameters()).mul_(2)


FAULTS = {
    "a weight is changed": (_in_place, "values"),
    "a weight is replaced": (lambda m: setattr(m[0], "weight", nn.Parameter(m[0].weight.detach().clone())), "places"),
    "it is put into evaluation": (lambda model: model.eval(), "parts"),
    "a part is exchanged": (lambda model: setattr(model, "0", nn.Linear(4, 4)), "parts"),
    "a hook is left": (lambda model: model[0].register_forward_hook(_quiet), "hooks"),
    "the hooks are taken": (lambda model: model[0]._forward_hooks.clear(), "hooks"),
    "it is frozen": (lambda model: model.requires_grad_(False), "learning"),
    "a norm sees data": (lambda model: model.train()(torch.randn(9, 4)), "values"),
    "gradients are left": (lambda model: model(torch.randn(9, 4)).sum().backward(), "learning"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_transform_that_touches_its_model_is_noticed(fault):
    touch, what = FAULTS[fault]
    assert what in touched(touch, _model)


def test_an_innocent_transform_is_not_accused():
    assert touched(copy.deepcopy, _model) == []


def test_shared_memory_and_other_answers_are_noticed():
    model = _model()
    assert shared(model, nn.Sequential(model[0])) == ["0.weight", "0.bias"]
    assert shared(model, copy.deepcopy(model)) == []
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].bias[0] += 1e-3
    assert gap(model, other, (torch.randn(5, 4),)) > ROUNDING
