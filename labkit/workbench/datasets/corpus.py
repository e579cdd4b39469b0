"""A corpus for character models: three complete novels of Jane Austen as one text, and its characters as numbers."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from labkit.errors import LabError
from labkit.workbench.datasets.files import data_folder, read_embedded, unpacked

SOURCE = "Jane Austen: Pride and Prejudice (1813), Emma (1815), Sense and Sensibility (1811), complete"
LICENCE = "public domain"


@dataclass(frozen=True)
class Corpus:
    """A long text and its alphabet, the sorted characters that occur in it; a character's number is its place there."""

    name: str
    text: str
    alphabet: str
    source: str
    licence: str

    def encode(self, text: str) -> Tensor:
        """The numbers of these characters.

        Shapes: (characters,) int64 in 0..len(alphabet) - 1.
        Raises: LabError naming the first character that is not in the alphabet.
        """
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        letters = np.frombuffer(self.alphabet.encode("utf-32-le"), np.uint32)
        numbers = np.minimum(np.searchsorted(letters, points), len(letters) - 1)
        unknown = np.flatnonzero(letters[numbers] != points)
        if len(unknown):
            place = int(unknown[0])
            raise LabError(
                f"the character {text[place]!r} at position {place} is not among the {len(self.alphabet)} characters "
                f"of {self.name}; leave it out or replace it by one of {self.alphabet!r}"
            )
        return torch.from_numpy(numbers.astype(np.int64))

    def decode(self, numbers: Tensor | list[int]) -> str:
        """The text that these numbers stand for: the inverse of `encode`.

        Shapes: numbers (characters,) integers in 0..len(alphabet) - 1.
        Raises: LabError where a number stands for no character.
        """
        places = torch.as_tensor(numbers).reshape(-1).tolist()
        if wrong := [place for place in places if not (isinstance(place, int) and 0 <= place < len(self.alphabet))]:
            raise LabError(
                f"{wrong[0]} is not the number of a character of {self.name}; numbers are whole and go from 0 to "
                f"{len(self.alphabet) - 1}"
            )
        return "".join(self.alphabet[place] for place in places)

    @property
    def train_text(self) -> str:
        """The first nine tenths of the text, up to the end of a paragraph."""
        return self.text[: self._cut()]

    @property
    def valid_text(self) -> str:
        """The last tenth of the text, from the start of a paragraph; held back to see how well a model does."""
        return self.text[self._cut() :]

    def split(self) -> tuple[Tensor, Tensor]:
        """The two parts as numbers: to train on, and to validate on.

        Shapes: (characters,) int64 each; put together they are `encode(text)`.
        """
        return self.encode(self.train_text), self.encode(self.valid_text)

    def _cut(self) -> int:
        return self.text.find("\n", len(self.text) * 9 // 10) + 1


def austen() -> Corpus:
    """Pride and Prejudice, Emma, and Sense and Sensibility as one text: a paragraph a line, headings left out.

    Raises: LabError where the embedded file is missing or damaged.
    """
    return _austen(data_folder())


@cache
def _austen(folder: Path) -> Corpus:
    # The file's checksum was right, so its size is known to be sane: the limit is only a guard.
    text = unpacked(read_embedded("austen.txt.gz"), at_most=100_000_000).decode("utf-8")
    return Corpus("austen", text, "".join(sorted(set(text))), SOURCE, LICENCE)
