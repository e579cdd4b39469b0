"""Tasks made up from a seed, with two inputs each, so that everything a network decides can be drawn in the plane."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from labkit.workbench.datasets.dataset import Dataset

TRAIN, TEST = 4_000, 1_000
LICENCE = "MIT, made by labkit"


class RegionTree(NamedTuple):
    """The hidden tree behind `piecewise_regions`: what a network would have to find out.

    Node 0 is the root; a point x goes from node n to 2n + 1 where directions[n] . x - thresholds[n] < 0, else to
    2n + 2. Leaves are numbered from left to right.
    Shapes: directions (nodes, 2) unit vectors, thresholds (nodes,), classes (leaves,) int64.
    """

    directions: np.ndarray
    thresholds: np.ndarray
    classes: np.ndarray


def two_moons(seed: int = 0) -> Dataset:
    """Two interlocking half circles with noise: the smallest task that no straight line solves.

    Shapes: train_x (4000, 2) and test_x (1000, 2) float32, within about -1.6..1.6.
    """

    def draw(chance: np.random.Generator, labels: np.ndarray) -> np.ndarray:
        angle = chance.uniform(0, np.pi, len(labels))
        side = np.where(labels == 0, 1.0, -1.0)
        points = np.stack([side * np.cos(angle) - side * 0.5, side * np.sin(angle) - side * 0.25], axis=1)
        return 0.8 * (points + chance.normal(0, 0.15, points.shape))

    return _dataset("two_moons", ("upper moon", "lower moon"), draw, seed)


def spirals(seed: int = 0) -> Dataset:
    """Three spiral arms that wind around each other: a tree needs many straight cuts to follow them.

    Shapes: train_x (4000, 2) and test_x (1000, 2) float32, within about -1.1..1.1.
    """

    def draw(chance: np.random.Generator, labels: np.ndarray) -> np.ndarray:
        along = np.sqrt(chance.uniform(0.01, 1.0, len(labels)))
        angle = 1.25 * 2 * np.pi * along + labels * (2 * np.pi / 3)
        points = along[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return points + chance.normal(0, 0.02, points.shape)

    return _dataset("spirals", ("first arm", "second arm", "third arm"), draw, seed)


def piecewise_regions(seed: int = 0) -> Dataset:
    """A square cut into 16 regions by a hidden tree of slanted lines; neighbours under one node differ in class.

    A tree of depth 4 can be exactly right on it, and `region_tree(seed)` is that tree.
    Shapes: train_x (4000, 2) and test_x (1000, 2) float32 in -1..1.
    """
    hidden = region_tree(seed)

    def draw(chance: np.random.Generator, labels: np.ndarray) -> np.ndarray:
        # The label is drawn first so that the classes are balanced; points are then kept where the tree gives it.
        candidates = chance.uniform(-1, 1, (20 * len(labels), 2)).astype(np.float32)
        found = hidden.classes[region_of(candidates, hidden)]
        points = np.empty((len(labels), 2), np.float32)
        for label in range(4):
            wanted = np.flatnonzero(labels == label)
            points[wanted] = candidates[found == label][: len(wanted)]
        return points

    return _dataset("piecewise_regions", ("A", "B", "C", "D"), draw, seed)


def region_tree(seed: int = 0, depth: int = 4) -> RegionTree:
    """The hidden tree of `piecewise_regions`: random directions, thresholds that halve what reaches each node.

    Shapes: see RegionTree, with 2**depth - 1 nodes and 2**depth leaves; four classes, equally many leaves each.
    """
    chance = np.random.default_rng([seed, 1])
    angle = chance.uniform(0, np.pi, 2**depth - 1)
    directions = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    thresholds = np.zeros(2**depth - 1)
    points = chance.uniform(-1, 1, (20_000, 2))
    node = np.zeros(len(points), np.int64)
    for current in range(2**depth - 1):
        here = node == current
        scores = points[here] @ directions[current]
        thresholds[current] = np.median(scores)
        node[here] = 2 * current + 1 + (scores >= thresholds[current])
    # Every four leaves in a row hold each class once: two leaves of one node never agree.
    classes = np.concatenate([chance.permutation(4) for _ in range(2**depth // 4)])
    return RegionTree(directions, thresholds, classes)


def region_of(points: np.ndarray, tree: RegionTree) -> np.ndarray:
    """Which leaf of the hidden tree each point falls into.

    Shapes: points (n, 2) -> (n,) int64 in 0..leaves - 1.
    """
    node = np.zeros(len(points), np.int64)
    while node.size and node[0] < len(tree.thresholds):
        score = (points * tree.directions[node]).sum(axis=1) - tree.thresholds[node]
        node = 2 * node + 1 + (score >= 0)
    return node - len(tree.thresholds)


Draw = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def _dataset(name: str, classes: tuple[str, ...], draw: Draw, seed: int) -> Dataset:
    chance = np.random.default_rng(seed)
    parts = []
    for points in (TRAIN, TEST):
        labels = chance.permutation(np.arange(points) % len(classes))
        parts += [torch.from_numpy(draw(chance, labels).astype(np.float32)), torch.from_numpy(labels)]
    return Dataset(
        name,
        *parts,
        classes=classes,
        source=f"made up by labkit from seed {seed}",
        licence=LICENCE,
        features=("x", "y"),
    )
