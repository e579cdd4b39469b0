"""Fair timing: every contestant once in each round, in shuffled order, on one thread, by the processor's own clock."""

import random
import statistics
import time
from collections.abc import Callable, Mapping

import torch


def race(contestants: Mapping[str, Callable[[], object]], rounds: int = 25) -> dict[str, list[float]]:
    """Seconds of processor time of each contestant in each round, after two rounds of warming."""
    torch.set_num_threads(1)
    order, seconds = random.Random(0), {name: [] for name in contestants}
    for number in range(rounds + 2):
        for name in order.sample(list(contestants), len(contestants)):
            start = time.thread_time()
            contestants[name]()
            if number >= 2:
                seconds[name].append(time.thread_time() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], of: str, to: str) -> tuple[float, float, float]:
    """Median and quartiles of the ratio of two contestants, round by round."""
    ratios = [one / other for one, other in zip(seconds[of], seconds[to], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return middle, low, high


def table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Print rows in aligned columns."""
    widths = [max(len(str(row[place])) for row in [header, *rows]) for place in range(len(header))]
    print(f"\n{title}")
    for row in [header, ["-" * width for width in widths], *rows]:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
