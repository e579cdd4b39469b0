"""One intervention as data: what is done to which entry of which layer, and the sentences that tell it."""

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from labkit.errors import LabError

KINDS = ("ablate", "clamp", "silence", "edit")


@dataclass(frozen=True)
class Intervention:
    """Ablate or clamp hidden units, silence choices of a router, or edit one entry of a parameter.

    Raises: LabError for another kind, a missing value or one too many, and indices that are no whole numbers.
    """

    kind: Literal["ablate", "clamp", "silence", "edit"]
    layer: str
    """A block, a router or the block that holds it, as measurements name them; of an edit the parameter."""
    index: int | tuple[int, ...]
    """The unit or choice, or several; of an edit the entry, with one number for each axis."""
    value: float | None = None
    """At which the units are held, or to which the entry is set."""
    noun: str = ""
    """What it is called: "unit", "channel", "expert", "leaf". Filled in where it is applied, as all that follows."""
    before: float | None = None
    """The entry before the edit."""
    others: bool = False
    """Whether the other choices take over what the silent one was chosen for."""
    found: float | None = None
    """What the entry had become when the edit was undone."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise LabError(f"An intervention is one of {', '.join(KINDS)}, not {self.kind!r}.")
        object.__setattr__(self, "index", _whole(self.index))
        if self.kind in ("ablate", "silence") and self.value is not None:
            raise LabError(f"To {self.kind} takes no value; to hold a unit at {self.value:g} is a clamp.")
        if self.kind in ("clamp", "edit"):
            object.__setattr__(self, "value", _number(self.value, self.kind))
        if self.kind != "edit" and not self.each:
            raise LabError(f"To {self.kind} needs at least one unit or choice.")

    @property
    def each(self) -> tuple[int, ...]:
        """The units or choices, also where it is one."""
        return self.index if isinstance(self.index, tuple) else (self.index,)

    @property
    def place(self) -> tuple[int, ...]:
        """The entry of an edit: one number for each axis of the parameter."""
        return self.each

    def same(self, other: "Intervention") -> bool:
        """Whether both do the same at the same place."""
        return (self.kind, self.layer, self.each, self.value) == (other.kind, other.layer, other.each, other.value)

    @property
    def says(self) -> str:
        """What it does, as a sentence."""
        what, many = self._what(), len(self.each) > 1
        if self.kind == "edit":
            was = "" if self.before is None else f"; it was {self.before:.6g}"
            return f"{what} is set to {self.value:.6g}{was}."
        if self.kind == "ablate":
            return f"{what} {'are' if many else 'is'} set to zero."
        if self.kind == "clamp":
            return f"{what} {'are' if many else 'is'} held at {self.value:.6g}."
        if self.others:
            return f"{what} {'are' if many else 'is'} never chosen: the others take over."
        return f"{what} {'say' if many else 'says'} nothing."

    @property
    def undone(self) -> str:
        """What it means that it is taken back, as a sentence."""
        what, many = self._what(), len(self.each) > 1
        if self.kind == "silence":
            return f"{what} may {'be chosen' if self.others else 'speak'} again."
        if self.kind != "edit":
            return f"{what} {'are' if many else 'is'} free again."
        after = "" if self.before is None else f" to {self.before:.6g}"
        moved = self.found is not None and self.found != self.value
        since = f"; since it was set to {self.value:.6g}, training had moved it to {self.found:.6g}" if moved else ""
        return f"{what} is put back{after}{since}."

    def _what(self) -> str:
        if self.kind == "edit":
            return f"Entry {list(self.place)} of {self.layer}" if self.place else f"The number {self.layer}"
        noun = self.noun or ("choice" if self.kind == "silence" else "unit")
        plural = {"leaf": "leaves"}.get(noun, f"{noun}s")
        *first, last = map(str, self.each)
        word = f"{plural} {', '.join(first)} and {last}" if first else f"{noun} {last}"
        return f"{word[0].upper()}{word[1:]} of {self.layer or 'the model'}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as JSON holds it."""
        index = list(self.index) if isinstance(self.index, tuple) else self.index
        before = self.before if self.before is None or math.isfinite(self.before) else str(self.before)
        known = {"kind": self.kind, "layer": self.layer, "index": index, "value": self.value}
        return {**known, "noun": self.noun, "before": before, "others": self.others}

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> "Intervention":
        """The inverse of `to_dict`. What it adds to kind, layer and index may be missing.

        Raises: LabError as the class itself, and when one of these three is missing.
        """
        missing = [name for name in ("kind", "layer", "index") if name not in held]
        if missing:
            raise LabError(f"An intervention needs kind, layer and index; {missing[0]} is missing.")
        before = held.get("before")
        return cls(
            held["kind"],
            held["layer"],
            tuple(held["index"]) if isinstance(held["index"], list) else held["index"],
            held.get("value"),
            held.get("noun", ""),
            None if before is None else float(before),
            bool(held.get("others", False)),
        )


def _whole(index: Any) -> int | tuple[int, ...]:
    try:
        if isinstance(index, tuple | list):
            return tuple(operator.index(part) for part in index)
        return operator.index(index)
    except TypeError:
        raise LabError(f"An index is a whole number or several, not {index!r}.") from None


def _number(value: Any, kind: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise LabError(f"To {kind} needs a number, not {value!r}.") from None
    if not math.isfinite(number):
        raise LabError(f"To {kind} needs a finite number, not {value!r}.")
    return number
