"""The loss contract: a finite scalar that can be learnt from, for every loss in the folders."""

import pytest
import torch
from walk import modules, short

LOSSES = modules("losses")


@pytest.fixture(params=LOSSES, ids=short)
def case(request):
    return request.param.example.make(), request.param.example.inputs(0)


def test_the_walk_finds_the_losses():
    assert len(LOSSES) >= 2


def test_is_a_finite_scalar_that_is_not_negative(case):
    loss, inputs = case
    value = loss(*inputs)
    assert value.shape == ()
    assert torch.isfinite(value)
    assert value >= 0


def test_a_gradient_flows_from_it(case):
    loss, inputs = case
    value = loss(*inputs)
    leaves, seen, queue = [], set(), [value.grad_fn]
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        queue += [below for below, _ in node.next_functions]
    slopes = torch.autograd.grad(value, leaves)
    assert any(slope.abs().sum() > 0 for slope in slopes)


@pytest.mark.parametrize("module", LOSSES, ids=short)
def test_an_empty_recording_is_refused_with_a_sentence(module):
    from labkit.errors import LabError
    from labkit.recording.record import Trace

    if not isinstance(module.example.inputs(0)[0], Trace):
        pytest.skip("this loss is not computed from a recording")
    with pytest.raises(LabError, match="needs a recording"):
        module.example.make()(Trace())
