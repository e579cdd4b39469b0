"""Properties of a layer's answers: shapes, types, gradients, references, purity, routing."""

import copy
import inspect
import re
from functools import partial

import torch

from labkit.contract.proving import at_its_best, every, mode, random_inputs, run, same, say, sentence, tensor_of
from labkit.parts.gate import Routing
from labkit.parts.shapes import arguments, returned, size
from labkit.recording.record import record


def shape_fits_its_annotation_and_is_finite(layer, inputs, example):
    wanted = returned(type(layer).forward)
    for training in (True, False):
        out = run(layer, inputs, training)
        say(bool(torch.isfinite(out).all()), "the output has values that are not finite")
        if wanted is None:
            rows = f"the output has shape {tuple(out.shape)} for an input of shape {tuple(inputs[0].shape)}"
            say(out.shape[: max(1, inputs[0].ndim - 1)] == inputs[0].shape[: max(1, inputs[0].ndim - 1)], rows)
            continue
        own = [size(dim, layer) for dim in wanted if not dim.startswith("*")]
        fits = all(a is None or a == b for a, b in zip(own, out.shape[-len(own) :], strict=True))
        say(fits, f"the output has shape {tuple(out.shape)} but forward states {' '.join(wanted)}")


def returns_only_a_tensor(layer, inputs, example):
    for training in (True, False):
        tensor_of(layer.train(training)(*inputs))


def float64_and_bfloat16_in_the_same_out(layer, inputs, example):
    def attempt(dtype):
        for training in (True, False):
            moved = copy.deepcopy(layer).to(dtype)
            out = run(moved, tuple(x.to(dtype) if x.is_floating_point() else x for x in inputs), training)
            say(out.dtype == dtype, f"{str(out.dtype).removeprefix('torch.')} comes out in {mode(training)}")
            say(bool(torch.isfinite(out).all()), f"not finite in {mode(training)}")

    every(("float64", lambda: attempt(torch.float64)), ("bfloat16", lambda: attempt(torch.bfloat16)))


def non_contiguous_input_gives_the_same(layer, inputs, example):
    strided = tuple(torch.stack((x, x), -1).transpose(-1, 0).contiguous().transpose(-1, 0)[..., 0] for x in inputs)
    for training in (True, False):
        same(run(layer, strided, training), run(layer, inputs, training), "a non-contiguous input differs", 1e-5)


def every_parameter_and_input_learns(layer, inputs, example):
    inputs = tuple(x.clone().requires_grad_(x.is_floating_point()) for x in inputs)
    out = run(layer, inputs, True)
    (out * torch.randn_like(out)).sum().backward()
    learning = [(name, p) for name, p in layer.named_parameters() if p.requires_grad]
    silent = [name for name, p in learning if p.grad is None or not p.grad.abs().sum() > 0]
    say(not silent, f"no gradient reaches {', '.join(silent)}")
    say(all(x.grad is not None for x in inputs if x.requires_grad), "no gradient reaches the input")


def gradients_are_right(layer, inputs, example):
    layer, inputs, tolerance = at_its_best(layer.train(), inputs, example)
    layer.train()
    inputs = tuple(x.detach().clone().requires_grad_() if x.is_floating_point() else x for x in inputs)
    named = {name: p for name, p in layer.named_parameters() if p.requires_grad}

    def answer(*values):
        torch.manual_seed(1)
        own = dict(zip(named, values[: len(named)], strict=True))
        return torch.func.functional_call(layer, own, values[len(named) :])

    weights = tuple(p.detach().clone().requires_grad_() for p in named.values())
    if tolerance < 1e-6:
        many = (
            sum(value.numel() for value in (*weights, *inputs)) > 300
        )  # then along random directions: seconds, not minutes
        torch.autograd.gradcheck(answer, (*weights, *inputs), atol=1e-6, rtol=1e-4, fast_mode=many)
    else:
        _slopes_are_right(answer, (*weights, *inputs), {**named, **{f"input {i}": x for i, x in enumerate(inputs)}})


def _slopes_are_right(answer, values, names):
    """In single precision: for each tensor, the slope along its gradient by differences equals the gradient's length."""
    out = answer(*values)
    weight = torch.arange(out.numel(), dtype=out.dtype).view_as(out).cos()
    learning = [place for place, value in enumerate(values) if value.requires_grad]
    slopes = torch.autograd.grad((out * weight).sum(), [values[p] for p in learning], allow_unused=True)
    wrong = []
    for place, slope in zip(learning, slopes, strict=True):
        generator = torch.Generator().manual_seed(place)
        random = torch.randn(values[place].shape, generator=generator, dtype=torch.float64).to(values[place].dtype)
        expected, found = 0.0 if slope is None else (slope * random).sum().item(), []
        for step in (1e-2, 3e-3, 1e-3):  # a step that crosses a decision or a kink of the activation says nothing
            ends = []
            for sign in (1, -1):
                moved = [value.detach() for value in values]
                moved[place] = moved[place] + sign * step * random
                ends.append((answer(*moved).detach().double() * weight.double()).sum().item())
            found.append((ends[0] - ends[1]) / (2 * step))
        if min(abs(one - expected) for one in found) > 2e-2 * max(1.0, abs(expected)):
            wrong.append(f"{list(names)[place]} ({expected:.3g}, by differences {found[-1]:.3g})")
    say(not wrong, f"the gradient of {', '.join(wrong)} is wrong")


