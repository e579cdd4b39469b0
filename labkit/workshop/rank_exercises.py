"""What the exercise on ranks holds an answer against: how many singular values remain under a threshold."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from labkit.parts.orthonormal import kept
from labkit.workshop.exercise import Test

CASES: tuple[tuple[tuple[float, ...], float], ...] = (
    ((4.0, 3.0, 0.0, 0.0), 0.1),
    ((8.0, 4.0, 2.0, 1.0), 0.2),
    ((8.0, 4.0, 2.0, 1.0), 0.3),
    ((1.0, 1.0, 1.0, 1.0), 0.6),
    ((5.0, 0.4, 0.4, 0.4), 0.1),
    ((3.0, 2.0, 1.0), 0.0),
    ((3.0, 0.1), 0.9),
)
"""Singular values, largest first, and thresholds, between them such that the usual mistakes give other numbers."""


def answers(rank_to_keep: Callable[[Tensor, float], Any]) -> Any:
    """What a function says in every case; `...` where it has not been written yet."""
    found = [rank_to_keep(torch.tensor(values), threshold) for values, threshold in CASES]
    return ... if any(one is ... or one is None for one in found) else found


def _single(values: Tensor, threshold: float) -> int:
    return max(1, int((values > threshold * values.norm()).sum()))


def _largest(values: Tensor, threshold: float) -> int:
    return max(1, int((_tails(values) > threshold * values[0]).sum()))


def _squared(values: Tensor, threshold: float) -> int:
    return max(1, int((_tails(values) ** 2 > threshold * values.norm() ** 2).sum()))


def _summed(values: Tensor, threshold: float) -> int:
    return max(1, int((values.flip(0).cumsum(0).flip(0) > threshold * values.sum()).sum()))


def _tails(values: Tensor) -> Tensor:
    return values.square().flip(0).cumsum(0).flip(0).sqrt()


MISTAKES: dict[str, Callable[[Tensor, float], int]] = {
    "each value is compared alone. Several small ones together may be too much to drop: it is the norm of all that go "
    "that counts.": _single,
    "what is dropped is compared with the largest value. The threshold is a share of the norm of all values.": _largest,
    "squares are compared with a threshold for norms: a root is missing on both sides.": _squared,
    "values are added up. A norm is the root of the sum of the squares.": _summed,
}


def right_ranks() -> tuple[Test, ...]:
    """Tests of a list with one rank for each case."""
    wanted = [kept(torch.tensor(values), threshold) for values, threshold in CASES]

    def numbers(given: list) -> str | None:
        wrong = next((one for one in given if isinstance(one, bool) or not isinstance(one, int)), None)
        if wrong is None:
            return None
        hint = ", int(...) takes it out of its tensor" if isinstance(wrong, Tensor) else ""
        return f"a rank is a whole number, and the function returned a {type(wrong).__name__}{hint}."

    def known(given: list) -> str | None:
        for says, mistaken in MISTAKES.items():
            if given == [mistaken(torch.tensor(values), threshold) for values, threshold in CASES]:
                return says
        if all(one == right - 1 or right == one == 1 for one, right in zip(given, wanted, strict=True)):
            return "every rank is too small by one: the last value that may not be dropped was dropped as well."
        if all(one == right + 1 for one, right in zip(given, wanted, strict=True)):
            return "every rank is too large by one: it is the place of the first value that is dropped, counted from 1."
        return None

    def right(given: list) -> str | None:
        for (values, threshold), one, wanted_one in zip(CASES, given, wanted, strict=True):
            if one == wanted_one:
                continue
            norm = torch.tensor(values).norm().item()
            if one < 1:
                return "a weight keeps one direction at least, whatever the threshold."
            if one > len(values):
                return f"of {len(values)} values {one} cannot remain."
            gone = torch.tensor(values[one:]).norm().item()
            text = f"of the values {', '.join(f'{value:g}' for value in values)} with threshold {threshold:g} it keeps {one}."
            if gone > threshold * norm + 1e-6:
                return f"{text} What goes then has norm {gone:.2f}, and at most {threshold:g} x {norm:.2f} may go."
            return f"{text} More could go: {wanted_one} are enough."
        return None

    return numbers, known, right
