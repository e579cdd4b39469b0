"""Which of the kept states can be spared: those whose neighbours are nearest, so the rest stays spread over the steps.

Where the steps are evenly apart that takes every second one. Unmarked ones between others go first, then marked ones
between others, then the first and last of a branch, the oldest first; those that are said to stay never. When there are
many, an eighth more goes than was asked for, so that this is done rarely.
"""

import heapq
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from labkit.workbench.hold.state_files import Size

FEW = 16
"""So few are spared one by one."""
TORN, END = -1, 2
"""Ranks: unreadable ones, then unmarked (0) and marked (1) ones, at last the first and the last of a branch."""


class Kept:
    """One kept state: in memory, in a file, or both."""

    __slots__ = ("branch", "marked", "order", "path", "size", "state", "step", "torn", "writes")

    def __init__(
        self, branch: str, step: int, marked: bool, order: int, size: Size, state: Any = None, path: Path | None = None
    ):
        self.branch, self.step, self.marked, self.order = branch, step, marked, order
        self.size, self.state, self.path = size, state, path
        self.torn = False
        """Whether its file was found to be unreadable."""
        self.writes = size.file
        """Bytes that its file takes; before it is written, about."""


def thin(
    among: list[Kept], stay: Collection[Kept | None], used: Callable[[], int], most: int, drop: Callable[[Kept], None]
) -> None:
    """Drop as many as it takes until `used() <= most`, as far as there are some that need not stay."""
    if used() <= most:
        return
    ordered = sorted(among, key=lambda one: (one.branch, one.step))
    before, after = list(range(-1, len(ordered) - 1)), list(range(1, len(ordered) + 1))
    goal = most * 7 // 8 if len(ordered) > FEW else most

    def dispensable(place: int) -> tuple[int, int, int, int]:
        one, low, high = ordered[place], before[place], after[place]
        if one.torn:
            return TORN, 0, one.order, place
        inside = low >= 0 and high < len(ordered) and ordered[low].branch == one.branch == ordered[high].branch
        if not inside:
            return END, 0, one.order, place
        return int(one.marked), ordered[high].step - ordered[low].step, one.step, place

    ranks = {place: dispensable(place) for place, one in enumerate(ordered) if one not in stay}
    queue = sorted(ranks.values())
    while queue and used() > goal:
        rank = heapq.heappop(queue)
        place = rank[-1]
        if ranks.get(place) != rank:  # a neighbour went since, and the gap is wider now
            continue
        if rank[0] == END and used() <= most:
            return
        del ranks[place]
        drop(ordered[place])
        low, high = before[place], after[place]
        if low >= 0:
            after[low] = high
        if high < len(ordered):
            before[high] = low
        for neighbour in (low, high):
            if neighbour in ranks:
                ranks[neighbour] = dispensable(neighbour)
                heapq.heappush(queue, ranks[neighbour])
