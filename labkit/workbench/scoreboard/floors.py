"""The floor of a setting: the time that the hardware needs for the least work.

Its multiplications take as long as at the best rate that any matrix product of float32 reached here; the bytes that it
must move take as long as at the bandwidth of a working set as large as what they are part of; the longer of the two
counts. Of work that comes in pieces one after the other, such as a way down a tree and then its leaf, the floor is the sum.
A program could do something of the next piece meanwhile, or find an order in which nothing is moved twice: what nothing can
be faster than is `least`, where everything is computed while everything is moved, once.
"""

import itertools
import math
import statistics
from collections.abc import Mapping
from typing import Any

from labkit.workbench.scoreboard.case import Work
from labkit.workbench.scoreboard.ceilings import PROBES, slowed
from labkit.workbench.scoreboard.timing import Spread, Times


def floor(work: Work | tuple[Work, ...], ceiling: Mapping[str, Any]) -> dict[str, Any]:
    """`seconds` that this work takes, `least` of all, `bound` ("arithmetic" or "memory") and what that is in words."""
    pieces = work if isinstance(work, tuple) else (work,)
    rate = ceiling["matmul"]["best"]
    computing = [piece.flops / rate for piece in pieces]
    once = [_seconds(moves(piece), ceiling) + _seconds(piece.scattered, ceiling, "scattered") for piece in pieces]
    reading = [first + _seconds(piece.again, ceiling) for piece, first in zip(pieces, once, strict=True)]
    return {
        "seconds": sum(map(max, computing, reading)),
        "least": max(sum(computing), sum(once)),
        "bound": "arithmetic" if sum(computing) >= sum(reading) else "memory",
        "says": ", then ".join(map(_in_words, pieces, computing, reading)),
    }


def held(
    work: Work | tuple[Work, ...], limit: Mapping[str, Any], times: Mapping[str, Times], ours: str | None
) -> dict[str, Any]:
    """The floor of a race, against what its probes reached in the same rounds.

    Besides what `floor` says: "share", the floor as a part of our time (median and quartiles of the rounds), "most", how
    many times as long as the least each contestant took, and "pace", how fast the machine was, as a part of its ceilings.
    """
    probed = {name: times[name] for name in PROBES if name in times and not times[name].error}
    if len(probed) < len(PROBES):
        return floor(work, limit)
    rounds: dict[int, dict[str, Any]] = {}
    paces: dict[str, list[float]] = {name: [] for name in probed}
    for place, calm in enumerate(zip(*(one.clean for one in probed.values()), strict=True)):
        if all(calm):
            pace = {name: min(1.0, 1 / (one.seconds[place] * limit["probed"][name])) for name, one in probed.items()}
            rounds[place] = floor(work, slowed(limit, pace))
            for name, share in pace.items():
                paces[name].append(share)
    if not rounds:
        return floor(work, limit)
    told = min(
        rounds.values(), key=lambda one: abs(one["seconds"] - statistics.median(r["seconds"] for r in rounds.values()))
    )
    found = dict(told) | {"pace": {name.split("|")[1]: statistics.median(paces[name]) for name in paces}}

    def compared(name: str, which: str) -> list[float]:
        one = times[name]
        return [one.seconds[place] / least[which] for place, least in rounds.items() if one.clean[place]]

    others = {name: compared(name, "least") for name in times if name not in PROBES and not times[name].error}
    found["most"] = {name: statistics.median(values) for name, values in others.items() if values}
    if ours is not None and (values := compared(ours, "seconds")):
        spread = Spread.of([1 / value for value in values])
        found["share"] = [spread.median, spread.low, spread.high]
    return found


def moves(work: Work) -> tuple[tuple[float, float], ...]:
    """Bytes moved, and how large that is of which they are a part."""
    return work.bytes if isinstance(work.bytes, tuple) else ((work.bytes, work.bytes),)


def _seconds(moved: tuple[tuple[float, float], ...], ceiling: Mapping[str, Any], how: str = "bandwidth") -> float:
    return sum(size / bandwidth(of, ceiling, how) for size, of in moved)


def bandwidth(size: float, ceiling: Mapping[str, Any], how: str = "bandwidth") -> float:
    """Bytes a second for a working set of this size: between two that were measured along the logarithm.

    `how`: "bandwidth" for what is read from front to back, "scattered" for rows of some kilobytes here and there.
    """
    known = ceiling[how]
    if size <= known[0][0]:
        return known[0][1]
    for (small, fast), (large, slow) in itertools.pairwise(known):
        if size <= large:
            part = math.log(size / small) / math.log(large / small)
            return fast * (slow / fast) ** part
    return known[-1][1]


def _in_words(piece: Work, computing: float, reading: float) -> str:
    if computing >= reading:
        rate = piece.flops / computing / 1e9 if computing else 0.0
        return f"{_million(piece.flops)} million operations at {rate:.0f} a nanosecond"
    moved = sum(size for size, _ in (*moves(piece), *piece.again, *piece.scattered))
    return f"{_million(moved)} MB at {moved / reading / 1e9:.0f} GB/s"


def _million(value: float) -> str:
    return f"{value / 1e6:,.0f}" if value >= 1e8 else f"{value / 1e6:.3g}"
