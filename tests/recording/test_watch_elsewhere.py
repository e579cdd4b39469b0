"""A watch in other people's settings: two processes, a compiler, models of other libraries, cells that are run again."""

import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labkit.recording.saving import open_recording, save
from labkit.recording.watch import watch

WORKER = """
import sys
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from labkit.recording.watch import watch

torch.set_num_threads(1)
rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
weights = {}
for watched in (False, True):
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
    model = DistributedDataParallel(inner)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.manual_seed(10 + rank)
    watching = watch(model, every=rank + 1, optimizer=optimizer, probe=torch.ones(4, 6)) if watched else None
    if watching:
        watching.__enter__()
    for _ in range(9):
        optimizer.zero_grad()
        model(torch.randn(20 + 10 * rank, 6)).square().mean().backward()
        optimizer.step()
    if watching:
        watching.__exit__(None, None, None)
    weights[watched] = inner.state_dict()
same = all(torch.equal(one, weights[True][name]) for name, one in weights[False].items())
found = watching.history
print(rank, same, bool(watching.proof), watching.overhead.looks, int(found["seen"].sum()), *found["mean"].layer.values)
dist.destroy_process_group()
"""


def test_under_two_processes_each_watches_its_own_and_the_weights_stay_the_same(tmp_path):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True
        )
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=120)[0].split() for process in started]
    assert said[0] == ["0", "True", "True", "9", "180", "2"]
    assert said[1] == ["1", "True", "True", "5", "150", "2"]


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def step(model, optimizer, call=None):
    optimizer.zero_grad()
    (call or model)(torch.randn(16, 6)).square().mean().backward()
    optimizer.step()


def test_a_model_compiled_inside_the_block_is_seen_or_said_not_to_be():
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with watch(model, every=1, optimizer=optimizer) as watching:
            compiled = torch.compile(model, backend="eager")
            for _ in range(8):
                step(model, optimizer, compiled)
    if watching.unseen:
        assert "the model ran compiled" in str(watching)
        assert any("the model ran compiled" in str(one.message) for one in said)
    else:
        assert float(watching.history["seen"].sum()) == 8 * 16
    assert watching.proof


def test_a_step_compiled_as_a_whole_is_said_not_to_be_seen():
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @torch.compile(backend="eager")
    def loss(x):
        return model(x).square().mean()

    loss(torch.randn(16, 6))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with watch(model, every=1, optimizer=optimizer) as watching:
            for _ in range(3):
                optimizer.zero_grad()
                loss(torch.randn(16, 6)).backward()
                optimizer.step()
    if watching.unseen:
        assert any("the model ran compiled" in str(one.message) for one in said)
        assert watching.history["gradient_norm"].notnull().all()
    else:
        assert float(watching.history["seen"].sum()) == 48


def test_a_transformer_that_someone_else_wrote_is_watched_whole(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.MixtralConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=4, num_experts_per_tok=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.MixtralForCausalLM(config).train()
    optimizer, ids = torch.optim.AdamW(model.parameters(), lr=1e-2), torch.randint(0, 50, (4, 12))
    with watch(model, every=4, optimizer=optimizer, probe={"input_ids": ids}) as watching:
        for _ in range(24):
            optimizer.zero_grad()
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
    assert watching.proof
    load = watching.history["load"]
    assert load.layer.values.tolist() == ["model.layers.0.mlp.gate", "model.layers.1.mlp.gate"]
    assert load.choice.attrs["long_name"] == "expert"
    np.testing.assert_allclose(load.sum("choice"), 1, rtol=1e-5)
    assert watching.history["flips"].notnull().any()
    assert "not recognised: model.layers.0.mlp.experts" in str(watching)
    with open_recording(save(watching.history, tmp_path / "mixtral")) as recording:
        assert recording.provenance["model"].endswith("MixtralForCausalLM")


def test_encoders_and_convolutions_of_torch_are_watched():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    images = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))
    for model, x, layer, units, rows in (
        (encoder, torch.randn(3, 7, 8), "layers.0", 16, 21),
        (images, torch.randn(4, 3, 9, 9), "1", 5, 4 * 49),
    ):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with watch(model, every=1, optimizer=optimizer) as watching:
            for _ in range(2):
                optimizer.zero_grad()
                model(x).square().mean().backward()
                optimizer.step()
        assert int(watching.history["mean"].sel(layer=layer).isel(step=0).notnull().sum()) == units
        assert float(watching.history["seen"].sel(layer=layer).sum()) == 2 * rows
        assert watching.proof


def test_a_history_may_be_read_from_another_thread_while_the_training_goes_on():
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    failed, done = [], threading.Event()

    def read(history):
        while not done.is_set():
            try:
                data = history.data
                assert data.sizes["step"] == len(data.step)
                str(history)
            except Exception as error:
                failed.append(error)

    with watch(model, every=1, optimizer=optimizer, keep=16) as watching:
        reader = threading.Thread(target=read, args=(watching.history,))
        reader.start()
        for _ in range(300):
            step(model, optimizer)
        done.set()
        reader.join(20)
    assert failed == []


def test_classes_of_a_loss_that_needs_no_root_forward_are_reported():
    """Parts called one by one: the root's forward never runs, the parts are seen all the same."""
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, every=1, optimizer=optimizer) as watching:
        for _ in range(3):
            x = torch.randn(16, 6)
            optimizer.zero_grad()
            F.mse_loss(model[2](model[1](model[0](x))), torch.zeros(16, 3)).backward()
            optimizer.step()
    assert float(watching.history["seen"].sum()) == 48
    assert "not compared" in str(watching.proof)
