"""Divides the hidden units of a layer into groups of one size: by their weights, by when they are active, or by chance.

    evenly_assigned      min Σ_i cost[i, g(i)]   with equally many i in each group g        exact
    weight_clusters      balanced k-means: the above on distances, then new means, until nothing moves
    active_together      the graph of who is active with whom, cut so that little is cut:   max Σ_{g(i) = g(j)} w_ij
    drawn                at random: the control

Symbols: i, j units, g groups, w_ij how often two units are active in the same row, divided by √(n_i n_j).

The assignment starts from every unit's cheapest group and moves one unit after the other out of crowded groups along the
path of groups on which the total rises least. A start that is best for its own sizes stays so after each such path, so
the end is the optimum, and the search is over groups instead of units: thousands of units take seconds.

`divided` is the door to all of these by a word; "random" is `drawn`.

Source: the two splits of "MoEfication: Transformer Feed-forward Layers are Mixtures of Experts" (P209). There the graph is
cut by METIS; here by balanced k-means on its leading eigenvectors and exchanges of two units while that cuts less.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from labkit.parts.threshold import counted_active

Norm = Literal["squares", "absolute"]
Split = Literal["weights", "co-activation", "random"]
SPLITS: tuple[Split, ...] = ("weights", "co-activation", "random")


def divided(into: Tensor, hidden: Callable[[], Tensor], groups: int, split: Split, seed: int = 0) -> Tensor:
    """The group of each unit, by one of `SPLITS`. `hidden` is asked for what the units said only where it is needed.

    Shapes: into (units, in_width) the ingoing weights, hidden() (rows, units) -> (units,) integers.
    Raises: ValueError where the units do not make groups of one size.
    """
    if split == "random":
        return drawn(len(into), groups, seed=seed)
    if split == "weights":
        return weight_clusters(into, groups, seed=seed)
    return active_together(counted_active(hidden()).float(), groups, seed=seed)


def evenly_assigned(cost: np.ndarray, prices: np.ndarray | None = None) -> np.ndarray:
    """The group of each unit, equally many in each, at the lowest total cost.

    `prices` (groups,) are added to the costs for the start only: with good ones fewer units have to move. They do not
    change the answer's cost.
    Shapes: cost (units, groups), finite -> (units,) integers.
    Raises: ValueError where the units do not make groups of one size.
    """
    units, groups = cost.shape
    size = size_of_groups(units, groups)
    cost = np.asarray(cost, dtype=np.float64)
    chosen = (cost if prices is None else cost + prices).argmin(1)
    count = np.bincount(chosen, minlength=groups)
    dearer, mover = np.full((groups, groups), np.inf), np.zeros((groups, groups), dtype=np.int64)

    def look(group: int) -> None:
        """Who leaves this group for each other one most cheaply."""
        members = np.flatnonzero(chosen == group)
        if not len(members):
            dearer[group] = np.inf
            return
        rise = cost[members] - cost[members, group, None]
        best = rise.argmin(0)
        dearer[group], mover[group] = rise[best, np.arange(groups)], members[best]
        dearer[group, group] = np.inf

    for group in range(groups):
        look(group)
    slack = 1e-12 * max(1.0, float(np.abs(cost).max()))
    while (count > size).any():
        total, before = np.where(count > size, 0.0, np.inf), np.full(groups, -1)
        for _ in range(groups):
            through = total[:, None] + dearer
            least = through.argmin(0)
            shorter = through[least, np.arange(groups)]
            better = shorter < total - slack
            if not better.any():
                break
            total[better], before[better] = shorter[better], least[better]
        at = int(np.where(count < size, total, np.inf).argmin())
        count[at] += 1
        changed = {at}
        while before[at] >= 0:
            source = int(before[at])
            chosen[mover[source, at]] = at
            changed.add(source)
            at = source
        count[at] -= 1
        for group in changed:
            look(group)
    return chosen


def size_of_groups(units: int, groups: int) -> int:
    """Units in each group. Raises: ValueError where they do not make groups of one size."""
    if groups < 1 or units % groups:
        fits = [one for one in range(2, min(units, 257)) if units % one == 0]
        raise ValueError(
            f"{units} units do not make {groups} groups of one size; numbers of groups that fit are "
            f"{', '.join(map(str, fits)) or 'none'}."
        )
    return units // groups


def weight_clusters(
    rows: Tensor, groups: int, *, norm: Norm = "squares", rounds: int = 20, start: Tensor | None = None, seed: int = 0
) -> Tensor:
    """Balanced k-means: rows that lie near each other share a group, and all groups have one size.

    The distance is the sum of squares, or of absolute differences; centres are means in both. They start at `start`
    (groups, features), or at rows drawn far from each other.
    Shapes: rows (units, features) -> (units,) integers.
    """
    size_of_groups(len(rows), groups)
    rows = rows.detach().float().cpu()
    centres = _far_apart(rows, groups, seed) if start is None else start.detach().float().cpu().clone()
    found, before = torch.full((len(rows),), -1), float("inf")
    prices = None
    for _ in range(rounds):
        cost = torch.cdist(rows, centres, p=2).square() if norm == "squares" else torch.cdist(rows, centres, p=1)
        # a group that was too near to too many last time is dear from the start
        new = torch.from_numpy(evenly_assigned(cost.numpy(), prices))
        paid = float(cost.gather(1, new[:, None]).sum())
        if torch.equal(new, found) or paid > before * (1 - 1e-4):
            break
        found, before = new, paid
        prices = _prices(cost, found)
        centres = torch.zeros_like(centres).index_add_(0, found, rows) / (len(rows) // groups)
    return found


def _prices(cost: Tensor, found: Tensor) -> np.ndarray:
    """How much dearer each group would have to be for its members to want no other: a start for the next round."""
    least = cost.min(1).values
    own = cost.gather(1, found[:, None]).squeeze(1)
    push = torch.zeros(cost.shape[1]).index_add_(0, found, own - least) / (len(found) / cost.shape[1])
    return (push.mean() - push).double().numpy()


def _far_apart(rows: Tensor, groups: int, seed: int) -> Tensor:
    """Rows drawn one after the other, each with a chance that grows with its squared distance from those drawn."""
    chance = torch.Generator().manual_seed(seed)
    picked = [int(torch.randint(len(rows), (1,), generator=chance))]
    near = (rows - rows[picked[0]]).square().sum(1)
    while len(picked) < groups:
        weight = near if float(near.sum()) > 0 else torch.ones_like(near)
        picked.append(int(torch.multinomial(weight, 1, generator=chance)))
        near = torch.minimum(near, (rows - rows[picked[-1]]).square().sum(1))
    return rows[picked].clone()


def active_together(active: Tensor, groups: int, *, passes: int = 4, seed: int = 0) -> Tensor:
    """Groups of units that are active in the same rows.

    Shapes: active (rows, units), not negative: 0 and 1, or activations -> (units,) integers.
    """
    size_of_groups(active.shape[1], groups)
    active = active.detach().float().cpu()
    often = active.square().sum(0).clamp_min(1e-12)
    scaled = active / often.sqrt()
    _, spread, directions = _leading(scaled, min(groups, *scaled.shape), seed)
    found = weight_clusters(directions * spread, groups, seed=seed)
    together = scaled.T @ scaled
    return exchanged(together.fill_diagonal_(0), found, passes=passes)


def _leading(matrix: Tensor, rank: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Leading singular vectors by a few rounds of subspace iteration: (rows, rank), (rank,), (columns, rank)."""
    chance = torch.Generator().manual_seed(seed)
    basis = torch.randn(matrix.shape[1], min(rank + 8, *matrix.shape), generator=chance)
    for _ in range(6):
        basis = torch.linalg.qr(matrix.T @ (matrix @ basis)).Q
    left, spread, right = torch.linalg.svd(matrix @ basis, full_matrices=False)
    return left[:, :rank], spread[:rank], (basis @ right.T)[:, :rank]


