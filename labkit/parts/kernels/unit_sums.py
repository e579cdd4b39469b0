"""Sum, sum of squares and number of active values of each unit, in one reading of the values: for those who record.

Of values (rows, units) and a centre (units,): Σ(x - c), Σ(x - c)² and how often |x| > threshold (with a threshold of 0:
how often x ≠ 0), over the rows. Blocks of 32 rows are added up in single precision, the blocks in double precision.

No gradient flows through it, so torch need not know it as an operation.
"""

import struct
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from labkit.parts.kernels.engine import Kernel, suits, threads_for
from labkit.parts.kernels.fast_path import FastPath

PAYS_FROM = 16_384
"""Values below which numpy's three passes, out of the cache, are as quick as asking."""
COLUMNS = 64
"""Columns at least for each thread: a few whole lines of the cache."""

_sums = Kernel("unit_sums", "unit_sums")


def unit_sums(values: Tensor, centre: Tensor | None, threshold: float = 0.0, onto: Tensor | None = None) -> Tensor:
    """The three sums of each unit: values (rows, units), centre (units,) or None for 0 -> (3, units) in float64.

    They are added to `onto`, where it is given, a contiguous tensor of that shape and type, and `onto` is returned.
    """
    rows, units = values.shape
    sums = torch.zeros(3, units, dtype=torch.float64) if onto is None else onto
    if not rows or not units:
        return sums
    values = values.resolve_neg()  # torch may have put off a change of sign, which the memory does not show
    if values.stride(1) != 1 and units > 1:
        values = values.contiguous()
    if centre is not None:
        centre = centre.resolve_neg().contiguous()
    threads = threads_for(rows * units)
    _sums(
        max(1, min(threads, units // COLUMNS)),
        values.data_ptr(),
        rows,
        values.stride(0),
        units,
        0 if centre is None else centre.data_ptr(),
        sums.data_ptr(),
        _bits(threshold),
        threads=threads,
    )
    return sums


def plain(values: Tensor, centre: Tensor | None, threshold: float = 0.0) -> Tensor:
    """The same by torch's own operations, all in double precision."""
    active = values.abs() > threshold if threshold else values != 0
    exact = values.double() if centre is None else values.double() - centre.double()
    return torch.stack((exact.sum(0), exact.square().sum(0), active.sum(0).double()))


def pays(values: Tensor, centre: Tensor | None) -> bool:
    """Whether these values are better added up by the compiled code: it is here, and there are enough of them."""
    if values.dtype is not torch.float32 or not values.is_cpu:
        return False
    given = (values,) if centre is None else (values, centre)
    return suits(*given, worth=values.numel() >= PAYS_FROM)


def load() -> None:
    """Load the compiled code now, if it is there and wanted: some tenths of a second, which no later call then takes."""
    one = torch.zeros(1, 1)
    if suits(one):
        unit_sums(one, None)


@lru_cache
def _bits(number: float) -> int:
    """A whole number whose halves both are this float32."""
    return struct.unpack("q", struct.pack("2f", number, number))[0]


def _inputs(seed: int) -> tuple[Any, ...]:
    draw = torch.Generator().manual_seed(seed)
    rows, units = ((1, 1), (37, 5), (0, 7), (300, 64), (33, 97), (2, 1030), (65, 16))[seed % 7]
    values = torch.randn(rows, units, generator=draw).relu()
    if seed % 3 == 1:
        values = torch.randn(3 * rows, units + 3, generator=draw)[::3, :units]
    centre = torch.randn(units, generator=draw) if seed % 2 else None
    return values, centre, 0.05 * (seed % 3)


_EXEMPT = {
    "a compiled graph holds it": "a recorder's hooks are not called in compiled graphs, so torch does not know it"
}

fast_paths = (FastPath(unit_sums, plain, _inputs, exempt=_EXEMPT),)
