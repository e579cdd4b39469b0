"""What stands at each token: texts as people give them, matched with the tokens that a measurement has counted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr
from torch import Tensor

from labkit.errors import LabError


@dataclass(frozen=True)
class Words:
    """Texts of the tokens: `rows`, one list for each input, or `flat`, one list of all where inputs are not told apart."""

    rows: Sequence[Sequence[str]] | None = None
    flat: Sequence[str] | None = None
    real: Tensor | None = None
    """(inputs, places) True where a place is a token and not padding; None where nothing says so."""

    @classmethod
    def read(cls, texts: Sequence[Any], real: Tensor | None = None, size: int | None = None) -> "Words":
        """Texts as a list for each of `size` inputs ("" where there is padding), or as one list of all tokens.

        Raises: LabError for one long text, or where there is not a list for each input.
        """
        if isinstance(texts, str):
            raise LabError("texts is one text; give a list of tokens for each input.")
        if all(isinstance(text, str) for text in texts):
            words = list(texts)
            return cls(rows=[[word] for word in words]) if len(words) == size else cls(flat=words)
        if size is not None and len(texts) != size:
            raise LabError(
                f"texts has {len(texts):,} rows and the batch {size:,} inputs; give one list of tokens for each input."
            )
        rows = [[row] if isinstance(row, str) else [str(word) for word in row] for row in texts]
        fits = real is not None and all(len(row) == real.shape[1] for row in rows)
        return cls(rows=rows, real=real if fits else None)

    def part(self, places: Sequence[int]) -> "Words":
        """The same of these inputs."""
        if self.rows is None:
            return self
        real = None if self.real is None else self.real[list(places)]
        return Words([self.rows[place] for place in places], real=real)

    def input(self, place: int) -> list[str]:
        """The words of one input, with its padding; none where inputs are not told apart."""
        return list(self.rows[place]) if self.rows is not None else []

    def of(self, count: int) -> list[str] | None:
        """The words of all tokens where these are `count` tokens, without or with the padding; else None."""
        return next((words for words in self._readings() if len(words) == count), None)

    def check(self, counts: Iterable[int], inputs: str = "") -> None:
        """Raises LabError where the texts fit none of these numbers of tokens."""
        counts = sorted(set(counts))
        if any(self.of(count) is not None for count in counts):
            return
        seen = " or ".join(f"{count:,}" for count in counts)
        raise LabError(
            f"texts names {len(self._readings()[-1]):,} tokens, and the model saw {seen}{inputs}; give one list for each "
            f'input, as long as the input, with "" where there is padding.'
        )

    def _readings(self) -> list[list[str]]:
        if self.rows is None:
            return [list(self.flat or ())]
        flat = [word for row in self.rows for word in row]
        readings = [[word for word in flat if word != ""], flat]
        if self.real is not None:
            pairs = zip(self.rows, self.real.tolist())
            readings.insert(0, [word for row, kept in pairs for word, one in zip(row, kept) if one])
        return readings


def named_tokens(found: xr.DataArray, words: Words | None) -> xr.DataArray:
    """The measurement with the words of its tokens as the coordinate `text`, where they are known."""
    if words is None or "token" not in found.dims or "text" in found.coords:
        return found
    places = found["token"].values
    count = len(places)
    if "sampled" in found.attrs:  # "512 of 1,536 tokens"
        count = int(str(found.attrs["sampled"]).split(" of ")[-1].split()[0].replace(",", ""))
    known = words.of(count)
    return found if known is None else found.assign_coords(text=("token", [known[int(place)] for place in places]))


def named_classes(found: xr.DataArray, classes: Sequence[str]) -> xr.DataArray:
    """The measurement with the names of its classes, which are numbers.

    Raises: LabError where there is no name for each.
    """
    numbers = [int(one) for one in found["class"].values]
    if max(numbers) >= len(classes):
        raise LabError(
            f"The labels go up to {max(numbers)}, and classes has {len(classes)} names; give one for each label."
        )
    return found.assign_coords({"class": [str(classes[number]) for number in numbers]})
