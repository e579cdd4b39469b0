"""Random numbers of torch that belong to one run, although torch has one generator for the whole program.

A step that draws is surrounded: the run's own state goes in, and what was there before comes back. Two runs that draw
therefore take turns. A step that does not draw, as most do, is left alone: whether steps draw is tried out now and then.
What a cell of a notebook draws at the very moment in which a drawing run steps cannot be told apart by torch: the cell
should hold the run meanwhile (`with run.held(): ...`), and a replay notices (`run.proof()`).
"""

from collections.abc import Callable
from threading import Lock
from typing import Any

import torch
from torch import Tensor

TRIALS = 3
"""Steps that are surrounded after each change, before it is believed that the run does not draw."""
_turn = Lock()


class Randomness:
    """Calls functions with the random numbers of one run. Only random numbers of torch on the CPU are kept apart."""

    def __init__(self, seed: int):
        self.state = torch.Generator().manual_seed(seed).get_state()
        self._left = TRIALS

    def ask_again(self) -> None:
        """Something has changed: try out again whether the run draws. A run that was seen to draw stays surrounded."""
        if self._left >= 0:
            self._left = TRIALS

    @property
    def surrounded(self) -> bool:
        """Whether the next call is surrounded."""
        return self._left != 0

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function returns, with this run's random numbers."""
        if not self._left:
            return function(*arguments)
        with _turn:
            outer = torch.get_rng_state()
            torch.set_rng_state(self.state)
            try:
                return function(*arguments)
            finally:
                after = torch.get_rng_state()
                torch.set_rng_state(outer)
                if torch.equal(after, self.state):
                    self._left -= self._left > 0
                else:
                    self.state, self._left = after, -1

    def restore(self, state: Tensor) -> None:
        """Go on from this state."""
        self.state = state.clone()
        self.ask_again()
