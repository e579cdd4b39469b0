"""Structured linear layers against the dense layer of the same width, against torch's own ways, and against the package.

Four forms: low rank of an n-th/16, block diagonal and Monarch with blocks of √n, butterfly. "reference" is plain torch,
the fastest of several ways to write it, with the weights laid out for each beforehand; "torch.compile" is what inductor
makes of the butterfly's loop. torch-structured needs triton even where it computes in plain torch.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from labkit.layers.structured.block_shuffle_linear import BlockShuffleLinear
from labkit.layers.structured.butterfly_linear import ButterflyLinear
from labkit.layers.structured.low_rank_linear import LowRankLinear
from labkit.parts.kernels.blocks import block_diagonal
from labkit.workbench.scoreboard.case import Case, Contestants, Goal, Setting, Work
from labkit.workbench.scoreboard.ceilings import both_ways
from labkit.workbench.scoreboard.timing import varied
from labkit.workbench.scoreboard.ways import BOTH, FORWARD, Way, plainly, require_alike, timed

LOW_RANK, DIAGONAL, MONARCH, BUTTERFLY = "low rank", "block diagonal", "monarch", "butterfly"
FORMS = (LOW_RANK, DIAGONAL, MONARCH, BUTTERFLY)


class BlockDiagonal(nn.Module):
    """The block-diagonal product as a layer, for this race only: alone it mixes nothing across its blocks."""

    def __init__(self, width: int, blocks: int):
        super().__init__()
        depth = width // blocks
        self.weight = nn.Parameter(torch.randn(blocks, depth, depth) / depth**0.5)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return block_diagonal(x, self.weight, self.bias)


def blocks_of(width: int) -> int:
    """How many blocks: the power of two at √n."""
    return 1 << (width.bit_length() // 2)


def layer_of(form: str, width: int) -> nn.Module:
    """Ours, with a bias that is not zero."""
    make: dict[str, Callable[[], nn.Module]] = {
        LOW_RANK: lambda: LowRankLinear(width, width, rank=width // 16),
        DIAGONAL: lambda: BlockDiagonal(width, blocks_of(width)),
        MONARCH: lambda: BlockShuffleLinear(width, width, blocks=blocks_of(width)),
        BUTTERFLY: lambda: ButterflyLinear(width, width),
    }
    layer = make[form]()
    nn.init.normal_(layer.get_parameter("bias"))
    return layer


def ways_of(form: str, layer: nn.Module) -> dict[str, tuple[Way, Sequence[Tensor]]]:
    """The same in torch, written in other ways, with the tensors that learn: weights laid out as each likes them."""

    def leaf(tensor: Tensor) -> Tensor:
        return tensor.detach().contiguous().clone().requires_grad_()

    if form == LOW_RANK:
        down, up, bias = leaf(layer.down.t()), leaf(layer.up.t()), leaf(layer.bias)  # pyright: ignore
        linear = nn.functional.linear
        return {"two linear": (lambda x: linear(linear(x, down), up, bias), [down, up, bias])}
    if form == DIAGONAL:
        weight, bias = leaf(layer.weight), leaf(layer.bias)  # pyright: ignore
        count, depth, _ = weight.shape

        def added(x: Tensor) -> Tensor:
            rows, own = x.view(-1, count, depth).transpose(0, 1), bias.view(count, 1, depth)
            return torch.baddbmm(own, rows, weight).transpose(0, 1).reshape(x.shape)

        return {"baddbmm": (added, [weight, bias])}
    if form == MONARCH:
        first, second, bias = leaf(layer.first), leaf(layer.second.permute(2, 1, 0)), leaf(layer.bias)  # pyright: ignore
        count = len(first)

        def dealt(x: Tensor) -> Tensor:
            between = torch.bmm(x.view(len(x), count, -1).transpose(0, 1), first).transpose(0, 1)
            between = between.reshape(len(x), -1, count).permute(2, 0, 1)
            return torch.bmm(between, second).permute(1, 2, 0).reshape(len(x), -1) + bias

        return {"bmm": (dealt, [first, second, bias])}
    keep, mix, bias = leaf(layer.factors[:, 0]), leaf(layer.factors[:, 1]), leaf(layer.bias)  # pyright: ignore

    def looped(x: Tensor) -> Tensor:
        rows, width = x.shape
        for stride in range(len(keep)):
            far = 1 << stride
            low, high = x.view(rows, -1, 2, far).unbind(2)
            (keep_low, keep_high), (mix_low, mix_high) = (one[stride].view(-1, 2, far).unbind(1) for one in (keep, mix))
            x = torch.stack((keep_low * low + mix_low * high, keep_high * high + mix_high * low), 2).view(rows, width)
        return x + bias

    return {"halves": (looped, [keep, mix, bias])}


def peer_like(form: str, layer: nn.Module) -> nn.Module:
    """The package's layer with the weights of ours. Raises: ImportError where it is missing, or has no such layer."""
    from torch_structured import Butterfly  # pyright: ignore[reportMissingImports]
    from torch_structured.monarch.blockdiag_linear import BlockdiagLinear  # pyright: ignore[reportMissingImports]
    from torch_structured.monarch.monarch_linear import MonarchLinear  # pyright: ignore[reportMissingImports]

    bias: Tensor = layer.get_parameter("bias")
    width = len(bias)
    with torch.no_grad():
        if form == BUTTERFLY:
            peer, turned = Butterfly(width, width), []
            for stride, (keep, mix) in enumerate(layer.factors):  # pyright: ignore
                kept, mixed = (one.view(-1, 2, 1 << stride) for one in (keep, mix))
                rows = torch.stack((kept[:, 0], mixed[:, 0])), torch.stack((mixed[:, 1], kept[:, 1]))
                turned.append(torch.stack(rows).permute(2, 3, 0, 1).reshape(width // 2, 2, 2))
            peer.twiddle.copy_(torch.stack(turned)[None, None])
        elif form == MONARCH:
            peer = MonarchLinear(width, width, nblocks=len(layer.first))  # pyright: ignore
            peer.w1.copy_(layer.first.transpose(1, 2))  # pyright: ignore
            peer.w2.copy_(layer.second.permute(2, 0, 1))  # pyright: ignore
        elif form == DIAGONAL:
            peer = BlockdiagLinear(width, width, nblocks=len(layer.weight))  # pyright: ignore
            peer.weight.copy_(layer.weight.transpose(1, 2))  # pyright: ignore
        else:
            raise ImportError("torch-structured's low-rank layer is two linear ones, the same as the reference.")
        peer.bias.copy_(bias)
    return peer


def contestants(setting: Setting) -> Contestants:
    """All that compute the same, compared once before they are timed; and the dense layer."""
    form, width, batch = str(setting["form"]), int(setting["width"]), int(setting["batch"])
    layer, dense = layer_of(form, width), nn.Linear(width, width)
    ways = ways_of(form, layer)
    own = list(layer.parameters())

    same: dict[str, tuple[Way, Sequence[Tensor]]] = {"ours": (layer, own), "reference|layer": (plainly(layer), own)}
    same |= {f"reference|{name}": way for name, way in ways.items()}
    if form == BUTTERFLY:
        torch._dynamo.reset()  # else the loops of earlier settings count as its recompilations, of which it allows a few
        loop, learns = ways["halves"]
        same["torch.compile"] = torch.compile(loop, dynamic=False), learns
    try:
        peer = peer_like(form, layer)
        same["torch-structured"] = peer, list(peer.parameters())
    except ImportError:
        pass
    pool = [torch.randn(batch, width) for _ in range(4)]
    require_alike({name: way for name, (way, _) in same.items()}, pool[0])
    racing = {name: varied(timed(way, learns, str(setting["pass"])), pool) for name, (way, learns) in same.items()}
    return racing | both_ways("dense", varied(timed(dense, list(dense.parameters()), str(setting["pass"])), pool))


def active(form: str, width: int) -> int:
    """Multiplications of one row."""
    depth = int(math.log2(width))
    shares = {
        LOW_RANK: 2 * width * (width // 16),
        DIAGONAL: width * (width // blocks_of(width)),
        MONARCH: 2 * width * (width // blocks_of(width)),
        BUTTERFLY: 2 * width * depth,
    }
    return shares[form]


def work(setting: Setting) -> Work:
    """Arithmetic; inputs, outputs and weights once. The backward pass is twice the forward."""
    form, width, batch = str(setting["form"]), int(setting["width"]), int(setting["batch"])
    flops, moved = 2.0 * batch * active(form, width), 4.0 * (2 * batch * width + active(form, width))
    return Work(flops, moved) if setting["pass"] == FORWARD else Work(3 * flops, 3 * moved)


SIZES = ((1024, 64), (1024, 1024), (4096, 64))
SETTINGS: tuple[Setting, ...] = tuple(
    {"form": form, "width": width, "batch": batch, "pass": one}
    for form in FORMS
    for width, batch in SIZES
    for one in (FORWARD, BOTH)
)


def _share(form: str, percent: int) -> tuple[Goal, ...]:
    """So many percent of the ratio of multiplications, for each width."""

    def one(width: int) -> Goal:
        least = percent / 100 * width**2 / active(form, width)
        return Goal(
            f"Width {width:,}, {form}: at least {percent} % of the ratio of multiplications, against dense",
            "dense",
            at_least=least,
            where=lambda s: s["form"] == form and s["width"] == width and s["pass"] == FORWARD,
        )

    return one(1024), one(4096)


cases = (
    Case(
        "structured",
        "Structured linear layers",
        "Layers of one width in and out. Low rank has rank n/16; block diagonal and Monarch have 32 blocks at 1024 and 64 at "
        "4096. The dense layer has the same width.",
        SETTINGS,
        contestants,
        work,
        goals=(
            *_share(LOW_RANK, 85),
            *_share(DIAGONAL, 45),
            *_share(MONARCH, 35),
            Goal(
                "Butterfly: at least 3 times as fast as torch.compile of its plain loop",
                "torch.compile",
                at_least=3,
                where=lambda s: s["form"] == BUTTERFLY and s["pass"] == FORWARD,
            ),
        ),
        quick=tuple(one for one in SETTINGS if one["width"] == 1024 and one["batch"] == 64 and one["pass"] == FORWARD),
        peers=("torch-structured",),
    ),
)
