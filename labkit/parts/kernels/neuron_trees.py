"""Fast path of trees of neurons: the way down and what the neurons met say, in one go.

The plain torch it must equal is in `layers.feedforward.neuron_trees`.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.parts.kernels.engine import Kernel, Operation, threads_for
from labkit.parts.kernels.fast_path import FastPath

_answer, _said = Kernel("neuron_trees", "answer"), Kernel("neuron_trees", "paths_said")
CHUNK, MET = 16, 512  # as in cpu/neuron_trees


def few_enough(met: int) -> bool:
    """Whether the compiled code has room for so many neurons met by one input."""
    return met <= MET


def through_neurons(weight: Tensor, bias: Tensor, table: Tensor) -> Callable[[int, int, int], None]:
    """Computes `neuron_trees` for inputs, their number and outputs at these addresses; all weights are contiguous."""
    trees, nodes, width = weight.shape
    depth, out_width = (nodes + 1).bit_length() - 1, table.shape[-1]
    numbers = width, weight.data_ptr(), bias.data_ptr(), depth, trees, table.data_ptr()
    work = trees * depth * (width + out_width)

    def run(x: int, rows: int, out: int) -> None:
        _answer(-(-rows // CHUNK), x, rows, *numbers, out, out_width, threads=threads_for(rows * work))

    return run


def _neuron_trees(x: Tensor, weight: Tensor, bias: Tensor, table: Tensor) -> Tensor:
    x, weight, bias, table = x.contiguous(), weight.contiguous(), bias.contiguous(), table.contiguous()
    out = x.new_empty(*x.shape[:-1], table.shape[-1])
    through_neurons(weight, bias, table)(x.data_ptr(), x.numel() // weight.shape[-1], out.data_ptr())
    return out


neuron_trees = Operation(
    "neuron_trees",
    _neuron_trees,
    lambda x, weight, bias, table: x.new_empty(*x.shape[:-1], table.shape[-1]),
)
"""Σ over the neurons met of gelu(score) times its row of the table, for evaluation.

Shapes: x (..., width), weight (trees, nodes, width), bias (trees, nodes), table (trees, nodes, out) -> (..., out).
"""


def _paths_said(nodes: Tensor, scores: Tensor, table: Tensor) -> Tensor:
    nodes, scores, table = nodes.contiguous(), scores.contiguous(), table.contiguous()
    met, out_width = nodes.shape[-1], table.shape[-1]
    rows = nodes.numel() // met
    out = scores.new_empty(*nodes.shape[:-1], out_width)
    threads = threads_for(rows * met * out_width)
    numbers = nodes.data_ptr(), scores.data_ptr(), table.data_ptr(), out.data_ptr(), out_width
    _said(-(-rows // CHUNK), rows, met, *numbers, threads=threads)
    return out


paths_said = Operation(
    "paths_said",
    _paths_said,
    lambda nodes, scores, table: scores.new_empty(*nodes.shape[:-1], table.shape[-1]),
)
"""The second half of it, where nodes and scores are known: nodes and scores (..., met), table (neurons, out) -> (..., out)."""


def _met(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)

    def size(most: int) -> int:
        return int(torch.randint(1, most, (), generator=draw))

    table = torch.randn(size(40), size(200), generator=draw)
    shape = (size(30) - 1, size(20))
    return torch.randint(len(table), shape, generator=draw), torch.randn(shape, generator=draw), table


def _plainly(nodes: Tensor, scores: Tensor, table: Tensor) -> Tensor:
    return torch.einsum("rk,rko->ro", F.gelu(scores), table[nodes])


fast_paths = (FastPath(paths_said, _plainly, _met),)
