"""What the exercise on sharing holds an answer against: how wide one layer may be that takes the place of several."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from labkit.workshop.exercise import Test


class Usual(NamedTuple):
    """A usual model: so many blocks of this width, each with a two-layer feedforward of so many hidden units."""

    width: int
    units: int
    blocks: int


CASES = (Usual(64, 256, 4), Usual(64, 256, 1), Usual(128, 512, 6), Usual(16, 64, 24))


def held(usual: Usual) -> int:
    """How many numbers its feedforward layers hold, biases among them."""
    return usual.blocks * (2 * usual.width * usual.units + usual.units + usual.width)


def widest(usual: Usual) -> int:
    """How many hidden units one shared layer may have that holds no more."""
    return (held(usual) - usual.width) // (2 * usual.width + 1)


def answers(function: Callable[..., Any], cases: Sequence[Usual] = CASES) -> list[Any]:
    """What a learner's function says for each case; `...` where it is not written yet."""
    found = [function(*case) for case in cases]
    return ... if any(one is ... for one in found) else found  # type: ignore[return-value]


def shared_units(cases: Sequence[Usual] = CASES) -> tuple[Test, ...]:
    """Tests of an answer that says for each case how many hidden units one shared layer may have."""

    def whole(answer: list[Any]) -> str | None:
        odd = [one for one in answer if isinstance(one, bool) or not isinstance(one, int)]
        return f"hidden units are counted with whole numbers, and the answer holds {odd[0]!r}." if odd else None

    def same(answer: list[int]) -> str | None:
        for case, said in zip(cases, answer, strict=True):
            wanted = widest(case)
            if said != wanted:
                return f"for {told(case)} the answer says {said:,}. {reason(case, said)}"
        return None

    return whole, same


def told(case: Usual) -> str:
    return f"{case.blocks} block{'s' * (case.blocks != 1)} of width {case.width} with {case.units} hidden units"


def reason(case: Usual, said: int) -> str:
    """Why a number of hidden units is not the widest, without saying which is."""
    one = 2 * case.width * said + said + case.width
    if said == case.blocks * case.units:
        return (
            "That is nearly right, but several layers also hold several biases of their outputs, and one shared layer has "
            "a single one: the numbers saved there pay for more hidden units."
        )
    if said == held(case) // (2 * case.width):
        return "A hidden unit costs its weights and also a bias, and the output has biases as well."
    if one > held(case):
        return f"Such a layer holds {one:,} numbers, and all layers of the usual model together only {held(case):,}."
    return (
        f"Such a layer holds {one:,} numbers, and there are {held(case):,} to spend: at least one more hidden unit "
        f"({2 * case.width + 1:,} numbers) fits in."
    )
