"""A recording is right, or refused with the reason, however a model runs; and the model is as before afterwards."""

import copy
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from foreign_models import HomeMadeExperts, ResNetLike, hugging, tokens
from torch import nn

from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.recording.kinds import Activations, Attention
from labkit.recording.observe import observe
from labkit.recording.record import record

EVERYTHING = (Activations, Attention, Routing)


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), 2)


def hooks_of(model: nn.Module) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
        for module in model.modules()
    )


@pytest.mark.parametrize("make", [lambda: hugging("MixtralForCausalLM"), lambda: hugging("BertModel").train()])
def test_the_model_its_answers_and_the_random_numbers_are_as_before(make):
    model = make()
    state = copy.deepcopy(model.state_dict())
    torch.manual_seed(5)
    before = model(tokens())[0].detach()
    after_state = torch.get_rng_state()
    torch.manual_seed(5)
    with record(model, EVERYTHING):
        during = model(tokens())[0].detach()
    assert torch.equal(torch.get_rng_state(), after_state)
    torch.manual_seed(5)
    assert torch.equal(model(tokens())[0], before)
    assert torch.equal(during, before)
    assert hooks_of(model) == 0
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_all_is_put_back_after_an_error():
    model = encoder().eval()
    with pytest.raises((RuntimeError, AssertionError)), record(model, EVERYTHING, gradients=True):
        model(torch.randn(2, 3, 7))
    assert hooks_of(model) == 0
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.overrides._get_current_function_mode() is None


def test_two_recordings_at_once_do_not_see_each_other():
    model, x = encoder().eval(), torch.randn(2, 3, 8)
    with record(model, Activations) as outer:
        with record(model, Attention) as inner:
            model(x)
        model(x)
    assert len(outer.calls("layers.0")) == 2
    assert list(inner) == ["layers.0.self_attn", "layers.1.self_attn"]


def test_observing_restores_modes_and_takes_tensors_tuples_and_mappings():
    model = hugging("BertModel").train()
    model.encoder.layer[0].eval()
    modes = [module.training for module in model.modules()]
    ways = [observe(model, x, Activations) for x in (tokens(), (tokens(),), {"input_ids": tokens()})]
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(way["encoder.layer.0"].values, ways[0]["encoder.layer.0"].values) for way in ways)


def test_under_autocast_values_keep_the_type_in_which_they_were_computed():
    model, x = encoder(), torch.randn(2, 3, 8)
    with torch.autocast("cpu", torch.bfloat16), record(model, (Activations, Attention), gradients=True) as trace:
        model(x).float().sum().backward()
    assert trace["layers.0"].values.dtype == torch.bfloat16
    assert trace.gradients["layers.0"].values.dtype == torch.bfloat16
    torch.testing.assert_close(
        trace["layers.0.self_attn"].weights.float().sum(-1), torch.ones(2, 2, 3), atol=0.02, rtol=0
    )


@pytest.mark.parametrize("way", ["before", "inside", "whole", "in place"])
@pytest.mark.parametrize("make", [encoder, HomeMadeExperts])
def test_a_compiled_model_is_recorded_as_its_original(way, make):
    model = make().eval()
    x = torch.randn(2, 3, 8) if make is encoder else torch.randn(9, 6)
    original = copy.deepcopy(model)
    what = (Activations, Attention) if make is encoder else (Activations, Routing)
    with torch.no_grad(), record(original, what) as expected:
        original(x)
    torch.compiler.reset()
    with torch.no_grad():
        if way == "in place":
            model.compile(backend="eager")
            compiled = model
        elif way != "inside":
            compiled = torch.compile(model, backend="eager")
        if way != "inside":
            compiled(x)
        with record(compiled if way == "whole" else model, what) as trace:
            if way == "inside":
                compiled = torch.compile(model, backend="eager")
            compiled(x)
        compiled(x)
    assert list(trace) == list(expected)
    for name in trace:
        assert len(trace.calls(name)) == 1
        assert torch.equal(trace[name][0], expected[name][0])


def test_a_compiled_part_of_a_model_is_recorded_under_the_models_own_names():
    model = nn.Sequential(torch.compile(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), backend="eager"), nn.Linear(3, 2))
    x = torch.randn(5, 4)
    model(x)
    assert list(observe(model, x, Activations)) == ["0.1"]
    assert list(observe(model, x, nn.Linear)) == ["0.0", "1"]


