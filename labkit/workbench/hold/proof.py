"""Train a stretch again from a checkpoint and compare every bit: is what is drawn what would come out again?"""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from labkit.errors import LabError
from labkit.workbench.hold.machine import Machine
from labkit.workbench.hold.past import Past

AGAIN = 64
"""Kept steps back from the end at most that a stretch may reach."""


@dataclass(frozen=True)
class Proof:
    """What came out of training a stretch again; `different` names what was not the same to the bit."""

    branch: str
    start: int
    stop: int
    different: tuple[str, ...]
    says: str

    @property
    def identical(self) -> bool:
        return not self.different

    def __bool__(self) -> bool:
        return self.identical


def prove(machine: Machine, past: Past, branch: str, seconds: float) -> Proof:
    """Replay between kept checkpoints of a branch, newest first, for about so long; the machine is as before afterwards.

    Raises: LabError when fewer than two checkpoints are kept, or when the trainer cannot be rewound.
    """
    kept = past.kept(branch)[-AGAIN:]
    if len(kept) < 2:
        raise LabError("A proof needs two kept checkpoints: let the run take some more steps.")
    here = machine.state()
    began, different = time.monotonic(), {}
    last = first = len(kept) - 1
    try:
        while first > 0 and (first == last or time.monotonic() - began < seconds):
            first -= 1
            machine.go_to(past, branch, kept[first])
            machine.replay(past, branch, kept[first], kept[first + 1])
            wanted = past.find(branch, kept[first + 1])[1]
            different |= dict.fromkeys(unequal(machine.state(), wanted))
    finally:
        machine.restore(here)
    start, stop = kept[first], kept[last]
    says = f"Steps {start:,} to {stop:,} of {branch} were trained again from their checkpoints: "
    if different:
        says += (
            f"{len(different)} of their numbers differ ({', '.join(list(different)[:3])}). Something outside the run drew "
            "random numbers meanwhile, or a step depends on something that a checkpoint does not hold."
        )
    else:
        says += "every bit is the same."
    return Proof(branch, start, stop, tuple(different), says)


def unequal(one: Any, other: Any, name: str = "") -> list[str]:
    """Where two nested states differ, by name."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        same = one.shape == other.shape and one.dtype == other.dtype and _bits(one, other)
        return [] if same else [name]
    if isinstance(one, dict) and isinstance(other, dict):
        keys = {**one, **other}
        return [found for key in keys for found in unequal(one.get(key), other.get(key), f"{name}.{key}".strip("."))]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [found for at, pair in enumerate(zip(one, other)) for found in unequal(*pair, f"{name}.{at}".strip("."))]
    return [] if one == other or one is other else [name]


def _bits(one: Tensor, other: Tensor) -> bool:
    return bool(torch.equal(one, other) or torch.equal(torch.nan_to_num(one), torch.nan_to_num(other)))
