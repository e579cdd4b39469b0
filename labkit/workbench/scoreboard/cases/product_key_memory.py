"""Product-key memory against the package that people install for it, and against a dense layer of the same arithmetic.

PEER-pytorch is another thing: it too finds rows by product keys, but they are neurons, of which it reads two rows each.
"""

import importlib
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from labkit.layers.memory.product_key_memory import ProductKeyMemory
from labkit.workbench.baselines import DenseFeedforward
from labkit.workbench.scoreboard.case import Case, Contestants, Goal, Setting, Work
from labkit.workbench.scoreboard.ceilings import both_ways
from labkit.workbench.scoreboard.timing import varied
from labkit.workbench.scoreboard.ways import BOTH, FORWARD, plainly, timed


def _sizes(setting: Setting) -> tuple[int, int, int, int, int]:
    tokens, width, keys, heads, chosen = (int(setting[name]) for name in ("tokens", "width", "keys", "heads", "chosen"))
    return tokens, width, keys, heads, chosen


def _active(setting: Setting) -> int:
    """Multiplications of one token: its queries, their scores, and the values that are read."""
    _, width, keys, heads, chosen = _sizes(setting)
    return 2 * width**2 + 2 * keys * width + heads * chosen * width


def _timed(layer: nn.Module, setting: Setting) -> Callable[[Tensor], object]:
    return timed(layer, list(layer.parameters()), str(setting["pass"]))


def peer_like(layer: ProductKeyMemory) -> nn.Module:
    """The package's layer with the weights of ours; they share the table of values.

    Raises: ImportError where it is not installed.
    """
    PKM = importlib.import_module("product_key_memory").PKM

    gate, width = layer.gate, layer.in_width
    peer = PKM(width, heads=gate.heads, num_keys=1, topk=gate.chosen, dim_head=layer.half_width)
    peer.num_keys, peer.num_memories = gate.keys, gate.keys**2
    peer.keys = nn.Parameter(gate.weight.detach().transpose(1, 2).contiguous())
    peer.values = nn.EmbeddingBag(gate.keys**2, layer.out_width, mode="sum", _weight=layer.values.data)
    peer.norm.load_state_dict(layer.norm.state_dict())
    turned = layer.query.weight.detach().unflatten(0, (gate.heads, 2, -1)).transpose(0, 1).reshape(2 * width, width)
    with torch.no_grad():
        peer.to_queries.weight.copy_(turned)
        x = torch.randn(1, 16, width)
        ours, theirs = layer(x), peer(x)
    if not torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max())):
        raise AssertionError("The package's memory gives another answer than ours with the same weights.")
    return peer


def contestants(setting: Setting) -> Contestants:
    """Ours, plain torch, the package, and a dense layer of as many multiplications; inputs change at each call."""
    tokens, width, keys, heads, chosen = _sizes(setting)
    layer = ProductKeyMemory(width, width, keys=keys, heads=heads, chosen=chosen)
    dense = DenseFeedforward(width, width, width=_active(setting) // (2 * width))
    pool = [torch.randn(1, tokens, width) for _ in range(4)]
    ours = _timed(layer, setting)

    racing = {"ours": varied(ours, pool), "reference": varied(plainly(ours), pool)}
    if setting["pass"] == BOTH:
        racing["ours, sparse gradient"] = varied(_sparsely(layer, ours), pool)
    racing |= both_ways("active", varied(_timed(dense, setting), pool))
    for name, make in (("product-key-memory", lambda: peer_like(layer)), ("PEER-pytorch", lambda: _neurons(setting))):
        try:
            racing[name] = varied(_timed(make(), setting), pool)
        except ImportError:
            continue
    return racing


def _sparsely(layer: ProductKeyMemory, compute: Callable[[Tensor], object]) -> Callable[[Tensor], object]:
    """With a gradient of only the rows that were read."""

    def sparse(x: Tensor) -> object:
        layer.sparse_gradient = True
        try:
            return compute(x)
        finally:
            layer.sparse_gradient = False
            layer.zero_grad(set_to_none=True)

    return sparse


def _neurons(setting: Setting) -> nn.Module:
    PEER = importlib.import_module("PEER_pytorch").PEER

    _, width, keys, heads, chosen = _sizes(setting)
    if keys > 128:
        raise ImportError("it copies two rows for each choice: too much memory for a table of this size")
    return PEER(
        width,
        heads=heads,
        num_experts=keys**2,
        num_experts_per_head=chosen,
        dim_key=width // heads,
        non_competing_scores=False,
    )


def work(setting: Setting) -> Work:
    """Arithmetic, and rows of the table that somebody reads, each once; backward, its gradient is written once."""
    tokens, width, keys, heads, chosen = _sizes(setting)
    slots = keys**2
    table = 4.0 * width * slots
    read = table * -math.expm1(-tokens * heads * chosen / slots)
    flops = 2.0 * tokens * _active(setting)
    if setting["pass"] == FORWARD:
        return Work(flops, (), scattered=((read, table),))
    learnt = 4 * width**2 + 4 * heads * chosen * (width // heads) * 2 + 2 * heads * chosen * width
    return Work(flops + 2.0 * tokens * learnt, ((table, table),), scattered=((2 * read, table),))


def _settings(tokens: int, keys: int) -> tuple[Setting, ...]:
    sizes = {"tokens": tokens, "width": 512, "keys": keys, "heads": 4, "chosen": 32}
    return tuple({**sizes, "pass": one} for one in (FORWARD, BOTH))


def _promised(setting: Setting) -> bool:
    return setting["tokens"] == 2048 and setting["keys"] == 512


cases = (
    Case(
        "product-key-memory",
        "Product-key memory",
        "A layer of width 512 that reads 4 x 32 of its slots for each token. The gradient of the table is dense, as the "
        "package's is. PEER-pytorch reads neurons, two rows a choice, and is another algorithm.",
        (*_settings(2048, 512), *_settings(256, 128), *_settings(1, 512)[:1], *_settings(32, 128)),
        contestants,
        work,
        goals=(
            Goal(
                "At least twice as fast as the package product-key-memory, forward and with gradients",
                "product-key-memory",
                at_least=2,
                where=_promised,
            ),
        ),
        quick=_settings(256, 128),
        peers=("product-key-memory", "PEER-pytorch"),
    ),
)
