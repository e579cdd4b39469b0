"""Who is paired with whom so that the pairs together cost least: the assignment problem, solved exactly.

    min over permutations π of Σ_i cost_{i, π(i)}

Shortest augmenting paths with dual prices u, v (the Hungarian method): rows are added one by one, and each is given
its place along the path on which the total cost rises least. O(n³).
"""

import numpy as np


def best_assignment(cost: np.ndarray) -> np.ndarray:
    """The column that each row gets.

    Shapes: cost (n, n), finite -> (n,) integers, a permutation.
    """
    size = len(cost)
    row_price, column_price = np.zeros(size + 1), np.zeros(size + 1)
    owner = np.full(size + 1, size)  # the row that holds a column; the last column is where a new row starts
    for row in range(size):
        owner[size] = row
        column = size
        least = np.full(size, np.inf)
        came_from = np.full(size, size)
        done = np.zeros(size + 1, dtype=bool)
        while owner[column] != size:
            done[column] = True
            at = owner[column]
            slack = cost[at] - row_price[at] - column_price[:size]
            better = ~done[:size] & (slack < least)
            least[better], came_from[better] = slack[better], column
            following = int(np.where(done[:size], np.inf, least).argmin())
            step = least[following]
            row_price[owner[done]] += step
            column_price[done] -= step
            least[~done[:size]] -= step
            column = following
        while column != size:
            before = came_from[column]
            owner[column] = owner[before]
            column = before
    pairs = np.empty(size, dtype=np.int64)
    pairs[owner[:size]] = np.arange(size)
    return pairs
