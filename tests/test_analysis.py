"""The analysis contract: what every (model, batch) -> DataArray in the folders keeps."""

import copy

import pytest
import torch
import xarray as xr
from walk import modules, short

ANALYSES = modules("analysis")


def measure(module, model, batch):
    return getattr(module, module.__name__.split(".")[-1])(model, batch)


@pytest.fixture(params=ANALYSES, ids=short)
def case(request):
    module = request.param
    return module, module.example.make(), module.example.inputs(0)


def test_the_walk_finds_the_analyses():
    assert len(ANALYSES) >= 4


def test_answers_with_labelled_axes_units_and_a_name(case):
    found = measure(*case)
    assert isinstance(found, xr.DataArray)
    assert found.name
    assert {"long_name", "units"} <= set(found.attrs)
    assert set(found.dims) <= set(found.coords)


def test_leaves_model_mode_and_hooks_as_before(case):
    module, model, batch = case
    for training in (True, False):
        model.train(training)
        before, given = copy.deepcopy(model.state_dict()), [part.clone() for part in batch]
        measure(module, model, batch)
        assert all(part.training is training for part in model.modules())
        assert not any(part._forward_hooks for part in model.modules())
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert all(torch.equal(*pair) for pair in zip(batch, given, strict=True))
        assert all(parameter.grad is None for parameter in model.parameters())


def test_says_the_same_whatever_the_mode_and_twice(case):
    module, model, batch = case
    exempt = module.example.exempt.get("says the same whatever the mode and twice")
    if exempt:
        pytest.skip(exempt)
    answers = [measure(module, model.train(training), batch) for training in (True, False, False)]
    assert answers[0].identical(answers[1])
    assert answers[1].identical(answers[2])


def test_names_its_source(case):
    assert "Source:" in case[0].__doc__
