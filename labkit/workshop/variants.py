"""Each student's own numbers: the same exercise, other seeds and another part of the data, and an answer the check knows.

    mine = variant()                     # of this seat; variant("Ada") of a name
    torch.manual_seed(mine.seed)
    rows = mine.rows(len(task.train_x), 100)

The same name has the same variant on every machine and in every year, so a check works out the right answer from the name
alone, and an answer that was copied from a neighbour is right for the neighbour only.
"""

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.errors import LabError
from labkit.workshop.exercise import Test


@dataclass(frozen=True)
class Variant:
    """One student's numbers. `key` is what they are made of; a word as `part` gives numbers of their own to each exercise."""

    key: str

    def number(self, part: str = "", below: int = 2**31) -> int:
        """A whole number from 0 up, below `below`."""
        return int.from_bytes(hashlib.sha256(f"{self.key}\n{part}".encode()).digest()[:8], "big") % below

    @property
    def seed(self) -> int:
        """A seed of one's own."""
        return self.number("seed")

    def seeds(self, many: int) -> list[int]:
        """So many different seeds of one's own, ascending."""
        return sorted(self._draw("seeds").choice(2**31, many, replace=False).tolist())

    def rows(self, of: int, many: int, part: str = "rows") -> np.ndarray:
        """Which `many` of so many rows of a data set are one's own, ascending. Shape (many,)."""
        if not 0 < many <= of:
            raise LabError(f"{many} rows of {of} cannot be chosen: take 1 to {of}.")
        return np.sort(self._draw(part).choice(of, many, replace=False))

    def _draw(self, part: str) -> np.random.Generator:
        return np.random.default_rng(self.number(part, 2**63))


def variant(whose: Any = None) -> Variant:
    """The variant of a name or of a seat; without either that of this notebook's seat.

    Raises: LabError where there is no seat, or the name is empty.
    """
    if whose is None:
        module = sys.modules.get("labkit.workshop.seat")  # whoever joined a class has loaded it
        whose = module.joined() if module else None
        if whose is None:
            raise LabError('Whose numbers? Say variant("your name"), or join a class first.')
    name = whose if isinstance(whose, str) else str(getattr(whose, "name", ""))
    key = " ".join(name.split()).casefold()
    if not key:
        raise LabError("Whose numbers? The name is empty.")
    return Variant(key)


def own_answer(
    mine: Variant, answer_of: Callable[[Variant], float], tolerance: float = 1e-6, among: tuple[str, ...] = ()
) -> Test:
    """The answer is the number that `answer_of` works out for this variant. `among` are names whose answers are recognised."""

    def test(answer: Any) -> str | None:
        try:
            given = float(answer)
        except (TypeError, ValueError):
            return f"the answer is a {type(answer).__name__}; it should be one number."
        right = float(answer_of(mine))
        near = tolerance * max(1.0, abs(right))
        if abs(given - right) <= near:
            return None
        others = [other for other in map(variant, among) if other != mine]
        if any(abs(given - float(answer_of(other))) <= near for other in others):
            return "this is the right answer to somebody else's numbers: yours are made from your own name."
        if abs(given + right) <= near:
            return "the size is right and the sign is not."
        if right and abs(given / right - 100) < 0.01:
            return "this looks like per cent; a fraction of 1 is asked for."
        return f"{given:g} is not what comes out with your numbers."

    return test
