"""Which way a computation goes: the choice, the switch, and what must never change because of it."""

import copy
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.func import functional_call

import labkit
from labkit.layers.feedforward.fast_feedforward import FastFeedforward
from labkit.layers.feedforward.master_leaf_feedforward import MasterLeafFeedforward
from labkit.layers.feedforward.neuron_trees import NeuronTrees
from labkit.parts.kernels import card, engine, threads
from labkit.parts.kernels import fresh as fresh_module
from labkit.parts.kernels.engine import Kernel, heard, kernels, suits
from labkit.parts.kernels.errors import KernelError
from labkit.parts.kernels.fresh import PAGE, fresh
from labkit.parts.kernels.soft_tree import leaf_shares
from labkit.parts.kernels.tree import hard_leaves
from labkit.parts.tree import Branching
from labkit.workbench.budget import flops

pytest.importorskip("numba", reason="without numba nothing is compiled")

MAKERS = {
    "tree": lambda: FastFeedforward(20, 9, depth=4, leaf_width=5),
    "square tree": lambda: FastFeedforward(16, 16, depth=3, leaf_width=4),
    "master leaf": lambda: MasterLeafFeedforward(20, 9, depth=3, leaf_width=5, master_width=6),
    "neuron trees": lambda: NeuronTrees(20, 9, depth=4, trees=3),
}
every_layer = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
every_batch = pytest.mark.parametrize("rows", [0, 1, 3, 7, 64, 300])


def inputs(layer: nn.Module, rows: int) -> torch.Tensor:
    return torch.randn(rows, layer.in_width)


@pytest.fixture
def calls(monkeypatch):
    """How often compiled code was called."""
    counted = []
    plain = Kernel.__call__

    def count(self, *given, **named):
        counted.append(self.name)
        return plain(self, *given, **named)

    monkeypatch.setattr(Kernel, "__call__", count)
    return counted


@every_layer
@every_batch
def test_the_compiled_layer_equals_the_plain_one(make, rows, calls):
    layer = make().eval()
    x = inputs(layer, rows)
    with torch.no_grad():
        for _ in range(2):  # the second call of a single input goes by kept addresses
            fast = layer(x)
        assert calls
        calls.clear()
        with kernels("reference"):
            plain = layer(x)
        assert not calls
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-6)


@every_layer
@every_batch
@pytest.mark.parametrize("kind", [labkit.Routing, Branching], ids=["routing", "branching"])
def test_who_listens_changes_no_bit(make, rows, kind):
    layer = make().eval()
    x = inputs(layer, rows)
    with torch.no_grad():
        alone = [layer(x) for _ in range(2)][-1]
        with labkit.record(layer, kind) as trace:
            listened = layer(x)
    assert trace
    assert torch.equal(alone, listened)


@every_layer
def test_a_row_does_not_depend_on_its_batch_by_a_bit(make):
    layer = make().eval()
    x = inputs(layer, 300)
    with torch.no_grad():
        together = layer(x)
        single = torch.cat([layer(row.unsqueeze(0)) for row in x])
    if isinstance(layer, MasterLeafFeedforward):  # its master is a matrix product of torch's
        torch.testing.assert_close(single, together, rtol=1e-5, atol=1e-6)
    else:
        assert torch.equal(single, together)


@every_layer
def test_kept_addresses_follow_the_parameters(make):
    layer, x = make().eval(), None
    x = inputs(layer, 1)

    def same(what: str) -> None:
        with torch.no_grad():
            fast = layer(x.to(next(layer.parameters()).dtype))
            with kernels("reference"):
                plain = layer(x.to(next(layer.parameters()).dtype))
        torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-6, msg=lambda said: f"{what}: {said}")

    same("at first"), same("kept")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(-1.5)
    same("changed in place")
    layer.load_state_dict({name: torch.randn_like(value) for name, value in layer.state_dict().items()}, assign=True)
    same("replaced")
    for kind in (torch.float64, torch.float32, torch.bfloat16, torch.float32):
        layer.to(kind)
        if kind is not torch.bfloat16:
            same(f"as {kind}")
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.zero_()
            assert not twin(x).any()
    same("after its copies were changed")
    other = {name: torch.zeros_like(parameter) for name, parameter in layer.named_parameters()}
    with torch.no_grad():
        assert not functional_call(layer, other, (x,)).any()
    same("after it ran with other weights")


