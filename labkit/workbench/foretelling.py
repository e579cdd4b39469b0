"""Can numbers about things foretell how good they turn out? A regression that is tested on others, and rank correlations."""

import numpy as np
from scipy import stats


def foretold(known: np.ndarray, right: np.ndarray, deals: int = 0) -> np.ndarray:
    """R² in each population of a Bayesian ridge regression that is fitted on all the others: one number a population.

    With `deals`, the mean over so many times in which what is known is dealt to others of the same population.
    Shapes: known (populations, members, statistics), right (populations, members) -> (populations,)
    """
    from sklearn.linear_model import BayesianRidge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    draw, rows = np.random.default_rng(0), []
    for _ in range(max(1, deals)):
        dealt = np.stack([draw.permutation(one) for one in known]) if deals else known
        found = []
        for own in range(len(right)):
            others = np.arange(len(right)) != own
            model = make_pipeline(StandardScaler(), BayesianRidge())
            model.fit(np.concatenate(dealt[others]), np.concatenate(right[others]))
            found.append(model.score(dealt[own], right[own]))
        rows.append(found)
    return np.mean(rows, 0)


def ranks(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation; 0 where one of them is the same for all, and so says nothing."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.asarray(stats.spearmanr(one, other))[0])


def widened(values: np.ndarray, tests: int) -> np.ndarray:
    """The same mean, with deviations so large that a 95 % interval of them is one for this many tests (Bonferroni)."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return values
    wide, usual = (stats.t.ppf(1 - 0.025 / many, len(values) - 1) for many in (tests, 1))
    return values.mean() + (values - values.mean()) * wide / usual
