"""Properties of a layer under torch's own tools: gradient modes, autocast, files, copies, compile, export, ensembles."""

import copy
import io
import pickle

import torch

from labkit.contract.proving import every, mode, run, same, say, tensor_of


def without_gradients_the_answer_is_the_same(layer, inputs, example):
    for training in (True, False):
        expected = run(layer, inputs, training)
        for off in (torch.no_grad, torch.inference_mode):
            with off():
                out = run(layer, inputs, training)
            same(out, expected, f"under {off.__name__} the answer differs in {mode(training)}", 1e-5)


def runs_under_autocast(layer, inputs, example):
    """Mixed precision: forward and backward run, and what comes out is finite."""

    def attempt(training):
        given = tuple(x.clone().requires_grad_(x.is_floating_point()) for x in inputs)
        with torch.autocast("cpu", torch.bfloat16):
            out = run(layer, given, training)
        say(bool(torch.isfinite(out).all()), "not finite")
        if training:
            out.float().sum().backward()

    every((mode(True), lambda: attempt(True)), (mode(False), lambda: attempt(False)))


def state_survives_a_safe_file(layer, inputs, example):
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    torch.manual_seed(99)
    other = example.make()
    other.load_state_dict(torch.load(file, weights_only=True))
    same(run(other, inputs, False), run(layer, inputs, False), "a reloaded layer differs", 0.0)


def copies_and_pickles(layer, inputs, example):
    expected = run(layer, inputs, False)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        same(run(twin, inputs, False), expected, "a copy differs", 0.0)


def runs_with_other_weights(layer, inputs, example):
    for training in (True, False):
        zeros = {name: torch.zeros_like(p) for name, p in layer.named_parameters() if p.requires_grad}
        run(layer, inputs, training)  # a layer that keeps its weights from the first call shows itself in the second
        torch.manual_seed(1)
        out = tensor_of(torch.func.functional_call(layer, zeros, inputs))
        expected = example.make().to(inputs[0].dtype).train(training)
        expected.load_state_dict({**layer.state_dict(), **zeros})
        torch.manual_seed(1)
        same(out, expected(*inputs), "functional_call does not use the weights it is given", 1e-6)


def compiles_as_one_graph(layer, inputs, example):
    for training in (True, False):
        expected = run(layer, inputs, training)
        torch._dynamo.reset()
        compiled = torch.compile(layer, fullgraph=True, backend="eager")
        torch.manual_seed(1)
        same(compiled(*inputs), expected, "the compiled layer differs", 1e-5)


def exports(layer, inputs, example):
    layer.eval()
    program = torch.export.export(layer, inputs)
    same(program.module()(*inputs), tensor_of(layer(*inputs)), "the exported layer differs", 1e-5)


def runs_as_an_ensemble(layer, inputs, example):
    for training in (True, False):
        members = [example.make().train(training) for _ in range(3)]
        weights, buffers = torch.func.stack_module_state(members)

        layer.train(training)

        def one(own, extra):
            return tensor_of(torch.func.functional_call(layer, (own, extra), inputs))

        together = torch.func.vmap(one, randomness="different")(weights, buffers)
        if not training:
            for member, out in zip(members, together, strict=True):
                same(out, member(*inputs), "a member of a vmapped ensemble differs", 1e-5)
