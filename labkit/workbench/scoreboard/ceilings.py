"""What this machine can do at best, measured in the same run: how fast it multiplies, how fast it reads.

The floor of a setting is the time that the hardware needs for the least work: its multiplications at the best rate that
any matrix product of float32 reached here, or the bytes that it must read at the bandwidth of a working set of that size,
whichever takes longer. Nothing can be much faster than its floor, unless its data lay in a cache already.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Event
from typing import Any

import torch
from torch import Tensor

from labkit.parts.kernels.engine import installed
from labkit.workbench.scoreboard.case import Contestants, Work
from labkit.workbench.scoreboard.timing import _look as look
from labkit.workbench.scoreboard.timing import torch_threads

PRODUCTS = (512, 1024, 2048)
WORKING_SETS = tuple(2**power for power in (17, 20, 22, 24, 26, 28))
"""Bytes: one that fits into any second-level cache, up to one that fits into none."""
EXACT = 1e-5
"""Largest error, relative to the largest number of the answer, that counts as float32."""
GREEDY, MOMENT = 5, 0.008


def ceilings(threads: Sequence[int], stop: Event | None = None) -> dict[str, Any]:
    """Number of threads (as text) -> "matmul" (operations a second by way; "best") and "bandwidth" ([bytes, a second])."""
    found: dict[str, Any] = {}
    for count in sorted({1, *threads}):
        found[str(count)] = _ceiling(count, stop)
        if count > 1:  # several can do what one can; on a busy machine they may not have shown it
            found[str(count)] = best_of({"": found[str(count)]}, {"": found["1"]})[""]
    return found


def best_of(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The better of two measurements of the same ceilings."""
    best = {}
    for count, limit in one.items():
        its = other[count]
        rates = {way: max(rate, its["matmul"].get(way, 0.0)) for way, rate in limit["matmul"].items()}
        reads = [[size, max(a, b)] for (size, a), (_, b) in zip(limit["bandwidth"], its["bandwidth"])]
        best[count] = limit | {"matmul": rates, "bandwidth": reads}
    return best


def floor(work: Work, ceiling: dict[str, Any]) -> dict[str, Any]:
    """`seconds` that this work takes at least, `bound` ("arithmetic" or "memory") and what that is in words."""
    rate, speed = ceiling["matmul"]["best"], bandwidth(work.bytes, ceiling)
    computing, reading = work.flops / rate, work.bytes / speed
    bound = "arithmetic" if computing >= reading else "memory"
    says = (
        f"{_million(work.flops)} million operations at {rate / 1e9:.0f} a nanosecond"
        if bound == "arithmetic"
        else f"{_million(work.bytes)} MB at {speed / 1e9:.0f} GB/s"
    )
    return {"seconds": max(computing, reading), "bound": bound, "says": says}


def _million(value: float) -> str:
    return f"{value / 1e6:,.0f}" if value >= 1e8 else f"{value / 1e6:.3g}"


def bandwidth(size: float, ceiling: dict[str, Any]) -> float:
    """Bytes a second for a working set of this size: between two that were measured along the logarithm."""
    known = ceiling["bandwidth"]
    if size <= known[0][0]:
        return known[0][1]
    for (small, fast), (large, slow) in itertools.pairwise(known):
        if size <= large:
            part = math.log(size / small) / math.log(large / small)
            return fast * (slow / fast) ** part
    return known[-1][1]


@contextmanager
def precision(way: str) -> Iterator[None]:
    """Matrix products by "MKL" (torch's ordinary way) or by "oneDNN", where torch offers it."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if way == "oneDNN" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def onednn_error() -> float:
    """Largest relative error of oneDNN's product: on some processors it multiplies in bfloat16, which is no float32."""
    random = torch.Generator().manual_seed(0)
    a, b = (torch.randn(512, 512, generator=random) for _ in range(2))
    truth = a.double() @ b.double()
    with precision("oneDNN"):
        return float((torch.mm(a, b) - truth).abs().max() / truth.abs().max())


def both_ways(name: str, compute: Callable[[], object]) -> Contestants:
    """The same computation as "name|mkl" and, where oneDNN is exact to float32 here, as "name|onednn"."""

    def by_onednn() -> object:
        with precision("oneDNN"):
            return compute()

    return {f"{name}|mkl": compute} | ({f"{name}|onednn": by_onednn} if onednn_error() <= EXACT else {})


def _ceiling(threads: int, stop: Event | None) -> dict[str, Any]:
    with torch_threads(threads):
        ways = {"MKL": _product_rate("MKL", threads, stop)}
        if onednn_error() <= EXACT:
            ways["oneDNN"] = _product_rate("oneDNN", threads, stop)
        matmul = {**ways, "best": max(ways.values())}
        table = torch.ones(WORKING_SETS[-1] // 4)
        reads = [[size, _reading_rate(table[: size // 4], threads, stop)] for size in WORKING_SETS]
    return {"matmul": matmul, "bandwidth": reads, "oneDNN error": onednn_error()}


def _product_rate(way: str, threads: int, stop: Event | None) -> float:
    best = 0.0
    with precision(way):
        for width in PRODUCTS:
            look(stop)
            a, b, out = (torch.randn(width, width) for _ in range(3))
            taken = _least(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), threads)
            best = max(best, 2 * width**3 / taken)
    return best


def _reading_rate(table: Tensor, threads: int, stop: Event | None) -> float:
    look(stop)
    passes = max(1, 2**26 // table.nbytes)
    return table.nbytes * passes / _least(_reader(table, passes, threads), threads)


def _reader(table: Tensor, passes: int, threads: int) -> Callable[[], object]:
    """Reads the whole table `passes` times, each thread its own part."""
    if not installed():
        return lambda: [torch.sum(table) for _ in range(passes)]
    from labkit.workbench.scoreboard.reading import STRIDE, read

    part = table.numel() // threads // STRIDE * STRIDE
    read(table.data_ptr(), STRIDE, 1)  # compiles
    if threads == 1:
        return lambda: read(table.data_ptr(), part, passes)
    pool = ThreadPoolExecutor(threads)
    starts = [table.data_ptr() + 4 * part * place for place in range(threads)]
    return lambda: list(pool.map(lambda start: read(start, part, passes), starts))


def _least(call: Callable[[], object], threads: int) -> float:
    """The least seconds of some calls: a ceiling is what was reached once."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    call()
    taken, spent = [], 0.0
    while len(taken) < GREEDY or spent < 3 * MOMENT:
        began = clock()
        call()
        taken.append(max(clock() - began, 1e-9))
        spent += taken[-1]
    return min(taken)