@every_layer
def test_hooks_that_come_later_are_called(make):
    layer, seen = make().eval(), []
    x = inputs(layer, 1)
    with torch.no_grad():
        layer(x), layer(x)
        handle = layer.gate.register_forward_hook(lambda *given: seen.append(1))
        layer(x)
        handle.remove()
        layer(x)
    assert seen == [1]


@every_layer
@every_batch
def test_the_shortcut_is_taken_and_equals_the_long_way(make, rows):
    layer = make().eval()
    x = inputs(layer, rows)
    if not hasattr(layer, "shortcut"):
        pytest.skip("this layer has a part in plain torch")
    with torch.no_grad():
        first = layer(x)
        assert torch.equal(layer.shortcut(x), first)
        assert torch.equal(layer(x), first)
        for other in (x.double(), x.unsqueeze(-1), torch.tensor(1.0), x.T, nn.Parameter(x)):
            if other.shape != x.shape or other.dtype is not torch.float32 or type(other) is not torch.Tensor:
                assert layer.shortcut(other) is None
        with pytest.raises(labkit.parts.shapes.ShapeError):
            layer(torch.randn(3, layer.in_width + 1))
        with kernels("reference"):
            assert layer.shortcut(x) is None
        with torch.autocast("cpu", torch.bfloat16):
            assert layer.shortcut(x) is None
    assert layer.shortcut(x) is None  # gradients may be wanted


CHANGES = {
    "trained": lambda layer: layer.train(),
    "gate trained": lambda layer: layer.gate.train(),
    "other gate": lambda layer: setattr(layer, "gate", copy.deepcopy(layer.gate)),
    "other part of the gate": lambda layer: setattr(layer.gate, "decisions", copy.deepcopy(layer.gate.decisions)),
    "other parameter": lambda layer: setattr(layer.leaves, "in_bias", nn.Parameter(torch.ones(16, 5))),
    "other numbers": lambda layer: setattr(layer.leaves.in_bias, "data", torch.ones(16, 5)),
    "other activation": lambda layer: setattr(layer.leaves, "activation", torch.tanh),
    "parametrised": lambda layer: nn.utils.parametrizations.weight_norm(layer.leaves, "in_weight"),
    "fewer units, seen in the same memory": lambda layer: [
        setattr(part, "data", part.data[:, :3])
        for part in (layer.leaves.in_weight, layer.leaves.in_bias, layer.leaves.out_weight)
    ],
    "somebody listens": lambda layer: layer.leaves.register_forward_pre_hook(lambda *given: None),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_shortcut_ends_where_something_it_depends_on_has_changed(change):
    layer = FastFeedforward(20, 9, depth=4, leaf_width=5).eval()
    x = inputs(layer, 3)
    with torch.no_grad():
        layer(x)
        assert layer.shortcut(x) is not None
        change(layer)
        assert layer.shortcut(x) is None
        fast = layer(x)
        with kernels("reference"):
            torch.testing.assert_close(fast, layer(x), rtol=1e-5, atol=1e-6)


def test_parameters_that_must_be_copied_are_not_kept():
    layer = FastFeedforward(20, 9, depth=4, leaf_width=5).eval()
    layer.leaves.in_weight.data = layer.leaves.in_weight.data.transpose(1, 2).contiguous().transpose(1, 2)
    x = inputs(layer, 3)
    with torch.no_grad():
        layer(x)
        assert layer.shortcut.kept is None


def test_heard_finds_hooks_inside_and_everywhere():
    layer = FastFeedforward(4, 4, depth=1, leaf_width=2)
    assert not heard(layer)
    handle = layer.gate.decisions.register_forward_hook(lambda *given: None)
    assert heard(layer)
    handle.remove()
    assert not heard(layer)
    handle = nn.modules.module.register_module_forward_hook(lambda *given: None)
    assert heard(nn.Identity())
    handle.remove()


@every_layer
def test_gradients_in_evaluation_are_those_of_plain_torch(make):
    layer = make().eval()
    x = inputs(layer, 40)
    found = []
    for way in ("auto", "reference"):
        layer.zero_grad()
        own = x.clone().requires_grad_()
        with kernels(way):
            layer(own).square().sum().backward()
        found.append([own.grad, *(p.grad if p.grad is not None else torch.zeros_like(p) for p in layer.parameters())])
    for fast, plain in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)


