"""What is looked at: some inputs of a batch, with the words of their tokens and their pictures, all counted alike.

A batch is what the model takes: a tensor, (x, labels), or a Mapping as tokenizers give it. Of many inputs some are taken,
evenly; their texts and pictures are then those of the same inputs, and token 7 is the same one in every measurement.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.errors import LabError
from labkit.recording.batches import _tensors as tensors_of
from labkit.recording.batches import evenly, extent_of, inputs_of, part_of, places_of, size_of
from labkit.workbench.words_of_tokens import Words

LARGEST = 512
"""Of a larger batch, so many inputs are looked at, evenly from all."""
Images = Callable[[Sequence[int]], Any] | np.ndarray | Tensor


@dataclass(frozen=True)
class LookedAt:
    """Inputs that are looked at, the words of their tokens, and `images(places)`, which gives pictures (n, rows, columns)."""

    batch: Any
    of: int
    """How many inputs there were to take these from."""
    words: Words | None = None
    images: Callable[[Sequence[int]], np.ndarray] | None = None

    @property
    def size(self) -> int:
        return size_of(self.batch)

    def first(self, count: int) -> "LookedAt":
        """The first inputs only; tokens and inputs keep their numbers."""
        count = min(count, self.size)
        words = None if self.words is None or self.words.rows is None else self.words.part(range(count))
        return LookedAt(part_of(self.batch, torch.arange(count)), self.of, words, self.images)

    def starts(self) -> list[int] | None:
        """The number of each input's first token, and of the token after the last; None where inputs are no sequences."""
        real, (size, length) = places_of(self.batch), extent_of(self.batch)
        if real is not None:
            lengths = real.sum(1).tolist()
        elif length is None or _plain_numbers(inputs_of(self.batch)):
            return None
        else:
            lengths = [length] * size
        return [0, *np.cumsum(lengths).tolist()]


def looked_at(
    batch: Any, *, texts: Sequence[Any] | None = None, images: Images | None = None, most: int = LARGEST
) -> LookedAt:
    """At most so many inputs of a batch, evenly, with their texts and pictures.

    `texts` names every token, as a list for each input ("" where there is padding) or as one list of all. `images` has or
    gives a picture of each input; without it, inputs that are pictures themselves are taken.

    Raises: LabError when the batch is empty, is no batch, or holds NaN, or when there is not one text or picture for
    each input.
    """
    size = _checked(batch)
    chosen = evenly(size, most)
    words = None if texts is None else Words.read(texts, places_of(batch), size)
    if words is not None and words.flat is not None:
        chosen = torch.arange(size)  # which words belong to which input is not known
    places = chosen.tolist()
    part = batch if len(places) == size else part_of(batch, chosen)
    return LookedAt(part, size, None if words is None else words.part(places), _of(images, batch, places))


def _checked(batch: Any) -> int:
    """How many inputs a batch has."""
    known = isinstance(batch, Tensor | Mapping) or (isinstance(batch, tuple | list) and len(batch) > 0)
    tensors = tensors_of(inputs_of(batch)) if known else []
    if not tensors or not tensors[0].dim():
        raise LabError(
            f"{type(batch).__name__} is no batch; give a tensor, (x, labels), or a Mapping of names to tensors, with one "
            "entry for each input."
        )
    if not len(tensors[0]):
        raise LabError("The batch is empty; give at least one input.")
    for tensor in tensors:
        wrong = tensor.isnan() if tensor.is_floating_point() else tensor.new_zeros(1, dtype=torch.bool)
        if bool(wrong.any()):
            where = f", the first in input {int(wrong.nonzero()[0, 0])}" if wrong.dim() else ""
            raise LabError(f"The batch holds {int(wrong.sum()):,} times NaN{where}; give inputs without.")
    return len(tensors[0])


def _of(images: Images | None, batch: Any, places: list[int]) -> Callable[[Sequence[int]], np.ndarray] | None:
    """A function that gives the pictures of inputs as they are counted here."""
    if images is None:
        images = _themselves(inputs_of(batch))
    elif not callable(images) and len(images) != size_of(batch):
        raise LabError(
            f"images has {len(images):,} pictures and the batch {size_of(batch):,} inputs; give one for each."
        )
    if images is None:
        return None
    given = images

    def pictures(chosen: Sequence[int]) -> np.ndarray:
        wanted = [places[at] for at in chosen]
        found = given(wanted) if callable(given) else given[wanted]
        return grey(found)

    return pictures


def grey(pictures: Any) -> np.ndarray:
    """Pictures as grey values.

    Shapes: (n, rows, columns), maybe with 1 or 3 colours as second or as last axis -> (n, rows, columns)
    """
    found = pictures.detach().float().cpu().numpy() if isinstance(pictures, Tensor) else np.asarray(pictures)
    if found.ndim == 4 and found.shape[1] in (1, 3):
        return found.mean(1)
    if found.ndim == 4 and found.shape[-1] in (1, 3):
        return found.mean(-1)
    if found.ndim != 3:
        raise LabError(
            f"images gives numbers of shape {tuple(found.shape)}; pictures are (inputs, rows, columns), grey, or with 1 or "
            "3 colours as one more axis."
        )
    return found


def _themselves(x: Any) -> Tensor | None:
    """The inputs where they are pictures: (n, 1 or 3, rows, columns), at least 4 x 4."""
    if not isinstance(x, Tensor) or x.dim() != 4 or x.shape[1] not in (1, 3) or min(x.shape[2:]) < 4:
        return None
    return x if x.is_floating_point() or x.dtype == torch.uint8 else None


def _plain_numbers(x: Any) -> bool:
    """Whether inputs are rows of numbers, in which a place is no token."""
    first = tensors_of(x)[0]
    return first.dim() == 2 and first.is_floating_point()