def exchanged(weights: Tensor, found: Tensor, *, passes: int = 4) -> Tensor:
    """The same groups after exchanging two units wherever that raises the weight within groups.

    Shapes: weights (units, units), symmetric, 0 on the diagonal; found (units,) -> (units,).
    """
    found = found.clone()
    held = torch.nn.functional.one_hot(found, int(found.max()) + 1).to(weights)
    attached = weights @ held  # (units, groups): how strongly a unit is tied to each group
    every = torch.arange(len(found))
    for _ in range(passes):
        moved = 0
        wish = attached.max(1).values - attached[every, found]
        for unit in wish.argsort(descending=True).tolist():
            own = int(found[unit])
            gain = attached[unit, found] - attached[unit, own]  # what this unit gains in the other's place
            gain = gain + attached[:, own] - attached[every, found] - 2 * weights[unit]
            gain[found == own] = -1
            best = int(gain.argmax())
            if gain[best] <= 1e-6:
                continue
            other = int(found[best])
            tie = weights[:, best] - weights[:, unit]
            attached[:, own] += tie
            attached[:, other] -= tie
            found[unit], found[best] = other, own
            moved += 1
        if not moved:
            break
    return found


def drawn(units: int, groups: int, *, seed: int = 0) -> Tensor:
    """Groups of one size by chance. -> (units,) integers."""
    size = size_of_groups(units, groups)
    order = torch.randperm(units, generator=torch.Generator().manual_seed(seed))
    return torch.empty(units, dtype=torch.long).index_copy_(0, order, torch.arange(groups).repeat_interleave(size))


def members(found: Tensor) -> Tensor:
    """The units of each group, ascending. Shapes: (units,) -> (groups, size)."""
    return found.argsort(stable=True).view(int(found.max()) + 1, -1)
