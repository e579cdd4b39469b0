"""Properties of a layer's answers: shapes, types, gradients, references, purity, independence of rows, routing."""

import copy
import inspect

import torch
from torch import Tensor

from labkit.contract.proving import random_inputs, run, same, say
from labkit.parts.gate import Routing
from labkit.parts.shapes import arguments, returned, size
from labkit.recording.record import record


def shape_fits_its_annotation_and_is_finite(layer, inputs, example):
    wanted = returned(type(layer).forward)
    for training in (True, False):
        out = run(layer, inputs, training)
        say(bool(torch.isfinite(out).all()), "the output has values that are not finite")
        if wanted is None:
            continue
        own = [size(dim, layer) for dim in wanted if not dim.startswith("*")]
        fits = all(a is None or a == b for a, b in zip(own, out.shape[-len(own) :], strict=True))
        say(fits, f"the output has shape {tuple(out.shape)} but forward states {' '.join(wanted)}")


def returns_only_a_tensor(layer, inputs, example):
    for training in (True, False):
        say(isinstance(run(layer, inputs, training), Tensor), "forward returns something else than one tensor")


def any_leading_dimensions_also_an_empty_batch(layer, inputs, example):
    if not all(argument.leading for argument in arguments(type(layer).forward)):
        return
    layer.double()
    for training in (True, False):
        flat = random_inputs(layer, 0, (6,))
        expected = run(layer, flat, training)
        folded = run(layer, tuple(x.unflatten(0, (2, 3)) for x in flat), training)
        same(folded.flatten(0, 1), expected, "two leading axes give another answer than one")
        single = run(layer.eval(), tuple(x[0] for x in flat), False)
        same(single, run(layer, flat, False)[0], "no leading axis gives another answer than a batch")
        empty = run(layer, random_inputs(layer, 0, (0,)), training)
        say(empty.shape == (0, *expected.shape[1:]), f"an empty batch gives shape {tuple(empty.shape)}")


def float64_and_bfloat16_in_the_same_out(layer, inputs, example):
    for dtype in (torch.float64, torch.bfloat16):
        moved = copy.deepcopy(layer).to(dtype)
        for training in (True, False):
            out = run(moved, tuple(x.to(dtype) if x.is_floating_point() else x for x in inputs), training)
            say(out.dtype == dtype, f"{dtype} in, {out.dtype} out")
            say(bool(torch.isfinite(out).all()), f"not finite in {dtype}")


def non_contiguous_input_gives_the_same(layer, inputs, example):
    strided = tuple(torch.stack((x, x), -1).transpose(-1, 0).contiguous().transpose(-1, 0)[..., 0] for x in inputs)
    for training in (True, False):
        same(run(layer, strided, training), run(layer, inputs, training), "a non-contiguous input differs", 1e-5)


