"""The kernels for graphics cards equal plain torch: on one where there is one, else in Triton's interpreter.

The interpreter must be chosen before Triton is imported, so there the checks run in a process of their own, all at once:
`python test_kernel_cuda.py interpret`. `... compile` makes machine code of each kernel, which needs no graphics card.
"""

import importlib.util
import json
import os
import subprocess
import sys
import traceback

import pytest
import torch

CARD = torch.cuda.is_available()
TRITON = importlib.util.find_spec("triton") is not None
CLOSE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
KERNELS = {
    "experts": ("_first_layer", "_second_layer", "_combine"),
    "tree": ("_down", "_leaves"),
    "active_units": ("_say", "_add_up"),
}
NUMBERS = {
    "HEIGHT": 16,
    "COLUMNS": 64,
    "DEPTH": 32,
    "PRECISION": "ieee",
    "INNER": 32,
    "ROWS": 16,
    "WIDTH": 128,
    "UNITS": 16,
}
FLAGS = {"KEEP": True, "BIASED": True, "RECTIFIED": True}
WHOLE = ("order", "starts", "expert", "first", "index", "nodes_to", "ends")
REAL = ("x", "weight", "bias", "hidden", "shares", "parts", "out", "w1", "b1", "w2", "b2", "scores_to", "values")

checks = {}


def kinds_of_products(device):
    """Types in which `tl.dot` can be checked there: the interpreter multiplies the bits of bfloat16, not the numbers."""
    return [kind for kind in CLOSE if device != "cpu" or kind != torch.bfloat16]


def check(function):
    checks[function.__name__.replace("_", " ")] = function
    return function


def guarded(values):
    """The same numbers between NaN: who reads beside them is found out."""
    room = torch.full((values.numel() + 512,), float("nan"), dtype=values.dtype, device=values.device)
    kept = room[256 : 256 + values.numel()].view(values.shape)
    return kept.copy_(values)


def normal(*shape, seed, device, kind=torch.float32):
    draw = torch.Generator().manual_seed(hash((seed, *shape)) % 2**31)
    return guarded(torch.randn(shape, generator=draw).to(device, kind))


def whole_numbers(*shape, seed, device, kind=torch.float32):
    """Numbers whose sums no type rounds, so that no sign depends on an order."""
    draw = torch.Generator().manual_seed(seed)
    return guarded(torch.randint(-2, 3, shape, generator=draw).to(device, kind))


def choices(rows, chosen, count, *, seed, device, none=0.15):
    draw = torch.Generator().manual_seed(seed)
    index = torch.stack([torch.randperm(count, generator=draw)[:chosen] for _ in range(rows)] or [torch.empty(chosen)])
    index = index[:rows].long()
    index[torch.rand(index.shape, generator=draw) < none] = -1
    return index.to(device)


def near(found, wanted, kind=torch.float32):
    assert found.shape == wanted.shape, f"{tuple(found.shape)}, not {tuple(wanted.shape)}"
    if found.numel():
        error = (found.double() - wanted.double()).abs().max() / wanted.double().abs().max().clamp_min(1e-6)
        assert error <= CLOSE[kind], f"error {float(error):.2g} in {kind}"


def bank_of(count, width, inner, out, *, seed, device, kind=torch.float32):
    shapes = (count, inner, width), (count, inner), (count, inner, out), (count, out)
    return [normal(*shape, seed=seed + place, device=device, kind=kind) for place, shape in enumerate(shapes)]


def experts_slowly(x, index, weights, w1, b1, w2, b2):
    at = index.clamp_min(0)
    hidden = (torch.einsum("nkhd,nd->nkh", w1[at], x) + b1[at]).relu()
    said = torch.einsum("nkh,nkho->nko", hidden, w2[at]) + b2[at]
    return (said * weights.unsqueeze(-1)).masked_fill((index < 0).unsqueeze(-1), 0).sum(1)


SIZES = [
    (37, 1, 5, 33, 19, 70),
    (70, 3, 4, 16, 40, 3),
    (1, 2, 2, 5, 1, 1),
    (0, 2, 3, 8, 8, 8),
    (9, 2, 40, 65, 66, 17),
    (85, 1, 2, 3, 5, 4),
    (150, 1, 2, 3, 5, 4),
]
"""N, K, E, d, h, o."""


@check
def experts_equal_every_expert_computed_for_its_inputs(device):
    from labkit.parts.kernels.cuda.experts import experts

    for seed, (rows, chosen, count, width, inner, out) in enumerate(SIZES):
        index = choices(rows, chosen, count, seed=seed, device=device)
        for kind in kinds_of_products(device) if seed < 2 else [torch.float32]:
            x, weights = (normal(rows, size, seed=seed, device=device, kind=kind) for size in (width, chosen))
            bank = bank_of(count, width, inner, out, seed=seed, device=device, kind=kind)
            wanted = experts_slowly(x.double(), index, weights.double(), *(part.double() for part in bank))
            found = experts(x, index, weights, *bank)
            assert found.dtype == kind
            near(found, wanted, kind)