def equals_its_reference_forward_and_backward(layer, inputs, example):
    if example.reference is None:
        return "no reference was given to compare it with"
    layer, inputs, tolerance = at_its_best(layer, inputs, example)
    many = random_inputs(layer, 3, (33,)) if example.inputs is None else inputs

    def attempt(training):
        answers = []
        for way in (lambda *x: tensor_of(layer(*x)), lambda *x: example.reference(layer, *x)):
            layer.zero_grad()
            given = tuple(x.detach().clone().requires_grad_() if x.is_floating_point() else x for x in many)
            torch.manual_seed(1)
            out = (layer.train(training) and way)(*given)
            (out * torch.arange(out.numel(), dtype=out.dtype).view_as(out).cos()).sum().backward()
            slopes = {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}
            answers.append((out, slopes, [x.grad for x in given]))
        (fast, fast_slopes, fast_in), (slow, slow_slopes, slow_in) = answers
        same(fast, slow, "the answer differs from the reference", tolerance)
        for name, slope in slow_slopes.items():
            got = fast_slopes.get(name, torch.zeros_like(slope))
            same(got, slope, f"the gradient of {name} differs from the reference", tolerance)
        for got, wanted in zip(fast_in, slow_in, strict=True):
            if wanted is not None:
                same(got, wanted, "the gradient of the input differs from the reference", tolerance)

    every(*((f"in {mode(training)}", lambda training=training: attempt(training)) for training in (True, False)))
    return None


def same_seed_gives_the_same_output(layer, inputs, example):
    for training in (True, False):
        same(run(layer, inputs, training), run(layer, inputs, training), "the same seed differs", 0.0)


def evaluation_is_pure(layer, inputs, example):
    before = [x.clone() for x in inputs]
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.eval()
    first, second = tensor_of(layer(*inputs)), tensor_of(layer(*inputs))
    same(first, second, "two evaluations differ", 0.0)
    say(all(torch.equal(a, b) for a, b in zip(before, inputs, strict=True)), "evaluation changes its input")
    kept = all(torch.equal(value, state[name]) for name, value in layer.state_dict().items())
    say(kept, "evaluation changes the layer's state")


def hardened_training_equals_evaluation(layer, inputs, example):
    """With decisions made sharp by a large factor, what is trained is what is evaluated."""
    gates = [module for module in layer.modules() if getattr(module, "relaxed", False)]
    if not gates:
        return "it has no gate that is soft in training and hard in evaluation"
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
    return None


def refuses_a_wrong_shape_with_a_sentence(layer, inputs, example):
    stated = arguments(type(layer).forward)
    if not stated:
        _refuses_another_width(layer, inputs)
    for place, argument in enumerate(stated):
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


def _refuses_another_width(layer, inputs):
    """Of a layer that does not state its shapes, only this is asked: that it raises, and says the width that it takes."""

    def attempt(bad, wanted):
        for training in (True, False):
            try:
                run(layer, bad, training)
            except Exception as error:  # of any kind
                told = re.search(rf"(?<!\d){wanted}(?!\d)", str(error))
                say(told is not None, f"refused without a word of the {wanted} that it takes: {sentence(error, 90)}")
            else:
                raise AssertionError(f"accepted in {mode(training)}")

    attempts = []
    for place, x in enumerate(inputs):
        for bad, word in ((torch.cat((x, x), -1), "twice"), (x[..., : x.shape[-1] // 2], "half")):
            given = (*inputs[:place], bad, *inputs[place + 1 :])
            attempts.append((f"{word} the width", partial(attempt, given, x.shape[-1])))
    every(*attempts)


def routing_is_a_choice(layer, inputs, example):
    routed = [m for m in layer.modules() if inspect.signature(m.forward).return_annotation is Routing]
    if not routed:
        return "it has no gate that returns a Routing"
    for training in (True, False):
        with record(layer.train(training), Routing) as trace:
            layer(*inputs)
        for routing in trace.every(Routing):
            weights, index = routing.weights, routing.index
            say(bool((weights >= 0).all()), "a routing weight is negative")
            say(bool((weights.sum(-1) <= 1 + 1e-5).all()), "routing weights sum to more than 1")
            say(bool(((index >= -1) & (index < routing.choices)).all()), "a routing index is out of range")
            say(bool((weights[index < 0] == 0).all()), "nothing was chosen but a weight is not 0")
            say(weights.shape == index.shape, "routing weights and index differ in shape")
    return None