@every_layer
@pytest.mark.parametrize("rows", [1, 7])
def test_numbers_that_lie_in_memory_with_the_other_sign_are_read_rightly(make, rows):
    layer = make().eval()
    plain = inputs(layer, rows)
    flipped = torch.complex(torch.zeros_like(plain), -plain).conj().imag
    assert flipped.is_neg()
    with torch.no_grad():
        layer(plain)
        torch.testing.assert_close(layer(flipped), layer(plain), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(layer(torch._neg_view(-plain)), layer(plain), rtol=1e-5, atol=1e-6)


def test_operations_are_still_counted():
    layer = FastFeedforward(20, 9, depth=4, leaf_width=5).eval()
    x = torch.randn(8, 20)
    counted = flops(layer, x)
    with kernels("reference"):
        assert counted == flops(layer, x) > 0


@every_layer
def test_autocast_and_other_types_run_in_plain_torch(make, calls):
    layer = make().eval()
    x = inputs(layer, 5)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            layer(x)
        layer.double()(x.double())
        assert not calls


def test_what_is_demanded_and_cannot_be_had_is_refused_with_the_reason():
    layer = FastFeedforward(20, 9, depth=2, leaf_width=5).eval()
    x = torch.randn(3, 20)
    with kernels("compiled"):
        with torch.no_grad():
            layer(x)
        with pytest.raises(KernelError, match=r"computes in float32, and this is torch.float64"):
            layer.double()(x.double())
        layer.float()
        with pytest.raises(KernelError, match=r"torch\.no_grad"):
            layer(x)
        with pytest.raises(KernelError, match="autocast"), torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            layer(x)
    with pytest.raises(KernelError, match="one of auto, reference, compiled, not 'fast'"), kernels("fast"):
        pass


def test_what_lies_elsewhere_than_in_memory_has_no_compiled_path_without_a_card():
    layer = FastFeedforward(20, 9, depth=2, leaf_width=5).eval().to("meta")
    x = torch.randn(3, 20, device="meta")
    with kernels("compiled"), torch.no_grad(), pytest.raises(KernelError, match="this tensor is on meta"):
        layer(x)


class OnACard:
    """Says of itself what a tensor on a graphics card says."""

    is_cuda, dtype, requires_grad = True, torch.float32, False


def test_triton_is_taken_on_a_card_only_where_compiled_code_is_demanded(monkeypatch):
    taken = object()
    monkeypatch.setattr(card, "TRITON", True)
    monkeypatch.setattr(card.importlib, "import_module", lambda name: SimpleNamespace(hard_tree=(taken, name)))
    assert card.on_card("tree", "hard_tree", OnACard()) is None
    with kernels("compiled"):
        assert card.on_card("tree", "hard_tree", OnACard()) == (taken, "labkit.parts.kernels.cuda.tree")
        assert card.on_card("tree", "hard_tree", torch.ones(1)) is None
        learning = OnACard()
        learning.requires_grad = True
        assert card.on_card("tree", "hard_tree", OnACard(), learning) is None
        with torch.no_grad():
            assert card.on_card("tree", "hard_tree", OnACard(), learning) is not None
        monkeypatch.setattr(card, "TRITON", False)
        assert card.on_card("tree", "hard_tree", OnACard()) is None


def test_the_switch_is_taken_back_also_after_an_error_and_belongs_to_its_thread():
    with pytest.raises(ZeroDivisionError), kernels("reference"):
        _ = 1 / 0
    assert suits(torch.ones(1))
    with kernels("reference"):
        assert not suits(torch.ones(1))
        with kernels("auto"):
            assert suits(torch.ones(1))


def test_what_does_not_pay_is_left_to_torch():
    assert not suits(torch.ones(1), worth=False)
    with kernels("compiled"):
        assert suits(torch.ones(1), worth=False)


def test_an_index_outside_is_refused_before_memory_is_read():
    bank = torch.randn(3, 2, 4), torch.randn(3, 2), torch.randn(3, 2, 5), torch.randn(3, 5)
    for wrong in (-2, 3):
        with pytest.raises(IndexError, match="from -1 to 2"):
            hard_leaves(torch.randn(2, 4), torch.tensor([0, wrong]), *bank)


def test_second_derivatives_without_plain_torch_are_refused_with_a_way_out(monkeypatch):
    monkeypatch.setattr(leaf_shares, "plain", None)
    scores = torch.randn(3, 7, requires_grad=True)
    (first,) = torch.autograd.grad(leaf_shares(scores).square().sum(), scores, create_graph=True)
    (other,) = torch.autograd.grad(leaf_shares(scores).square().sum(), scores)
    assert torch.equal(first, other)
    with pytest.raises(KernelError, match=r"kernels\('reference'\)"):
        torch.autograd.grad(first.sum(), scores, allow_unused=True, retain_graph=True)
    with pytest.raises(KernelError, match=r"kernels\('reference'\)"):
        first.sum().backward()


def test_own_threads_do_the_same_work(monkeypatch):
    layer = FastFeedforward(300, 200, depth=3, leaf_width=16).eval()
    x = torch.randn(600, 300)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch.no_grad():
            usual = layer(x)
            run = threads._own()
            asked = []

            def counted(*given):
                asked.append(given)
                run(*given)

            monkeypatch.setattr(engine, "run_on_threads", lambda: counted)
            assert torch.equal(layer(x), usual)
        assert asked
    finally:
        torch.set_num_threads(before)


def in_a_new_python(code: str, **environment: str) -> str:
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, timeout=120
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


WITHOUT = """
import sys
sys.modules["numba"] = None
import warnings, torch
from labkit.layers.feedforward.fast_feedforward import FastFeedforward
layer = FastFeedforward(6, 5, depth=3, leaf_width=2).eval()
with warnings.catch_warnings(record=True) as said, torch.no_grad():
    warnings.simplefilter("always")
    for rows in (1, 5, 1):
        layer(torch.randn(rows, 6))
print(len([one for one in said if "numba is not installed" in str(one.message)]))
"""


def test_without_numba_layers_work_and_say_so_once():
    assert in_a_new_python(WITHOUT).strip() == "1"


def test_the_environment_chooses_too():
    code = "import torch; from labkit.parts.kernels.engine import suits; print(suits(torch.ones(1)))"
    assert in_a_new_python(code, LABKIT_KERNELS="reference").strip() == "False"
    assert in_a_new_python(code).strip() == "True"


def test_a_layer_loads_no_compiler_until_it_computes():
    code = "import sys, labkit.layers.feedforward.fast_feedforward; print('numba' in sys.modules)"
    assert in_a_new_python(code).strip() == "False"


FORKED = """
import os, torch
torch.set_num_threads(2)
from labkit.layers.feedforward.fast_feedforward import FastFeedforward
layer, x = FastFeedforward(300, 200, depth=3, leaf_width=16).eval(), torch.randn(600, 300)
with torch.no_grad():
    usual = layer(x)
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # as a DataLoader's workers do
        os._exit(0 if torch.equal(layer(x), usual) else 1)
    print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_worker_computes_too():
    assert in_a_new_python(FORKED).strip().endswith("0")


def test_nothing_is_said_about_numba_where_it_is():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert suits(torch.ones(1))


def test_compiled_code_is_kept_until_any_source_changes(tmp_path, monkeypatch):
    from labkit.parts.kernels import compiling

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.setattr(compiling, "SOURCES", tmp_path)
    folders = []
    for text in ("one = 1\n", "one = 1\n", "one = 2\n"):
        (tmp_path / "imported.py").write_text(text)
        compiling.folder.cache_clear()
        folders.append(compiling.folder())
    compiling.folder.cache_clear()
    assert folders[0] == folders[1] != folders[2]
    assert all(folder.is_dir() and tmp_path in folder.parents for folder in folders)


AGAIN = """
import sys, torch
from labkit.layers.feedforward.neuron_trees import NeuronTrees
from labkit.parts.kernels.engine import kernels
layer, x = NeuronTrees(6, 5, depth=3).eval(), torch.randn(3, 6)
with torch.no_grad():
    fast = layer(x)
    with kernels("reference"):
        torch.testing.assert_close(fast, layer(x), rtol=1e-5, atol=1e-6)
print("numba" in sys.modules)
import numba

@numba.njit
def careful(number):
    if number < 0:
        raise ValueError("negative")
    return [number]

assert careful(3) == [3]
try:
    careful(-1)
except ValueError as error:
    assert "negative" in str(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="object files are kept on Linux only")
def test_machine_code_is_read_back_without_numba_unless_it_is_damaged(tmp_path):
    def numba_was_needed() -> str:
        return in_a_new_python(AGAIN, NUMBA_CACHE_DIR=str(tmp_path)).strip()

    assert numba_was_needed() == "True"
    assert numba_was_needed() == "False"
    (file,) = tmp_path.rglob("*.o")
    whole = file.read_bytes()
    for damaged in (whole[:-7] + b"damaged", b"not even close"):
        file.write_bytes(damaged)
        assert numba_was_needed() == "True"


def test_an_object_file_of_another_kind_is_left_alone():
    from labkit.parts.kernels.objects import without_errors

    assert without_errors(b"MZ and so on") is None
    assert without_errors(b"\x7fELF\x01\x01" + bytes(64)) is None


@pytest.mark.skipif(sys.platform != "linux", reason="object files are kept on Linux only")
def test_no_name_of_numba_is_left_in_an_object_file(tmp_path):
    from labkit.parts.kernels import compiling
    from labkit.parts.kernels.cpu.kernel import Lazy
    from labkit.parts.kernels.cpu.tree import answer
    from labkit.parts.kernels.objects import ERRORS, without_errors

    with compiling._kept_in(tmp_path):  # of what comes out of numba's cache there is no object file
        plain = bytes(Lazy(answer.function, {}).compiled._library._get_compiled_object())
    changed, needs = without_errors(plain)
    assert len(changed) == len(plain)
    assert "abort" in needs
    assert not [name for name in needs if name.startswith(ERRORS)]
    assert without_errors(changed) == (changed, needs)  # nothing is left to change


def pages_of(address: int) -> str:
    """What Linux says of the memory at this address."""
    found = ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head and not head.endswith(":"):
            start, end = (int(one, 16) for one in head.split("-"))
            found = "" if not start <= address < end else head
        elif found and line.startswith("VmFlags"):
            return line
    return ""


@pytest.mark.skipif(sys.platform != "linux", reason="large pages are asked for on Linux only")
def test_large_results_lie_in_large_pages_and_small_ones_are_left_alone(monkeypatch):
    advise, asked = fresh_module._adviser(), []
    monkeypatch.setattr(fresh_module, "_adviser", lambda: lambda *wish: asked.append(wish) or advise(*wish))
    large = fresh(2**11, 2**13)
    assert large.shape == (2**11, 2**13)
    assert large.fill_(2.0).sum() == 2**25
    ((first, size, _),) = asked
    assert large.data_ptr() <= first < large.data_ptr() + PAGE
    assert large.data_ptr() + large.nbytes - PAGE < first + size <= large.data_ptr() + large.nbytes
    small = fresh(3, 5)
    assert small.shape == (3, 5)
    assert len(asked) == 1
    flags = pages_of(large.data_ptr() + 2**22).split()
    if not flags:
        pytest.skip("this system does not say how memory lies")
    assert "hg" in flags


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="this system has other rules for who may write where")
def test_code_is_not_taken_from_where_everybody_may_write(tmp_path, monkeypatch):
    from labkit.parts.kernels import compiling

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    compiling.folder.cache_clear()
    try:
        place = compiling.folder()
        assert place.parent == tmp_path
        place.chmod(0o777)
        compiling.folder.cache_clear()
        assert compiling.folder().parent != tmp_path
    finally:
        compiling.folder.cache_clear()
