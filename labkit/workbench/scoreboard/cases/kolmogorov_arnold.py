"""Kolmogorov-Arnold layers against the packages that people install for them, and against dense layers of their size.

pykan is raced in two forms: as it comes, where a branch for symbolic formulas walks over all edges in Python, and fast,
which is the faster of its speed() and its bare KANLayer. inkan is the fastest form of the same layer in plain torch that
is on PyPI. The dense contestant has two layers and as many parameters, so it shows what curves on edges cost.
"""

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.layers.feedforward.group_rational import GroupRational
from labkit.layers.feedforward.spline_edges import SplineEdges
from labkit.workbench.scoreboard.case import Case, Contestants, Goal, Setting, Work
from labkit.workbench.scoreboard.ceilings import both_ways
from labkit.workbench.scoreboard.timing import varied
from labkit.workbench.scoreboard.ways import BOTH, FORWARD, Way, plainly, require_alike, timed

SPLINES, RATIONAL = "splines", "rational"
CELLS, ORDER, GROUPS = 5, 3, 8
WIDTHS = {SPLINES: ("64-64", "256-256", "784-64-10"), RATIONAL: ("64-64", "256-256", "768-3072")}


def _widths(setting: Setting) -> list[int]:
    return [int(width) for width in str(setting["widths"]).split("-")]


def network_of(form: str, widths: Sequence[int]) -> nn.Sequential:
    """Our layers, one after the other."""
    if form == SPLINES:
        return nn.Sequential(*(SplineEdges(a, b, cells=CELLS, order=ORDER) for a, b in itertools.pairwise(widths)))
    return nn.Sequential(*(GroupRational(a, b, groups=GROUPS) for a, b in itertools.pairwise(widths)))


def dense_of(ours: nn.Module, widths: Sequence[int]) -> nn.Sequential:
    """Two dense layers with as many parameters as ours."""
    hidden = round(sum(one.numel() for one in ours.parameters()) / (widths[0] + widths[-1]))
    return nn.Sequential(nn.Linear(widths[0], hidden), nn.SiLU(), nn.Linear(hidden, widths[-1]))


@torch.no_grad()
def pykan_like(ours: nn.Sequential, widths: Sequence[int]) -> nn.Module:
    """pykan's network with the weights of ours. Raises: ImportError where it is missing."""
    from kan import KAN  # pyright: ignore[reportMissingImports]

    place = str(Path(tempfile.gettempdir()) / "labkit-pykan")
    peer = KAN(width=list(widths), grid=CELLS, k=ORDER, seed=0, auto_save=False, ckpt_path=place)
    for theirs, layer in zip(peer.act_fun, ours, strict=True):
        copy_to_pykan(layer, theirs)
    return peer


@torch.no_grad()
def copy_to_pykan(layer: nn.Module, theirs: nn.Module) -> None:
    """Gives a KANLayer of pykan the weights of ours; its own factor for the splines becomes 1."""
    edges = layer.get_parameter("edges")
    theirs.get_parameter("scale_base").copy_(edges[:, 0])
    theirs.get_parameter("coef").copy_(edges[:, 1:].transpose(1, 2))
    theirs.get_parameter("scale_sp").fill_(1.0)


@torch.no_grad()
def inkan_like(ours: nn.Sequential) -> nn.Module:
    """inkan's network with the weights of ours. Raises: ImportError where it is missing."""
    from inkan import KANLayer  # pyright: ignore[reportMissingImports]

    made = []
    for layer in ours:
        edges = layer.get_parameter("edges")
        peer = KANLayer(len(edges), edges.shape[2], grid_size=CELLS, spline_order=ORDER, compile_basis=False)
        splines = edges[:, 1:].permute(2, 0, 1).flatten(1)
        peer.weight.copy_(torch.cat((splines, edges[:, 0].T), 1))
        made.append(peer)
    return nn.Sequential(*made)


def _bare(peer: nn.Module) -> Way:
    """pykan's layers without the network around them."""

    def forward(x: Tensor) -> Tensor:
        for layer in peer.act_fun:  # pyright: ignore
            x = layer(x)[0]
        return x

    return forward


