"""How long something takes on this machine, beside something else: in turns, on one thread, the median.

A product that skips silent units is timed beside the dense one, because fewer operations need not be less time.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.parts.gathered import gathered_row, gathered_rows

SINGLE = 4
"""Rows that the products for one input are timed on."""


def product_times(values: Tensor, weight: Tensor, bias: Tensor | None = None, *, seconds: float = 0.05) -> list[float]:
    """Milliseconds of a product with hidden units of which some are 0: gathered and dense, for one row and for all.

    Shapes: values (rows, units), weight (outputs, units), bias (outputs,). Returns four numbers: one row gathered, one
    row dense, all rows gathered, all rows dense. They are float32 on the CPU, in turns, the weights laid out for each.
    """
    many, dense = values.detach().float().cpu().contiguous(), weight.detach().float().cpu().contiguous()
    added = None if bias is None else bias.detach().float().cpu()
    packed, single = dense.T.contiguous(), list(many[:SINGLE])
    times = side_by_side(
        (
            lambda: [gathered_row(row, packed, added) for row in single],
            lambda: [F.linear(row, dense, added) for row in single],
            lambda: gathered_rows(many, packed, added),
            lambda: F.linear(many, dense, added),
        ),
        seconds=seconds,
    )
    return [times[0] / len(single), times[1] / len(single), times[2], times[3]]


def side_by_side(
    acts: Sequence[Callable[[], object]], *, seconds: float = 0.05, least: int = 5, most: int = 100
) -> list[float]:
    """Milliseconds of each act: the median of what its thread worked, the acts run in turns.

    Turns are taken until `seconds` have passed, at least `least` and at most `most`; one more before them warms up.
    The time is the thread's own, so what other programs do meanwhile counts little.
    """
    times: list[list[int]] = [[] for _ in acts]
    with one_thread():
        for act in acts:
            act()
        began = time.perf_counter()
        while len(times[0]) < least or (len(times[0]) < most and time.perf_counter() - began < seconds):
            for act, taken in zip(acts, times):
                start = time.thread_time_ns()
                act()
                taken.append(time.thread_time_ns() - start)
    return [statistics.median(taken) / 1e6 for taken in times]


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes on one thread while the block runs, so that its thread's time is all of the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
