"""Fair comparison: find the size at which one layer costs what another does."""

from collections.abc import Callable

from torch import nn

from labkit.errors import LabError
from labkit.workbench.budget import parameters


def matched(
    build: Callable[[int], nn.Module],
    *,
    to: nn.Module | float,
    by: Callable[[nn.Module], float] = parameters,
    largest: int = 1 << 20,
) -> nn.Module:
    """The layer `build(size)` whose cost `by` comes nearest to that of `to`, over sizes from 1 up.

    `by` must grow with the size. Raises: LabError when even size 1 costs more than twice the target, or when the
    largest size stays below half of it: then there is no fair match.
    """
    target = by(to) if isinstance(to, nn.Module) else to
    low, high = 1, 2
    while high < largest and by(build(high)) < target:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if by(build(middle)) < target else (low, middle)
    best = min((build(low), build(high)), key=lambda layer: abs(by(layer) - target))
    cost = by(best)
    if not target / 2 <= cost <= target * 2:
        raise LabError(f"No size of this layer costs about {target:,.0f}: the nearest costs {cost:,.0f}.")
    return best
