"""A feedforward layer that is told which hidden units each input needs, against the dense layer and torch's sparse matrices.

The masks are random and independent, which is the hardest case: at a batch of 64 some input needs almost every unit.
"""

import itertools

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.parts.gathered import active_units, gathered_rows
from labkit.workbench.scoreboard.case import Case, Contestants, Goal, Setting, Work
from labkit.workbench.scoreboard.ceilings import both_ways
from labkit.workbench.scoreboard.timing import varied
from labkit.workbench.scoreboard.ways import plainly, require_alike

WIDTH, UNITS = 768, 3072
BATCHES = (1, 8, 64)
SPARSITIES = (0.5, 0.55, 0.75, 0.8, 0.9, 0.95, 0.99)
Given = tuple[Tensor, Tensor, Tensor]
"""Inputs, the index of the units they need, and the same as a mask of zeros and ones."""


def _sizes(setting: Setting) -> tuple[int, int, int, int]:
    """Batch, width, units and how many of them an input needs."""
    width = int(setting["width"])
    units = 4 * width
    return int(setting["batch"]), width, units, round(units * (1 - float(setting["sparsity"])))


def drawn(setting: Setting) -> list[Given]:
    """Inputs with masks of their own, as many as it takes that the next call's rows are not in the nearest cache."""
    batch, width, units, chosen = _sizes(setting)
    pool = []
    for _ in range(max(4, 64 // batch)):
        index = torch.rand(batch, units).argsort(1)[:, :chosen].sort(1).values.contiguous()
        pool.append((torch.randn(batch, width), index, torch.zeros(batch, units).scatter_(1, index, 1.0)))
    return pool


def contestants(setting: Setting) -> Contestants:
    """Ours, our plain torch, all units in two layouts of the weights, and torch's sparse matrices in two ways."""
    _, width, units, _ = _sizes(setting)
    into, out = torch.randn(units, width) / width**0.5, torch.randn(units, width) / units**0.5
    first, second, turned = torch.randn(units), torch.randn(width), out.T.contiguous()
    pool = drawn(setting)

    def ours(given: Given) -> Tensor:
        return active_units(given[0], given[1], into, first, out, second)

    def dense(given: Given) -> Tensor:
        return F.linear(torch.relu_(F.linear(given[0], into, first)), turned, second)

    def dense_turned(given: Given) -> Tensor:
        return torch.addmm(second, torch.relu_(F.linear(given[0], into, first)), out)

    def after(given: Given) -> Tensor:
        hidden = torch.relu_(F.linear(given[0], into, first)) * given[2]
        return hidden.to_sparse_csr() @ out + second

    masks = {given[1].data_ptr(): (given[2] * first).to_sparse_csr() for given in pool}

    def sampled(given: Given) -> Tensor:
        known = torch.sparse.sampled_addmm(masks[given[1].data_ptr()], given[0], into.T)
        values = torch.relu(known.values())
        hidden = torch.sparse_csr_tensor(known.crow_indices(), known.col_indices(), values, known.shape)
        return hidden @ out + second

    racing = {"ours": ours, "reference": plainly(ours), "torch CSR|after": after, "torch CSR|sampled": sampled}
    require_alike(racing, pool[0], tolerance=1e-4)
    require_alike({"dense": dense, "dense turned": dense_turned}, pool[0], tolerance=1e-4)
    found = {name: varied(way, pool) for name, way in racing.items()}
    for name, way in (("dense", dense), ("dense|turned", dense_turned)):
        both = both_ways(name, varied(way, pool))
        found |= {key.replace("|turned|", "|turned, "): call for key, call in both.items()}
    return found


def second_layer(setting: Setting) -> Contestants:
    """The product with hidden units of which most are 0, where the zeros have still to be found."""
    _, width, units, _ = _sizes(setting)
    out, second = torch.randn(units, width) / units**0.5, torch.randn(width)
    turned = out.T.contiguous()
    pool = [torch.rand(mask.shape) * mask for _, _, mask in drawn(setting)]

    def ours(hidden: Tensor) -> Tensor:
        return gathered_rows(hidden, out, second)

    def dense(hidden: Tensor) -> Tensor:
        return F.linear(hidden, turned, second)

    def sparse(hidden: Tensor) -> Tensor:
        return hidden.to_sparse_csr() @ out + second

    racing = {"ours": ours, "reference": plainly(ours), "torch CSR": sparse}
    require_alike({"dense": dense, **racing}, pool[0], tolerance=1e-4)
    found = {name: varied(way, pool) for name, way in racing.items()}
    return found | both_ways("dense", varied(dense, pool))


def _touched(setting: Setting) -> float:
    """Units that at least one input of a batch needs, expected for independent masks."""
    batch, _, units, _ = _sizes(setting)
    return units * (1 - float(setting["sparsity"]) ** batch)


def work(setting: Setting) -> Work:
    """Multiplications with the units that are needed; each row of a weight that somebody needs is read once."""
    batch, width, units, chosen = _sizes(setting)
    rows = 8.0 * width * _touched(setting), 8.0 * width * units
    return Work(4.0 * batch * chosen * width, (), scattered=(rows,))


def half(setting: Setting) -> Work:
    """The same for the second layer alone; all values have to be looked at."""
    batch, width, units, chosen = _sizes(setting)
    values = 4.0 * batch * units
    rows = 4.0 * width * _touched(setting), 4.0 * width * units
    return Work(2.0 * batch * chosen * width, ((values, max(4, 64 // batch) * values),), scattered=(rows,))


def _share_of_ideal(sparsity: float) -> Goal:
    share = 0.85 if sparsity <= 0.95 else 0.70
    return Goal(
        f"One input, {sparsity:.0%} inactive: at least {share:.0%} of the ideal speed-up {1 / (1 - sparsity):.3g}",
        "dense",
        at_least=share / (1 - sparsity),
        where=lambda setting: setting["batch"] == 1 and setting["sparsity"] == sparsity,
    )


def _break_even(batch: int, sparsity: float) -> Goal:
    return Goal(
        f"As fast as dense from {sparsity:.0%} inactive units on, at batch {batch}",
        "dense",
        at_least=1,
        where=lambda setting: setting["batch"] == batch and setting["sparsity"] == sparsity,
    )


GRID: tuple[Setting, ...] = tuple(
    {"batch": batch, "sparsity": sparsity, "width": WIDTH} for batch, sparsity in itertools.product(BATCHES, SPARSITIES)
)

cases = (
    Case(
        "active-units",
        "Feedforward layer, active units known",
        "Width 768, 3,072 hidden units, of which each input needs a random few that are known beforehand; who predicts them "
        "is not paid for. Over the batch and the sparsity: where it starts to lose to the dense layer.",
        GRID,
        contestants,
        work,
        learns=False,
        goals=(
            *(_share_of_ideal(sparsity) for sparsity in SPARSITIES),
            _break_even(8, 0.55),
            _break_even(64, 0.75),
            Goal("At least twice as fast as torch's CSR matrices everywhere", "torch CSR", at_least=2),
        ),
        quick=tuple(GRID[place] for place in (3, 10, 18)),
    ),
    Case(
        "active-units-second-layer",
        "Second layer alone, zeros found on the way",
        "Exact for a rectified layer without any prediction. The first layer stays dense, so with a share s of zeros the "
        "whole network is at most 2/(2-s) times as fast, twice at best; these ratios are of the second layer alone.",
        GRID,
        second_layer,
        half,
        learns=False,
        quick=tuple(GRID[place] for place in (4, 18)),
    ),
)
