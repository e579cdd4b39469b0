"""The contract of fast paths: what is compiled equals the plain torch it replaces, whatever the shapes, and is known to torch."""

import importlib
import pkgutil

import pytest
import torch
from torch import Tensor

from labkit.parts import kernels as folder
from labkit.parts.kernels.engine import Operation

pytest.importorskip("numba", reason="without numba nothing is compiled")

PATHS = [
    pytest.param(path, id=f"{info.name}-{place}")
    for info in pkgutil.iter_modules(folder.__path__)
    if not info.ispkg
    for place, path in enumerate(
        getattr(importlib.import_module(f"labkit.parts.kernels.{info.name}"), "fast_paths", ())
    )
]
SEEDS = range(12)
every_path = pytest.mark.parametrize("path", PATHS)


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def exempt(path, request):
    name = request.function.__name__.removeprefix("test_").replace("_", " ")
    if name in path.exempt:
        pytest.skip(path.exempt[name])


def near(got: Tensor, wanted: Tensor, tolerance: float, what: str) -> None:
    assert got.shape == wanted.shape, f"{what}: shape {tuple(got.shape)} instead of {tuple(wanted.shape)}"
    assert got.dtype == wanted.dtype, f"{what}: {got.dtype} instead of {wanted.dtype}"
    if got.numel():
        scale = max(float(wanted.abs().max()), 1e-6)
        error = float((got - wanted).abs().max()) / scale
        assert error <= tolerance, f"{what} is wrong by {error:.1e} of its largest number"


def answers(given) -> tuple[Tensor, ...]:
    return given if isinstance(given, tuple) else (given,)


def learning(path, seed: int) -> list:
    """The inputs of a seed as leaves that want gradients."""
    return [
        one.clone().requires_grad_() if isinstance(one, Tensor) and one.is_floating_point() else one
        for one in path.inputs(seed)
    ]


def test_the_walk_finds_the_fast_paths():
    names = {param.id.rsplit("-", 1)[0] for param in PATHS}
    assert {"tree", "neuron_trees"} <= names


@every_path
@pytest.mark.parametrize("seed", SEEDS)
def test_compiled_equals_plain_torch(path, seed, request):
    exempt(path, request)
    given = path.inputs(seed)
    with torch.no_grad():
        for got, wanted in zip(answers(path.fast(*given)), answers(path.plain(*given)), strict=True):
            near(got, wanted, path.tolerance, f"the answer for seed {seed}")


@every_path
@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_equal_those_of_plain_torch(path, seed):
    if not path.learns:
        with torch.no_grad():
            assert not isinstance(path.fast, Operation) or not path.fast.learns
        return
    given = path.inputs(seed)
    sides = []
    for way in (path.fast, path.plain):
        own = [
            one.clone().requires_grad_() if isinstance(one, Tensor) and one.is_floating_point() else one
            for one in given
        ]
        out = answers(way(*own))[0]
        draw = torch.Generator().manual_seed(seed)
        (out * torch.randn(out.shape, generator=draw)).sum().backward()
        sides.append([one.grad for one in own if isinstance(one, Tensor) and one.requires_grad])
    for place, (got, wanted) in enumerate(zip(*sides, strict=True)):
        wanted = torch.zeros_like(given[place]) if wanted is None else wanted
        got = torch.zeros_like(wanted) if got is None else got
        near(got, wanted, path.tolerance, f"gradient {place} for seed {seed}")


@every_path
def test_a_gradient_can_be_differentiated_again_or_refuses(path, request):
    exempt(path, request)
    if not path.learns:
        return
    for seed in (0, 2, 3):
        sides = []
        for way in (path.fast, path.plain):
            given = learning(path, seed)
            out = answers(way(*given))[0]
            wanted = [one for one in given if isinstance(one, Tensor) and one.requires_grad]
            first = torch.autograd.grad(out.sin().sum(), wanted, create_graph=True, allow_unused=True)
            penalty = sum(one.square().sum() for one in first if one is not None)
            found = torch.autograd.grad(penalty, wanted, allow_unused=True)
            sides.append([torch.zeros_like(one) if grad is None else grad for one, grad in zip(wanted, found)])
        for place, (got, wanted) in enumerate(zip(*sides, strict=True)):
            near(got, wanted, 10 * path.tolerance, f"second derivative {place} for seed {seed}")


@every_path
def test_threads_and_repetition_change_no_bit(path, request):
    exempt(path, request)
    for seed in SEEDS:
        given = path.inputs(seed)
        with torch.no_grad():
            torch.set_num_threads(1)
            one = answers(path.fast(*given))
            torch.set_num_threads(2)
            for _ in range(2):
                for a, b in zip(one, answers(path.fast(*given)), strict=True):
                    assert torch.equal(a, b), f"seed {seed} differs by up to {float((a - b).abs().max())}"


@every_path
def test_inputs_are_left_alone_and_may_lie_anyhow_in_memory(path):
    for seed in SEEDS:
        given = path.inputs(seed)
        kept = [one.clone() if isinstance(one, Tensor) else one for one in given]
        spread_out = [
            torch.stack((one, one), -1).select(-1, 0) if isinstance(one, Tensor) and one.numel() else one
            for one in given
        ]
        with torch.no_grad():
            straight, strided = answers(path.fast(*given)), answers(path.fast(*spread_out))
        for a, b in zip(straight, strided, strict=True):
            assert torch.equal(a, b), "numbers that do not lie side by side give another answer"
        for before, after in zip(kept, given, strict=True):
            assert not isinstance(before, Tensor) or torch.equal(before, after), "an input was written to"


@every_path
def test_what_is_not_a_number_stays_so(path, request):
    exempt(path, request)
    for seed in SEEDS:
        given = list(path.inputs(seed))
        if not given[0].numel() or not given[0].is_floating_point():
            continue
        given[0] = torch.full_like(given[0], float("nan"))
        with torch.no_grad():
            for got, wanted in zip(answers(path.fast(*given)), answers(path.plain(*given)), strict=True):
                if wanted.is_floating_point():
                    assert torch.equal(got.isnan(), wanted.isnan()), "NaN was lost, or made"


@every_path
def test_torch_knows_the_operation(path, request):
    exempt(path, request)
    if isinstance(path.fast, Operation):
        for seed in (0, 1, 3):
            torch.library.opcheck(path.fast.known, path.inputs(seed))


@every_path
def test_a_compiled_graph_holds_it(path, request):
    exempt(path, request)
    given = path.inputs(0)
    torch._dynamo.reset()
    with torch.no_grad():
        graph = torch.compile(path.fast, fullgraph=True, backend="aot_eager")
        for got, wanted in zip(answers(graph(*given)), answers(path.fast(*given)), strict=True):
            assert torch.equal(got, wanted)
