"""What a kernel module says about its fast paths, so that the tests can compare each with the plain torch it replaces."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from labkit.parts.kernels.operation import Operation


@dataclass(frozen=True)
class FastPath:
    """A compiled computation and the plain one that it must equal, forward and backward.

    `fast` and `plain` take the same arguments; `inputs(seed)` draws them, float32, with sizes that differ from seed to
    seed and that include the awkward ones: one row, none, widths that no vector register divides.
    """

    fast: Callable[..., Any]
    plain: Callable[..., Any]
    inputs: Callable[[int], tuple[Any, ...]]
    learns: bool = False
    """Whether gradients flow through it; else it is for evaluation only."""
    tolerance: float = 1e-5
    """Largest error, relative to the largest number in the answer (and in each gradient)."""
    exempt: dict[str, str] = field(default_factory=dict)
    """Name of a check -> the reason why it does not apply."""

    def __post_init__(self) -> None:
        if self.learns and isinstance(self.fast, Operation):
            self.fast.plain = self.plain  # what is differentiated where a gradient is itself to be differentiated
