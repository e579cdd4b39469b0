"""How trainings compute here: on one thread, with numbers too small to matter taken as 0.

Small models gain nothing from more threads, and one gives the same bits everywhere. Numbers below 1e-38, as Adam's
averages become for weights that no longer get a gradient, cost a processor many times as much as others: a training
that runs for thousands of steps slows down to half its speed by them. Both hold for the thread that asks, not for others.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def compute_plainly() -> None:
    """Let this thread compute so from now on."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


@contextmanager
def plainly() -> Iterator[None]:
    """Within this block this thread computes so; afterwards as before."""
    threads, flushed = torch.get_num_threads(), float(torch.tensor(1e-39) * 0.5) == 0.0
    compute_plainly()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushed)
