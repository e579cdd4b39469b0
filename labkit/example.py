"""How to make one small instance of a mechanism, and what it is exempt from and why. The contract tests run on it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Example:
    """A small instance of a mechanism, in the mechanism's own file."""

    make: Callable[[], Any]
    """Makes the instance, in milliseconds. Random weights are drawn from the global generator."""
    inputs: Callable[[int], tuple] | None = None
    """seed -> inputs; by default random tensors that fit the annotation of `forward`."""
    reference: Callable[..., Any] | None = None
    """(instance, *inputs) -> the same answer in the obvious slow way; forward and backward must agree."""
    exempt: Mapping[str, str] = field(default_factory=dict)
    """Name of a check -> the reason why it does not apply. The reason is compulsory."""

    def __post_init__(self) -> None:
        silent = [check for check, reason in self.exempt.items() if len(reason.split()) < 3]
        if silent:
            raise ValueError(f"an exemption needs a reason in words: {', '.join(silent)}.")
