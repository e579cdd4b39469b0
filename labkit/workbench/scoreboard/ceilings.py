"""What this machine can do at best, measured in the same run: how fast it multiplies, how fast it reads.

A machine that others use too is not equally fast all the time. `probes` are two short measurements of the same limits that
take part in every race: how fast the machine was just then.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from threading import Event
from typing import Any

import torch
from torch import Tensor

from labkit.parts.kernels.engine import installed
from labkit.workbench.scoreboard.case import Contestants
from labkit.workbench.scoreboard.timing import _look as look
from labkit.workbench.scoreboard.timing import torch_threads

PRODUCTS = (512, 1024, 2048)
WORKING_SETS = tuple(2**power for power in (15, 17, 20, 22, 24, 26, 28))
"""Bytes: one that fits into any first-level cache, up to one that fits into hardly any last one."""
ROW = 768
"""Numbers of a row, where rows are read here and there."""
PROBED, PROBE_BYTES = 512, 2**24
PROBES = PRODUCTS_NOW, READING_NOW = "ceiling|products", "ceiling|reading"
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
        reads = {
            how: [[size, max(a, b)] for (size, a), (_, b) in zip(limit[how], its[how])]
            for how in ("bandwidth", "scattered")
        }
        probed = {name: max(rate, its["probed"][name]) for name, rate in limit["probed"].items()}
        best[count] = limit | {"matmul": rates, **reads, "probed": probed}
    return best


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


def _exact() -> bool:
    return onednn_error() <= EXACT


def both_ways(name: str, compute: Callable[[], object]) -> Contestants:
    """The same computation as "name|mkl" and, where oneDNN is exact to float32 here, as "name|onednn"."""

    def by_onednn() -> object:
        with precision("oneDNN"):
            return compute()

    return {f"{name}|mkl": compute} | ({f"{name}|onednn": by_onednn} if _exact() else {})


def _ceiling(threads: int, stop: Event | None) -> dict[str, Any]:
    with torch_threads(threads):
        ways = {"MKL": _product_rate("MKL", threads, stop)}
        if _exact():
            ways["oneDNN"] = _product_rate("oneDNN", threads, stop)
        matmul = {**ways, "best": max(ways.values())}
        table = torch.ones(WORKING_SETS[-1] // 4)
        reads = [[size, _reading_rate(table[: size // 4], threads, stop)] for size in WORKING_SETS]
        rows = [[size, _scattered_rate(table[: size // 4], threads, stop)] for size in WORKING_SETS]
        look(stop)
        probed = {name: 1 / _least(probe, threads) for name, probe in probes(threads).items()}
    return {"matmul": matmul, "bandwidth": reads, "scattered": rows, "probed": probed, "oneDNN error": onednn_error()}


def probes(threads: int) -> Contestants:
    """Two contestants for a race: a product and a reading whose least times are known from `ceilings`."""
    a, b, out = (torch.randn(PROBED, PROBED) for _ in range(3))
    table = torch.ones(PROBE_BYTES // 4)
    ways = {way: partial(torch.mm, a, b, out=out) for way in ("MKL", "oneDNN") if way == "MKL" or _exact()}

    def products() -> None:
        for way, multiply in ways.items():
            with precision(way):
                multiply()

    return {PRODUCTS_NOW: products, READING_NOW: _reader(table, 1, threads)}


def slowed(limit: Mapping[str, Any], pace: Mapping[str, float]) -> dict[str, Any]:
    """The limits at a time when the machine only reached these shares of what it can, by the name of the probe."""
    products, reading = pace[PRODUCTS_NOW], pace[READING_NOW]
    rates = {way: rate * products for way, rate in limit["matmul"].items()}
    reads = {how: [[size, rate * reading] for size, rate in limit[how]] for how in ("bandwidth", "scattered")}
    return dict(limit) | {"matmul": rates, **reads}


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
    passes = max(1, 2**26 // table.nbytes)
    taken = []
    for apart in (False, True):
        look(stop)
        taken.append(_least(_reader(table, passes, threads, apart), threads))
    return table.nbytes * passes / min(taken)


def _scattered_rate(table: Tensor, threads: int, stop: Event | None) -> float:
    """Rows of ROW numbers in an order of no order, half of them at each pass, as rows are when each call needs others."""
    look(stop)
    rows = max(2, table.numel() // ROW // threads)
    random, passes = torch.Generator().manual_seed(0), max(1, 2**23 // (rows * ROW * 2))
    order = torch.cat([torch.randperm(rows, generator=random)[: -(-rows // 2)] for _ in range(passes)])
    table = table if table.numel() >= rows * threads * ROW else torch.ones(rows * threads * ROW)
    starts = [table.data_ptr() + 4 * ROW * rows * part for part in range(threads)]
    moved = 4 * ROW * len(order)
    if not installed():
        whole = table[: rows * ROW].view(rows, ROW)
        return moved / _least(lambda: whole.index_select(0, order), threads)
    from labkit.workbench.scoreboard.reading import read_rows

    def part(start: int) -> None:
        read_rows(start, order.data_ptr(), len(order), ROW)

    part(starts[0])
    if threads == 1:
        return moved / _least(lambda: part(starts[0]), threads)
    with ThreadPoolExecutor(threads) as pool:
        return threads * moved / _least(lambda: list(pool.map(part, starts)), threads)


def _reader(table: Tensor, passes: int, threads: int, apart: bool = True) -> Callable[[], object]:
    """Reads the whole table `passes` times, each thread its own part: from front to back, or from four places at once."""
    if not installed():
        return lambda: [torch.sum(table) for _ in range(passes)]
    from labkit.workbench.scoreboard.reading import STRIDE, read, read_apart

    way = read_apart if apart else read
    part = table.numel() // threads // STRIDE * STRIDE
    way(table.data_ptr(), STRIDE, 1)  # compiles
    if threads == 1:
        return lambda: (way(table.data_ptr(), part, passes), table)[0]
    pool = ThreadPoolExecutor(threads)
    starts = [table.data_ptr() + 4 * part * place for place in range(threads)]
    return lambda: (list(pool.map(lambda start: way(start, part, passes), starts)), table)[0]


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
