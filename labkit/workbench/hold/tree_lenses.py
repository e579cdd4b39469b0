"""Two looks at the decisions of a tree: how the inputs spread down its branches, and what each input meets.

    share_{lb} = (1/N) #{inputs whose path passes branch b of level l}          b = 0..2^l - 1, from the left

The branches of a level are drawn as wide as the leaves below them, so that a picture of (level, leaf) shows the tree.
"""

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from labkit.parts.tree import Branching

WIDEST = 9
"""Levels of a tree that are drawn at most: 512 leaves across."""


def path_depth(found: Branching) -> int:
    """How deep the one tree is of which these are the paths; 0 where they are not the paths of one tree."""
    depth = found.node.shape[-1]
    one = found.nodes == 2**depth - 1 and depth > 0
    return depth if one and bool((found.node[..., 0] == 0).all()) else 0


def paths(found: Branching, layer: str) -> xr.DataArray:
    """The share of inputs that pass through each branch of each level. Shapes: -> (level, leaf), each row sums to 1 over
    its branches; a branch has the same value above all its leaves. `choice` (level, leaf) is the leaf in the last row, else -1.
    """
    depth = path_depth(found)
    node, scores = found.node.flatten(0, -2).cpu(), found.scores.flatten(0, -2).cpu()
    last = 2 * node[:, -1] + 1 + (scores[:, -1] >= 0)
    shown = min(depth, WIDEST)
    table = np.empty((shown + 1, 2**shown), np.float32)
    for level in range(shown + 1):
        at = (node[:, level] if level < depth else last) - (2**level - 1)
        share = torch.bincount(at, minlength=2**level).double() / max(1, len(node))
        table[level] = share.numpy().repeat(2 ** (shown - level))
    leaf = np.full(table.shape, -1)
    if shown == depth:
        leaf[-1] = np.arange(2**shown)
    levels = ["root", *(f"after {level} decision{'s' * (level > 1)}" for level in range(1, shown + 1))]
    return xr.DataArray(
        table,
        dims=("level", "leaf"),
        coords={
            "level": levels,
            "leaf": ("leaf", np.arange(2**shown), {"long_name": "leaf" if shown == depth else "branch"}),
            "choice": (("level", "leaf"), leaf),
            "layer": layer.removesuffix(".decisions"),
        },
        name="paths",
        attrs={"long_name": "share of inputs", "units": "fraction"},
    )


def decisions(found: Branching, layer: str, chosen: Tensor, labels: Tensor | None) -> xr.DataArray:
    """The score of each decision that each chosen input meets, NaN where it meets none. Shapes: -> (input, node).

    Of many nodes the first 512 are shown, which are those near the root.
    """
    node, scores = found.node.flatten(0, -2).cpu(), found.scores.flatten(0, -2).float().cpu()
    chosen = chosen[chosen < len(node)]
    shown = min(found.nodes, 2**WIDEST)
    table = torch.full((len(chosen), max(found.nodes, 1)), torch.nan)
    table.scatter_(1, node[chosen], scores[chosen])
    data = xr.DataArray(
        table[:, :shown].numpy(),
        dims=("input", "node"),
        coords={"input": chosen.numpy(), "node": np.arange(shown), "layer": layer.removesuffix(".decisions")},
        name="decisions",
        attrs={"long_name": "score of the decision", "units": "", "signed": 1},
    )
    if labels is not None and labels.dim() == 1 and len(labels) >= len(node):
        data = data.assign_coords(text=("input", [f"class {label}" for label in labels[chosen].tolist()]))
    return data
