"""Which hidden units of a layer are active together, and whether they fall into groups as the experts of a mixture do.

    lift_ij = log2 (n_ij + 1/2) / (n_i n_j / R + 1/2)         bits; 1 means: together twice as often as by chance

n_i is at how many of the R rows unit i is active, n_ij at how many both are. The halves keep rare units near 0.
The groups: of the correlations between the units' activity, negative ones taken as 0, as weights of a graph, the
spectral embedding is cut by Ward's clustering into 2 to 16 groups, and the cut with the largest modularity

    Q = (1/2m) Σ_ij (w_ij - s_i s_j / 2m) [same group],      s_i = Σ_j w_ij,   2m = Σ s_i

is kept. Any graph has some modularity: the same is done with each unit's activity shuffled over the rows, which keeps
how often each is active and nothing else. A layer is like a mixture of experts only in so far as it exceeds that.

Source: the co-activation graph of "MoEfication: Transformer Feed-forward Layers are Mixtures of Experts" (P209); the
modularity is Newman's, "Modularity and community structure in networks" (2006).
"""

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example
from labkit.recording.hidden import hidden, sampled

GROUPS = (2, 3, 4, 5, 6, 8, 10, 12, 16)
BUSY = 0.8
"""Without exact zeros, a unit counts as active where its modulus is among the largest fifth of its layer's."""


def coactivation(
    model: nn.Module,
    batch: tuple[Tensor, ...],
    *,
    layer: str | None = None,
    threshold: float | None = None,
    units: int = 256,
    rows: int = 4096,
    shuffles: int = 3,
) -> xr.DataArray:
    """How much more often than by chance each two units of a layer are active together, units in order of their group.

    `layer` is a name as in `unit_activity`; without it, the first block. `threshold` is the modulus above which a unit
    counts as active: without it 0 where at least 5 % of the activations are exactly 0, else what only a fifth exceeds.
    Of more than `units` units those are kept whose activity varies most, being active in nearly half the rows.

    Shapes: batch (x, ...) -> (unit, other) in bits, with the coordinate `cluster` (unit). attrs: `modularity`,
    `modularity_shuffled` (the mean of `shuffles` shuffles), `clusters`, `threshold`, `sampled`.
    Raises: NothingRecorded when the model has no block whose hidden units can be read; LabError for an unknown layer, for
    one with fewer than 3 units that are active at times, and where SciPy is not installed.
    """
    found = hidden(model, batch)
    name = next(iter(found)) if layer is None else layer
    if name not in found:
        raise LabError(f"There are no hidden units recorded under {name!r}; the layers are {', '.join(found)}.")
    table = coactivation_of(found[name].values, threshold=threshold, units=units, rows=rows, shuffles=shuffles)
    return table.assign_attrs(layer=name)


def coactivation_of(
    values: Tensor, *, threshold: float | None = None, units: int = 256, rows: int = 4096, shuffles: int = 3
) -> xr.DataArray:
    """The same of one layer's activations (rows, units) that are at hand."""
    looked = sampled(values, rows).float().abs().cpu()
    limit = threshold_of(looked) if threshold is None else threshold
    active = (looked > limit).numpy().astype(np.float32)
    often = active.mean(0)
    varying = np.flatnonzero((often > 0) & (often < 1))
    if len(varying) < 3:
        raise LabError(
            f"Only {len(varying)} of {len(often)} units are active at some rows and not at others for the threshold "
            f"{limit:.3g}; choose another threshold, or more inputs."
        )
    kept = np.sort(varying[np.argsort(-often[varying] * (1 - often[varying]), kind="stable")[:units]])
    active = active[:, kept]
    cluster, quality = groups_of(_correlated(active))
    random = np.random.default_rng(0)
    chance = [groups_of(_correlated(random.permuted(active, axis=0)))[1] for _ in range(shuffles)]
    order = np.lexsort((kept, cluster))
    lift = lift_of(active)[np.ix_(order, order)]
    return xr.DataArray(
        lift.astype(np.float32),
        dims=("unit", "other"),
        coords={"unit": kept[order], "other": kept[order], "cluster": ("unit", cluster[order])},
        name="coactivation",
        attrs={
            "long_name": "active together, against chance",
            "units": "bits",
            "threshold": float(limit),
            "clusters": int(cluster.max()) + 1,
            "modularity": quality,
            "modularity_shuffled": float(np.mean(chance)) if chance else float("nan"),
            "sampled": f"{len(kept):,} of {len(often):,} units at {len(looked):,} of {len(values):,} rows",
        },
    )


def threshold_of(sizes: Tensor) -> float:
    """Above which modulus a unit of this layer counts as active, if nobody says."""
    if float((sizes == 0).float().mean()) >= 0.05:
        return 0.0
    some = sampled(sizes.reshape(-1, 1), 2**20).flatten()
    return float(some.sort().values[int(BUSY * (len(some) - 1))])


def lift_of(active: np.ndarray) -> np.ndarray:
    """log2 of how much more often than by chance units are active together. Shapes: (rows, units) 0/1 -> (units, units)."""
    together = (active.T @ active).astype(np.float64)
    alone = together.diagonal()
    return np.log2((together + 0.5) / (np.outer(alone, alone) / max(1, len(active)) + 0.5))


def groups_of(weights: np.ndarray) -> tuple[np.ndarray, float]:
    """The group of each node of a weighted graph, and the modularity of this grouping.

    Shapes: weights (nodes, nodes), symmetric, not negative, 0 on the diagonal -> (nodes,) integers from 0.
    """
    try:
        from scipy.cluster.hierarchy import fcluster, linkage
    except ImportError as missing:
        raise LabError("Finding groups of units needs SciPy, which is not installed: pip install scipy.") from missing
    strength = weights.sum(1)
    if not strength.sum() > 0:
        return np.zeros(len(weights), dtype=int), 0.0
    scale = 1 / np.sqrt(np.where(strength > 0, strength, 1))
    most = min(max(GROUPS), len(weights) - 1)
    directions = np.linalg.eigh(scale[:, None] * weights * scale)[1][:, ::-1]
    best = np.zeros(len(weights), dtype=int), 0.0
    for count in (count for count in GROUPS if count <= most):
        place = directions[:, :count]
        length = np.linalg.norm(place, axis=1, keepdims=True)
        tree = linkage(place / np.where(length > 0, length, 1), "ward")
        group = fcluster(tree, count, "maxclust") - 1
        quality = modularity(weights, group)
        if quality > best[1]:
            best = group, quality
    return best


def modularity(weights: np.ndarray, group: np.ndarray) -> float:
    """Newman's Q of a grouping: 0 for one as good as by chance, below 1 for any. Shapes: (nodes, nodes), (nodes,)."""
    strength = weights.sum(1)
    total = strength.sum()
    same = group[:, None] == group
    return float(((weights - np.outer(strength, strength) / total) * same).sum() / total)


def _correlated(active: np.ndarray) -> np.ndarray:
    """The positive correlations between the columns, 0 on the diagonal."""
    centred = active - active.mean(0)
    length = np.linalg.norm(centred, axis=0)
    centred = centred / np.where(length > 0, length, 1)
    table = np.maximum(centred.T @ centred, 0).astype(np.float64)
    np.fill_diagonal(table, 0)
    return table


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 3)),
    inputs=lambda seed: (torch.randn(40, 4), torch.arange(40) % 3),
)
