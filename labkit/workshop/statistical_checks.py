"""Checks of "mine is better" that luck does not pass: paired by seed, decided by the whole interval, never by the mean.

    check(lambda: my_layer, within_budget(dense, x), beats(dense, by=0.02, seeds=5, train=train))

`train(make, seed, tell)` makes a layer, trains it and returns its score; it runs for the answer and for the baseline, on
the same seeds. Scores that were measured before are compared likewise. The interval is that of `labkit.workbench.claim`:
it is passed where all of it lies beyond the margin, which a layer that is no better does with one seed set in forty.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.workbench.budget import flops, parameters
from labkit.workshop.exercise import Passed, Test
from labkit.workshop.paired_scores import Unit, paired, verdict
from labkit.workshop.shown_numbers import listed_few, tensor_in

Make = Callable[[], nn.Module]
Trial = Callable[..., float]
"""train(make, seed, tell) -> the score of one training; `tell(step, accuracy=0.4)` draws where it is."""
Scores = Mapping[int, float] | Sequence[float] | np.ndarray | xr.DataArray | float
TOO_FEW = 3
_trained: WeakKeyDictionary[Any, list[tuple[Any, list[int], dict[int, float]]]] = WeakKeyDictionary()
"""What a baseline scored before on which seeds, for as long as its training function is there: it is trained once only."""
_tried: dict[tuple, set[tuple]] = {}
"""Which scores were held against the same bar before."""


def beats(
    other: Scores | Make,
    *,
    by: float = 0.0,
    seeds: int | Sequence[int] = 5,
    confidence: float = 0.95,
    unit: str = "points",
    lower: bool = False,
    train: Trial | None = None,
    steps: int = 0,
    jobs: int | None = None,
) -> Test:
    """The answer's score is better than the other's by `by` or more, sure to `confidence` over the seeds.

    Without `train`, answer and `other` are scores by seed: a list, {seed: score}, an array with an axis `seed`; `other` may
    be one number. With `train` both are functions without arguments that make a layer. `unit` is "points" (scores are
    fractions), "times", or what the score is counted in; `lower` says that less is better. `steps` is how many steps
    a training tells of, `jobs` how many train at once.

    Raises: LabError for fewer than three seeds.
    """
    wanted = list(range(seeds)) if isinstance(seeds, int) else [int(seed) for seed in seeds]
    if len(wanted) < TOO_FEW or len(set(wanted)) < len(wanted):
        raise LabError(f"An exercise that is decided by chance needs {TOO_FEW} different seeds or more, not {wanted}.")
    spell = Unit(unit)

    def test(answer: Any) -> str | None:
        if train is not None:
            said = _makes(answer)
            if said:
                return said
            answer, against = trained(answer, other, train, wanted, steps, jobs)
        else:
            against = other
        pairs = paired(answer, against, wanted, spell)
        if isinstance(pairs, str):
            return pairs
        yours, theirs = pairs
        gain = (theirs - yours) if lower else (yours - theirs)
        said = verdict(gain, by, confidence, spell)
        attempts = _attempt((tuple(theirs), by, lower), tuple(yours))
        return Passed(f"{said} {_limits(attempts, wanted, confidence)}") if isinstance(said, Passed) else said

    return test


def reaches(level: float, **how: Any) -> Test:
    """The answer's score is `level` or more, sure to 95 % over the seeds; takes what `beats` takes."""
    return beats(level, **how)


def _makes(answer: Any) -> str | None:
    if isinstance(answer, nn.Module):
        return "this is one layer; what is needed makes a new one, lambda: MyLayer(...), so that each seed begins anew."
    if not callable(answer):
        return (
            f"the answer is a {type(answer).__name__}; it should be a function without arguments that makes your layer."
        )
    first = answer()
    if not isinstance(first, nn.Module):
        return f"your function returns a {type(first).__name__}; it should return a layer, an nn.Module."
    if answer() is first:
        return "your function returns the same layer again and again, so the second seed goes on where the first one ended."
    return None


