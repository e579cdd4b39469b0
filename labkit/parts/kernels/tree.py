"""Fast paths of trees: the hard way down, and a whole fast feedforward layer in evaluation.

The plain torch they must equal is `parts.tree.descend` and `parts.experts.Experts`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from labkit.parts.kernels.engine import Kernel, Operation, threads_for
from labkit.parts.kernels.fast_path import FastPath

_descend, _sort = Kernel("tree", "descend"), Kernel("tree", "sort")
_leaves, _answer = Kernel("tree", "leaves"), Kernel("tree", "answer")
CHUNK = 16  # rows a piece, as in cpu/tree


def through_tree(
    node_weight: Tensor, node_bias: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor
) -> Callable[[int, int, int], None]:
    """Computes `hard_tree` for inputs, their number and outputs at these addresses; all weights are contiguous."""
    leaves, hidden, width = w1.shape
    out_width, depth = b2.shape[1], leaves.bit_length() - 1
    tree = width, node_weight.data_ptr(), node_bias.data_ptr(), depth
    bank = w1.data_ptr(), b1.data_ptr(), w2.data_ptr(), b2.data_ptr(), hidden
    work = depth * width + hidden * (width + out_width)

    def run(x: int, rows: int, out: int) -> None:
        if 2 * rows < leaves or rows <= 3:
            _answer((rows + 3) // 4, x, rows, *tree, *bank, out, out_width, threads=threads_for(rows * work))
            return
        ends, threads = torch.empty(rows, dtype=torch.int64), threads_for(rows * work)
        _descend(-(-rows // CHUNK), x, rows, *tree, 1, ends.data_ptr(), 0, 0, threads=threads)
        _run_leaves(x, rows, width, ends, leaves, (*bank, out, out_width), threads)

    return run


def _hard_tree(
    x: Tensor, node_weight: Tensor, node_bias: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor
) -> Tensor:
    x, weights = x.contiguous(), tuple(one.contiguous() for one in (node_weight, node_bias, w1, b1, w2, b2))
    out = x.new_empty(*x.shape[:-1], b2.shape[1])
    through_tree(*weights)(x.data_ptr(), x.numel() // w1.shape[2], out.data_ptr())
    return out


hard_tree = Operation("hard_tree", _hard_tree, lambda x, *weights: x.new_empty(*x.shape[:-1], weights[-1].shape[-1]))
"""Each row down the tree and through the leaf where it ends, for evaluation.

Shapes: x (..., width), node_weight (nodes, width), node_bias (nodes,), w1 (leaves, hidden, width), b1 (leaves, hidden),
w2 (leaves, hidden, out), b2 (leaves, out) -> (..., out).
"""


def _hard_leaves(x: Tensor, index: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    leaves, hidden, width = w1.shape
    x, ends = x.contiguous(), index.contiguous()
    w1, b1, w2, b2 = w1.contiguous(), b1.contiguous(), w2.contiguous(), b2.contiguous()
    rows, out_width = x.numel() // width, w2.shape[2]
    if rows and not (int(ends.min()) >= -1 and int(ends.max()) < leaves):
        raise IndexError(f"an index is from -1 to {leaves - 1}, but they go from {ends.min()} to {ends.max()}.")
    out = x.new_empty(*x.shape[:-1], out_width)
    bank = w1.data_ptr(), b1.data_ptr(), w2.data_ptr(), b2.data_ptr(), hidden, out.data_ptr(), out_width
    _run_leaves(x.data_ptr(), rows, width, ends, leaves, bank, threads_for(rows * hidden * (width + out_width)))
    return out


hard_leaves = Operation(
    "hard_leaves", _hard_leaves, lambda x, index, *weights: x.new_empty(*x.shape[:-1], weights[-1].shape[-1])
)
"""Each row through the small network that its index names; zeros where it is -1. The second half of `hard_tree`.

