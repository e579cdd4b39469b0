"""The numbers behind the picture of a tree: what flows through each node, and where node and branch are drawn."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from labkit.errors import LabError


@dataclass(frozen=True)
class Flow:
    """A tree at one step.

    Shapes:
        bits: (2^depth - 1) entropy of each node's decision, NaN where there is none
        share: (2^depth) the part of the inputs that ends in each leaf
    """

    bits: np.ndarray
    share: np.ndarray

    @property
    def depth(self) -> int:
        return len(self.share).bit_length() - 1

    @cached_property
    def through(self) -> np.ndarray:
        """The part of the inputs that comes to each node, and then to each leaf: (2^(depth+1) - 1)."""
        levels = [self.share]
        while len(levels[0]) > 1:
            levels.insert(0, levels[0].reshape(-1, 2).sum(1))
        return np.concatenate(levels)

    @cached_property
    def right(self) -> np.ndarray:
        """Of the inputs that come to each node, the part that goes right; NaN where none comes."""
        come = self.through[: len(self.bits)]
        goes = self.through[2::2][: len(self.bits)]
        return np.divide(goes, come, out=np.full(len(come), np.nan), where=come > 0)


def middle(node: np.ndarray, depth: int) -> np.ndarray:
    """Where a node stands above the leaves, in half leaves from the left: leaf 0 at 0, leaf 1 at 2, their parent at 1."""
    level = level_of(node)
    return (2 * (node + 1 - 2**level) + 1) * 2 ** (depth - level) - 1


def level_of(node: np.ndarray) -> np.ndarray:
    """How many decisions come before a node: 0 for the root."""
    return np.floor(np.log2(np.asarray(node) + 1)).astype(int)


def flows(entropy: xr.DataArray, load: xr.DataArray) -> tuple[list, list[Flow]]:
    """The tree at every step that both recordings have, and the steps (an empty list where there is no such axis).

    Raises:
        LabError: sizes that are not those of one tree, or no step in common.
    """
    steps = []
    if "step" in entropy.dims and "step" in load.dims:
        steps = [step for step in entropy["step"].values.tolist() if step in set(load["step"].values.tolist())]
        if not steps:
            raise LabError("tree found no step that entropy and load have in common; record both at the same steps.")
        entropy, load = entropy.sel(step=steps), load.sel(step=steps)
    elif "step" in entropy.dims or "step" in load.dims:
        raise LabError("tree needs the axis step in both entropy and load, or in neither; choose one with data.sel.")
    bits = np.atleast_2d(entropy.values.astype(np.float64))
    share = np.atleast_2d(load.values.astype(np.float64))
    bits, share = np.where(np.isfinite(bits), bits, np.nan), np.where(np.isfinite(share), share, np.nan)
    leaves = int(np.flatnonzero(~np.isnan(share).all(0))[-1]) + 1
    depth = leaves.bit_length() - 1
    surplus = bits[:, leaves - 1 :]
    if leaves != 2**depth or depth < 1 or bits.shape[1] < leaves - 1 or not np.isnan(surplus).all():
        nodes = int(np.flatnonzero(~np.isnan(bits).all(0))[-1]) + 1
        raise LabError(
            f"tree needs 2^depth leaves and 2^depth - 1 nodes, and found load {dict(load.sizes)} with {leaves} leaves "
            f"and entropy {dict(entropy.sizes)} with {nodes} nodes; choose one arm and layer with data.sel."
        )
    share = np.nan_to_num(share[:, :leaves])
    if share.min() < 0:
        raise LabError("tree needs shares of inputs in load, from 0 to 1, and found a negative one.")
    total = share.sum(1, keepdims=True)
    share = np.divide(share, total, out=np.zeros_like(share), where=total > 0)
    return steps, [Flow(row, part) for row, part in zip(bits[:, : leaves - 1], share)]
