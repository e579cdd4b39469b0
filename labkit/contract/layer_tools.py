"""Properties of a layer under torch's own tools: files, copies, other weights, compile, export, ensembles."""

import copy
import io
import pickle

import torch

from labkit.contract.proving import run, same


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
        zeros = {name: torch.zeros_like(p) for name, p in layer.named_parameters()}
        run(layer, inputs, training)  # a layer that keeps its weights from the first call shows itself in the second
        torch.manual_seed(1)
        out = torch.func.functional_call(layer, zeros, inputs)
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
    same(program.module()(*inputs), layer(*inputs), "the exported layer differs", 1e-5)


def runs_as_an_ensemble(layer, inputs, example):
    for training in (True, False):
        members = [example.make().train(training) for _ in range(3)]
        weights, buffers = torch.func.stack_module_state(members)

        layer.train(training)

        def one(own, extra):
            return torch.func.functional_call(layer, (own, extra), inputs)

        together = torch.func.vmap(one, randomness="different")(weights, buffers)
        if not training:
            for member, out in zip(members, together, strict=True):
                same(out, member(*inputs), "a member of a vmapped ensemble differs", 1e-5)