def trained(
    answer: Make, other: Any, train: Trial, seeds: list[int], steps: int, jobs: int | None
) -> tuple[dict[int, float], Any]:
    """Scores by seed of the answer and of the baseline, trained now, with the curves below the cell while that goes on.

    A baseline that was trained before by the same function is not trained again: same seed, same score.
    """
    from labkit.widgets.several_seeds import seeds as run

    before = _trained.setdefault(train, [])
    known = next((scores for one, on, scores in before if one is other and on == seeds), None)
    known = known if callable(other) else other
    arms = {"yours": answer} | ({"baseline": other} if known is None else {})
    work = {name: (lambda seed, tell, make=make: {"score": train(make, seed, tell)}) for name, make in arms.items()}
    scores = run(work, seeds, jobs=jobs, steps=steps)["score"]
    if known is None:
        known = _by_seed(scores.sel(arm="baseline"))
        before.append((other, seeds, known))
    return _by_seed(scores.sel(arm="yours")), known


def _by_seed(scores: xr.DataArray) -> dict[int, float]:
    return {int(seed): float(value) for seed, value in zip(scores.seed.values, scores.values)}


def _attempt(bar: tuple, scores: tuple) -> int:
    """How many different answers were held against this bar so far, this one among them."""
    tried = _tried.setdefault(bar, set())
    tried.add(scores)
    return len(tried)


def _limits(attempts: int, seeds: list[int], confidence: float) -> str:
    """What a check of this kind cannot tell, in words."""
    last = max(seeds) + 1
    fresh = f"seeds=range({last}, {last + len(seeds)})"
    if attempts < 2:
        return (
            "What this cannot tell: whether the layer was chosen by looking at these seeds or at the test data. "
            f"Seeds that nobody has looked at can: {fresh}."
        )
    luck = 1 - (0.5 + confidence / 2) ** attempts
    return (
        f"But it was attempt {attempts} on the same seeds: of {attempts} different layers that are no better, one passes by "
        f"luck in up to {luck:.0%} of all cases. Ask seeds that you have not looked at: {fresh}."
    )


def within_budget(other: Make | nn.Module, on: Tensor, *, at_most: float = 1.05, operations: bool = True) -> Test:
    """The answer (a layer, or a function that makes one) has no more weights than `other`, nor computes more on `on`.

    `at_most` is how many times as much is still called equal. Operations are those of the matrix products of one
    forward pass in evaluation: of a layer that chooses, what it really computes. Element-wise work is not counted.
    """

    def test(answer: Any) -> str | None:
        layer, base = (one if isinstance(one, nn.Module) else one() for one in (answer, other))
        if not isinstance(layer, nn.Module):
            return f"the answer makes a {type(layer).__name__}; it should make a layer, an nn.Module."
        out, theirs = (tensor_in(one.eval()(on)) for one in (layer, base))
        if out is None or theirs is None or out.shape != theirs.shape:
            got = "no tensor" if out is None else f"shape {tuple(out.shape)}"
            return (
                f"on the same inputs the baseline answers with shape {tuple(theirs.shape)}, and your layer with {got}."  # type: ignore[union-attr]
            )
        costs = [("trained weights", parameters(layer), parameters(base))]
        if operations:
            costs.append(("operations an input", flops(layer, on) // len(on), flops(base, on) // len(on)))
        over = [cost for cost in costs if cost[1] > at_most * max(1, cost[2])]
        if over:
            told = [f"{mine / max(1, its):.1f} times the {what} ({mine:,} against {its:,})" for what, mine, its in over]
            return f"it has {' and '.join(told)}: whether the idea is better is only seen at the same budget."
        return Passed(f"Its budget is fair: {listed_few([f'{mine:,} {what} ({its:,})' for what, mine, its in costs])}.")

    return test
