"""What a case of the speed scoreboard says: who computes what, how much work that is, and what we promised."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Setting = Mapping[str, int | float | str]
"""The sizes of one row, such as {"depth": 5, "leaf": 32, "batch": 256}. "threads" is 1 where it is not said."""

Contestants = dict[str, Callable[[], object]]
"""Name -> what is timed. A name before "|" is who, behind it which way: of several ways the fastest counts."""


@dataclass(frozen=True)
class Work:
    """The least that has to be done: multiplications and additions, and bytes that must be moved.

    `bytes` is a number where everything is moved once, else pairs: bytes moved, and how large that is of which they are a
    part. A cache holds the whole or it does not: a few rows of a large table, others at each call, come from where the
    table lies.
    """

    flops: float
    bytes: float | tuple[tuple[float, float], ...]
    again: tuple[tuple[float, float], ...] = ()
    """Pairs like those: what is moved once more, from a cache, and what only quite another order of work could spare."""

    scattered: tuple[tuple[float, float], ...] = ()
    """Pairs like those: what is read once, in rows of some kilobytes that lie here and there in a table."""


@dataclass(frozen=True)
class Goal:
    """A ratio of times that was promised. `against` is a contestant, or "floor": the time that the hardware needs.

    at_least 20: ours is at least 20 times as fast as that contestant. at_most 1.15: ours takes at most 1.15 times as
    long. at_least 0.55 against the floor: the floor is at least 55 % of our time.
    """

    says: str
    against: str
    at_least: float | None = None
    at_most: float | None = None
    where: Callable[[Setting], bool] = lambda setting: True


@dataclass(frozen=True)
class Case:
    """One table of the scoreboard.

    `contestants(setting)` builds the layers and returns closures that compute once each. By convention: "ours",
    "reference" (our plain torch), "dense" (the dense layer of the same width), "active" (a dense layer of the same active
    multiplications), and peers by the name of their package. A peer that is not installed is left out.
    """

    name: str
    title: str
    says: str
    settings: tuple[Setting, ...]
    contestants: Callable[[Setting], Contestants]
    work: Callable[[Setting], Work | tuple[Work, ...]] | None = None
    """Several pieces of work come one after the other: a way down a tree, and then its leaf."""

    goals: tuple[Goal, ...] = ()
    learns: bool = True
    """Whether gradients may be wanted. Else everything is built and raced under one `torch.no_grad()`, as a service runs:
    to enter it anew at each call takes as long as a small batch."""

    quick: tuple[Setting, ...] = field(default=())
    """The few settings of a run that should take seconds; the first of `settings` where none are said."""

    peers: tuple[str, ...] = field(default=())
    """Packages of others that are raced where they are installed; the board names the missing ones."""
