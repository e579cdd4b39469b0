"""Routing of which only a part was recorded or kept, with what is known of it and what is not.

It is a mapping name -> `Routing`, so every measurement of routings takes it in place of a live recording: what another
program wrote down, or a live recording without its padding.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.recording.routings import joined, only_rows


@dataclass(frozen=True, eq=False)
class RecordedRouting(Mapping[str, Routing]):
    """Flat routings by layer, from a file, from another program's output or from a part of a recording; what they lack."""

    layers: dict[str, Routing]
    program: str
    """Who recorded: "Hugging Face", "vLLM", "Megatron", "labkit"."""
    says: tuple[str, ...] = ()
    """What a reader of the numbers must know, as sentences: what was not recorded, what was left out."""
    weighted: bool = True
    """Whether the weights were recorded; otherwise each of the K chosen has weight 1/K."""
    ordered: bool = True
    """Whether the chosen are in order of preference, so that a first choice is known."""
    aligned: bool = True
    """Whether row t of every layer is the same token."""
    positions: Sequence[int] | None = field(default=None, repr=False)
    """Where each row's token stood among all tokens; None where nothing was left out."""
    extent: tuple[int, ...] | None = None
    """The shape (inputs, tokens) of all tokens, also of those left out; None where it is not known."""
    noun: str = "expert"

    def __getitem__(self, name: str) -> Routing:
        if name not in self.layers:
            raise KeyError(f"no routing of {name!r} in this recording; it has: {', '.join(self.layers)}.")
        return self.layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __str__(self) -> str:
        lines = [
            f"{name}: {routing.index.shape[:-1].numel()} tokens, {routing.index.shape[-1]} of {routing.choices}"
            for name, routing in self.layers.items()
        ]
        return "\n".join([f"routing recorded by {self.program}", *lines, *self.says])


def without_padding(routings: Mapping[str, Any], places: Tensor, noun: str) -> RecordedRouting:
    """A recording of whole batches without the tokens that only fill up short inputs.

    Shapes: places (inputs, tokens), True where a token is real. Layers that saw other tokens stay as they are.
    """
    kept, flat = places.flatten().cpu(), joined(routings)
    layers = {
        name: only_rows(routing, kept) if len(routing.index) == len(kept) else routing for name, routing in flat.items()
    }
    same = all(len(routing.index) == len(kept) for routing in flat.values())
    return RecordedRouting(
        layers,
        "labkit",
        (f"{int((~kept).sum())} places of padding were left out.",),
        aligned=same,
        positions=kept.nonzero().flatten().tolist() if same else None,
        extent=tuple(places.shape) if same else None,
        noun=noun,
    )


def evenly_weighted(index: Tensor, choices: int, scores: Tensor | None = None) -> Routing:
    """A routing of which only the chosen are known: each of the K chosen counts 1/K, without storing that K times.

    Shapes: index (..., K).
    """
    share = torch.full((), 1 / index.shape[-1])
    weights = share.expand(index.shape)
    return Routing(index, torch.where(index < 0, 0.0, weights) if bool((index < 0).any()) else weights, choices, scores)


def check_choices(table: np.ndarray, choices: int, place: Callable[[int], str]) -> None:
    """Every row names different experts within range.

    Shapes: table (tokens, k). `place` tells where a row stands, for the message.
    Raises: LabError at the first row that does not.
    """
    wrong = (table < 0) | (table >= choices)
    if wrong.any():
        row = int(wrong.any(1).argmax())
        number = int(table[row][wrong[row]][0])
        raise LabError(f"{place(row)} names expert {number}, but there are {choices}, numbered 0 to {choices - 1}.")
    twice = (np.diff(np.sort(table, axis=1), axis=1) == 0).any(1)
    if twice.any():
        row = int(twice.argmax())
        raise LabError(f"{place(row)} names one expert twice: {table[row].tolist()}.")
