"""Fast paths of a soft tree in training: the share of each leaf, and hidden values weighted by their leaf's share.

The plain torch they must equal is `parts.tree.leaf_probabilities` and `parts.experts.Experts.mixed`.
"""

import torch
from torch import Tensor

from labkit.parts.kernels.engine import Kernel, Operation, threads_for
from labkit.parts.kernels.fast_path import FastPath

_shares, _shares_back = Kernel("soft_tree", "shares"), Kernel("soft_tree", "shares_back")
_weighted, _weighted_back = Kernel("soft_tree", "weighted"), Kernel("soft_tree", "weighted_back")
CHUNK = 8  # rows a piece, as in cpu/soft_tree


def _leaf_shares(scores: Tensor) -> Tensor:
    right, left = _both(scores)
    leaves, rows = scores.shape[-1] + 1, scores.numel() // max(1, scores.shape[-1])
    out = scores.new_empty(*scores.shape[:-1], leaves)
    numbers = right.data_ptr(), left.data_ptr(), out.data_ptr(), rows, leaves
    _shares(-(-rows // CHUNK), *numbers, threads=threads_for(8 * rows * leaves))
    return out


def _both(scores: Tensor) -> tuple[Tensor, Tensor]:
    scores = scores.contiguous()
    return torch.sigmoid(scores), torch.sigmoid(-scores)


def _keep_scores(ctx, inputs, output) -> None:
    ctx.save_for_backward(inputs[0], output)


def _shares_gradient(ctx, gradient: Tensor) -> Tensor:
    return leaf_shares_back(*ctx.saved_tensors, gradient)


def _leaf_shares_back(scores: Tensor, share: Tensor, gradient: Tensor) -> Tensor:
    right, left = _both(scores)
    leaves, rows = scores.shape[-1] + 1, scores.numel() // max(1, scores.shape[-1])
    share, gradient, out = share.contiguous(), gradient.contiguous(), torch.empty_like(right)
    room = torch.empty_like(share)
    numbers = right, left, share, gradient, room, out
    _shares_back(
        -(-rows // CHUNK), *(one.data_ptr() for one in numbers), rows, leaves, threads=threads_for(8 * rows * leaves)
    )
    return out


leaf_shares_back = Operation(
    "leaf_shares_back", _leaf_shares_back, lambda scores, share, gradient: scores.new_empty(scores.shape)
)
leaf_shares = Operation(
    "leaf_shares",
    _leaf_shares,
    lambda scores: scores.new_empty(*scores.shape[:-1], scores.shape[-1] + 1),
    _shares_gradient,
    _keep_scores,
)
"""The share of each input that reaches each leaf: scores (..., 2^depth - 1), depth at least 1 -> (..., 2^depth)."""


def _weighted_hidden(z: Tensor, share: Tensor) -> Tensor:
    z, share = z.contiguous(), share.contiguous()
    leaves, out = share.shape[-1], torch.empty_like(z)
    hidden, rows = z.shape[-1] // leaves, share.numel() // leaves
    numbers = z.data_ptr(), share.data_ptr(), out.data_ptr(), rows, leaves, hidden
    _weighted(-(-rows // CHUNK), *numbers, threads=threads_for(4 * z.numel()))
    return out


def _weighted_hidden_back(z: Tensor, share: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    z, share, gradient = z.contiguous(), share.contiguous(), gradient.contiguous()
    leaves, for_z, for_share = share.shape[-1], torch.empty_like(z), torch.empty_like(share)
    hidden, rows = z.shape[-1] // leaves, share.numel() // leaves
    tensors = z, share, gradient, for_z, for_share
    threads = threads_for(4 * z.numel())
    _weighted_back(-(-rows // CHUNK), *(one.data_ptr() for one in tensors), rows, leaves, hidden, threads=threads)
    return for_z, for_share


def _keep_both(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _weighted_gradient(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return weighted_hidden_back(*ctx.saved_tensors, gradient)


weighted_hidden_back = Operation(
    "weighted_hidden_back",
    _weighted_hidden_back,
    lambda z, share, gradient: (z.new_empty(z.shape), share.new_empty(share.shape)),
)
weighted_hidden = Operation(
    "weighted_hidden", _weighted_hidden, lambda z, share: z.new_empty(z.shape), _weighted_gradient, _keep_both
)
"""relu(z) times the share of each unit's leaf: z (..., leaves · hidden), share (..., leaves) -> like z."""


def _some_scores(seed: int) -> tuple[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    depth, rows = (
        int(torch.randint(1, 8, (), generator=draw)),
        (int(torch.randint(1, 60, (), generator=draw)), 1, 0)[seed % 3],
    )
    return (2 * torch.randn(rows, 2**depth - 1, generator=draw),)


def _some_hidden(seed: int) -> tuple[Tensor, Tensor]:
    scores = _some_scores(seed)[0]
    draw = torch.Generator().manual_seed(seed)
    hidden = int(torch.randint(1, 40, (), generator=draw))
    share = _shares_plainly(scores)
    return torch.randn(len(share), share.shape[1] * hidden, generator=draw), share


def _shares_plainly(scores: Tensor) -> Tensor:
    right, left, share = torch.sigmoid(scores), torch.sigmoid(-scores), torch.ones_like(scores[:, :1])
    for level in range((scores.shape[1] + 1).bit_length() - 1):
        nodes = slice(2**level - 1, 2 ** (level + 1) - 1)
        share = torch.stack((share * left[:, nodes], share * right[:, nodes]), -1).flatten(-2)
    return share


def _hidden_plainly(z: Tensor, share: Tensor) -> Tensor:
    return (z.relu().unflatten(-1, (share.shape[-1], z.shape[-1] // share.shape[-1])) * share.unsqueeze(-1)).flatten(-2)


fast_paths = (
    FastPath(leaf_shares, _shares_plainly, _some_scores, learns=True),
    FastPath(weighted_hidden, _hidden_plainly, _some_hidden, learns=True),
)
