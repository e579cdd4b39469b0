"""Scores of two sides by seed, and what follows from them: sure and by enough, sure but not by enough, not sure, worse."""

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from labkit.workbench.claim import interval
from labkit.workshop.exercise import Passed
from labkit.workshop.shown_numbers import listed_few

MOST, POWER = 1000, 0.8
"""How many seeds are still worth naming, and how often so many should settle the question."""


@dataclass(frozen=True)
class Unit:
    """How a difference of scores is said."""

    name: str

    def __call__(self, value: float, signed: bool = True, bare: bool = False) -> str:
        sign = "+" if signed else ""
        said = f"{100 * value:{sign}.1f}" if self.name == "points" else f"{value:{sign}.3g}"
        said = said.replace("-", "\N{MINUS SIGN}")
        return said if bare else f"{said} {self.name}".strip()


def paired(answer: Any, other: Any, seeds: list[int], unit: Unit) -> tuple[np.ndarray, np.ndarray] | str:
    """Both sides' scores in the order of the seeds, or what is wrong with them."""
    yours = by_seed(answer, seeds)
    if isinstance(yours, str):
        return yours
    theirs = np.full(len(seeds), float(other)) if isinstance(other, int | float) else by_seed(other, seeds)
    if isinstance(theirs, str):
        return f"of the baseline: {theirs}"
    odd = [seed for seed, value in zip(seeds, yours) if not math.isfinite(value)]
    if odd:
        return f"the score of seed {listed_few(odd)} is not a number: the training ran away; a smaller learning rate helps."
    if unit.name == "points" and float(np.abs(yours).max()) > 1.5 and float(np.abs(theirs).max()) <= 1.5:
        return f"a score of {yours.max():g} looks like per cent; the baseline's are fractions of 1. Divide by 100."
    if np.ptp(yours) == 0 and (np.ptp(theirs) > 0 or isinstance(other, int | float)):
        return (
            f"all {len(seeds)} seeds score exactly {yours[0]:.4g}: it is the same training again. The seed is not used, or "
            "another one is set inside."
        )
    gain = yours - theirs
    if not gain.any():
        return "every score equals the baseline's to the last digit: the baseline itself was trained."
    if np.ptp(gain) < 1e-9 and np.ptp(theirs) > 0:
        return (
            f"each seed is better by exactly {unit(float(gain[0]))}. Two trainings never differ by the same amount: are these "
            "scores measured?"
        )
    return yours, theirs


def by_seed(scores: Any, seeds: list[int]) -> np.ndarray | str:
    """Scores in the order of the seeds, or what is wrong with them."""
    if isinstance(scores, xr.DataArray) and "seed" in scores.dims:
        if scores.ndim > 1:
            others = listed_few([dim for dim in scores.dims if dim != "seed"])
            return f"the scores still have the axis {others}; choose one number a seed, such as scores.isel(step=-1)."
        scores = {int(seed): float(value) for seed, value in zip(scores.seed.values, scores.values)}
    if isinstance(scores, dict):
        missing = [seed for seed in seeds if seed not in scores]
        if missing:
            others = [seed for seed in scores if seed not in seeds]
            why = f" There are scores of {listed_few(others)}: pairs need the same seeds." if others else ""
            return f"the score of seed {listed_few(missing)} is missing.{why}"
        return np.array([float(scores[seed]) for seed in seeds])
    if isinstance(scores, int | float) or np.ndim(scores) == 0:
        return f"this is one number; {len(seeds)} are needed, one a seed. A single run does not show what was luck."
    values = np.asarray([float(value) for value in np.ravel(np.asarray(scores, dtype=float))])
    if np.ndim(scores) != 1:
        return f"the scores have {np.ndim(scores)} axes; one number a seed is needed."
    if len(values) != len(seeds):
        return f"there are {len(values)} scores; the seeds are {seeds[0]} to {seeds[-1]}, {len(seeds)} of them, one score each."
    return values


def verdict(gain: np.ndarray, by: float, confidence: float, unit: Unit) -> str:
    """What the gains of the seeds show, as `Passed` or as what is missing. By the interval, whatever the mean says."""
    mean, low, high = interval(gain, confidence)
    found = (
        f"{unit(mean)} ({confidence:.0%} interval {unit(low, bare=True)} to {unit(high, bare=True)}, {len(gain)} seeds)"
    )
    asked = f"at least {unit(by, False)} better" if by else "better"
    if low >= by and low > 0:
        return Passed(f"{found}; {asked} was asked for, and the whole interval is.")
    if high < 0:
        return f"your layer is worse than the baseline, and that is no accident: {found}."
    if high < by and low > 0:
        return f"your layer is better for certain, but not by enough: {found}, and {asked} was asked for."
    if high < by:
        return f"{asked} is out of reach for this layer: {found}. More seeds will not change that."
    more = seeds_needed(mean - by, float(np.std(gain, ddof=1)), confidence)
    if mean <= by:
        hint = "and its mean is below what is asked for: more seeds will rather show that it is not enough."
    elif more is None:
        hint = f"and it would take more than {MOST:,} seeds to settle it: the gain is small beside the spread of the seeds."
    else:
        hint = f"and if it is as large as it looks, about {more} seeds would settle it (a rough number, from {len(gain)} seeds)."
    sure = "your layer is better for certain, but whether by enough is open" if low > 0 else "this may be luck"
    return f"{sure}: {found}. The interval would have to begin at {unit(by)} or above; {hint}"


def seeds_needed(gain: float, spread: float, confidence: float = 0.95, power: float = POWER) -> int | None:
    """How many seeds a test of this confidence needs to see such a gain with this power; None beyond a thousand.

    `gain` is how far the true mean lies beyond the margin, `spread` the standard deviation between the seeds.
    """
    from scipy import stats

    if gain <= 0:
        return None
    if spread == 0:
        return 2

    def enough(count: int) -> bool:
        edge = stats.t.ppf(0.5 + confidence / 2, count - 1)
        return bool(stats.nct.sf(edge, count - 1, gain / spread * math.sqrt(count)) >= power)

    if not enough(MOST):
        return None
    return bisect_left(range(2, MOST), True, key=enough) + 2