def every_parameter_and_input_learns(layer, inputs, example):
    inputs = tuple(x.clone().requires_grad_(x.is_floating_point()) for x in inputs)
    out = run(layer, inputs, True)
    (out * torch.randn_like(out)).sum().backward()
    silent = [name for name, p in layer.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    say(not silent, f"no gradient reaches {', '.join(silent)}")
    say(all(x.grad is not None for x in inputs if x.requires_grad), "no gradient reaches the input")


def gradients_are_right(layer, inputs, example):
    layer.double().train()
    inputs = tuple(x.double().requires_grad_() if x.is_floating_point() else x for x in inputs)
    named = dict(layer.named_parameters())

    def answer(*values):
        torch.manual_seed(1)
        own = dict(zip(named, values[: len(named)], strict=True))
        return torch.func.functional_call(layer, own, values[len(named) :])

    weights = tuple(p.detach().clone().requires_grad_() for p in named.values())
    torch.autograd.gradcheck(answer, (*weights, *inputs), atol=1e-6, rtol=1e-4)


def equals_its_reference_forward_and_backward(layer, inputs, example):
    if example.reference is None:
        return
    layer.double()
    many = random_inputs(layer, 3, (33,)) if example.inputs is None else inputs
    for training in (True, False):
        answers = []
        for way in (lambda *x: layer(*x), lambda *x: example.reference(layer, *x)):
            layer.zero_grad()
            given = tuple(x.double().clone().requires_grad_() if x.is_floating_point() else x for x in many)
            torch.manual_seed(1)
            out = (layer.train(training) and way)(*given)
            (out * torch.arange(out.numel(), dtype=out.dtype).view_as(out).cos()).sum().backward()
            slopes = {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}
            answers.append((out, slopes, [x.grad for x in given]))
        mode = "training" if training else "evaluation"
        (fast, fast_slopes, fast_in), (slow, slow_slopes, slow_in) = answers
        same(fast, slow, f"in {mode} the answer differs from the reference")
        for name, slope in slow_slopes.items():
            got = fast_slopes.get(name, torch.zeros_like(slope))
            same(got, slope, f"in {mode} the gradient of {name} differs from the reference")
        for got, wanted in zip(fast_in, slow_in, strict=True):
            if wanted is not None:
                same(got, wanted, f"in {mode} the gradient of the input differs from the reference")


def same_seed_gives_the_same_output(layer, inputs, example):
    for training in (True, False):
        same(run(layer, inputs, training), run(layer, inputs, training), "the same seed differs", 0.0)


def evaluation_is_pure(layer, inputs, example):
    before = [x.clone() for x in inputs]
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.eval()
    first, second = layer(*inputs), layer(*inputs)
    same(first, second, "two evaluations differ", 0.0)
    say(all(torch.equal(a, b) for a, b in zip(before, inputs, strict=True)), "evaluation changes its input")
    kept = all(torch.equal(value, state[name]) for name, value in layer.state_dict().items())
    say(kept, "evaluation changes the layer's state")


def hardened_training_equals_evaluation(layer, inputs, example):
    """With decisions made sharp by a large factor, what is trained is what is evaluated."""
    gates = [module for module in layer.modules() if getattr(module, "relaxed", False)]
    if not gates:
        return
    layer.double()
    many = random_inputs(layer, 5, (200,)) if example.inputs is None else inputs
    with torch.no_grad():
        for gate in gates:
            for parameter in gate.parameters():
                parameter.mul_(1e9)
    noise = [module for module in layer.modules() if hasattr(module, "rate")]
    layer.train()
    for module in noise:
        module.eval()
    same(layer(*many), layer.eval()(*many), "hardened training and evaluation differ")


def rows_do_not_mix(layer, inputs, example):
    """What one row says does not change the answer for another: no token sees another's."""
    layer.double()
    inputs = tuple(x.double() if x.is_floating_point() else x for x in inputs)
    for training in (True, False):
        whole = run(layer, inputs, training)
        changed = tuple(torch.cat((x[:-1], torch.zeros_like(x[-1:]) + 100)) for x in inputs)
        same(run(layer, changed, training)[:-1], whole[:-1], "changing the last row changes the others")


def refuses_a_wrong_shape_with_a_sentence(layer, inputs, example):
    for place, argument in enumerate(arguments(type(layer).forward)):
        for axis, dim in enumerate(argument.trailing):
            if size(dim, layer) is None:
                continue
            bad = list(inputs)
            bad[place] = torch.cat((bad[place], bad[place]), axis - len(argument.trailing))
            try:
                layer(*bad)
            except ValueError as error:
                said = str(error)
            else:
                raise AssertionError(f"a wrong size of {argument.name} is accepted")
            for part in (type(layer).__name__, argument.name, str(tuple(bad[place].shape)), str(size(dim, layer))):
                say(part in said, f"the refusal does not say {part!r}: {said}")


def routing_is_a_choice(layer, inputs, example):
    routed = [m for m in layer.modules() if inspect.signature(m.forward).return_annotation is Routing]
    for training in (True, False):
        if not routed:
            return
        with record(layer.train(training), Routing) as trace:
            layer(*inputs)
        for routing in trace.every(Routing):
            weights, index = routing.weights, routing.index
            say(bool((weights >= 0).all()), "a routing weight is negative")
            say(bool((weights.sum(-1) <= 1 + 1e-5).all()), "routing weights sum to more than 1")
            say(bool(((index >= -1) & (index < routing.choices)).all()), "a routing index is out of range")
            say(bool((weights[index < 0] == 0).all()), "nothing was chosen but a weight is not 0")
            say(weights.shape == index.shape, "routing weights and index differ in shape")