@check
def experts_have_the_gradients_of_plain_torch(device):
    from labkit.parts.kernels.cuda.experts import experts

    for seed, (rows, chosen, count, width, inner, out) in enumerate(SIZES):
        index = choices(rows, chosen, count, seed=seed, device=device)
        given = [normal(rows, size, seed=seed, device=device) for size in (width, chosen)]
        given += bank_of(count, width, inner, out, seed=seed, device=device)
        fast = [one.clone().requires_grad_() for one in given]
        slow = [one.double().requires_grad_() for one in given]
        pull = normal(rows, out, seed=9, device=device)
        experts(fast[0], index, *fast[1:]).backward(pull)
        experts_slowly(slow[0], index, *slow[1:]).backward(pull.double())
        for one, other in zip(fast, slow, strict=True):
            near(one.grad, other.grad)


@check
def a_nan_stays_in_its_own_row(device):
    from labkit.parts.kernels.cuda.active_units import feedforward
    from labkit.parts.kernels.cuda.experts import experts
    from labkit.parts.kernels.cuda.tree import hard_leaves

    rows, count, width, inner, out = 20, 3, 9, 6, 11
    x = normal(rows, width, seed=1, device=device)
    x[4, 2], index = float("nan"), choices(rows, 1, count, seed=1, device=device, none=0)
    bank = bank_of(count, width, inner, out, seed=1, device=device)
    for found in (
        experts(x, index, torch.ones_like(x[:, :1]), *bank),
        hard_leaves(x, index[:, 0], *bank),
        feedforward(x, index, bank[0][0], bank[1][0], bank[2][0], None, True),
    ):
        assert found[4].isnan().all()
        assert found.isfinite().all(1).sum() == rows - 1


@check
def an_index_out_of_range_is_refused(device):
    from labkit.parts.kernels.cuda.active_units import feedforward
    from labkit.parts.kernels.cuda.experts import experts
    from labkit.parts.kernels.cuda.tree import hard_leaves

    x, bank = normal(2, 4, seed=1, device=device), bank_of(3, 4, 3, 5, seed=1, device=device)
    for wrong in (3, -2):
        index = torch.tensor([[0], [wrong]], device=device)
        with pytest.raises(IndexError, match="from -1 to 2"):
            experts(x, index, torch.ones_like(x[:, :1]), *bank)
        with pytest.raises(IndexError, match="from -1 to 2"):
            hard_leaves(x, index[:, 0], *bank)
        with pytest.raises(IndexError, match="from -1 to 2"):
            feedforward(x, index, bank[0][0], None, bank[2][0], None, True)


@check
def the_way_down_is_that_of_plain_torch(device):
    from labkit.parts.kernels.cuda.tree import way_down
    from labkit.parts.tree import descend

    for seed, (lead, trees, depth, width) in enumerate(
        [((37,), 1, 3, 33), ((2, 9), 3, 5, 130), ((1,), 2, 1, 1), ((0,), 1, 2, 4), ((3,), 2, 0, 7)]
    ):
        for kind in CLOSE if not seed else [torch.float32]:
            x = whole_numbers(*lead, width, seed=seed, device=device, kind=kind)
            weight = whole_numbers(trees, 2**depth - 1, width, seed=seed + 1, device=device, kind=kind)
            bias = whole_numbers(trees, 2**depth - 1, seed=seed + 2, device=device, kind=kind)
            with torch.no_grad():
                wanted = descend(x.double(), weight.double(), bias.double(), depth)
            found = way_down(x, weight, bias, depth)
            assert torch.equal(found[0], wanted[0])
            assert torch.equal(found[1], wanted[1].to(kind))
            assert torch.equal(found[2], wanted[2])


@check
def leaves_equal_each_row_through_its_own(device):
    from labkit.parts.kernels.cuda.tree import hard_leaves

    sizes = [
        (37, 5, 33, 19, 70),
        (4, 3, 16, 1, 200),
        (1, 1, 1, 1, 1),
        (0, 2, 5, 4, 3),
        (20, 2, 20, 130, 9),
        (85, 2, 3, 5, 4),
        (150, 2, 3, 5, 4),
    ]
    for seed, (rows, leaves, width, inner, out) in enumerate(sizes):
        index = choices(rows, 1, leaves, seed=seed, device=device)
        for kind in kinds_of_products(device) if not seed else [torch.float32]:
            x = normal(rows, width, seed=seed, device=device, kind=kind)
            bank = bank_of(leaves, width, inner, out, seed=seed, device=device, kind=kind)
            one = torch.ones(rows, 1, dtype=torch.float64, device=device)
            wanted = experts_slowly(x.double(), index, one, *(part.double() for part in bank))
            near(hard_leaves(x, index[:, 0], *bank), wanted, kind)


