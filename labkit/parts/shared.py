"""The same weights in several places of a model: each place is a module of its own, the weights are counted once.

A model may simply hold one module under several names. Then its saved state holds the weights under each name, and a
recording finds only the first. Here the first place is a `Lender`, which holds the module, and every later one a `Lent`,
which has no weights and calls the same module. So each place can be recorded or silenced by its own name, the state holds
every number once, and parameters, copies, pickles and `functional_call` see one set of weights.

A pattern says who shares with whom, a letter for each place: "abcd" all have their own, "aaaa" share one, "aabb" share two
and two, and at "-" there is nothing.

Source: one feedforward layer for all blocks is "One Wide Feedforward is All You Need" (P182).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

NOTHING = "-"


class Lender(nn.Module):
    """The place that holds a module which other places use as well. Shapes: those of the module."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.module(*inputs)


class Lent(nn.Module):
    """A place without weights of its own: it says what the lender's module says. Shapes: those of the module.

    The lender must be held by the same model: from here its parameters are not listed, so that they are counted once. A
    copy of the whole model lends its own copy of the module.
    """

    def __init__(self, lender: Lender):
        super().__init__()
        # In a tuple, so that it is not registered; copies and pickles go through tuples and keep what is one, one.
        self._lender = (lender,)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._lender[0].module(*inputs)

    def extra_repr(self) -> str:
        return f"the weights of another place: {type(self._lender[0].module).__name__}"


class Nothing(nn.Module):
    """A place where nothing is computed: zeros, so that what adds them adds nothing. Shapes: x (...) -> (...)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


def places(make: Callable[[], nn.Module], pattern: str) -> list[nn.Module]:
    """A module for each letter of the pattern: made at its first place, lent at later ones; at "-" it is `Nothing`.

    A letter that stands once is the module itself.

    Raises: ValueError where the pattern is empty or holds something else than letters and "-".
    """
    wrong = [letter for letter in pattern if not (letter.isalpha() or letter == NOTHING)]
    if not pattern or wrong:
        raise ValueError(f'a pattern is made of letters and "-", one for each place, and this one is {pattern!r}.')
    lenders: dict[str, Lender] = {}
    found: list[nn.Module] = []
    for letter in pattern:
        if letter == NOTHING:
            found.append(Nothing())
        elif letter in lenders:
            found.append(Lent(lenders[letter]))
        elif pattern.count(letter) == 1:
            found.append(make())
        else:
            lenders[letter] = Lender(make())
            found.append(lenders[letter])
    return found