Shapes: x (..., width), index (...), weights as there -> (..., out). Raises: IndexError.
"""


def _way_down(x: Tensor, weight: Tensor, bias: Tensor, depth: int) -> tuple[Tensor, Tensor, Tensor]:
    trees, _, width = weight.shape
    x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
    rows, lead = x.numel() // width, x.shape[:-1]
    nodes = torch.empty(*lead, trees, depth, dtype=torch.int64)
    scores, ends = x.new_empty(nodes.shape), torch.empty(*lead, trees, dtype=torch.int64)
    _descend(
        -(-rows // CHUNK),
        *(x.data_ptr(), rows, width, weight.data_ptr(), bias.data_ptr(), depth, trees),
        *(ends.data_ptr(), nodes.data_ptr(), scores.data_ptr()),
        threads=threads_for(rows * trees * depth * width),
    )
    return nodes, scores, ends


def _way_shapes(x: Tensor, weight: Tensor, bias: Tensor, depth: int) -> tuple[Tensor, Tensor, Tensor]:
    shape = (*x.shape[:-1], len(weight), depth)
    nodes = x.new_empty(shape, dtype=torch.int64)
    return nodes, x.new_empty(shape), x.new_empty(shape[:-1], dtype=torch.int64)


way_down = Operation("way_down", _way_down, _way_shapes)
"""`parts.tree.descend` without gradients: nodes met, their scores, and where each row ends."""


def _run_leaves(x: int, rows: int, width: int, ends: Tensor, leaves: int, bank: tuple, threads: int) -> None:
    order, counts = torch.empty(rows, dtype=torch.int64), torch.empty(leaves + 1, dtype=torch.int64)
    _sort(1, ends.data_ptr(), rows, leaves, counts.data_ptr(), order.data_ptr())
    chunk = max(48, -(-rows // (8 * threads)) if threads > 1 else rows)  # a cut through a leaf reads its weights twice
    _leaves(-(-rows // chunk), x, rows, width, ends.data_ptr(), order.data_ptr(), chunk, *bank, threads=threads)


def _size(draw: torch.Generator, most: int) -> int:
    return int(torch.randint(1, most, (), generator=draw))


def _tree_inputs(seed: int) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    depth, hidden, width, out = _size(draw, 6) - 1, _size(draw, 80), _size(draw, 150), _size(draw, 150)
    leaves, rows = 2**depth, (_size(draw, 300) - 1, 1, 2, 0)[seed % 4]
    shapes = (rows, width), (leaves - 1, width), (leaves - 1,), (leaves, hidden, width), (leaves, hidden)
    return tuple(torch.randn(shape, generator=draw) for shape in (*shapes, (leaves, hidden, out), (leaves, out)))


def _leaf_inputs(seed: int) -> tuple[Tensor, ...]:
    x, _, _, *bank = _tree_inputs(seed)
    index = torch.randint(-1, len(bank[0]), (len(x),), generator=torch.Generator().manual_seed(seed))
    return x, index, *bank


def _small_networks(x: Tensor, index: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    chosen = index.clamp_min(0)
    hidden = (torch.einsum("nhd,nd->nh", w1[chosen], x) + b1[chosen]).relu()
    said = torch.einsum("nh,nho->no", hidden, w2[chosen]) + b2[chosen]
    return said.where((index >= 0).unsqueeze(-1), said.new_zeros(()))


def _down(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    place = torch.zeros(len(x), dtype=torch.int64)
    for level in range((len(weight) + 1).bit_length() - 1):
        node = place + 2**level - 1
        place = 2 * place + ((weight[node] * x).sum(-1) + bias[node] >= 0)
    return place


def _hard_plainly(x: Tensor, weight: Tensor, bias: Tensor, *bank: Tensor) -> Tensor:
    return _small_networks(x, _down(x, weight, bias), *bank)


fast_paths = (FastPath(hard_tree, _hard_plainly, _tree_inputs), FastPath(hard_leaves, _small_networks, _leaf_inputs))
