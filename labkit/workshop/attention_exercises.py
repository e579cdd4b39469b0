"""What the exercise on prefixes holds an answer against: copies of a sequence, one for each place, without its future."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from labkit.workshop.exercise import Test

ROWS, LENGTH, WIDTH = 2, 4, 3


def tokens() -> Tensor:
    """Numbers from 1 up, all different: (rows, length, width)."""
    return torch.arange(1.0, ROWS * LENGTH * WIDTH + 1).reshape(ROWS, LENGTH, WIDTH)


def copies(prefix_copies: Callable[[Tensor], Any]) -> Any:
    """What a function makes of the tokens."""
    return prefix_copies(tokens())


def _masked(mask: Tensor) -> Tensor:
    return tokens()[:, None] * mask[..., None]


def right() -> Tensor:
    return _masked(torch.ones(LENGTH, LENGTH).tril())


WHOLE = torch.ones(LENGTH, LENGTH)
MISTAKES: dict[str, Callable[[], Tensor]] = {
    "every copy holds the whole sequence: place 1 would read what it is asked to write next.": lambda: _masked(WHOLE),
    "a place does not read its own token. It may: what stands there was written before this answer.": lambda: _masked(
        WHOLE.tril(-1)
    ),
    "a place reads one token too many, and that one is the answer.": lambda: _masked(WHOLE.tril(1)),
    "the past is empty and the future is kept: it is the other way round.": lambda: _masked(WHOLE.triu()),
    "each copy holds nothing but the token of its own place. What came before belongs to it.": lambda: _masked(
        torch.eye(LENGTH)
    ),
    "the two axes of length are exchanged: the first counts the places that ask, the second the tokens they read.": lambda: (
        right().transpose(1, 2)
    ),
}


def copies_of_prefixes() -> tuple[Test, ...]:
    """Tests of the copies: their shape, and what each may read."""
    wanted = right()

    def shaped(given: Any) -> str | None:
        if not isinstance(given, Tensor):
            return f"the answer is a {type(given).__name__}; it should be a tensor."
        if given.shape == wanted.shape:
            return None
        sizes = f"the answer has shape {tuple(given.shape)}, and it should be {tuple(wanted.shape)}"
        if given.shape == tokens().shape:
            return f"{sizes}: there is one copy of the sequence for each of its places."
        return f"{sizes}: rows, the places that ask, the tokens that each may read, width."

    def known(given: Tensor) -> str | None:
        return next((says for says, mistaken in MISTAKES.items() if torch.equal(given.float(), mistaken())), None)

    def same(given: Tensor) -> str | None:
        if not torch.isfinite(given.float()).all():
            return (
                "there are numbers that are not finite: what is not to be read is 0 here. Minus infinity is for scores."
            )
        wrong = (given.float() != wanted).any(-1)
        if not wrong.any():
            return None
        row, place, token = (int(one) for one in wrong.nonzero()[0])
        may = "may be read and should be as it was" if token <= place else "comes later and should be 0"
        return f"in row {row} the copy for place {place} holds {given[row, place, token].tolist()} at token {token}, which {may}."

    return shaped, known, same