@check
def a_tree_takes_each_row_to_its_leaf_and_through_it(device):
    from labkit.parts.kernels.cuda.tree import hard_tree
    from labkit.parts.tree import descend

    for seed, (lead, depth, width, inner, out) in enumerate(
        [((3, 11), 4, 37, 8, 21), ((5,), 0, 6, 3, 4), ((0,), 2, 3, 2, 1)]
    ):
        x = whole_numbers(*lead, width, seed=seed, device=device)
        weight = whole_numbers(2**depth - 1, width, seed=seed + 1, device=device)
        bias = whole_numbers(2**depth - 1, seed=seed + 2, device=device)
        bank = bank_of(2**depth, width, inner, out, seed=seed, device=device)
        _, _, leaf = descend(x, weight.unsqueeze(0), bias.unsqueeze(0), depth)
        one = torch.ones(leaf.numel(), 1, dtype=torch.float64, device=device)
        flat = x.double().view(-1, width)
        wanted = experts_slowly(flat, leaf.view(-1, 1), one, *(part.double() for part in bank))
        near(hard_tree(x, weight, bias, *bank), wanted.view(*lead, out))


@check
def active_units_equal_all_units_with_the_others_left_out(device):
    from labkit.parts.kernels.cuda.active_units import feedforward

    sizes = [(9, 12, 50, 77, 33), (1, 3, 7, 5, 200), (5, 0, 7, 5, 9), (0, 3, 7, 5, 9), (3, 40, 64, 130, 1)]
    for seed, (rows, chosen, count, width, out) in enumerate(sizes):
        index, biased = choices(rows, chosen, count, seed=seed, device=device), seed % 2 == 0
        for kind in CLOSE if not seed else [torch.float32]:
            x, w1 = (normal(size, width, seed=seed, device=device, kind=kind) for size in (rows, count))
            w2 = normal(out, count, seed=seed, device=device, kind=kind).T  # its rows do not lie together in memory
            b1, b2 = (normal(size, seed=seed, device=device, kind=kind) if biased else None for size in (count, out))
            taken = torch.zeros(rows, count + 1, dtype=torch.float64, device=device)
            taken.scatter_add_(1, index + 1, torch.ones_like(index, dtype=torch.float64))
            for rectified in (True, False):
                hidden = x.double() @ w1.double().T + (b1.double() if biased else 0)
                hidden = hidden.relu() if rectified else hidden
                wanted = (hidden * taken[:, 1:]) @ w2.double() + (b2.double() if biased else 0)
                near(feedforward(x, index, w1, b1, w2, b2, rectified), wanted, kind)


def run_all(device):
    """What went wrong, by the name of the check; nothing where all is well."""
    found = {}
    for name, function in checks.items():
        try:
            function(device)
            found[name] = ""
        except Exception:
            found[name] = traceback.format_exc()
    return found


def compile_all():
    """Bytes of machine code of each kernel, by kernel, compute capability and type."""
    from triton import compile as build
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    found = {}
    for module, names in KERNELS.items():
        for name in names:
            kernel = getattr(importlib.import_module(f"labkit.parts.kernels.cuda.{module}"), name)
            constants = {**NUMBERS, **FLAGS}
            constants = {one: constants[one] for one in kernel.arg_names if one in constants}
            for capability, kind in ((80, "fp32"), (90, "bf16")):
                kinds = dict.fromkeys(REAL, f"*{kind}") | dict.fromkeys(WHOLE, "*i64")
                kinds |= {"values": "*fp32"} | dict.fromkeys(constants, "constexpr")
                signature = {one: kinds.get(one, "i32") for one in kernel.arg_names}
                source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
                made = build(source, target=GPUTarget("cuda", capability, 32))
                found[f"{module}.{name} {capability} {kind}"] = len(made.asm["cubin"])
    return found


def in_a_process(what, folder, **more):
    if not TRITON:
        pytest.skip("Triton is not installed: its kernels can be neither interpreted nor compiled")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(folder), **more}
    done = subprocess.run(
        [sys.executable, __file__, what], capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    return in_a_process("interpret", tmp_path_factory.mktemp("triton"), TRITON_INTERPRET="1")


@pytest.mark.parametrize("name", checks)
def test_on_a_graphics_card_or_in_the_interpreter(name, request):
    if CARD and TRITON:
        checks[name]("cuda")
    else:
        assert request.getfixturevalue("interpreted")[name] == ""


def test_every_kernel_becomes_machine_code(tmp_path):
    made = in_a_process("compile", tmp_path, TRITON_INTERPRET="0")
    assert len(made) == 2 * sum(map(len, KERNELS.values()))
    assert min(made.values()) > 1000


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(run_all("cpu") if sys.argv[1] == "interpret" else compile_all()))