def test_the_first_compilation_of_a_process_may_happen_inside_the_block(tmp_path):
    script = """
        import sys, torch
        from torch import nn
        from labkit.recording.record import record
        from labkit.recording.kinds import Activations
        assert "torch._dynamo" not in sys.modules
        model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.randn(5, 4)
        with record(model, Activations, gradients=True) as trace:
            torch.compile(model, backend="eager")(x).sum().backward()
        assert torch.equal(trace["1"].values, model[0](x).relu())
        assert torch.allclose(trace.gradients["1"].values, model[2].weight.sum(0).expand(5, 3))
    """
    run(script)


def run(script: str, **environment: str) -> None:
    lines = "\n".join(line.removeprefix("        ") for line in script.splitlines())
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", lines],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_two_processes_that_train_together_each_record_their_own_part(tmp_path):
    script = f"""
        import os, torch, torch.distributed as dist
        from torch import nn
        from labkit.recording.record import record
        from labkit.recording.kinds import Activations
        rank = int(os.environ["RANK"])
        dist.init_process_group("gloo", init_method="file://{tmp_path}/meet", rank=rank, world_size=2)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        parallel, x = nn.parallel.DistributedDataParallel(model), torch.randn(2, 5, 4)[rank]
        for watched in (parallel, model):
            model.zero_grad()
            with record(watched, Activations, gradients=True) as trace:
                parallel(x).sum().backward()
            assert list(trace) == ["1"], list(trace)
            hidden = model[0](x).relu()
            assert torch.equal(trace["1"].values, hidden)
            assert torch.allclose(trace.gradients["1"].values, model[2].weight.sum(0).expand(5, 3))
        both = [torch.zeros(2, 3), torch.zeros(2, 3)]
        dist.all_gather(both, model[2].weight.grad)
        assert torch.equal(*both)
        everything = [torch.zeros(5, 3), torch.zeros(5, 3)]
        dist.all_gather(everything, trace["1"].values)
        assert not torch.equal(*everything)
        dist.barrier()
        os._exit(0)  # gloo's threads sometimes abort a process that ends by itself
    """
    other = subprocess.Popen(
        [sys.executable, "-c", "\n".join(line.removeprefix("        ") for line in script.splitlines())],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1", "RANK": "1"},
    )
    try:
        run(script, RANK="0")
        assert other.wait(60) == 0
    finally:
        other.kill()


def test_a_sharded_model_is_refused():
    class FSDPLinear(nn.Linear):
        """Named as `fully_shard` names the class of what it has sharded."""

    with pytest.raises(LabError, match="sharded"), record(nn.Sequential(FSDPLinear(2, 2)), Activations):
        pass


def test_inference_mode_is_as_good_as_no_gradients():
    model, x = ResNetLike().eval(), torch.randn(2, 3, 6, 6)
    with torch.inference_mode(), record(model, Activations) as trace:
        model(x)
    assert torch.equal(trace["conv1"].values, observe(model, x, Activations)["conv1"].values)


def test_two_threads_that_record_at_once_leave_torchs_switches_as_they_were():
    import torch._dynamo

    def stance():
        return torch._dynamo.eval_frame._stance.stance

    before, interval = (torch.backends.mha.get_fastpath_enabled(), stance()), sys.getswitchinterval()
    models = [nn.Sequential(nn.Linear(3, 3), nn.ReLU()) for _ in range(2)]
    inside = []

    def many(model):
        for _ in range(200):
            with record(model, nn.ReLU):
                model(torch.randn(2, 3))
                inside.append((torch.backends.mha.get_fastpath_enabled(), stance()))

    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=many, args=(model,)) for model in models]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert set(inside) == {(False, "force_eager")}
    assert (torch.backends.mha.get_fastpath_enabled(), stance()) == before


def test_other_threads_may_run_other_models_meanwhile():

    model, other, x = encoder().eval(), encoder().eval(), torch.randn(2, 3, 8)
    with torch.no_grad(), record(model, Attention) as trace:
        thread = threading.Thread(target=lambda: other(x))
        thread.start()
        model(x)
        thread.join()
    assert all(len(trace.calls(name)) == 1 for name in trace)