def ways_of(setting: Setting) -> dict[str, tuple[Way, Sequence[Tensor]]]:
    """Everything that computes the same as our layers with the same weights, and what each of them learns."""
    form, widths = str(setting["form"]), _widths(setting)
    ours = network_of(form, widths)
    learns = list(ours.parameters())

    ways: dict[str, tuple[Way, Sequence[Tensor]]] = {"ours": (ours, learns), "reference": (plainly(ours), learns)}
    if form == RATIONAL:
        return ways
    try:
        peer = pykan_like(ours, widths)
        of_peer = list(peer.parameters())
        ways["pykan, fast|KANLayer"] = _bare(peer), of_peer
        fast = pykan_like(ours, widths).speed()  # pyright: ignore
        ways["pykan, fast|speed()"] = fast, list(fast.parameters())
        if _default_is_raced(setting):
            ways["pykan"] = peer, of_peer
    except ImportError:
        pass
    try:
        peer = inkan_like(ours)
        ways["inkan"] = peer, list(peer.parameters())
    except ImportError:
        pass
    return ways


def contestants(setting: Setting) -> Contestants:
    """All that compute the same, compared once before they are timed; the dense layers; for the rational ones, also pykan."""
    form, widths = str(setting["form"]), _widths(setting)
    ways = ways_of(setting)
    pool = [1.2 * torch.randn(int(setting["batch"]), widths[0]) for _ in range(4)]
    require_alike({name: way for name, (way, _) in ways.items()}, pool[0])
    ours = network_of(form, widths)
    if form == RATIONAL:
        silu = nn.Linear(widths[0], widths[1])
        ways["silu and dense"] = lambda x: silu(F.silu(x)), list(silu.parameters())
        ways |= _pykan_of_other_curves(widths)
    racing = {name: varied(timed(way, learns, str(setting["pass"])), pool) for name, (way, learns) in ways.items()}
    dense = dense_of(ours, widths)
    return racing | both_ways("dense", varied(timed(dense, list(dense.parameters()), str(setting["pass"])), pool))


def _pykan_of_other_curves(widths: Sequence[int]) -> dict[str, tuple[Way, Sequence[Tensor]]]:
    """pykan's layers of the same widths: their curves are splines, so only the time can be compared."""
    if max(widths) > 256:
        return {}
    try:
        peer = pykan_like(network_of(SPLINES, widths), widths)
    except ImportError:
        return {}
    learns = list(peer.parameters())
    found: dict[str, tuple[Way, Sequence[Tensor]]] = {"pykan, fast|KANLayer": (_bare(peer), learns)}
    if max(widths) <= 64:
        found["pykan"] = peer, learns
    return found


def _default_is_raced(setting: Setting) -> bool:
    """pykan as it comes takes many seconds a call where there are more edges."""
    widths = _widths(setting)
    return max(widths) <= 64 or (widths[0] == 784 and setting["pass"] == FORWARD)


def work(setting: Setting) -> Work:
    """The five functions of an input that are not zero, or the matrix; inputs, weights and outputs once. Twice more backward."""
    batch, each = int(setting["batch"]), 5 if setting["form"] == SPLINES else 1
    kept = CELLS + ORDER + 1 if setting["form"] == SPLINES else 1
    flops = size = 0.0
    for a, b in itertools.pairwise(_widths(setting)):
        flops += 2.0 * batch * a * b * each
        size += 4.0 * (batch * (a + b) + a * b * kept)
    times = 1 if setting["pass"] == FORWARD else 3
    return Work(times * flops, times * size)


SETTINGS: tuple[Setting, ...] = tuple(
    {"form": form, "widths": widths, "batch": 256, "pass": direction}
    for form in (SPLINES, RATIONAL)
    for widths in WIDTHS[form]
    for direction in (FORWARD, BOTH)
)

cases = (
    Case(
        "kolmogorov_arnold",
        "Kolmogorov-Arnold layers",
        "B-spline edges (grid 5, order 3) and group-rational layers (5/4, 8 groups) of the widths said. Dense: two layers with "
        "as many parameters. pykan computes splines in every row, so beside rational layers only its time compares; as it "
        "comes it is left out where one call takes many seconds: at 256-256, and backward at 784-64-10.",
        SETTINGS,
        contestants,
        work,
        goals=(
            Goal(
                "At least 100 times as fast as pykan as it comes, where a call of that takes seconds at most",
                "pykan",
                at_least=100,
                where=_default_is_raced,
            ),
            Goal(
                "At least twice as fast as the faster of pykan's fast ways, up to width 784",
                "pykan, fast",
                at_least=2,
                where=lambda setting: max(_widths(setting)) <= 784,
            ),
        ),
        quick=tuple(one for one in SETTINGS if one["widths"] == "64-64"),
        peers=("pykan", "inkan"),
    ),
)
