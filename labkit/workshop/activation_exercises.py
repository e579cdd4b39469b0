"""What the exercise on grouped activations holds an answer against: the right values, and no function run in vain."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from labkit.workshop.exercise import Test

Functions = Mapping[str, Callable[[Tensor], Tensor]]


class Watched(NamedTuple):
    """What an answer said, and how often and on how many numbers it ran each function."""

    said: Any
    calls: dict[str, int]
    numbers: dict[str, int]


def watched(answer: Callable[..., Any], x: Tensor, choice: Tensor, functions: Functions) -> Watched | None:
    """Run `answer(x, choice, functions)` with functions that count; None where there is no answer yet."""
    calls, numbers = dict.fromkeys(functions, 0), dict.fromkeys(functions, 0)

    def counting(name: str) -> Callable[[Tensor], Tensor]:
        def run(part: Tensor) -> Tensor:
            calls[name] += 1
            numbers[name] += part.numel()
            return functions[name](part)

        return run

    said = answer(x, choice, {name: counting(name) for name in functions})
    return None if said is None or said is ... else Watched(said, calls, numbers)


def well_grouped(x: Tensor, choice: Tensor, functions: Functions) -> tuple[Test, ...]:
    """Tests of a `Watched` answer: each neuron through its own function, each function once and on its neurons only.

    Shapes: x (rows, neurons), choice (neurons,) the place of each neuron's function in `functions`.
    """
    names = list(functions)
    wanted = torch.stack([functions[names[int(one)]](x[:, neuron]) for neuron, one in enumerate(choice)], -1)

    def a_table(answer: Watched) -> str | None:
        if not isinstance(answer.said, Tensor):
            return f"the answer is a {type(answer.said).__name__}; it should be a tensor of the shape of x."
        if answer.said.shape != wanted.shape:
            return f"the answer has shape {tuple(answer.said.shape)}; what goes in has shape {tuple(wanted.shape)}."
        return None

    def same(answer: Watched) -> str | None:
        wrong = ~torch.isclose(answer.said, wanted, atol=1e-5).all(0)
        if not wrong.any():
            return None
        if torch.allclose(answer.said, wanted[:, choice.argsort(stable=True)], atol=1e-5):
            return (
                "the neurons stand in the order of their functions: each value must go back to its own neuron's place."
            )
        if torch.equal(answer.said, x):
            return "the answer is x itself: no function was applied."
        if not answer.said[:, wrong].any():
            return f"{int(wrong.sum())} neurons say 0 for every input: is there a function whose neurons are left out?"
        first = int(wrong.nonzero()[0])
        return (
            f"{int(wrong.sum())} of {len(choice)} neurons are wrong. The first is neuron {first}, whose choice is "
            f"{int(choice[first])}: that is {names[int(choice[first])]}."
        )

    def sparing(answer: Watched) -> str | None:
        for place, name in enumerate(names):
            own = int((choice == place).sum()) * len(x)
            if answer.numbers[name] > own:
                return (
                    f"the values are right, but {name} was run on {answer.numbers[name]:,} numbers and its own neurons "
                    f"have {own:,}: take the neurons of a function first, then run it on them."
                )
        return None

    def once(answer: Watched) -> str | None:
        name = max(answer.calls, key=lambda one: answer.calls[one])
        if answer.calls[name] <= 1:
            return None
        return (
            f"the values are right, but {name} was called {answer.calls[name]} times: all its neurons can go in one call, "
            "which is what makes the frozen layer fast."
        )

    return a_table, same, sparing, once
