"""What can be changed while a model trains: learning rate, weights of penalties, temperature, noise, top-k, dropout.

A dial reads and writes one number. Those of a trainer are what its `dials()` says, or the learning rate of its optimizer;
those of a model are attributes of its modules whose names tell what they are.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from labkit.errors import LabError


@dataclass(frozen=True)
class Dial:
    """One number that may be changed between two steps, from `low` to `high`.

    A `log` dial moves by ratios; where its `low` is 0, the left end is 0 and the rest begins at `floor`. `own` says that
    the number lies in a module, not in the trainer: checkpoints keep it beside the weights.
    """

    name: str
    low: float
    high: float
    read: Callable[[], float] = field(repr=False, compare=False)
    write: Callable[[float], None] = field(repr=False, compare=False)
    log: bool = False
    whole: bool = False
    unit: str = ""
    says: str = ""
    own: bool = False
    part_of: str = ""
    """The dial that turns this one together with others of its kind."""

    @property
    def value(self) -> float:
        return float(self.read())

    @property
    def floor(self) -> float:
        """The smallest number above 0 that a logarithmic dial shows."""
        return self.low if self.low > 0 else self.high * 1e-4

    def turn(self, value: float) -> None:
        """Write a value. Raises: LabError when it is no number or out of range."""
        self.write(self.checked(value))

    def checked(self, value: Any) -> float:
        """The value as this dial keeps it. Raises: LabError when it is no number or out of range."""
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not self.low <= number <= self.high:  # NaN is not either
            raise LabError(f"{self.name} goes from {self.low:g} to {self.high:g}, and {value!r} was asked for.")
        return round(number) if self.whole else number


@dataclass(frozen=True)
class Kind:
    """What an attribute of this name is."""

    low: float
    high: float
    says: str
    log: bool = False
    whole: bool = False
    of: tuple[str, ...] = ()
    """Only in modules whose class name contains one of these."""


KINDS = {
    "temperature": Kind(0.05, 20, "Scores are divided by it: low is sharp, high is soft.", log=True),
    "tau": Kind(0.05, 20, "Scores are divided by it: low is sharp, high is soft.", log=True),
    "noise_scale": Kind(0, 10, "How much noise is added to the scores in training; 0 is none."),
    "rate": Kind(0, 0.95, "How often a decision is swapped in training.", of=("Leak",)),
    "p": Kind(0, 0.95, "The share of values that are dropped in training.", of=("Dropout",)),
    "chosen": Kind(1, 0, "How many experts each input is sent to.", whole=True),
    "top_k": Kind(1, 0, "How many experts each token is sent to.", whole=True),
}
"""Attribute -> what it is; `high` 0 stands for the number of experts of the module."""
COUNTS = ("experts", "choices", "num_experts", "n_experts", "num_local_experts")


def dials_of(model: nn.Module, trainer: Any) -> list[Dial]:
    """Every dial of a trainer and of the modules of a model. Raises nothing: what is not known is not there."""
    told = trainer.dials() if hasattr(trainer, "dials") else rates(getattr(trainer, "optimizer", None))
    return [*told, *inside(model)]


def inside(model: nn.Module) -> Iterator[Dial]:
    """The dials that lie in a model's modules, named `attribute of module`.

    Where several modules have one of a kind, a dial `attribute everywhere` that turns them all comes first.
    """
    for attribute, kind in KINDS.items():
        found = list(_of_kind(model, attribute, kind))
        if len(found) > 1:
            every = _together(attribute, kind, found)
            yield every
            found = [replace(one, part_of=every.name) for one in found]
        yield from found


def _of_kind(model: nn.Module, attribute: str, kind: Kind) -> Iterator[Dial]:
    for name, module in model.named_modules():
        value = vars(module).get(attribute)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if kind.of and not any(word in type(module).__name__ for word in kind.of):
            continue
        high = kind.high or _count(module)
        if high >= max(kind.low, value) and value >= kind.low:
            yield _attribute(name, module, attribute, kind, high)


def _together(attribute: str, kind: Kind, them: list[Dial]) -> Dial:
    """One dial for all of them, as far as the shortest goes; it shows the first one."""

    def write(value: float) -> None:
        for one in them:
            one.write(value)

    high = min(one.high for one in them)
    says = f"{kind.says} In {len(them)} places at once; it shows that of {them[0].name.split(' of ', 1)[-1]}."
    return Dial(
        f"{attribute} everywhere", kind.low, high, them[0].read, write, log=kind.log, whole=kind.whole, says=says
    )


def _attribute(name: str, module: nn.Module, attribute: str, kind: Kind, high: float) -> Dial:
    called = f"{attribute} of {name}" if name else attribute

    def write(value: float) -> None:
        setattr(module, attribute, int(value) if kind.whole else value)

    return Dial(
        called,
        kind.low,
        high,
        lambda: getattr(module, attribute),
        write,
        log=kind.log,
        whole=kind.whole,
        says=kind.says,
        own=True,
    )


def _count(module: nn.Module) -> float:
    """How many experts a module chooses from, 0 where it does not say."""
    return next((vars(module)[name] for name in COUNTS if isinstance(vars(module).get(name), int)), 0)


def rates(optimizer: Any) -> list[Dial]:
    """Learning rate and weight decay of an optimizer of torch, for all its groups in proportion."""
    if not isinstance(optimizer, torch.optim.Optimizer) or "lr" not in optimizer.param_groups[0]:
        return []
    first = optimizer.param_groups[0]
    rate = float(first["lr"])
    found = [
        Dial(
            "learning rate",
            min(1e-6, rate or 1.0),
            max(10.0, rate),
            lambda: optimizer.param_groups[0]["lr"],
            lambda value: scale_rates(optimizer, value),
            log=True,
            says="The size of a step. A schedule that computes it anew at each step overwrites it.",
        )
    ]
    return [*found, decay(optimizer)] if "weight_decay" in first else found


def scale_rates(optimizer: torch.optim.Optimizer, value: float, among: tuple[str, ...] = ("lr",)) -> None:
    """Give the first group this learning rate and the others theirs in proportion; `among` what is scaled alike."""
    before = float(optimizer.param_groups[0][among[0]])
    for group in optimizer.param_groups:
        for key in among:
            if key in group:
                group[key] = group[key] * (value / before) if before else value


def decay(optimizer: torch.optim.Optimizer) -> Dial:
    """The weight decay of all groups."""

    def write(value: float) -> None:
        for group in optimizer.param_groups:
            group["weight_decay"] = value

    now = float(optimizer.param_groups[0]["weight_decay"])
    says = "How fast weights shrink towards 0 by themselves."
    return Dial(
        "weight decay", 0, max(1.0, now), lambda: optimizer.param_groups[0]["weight_decay"], write, log=True, says=says
    )
