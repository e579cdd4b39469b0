"""Byte-pair encoding: text cut into the pieces that a language model reads, learned merge by learned merge.

A text is first cut into chunks: a line break, a run of spaces, or a word with the spaces before it (a space is
written ▁). A chunk begins as single characters; then, again and again, the pair of neighbours that was learned
earliest becomes one piece, everywhere in the chunk, until no neighbours are a learned pair.

Source: Neural Machine Translation of Rare Words with Subword Units (Sennrich, Haddow, Birch, 2016), from memory.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from labkit.errors import LabError

SPACE, UNKNOWN = "▁", 1
SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>")
CHUNK = re.compile(f"\n|{SPACE}*[^{SPACE}\n]+|{SPACE}+")


class BytePairs:
    """A vocabulary of special tokens, single characters, and one more token for each learned merge, in this order."""

    def __init__(self, alphabet: Sequence[str], merges: Sequence[tuple[str, str]]):
        self.rank = {pair: place for place, pair in enumerate(merges)}
        self.vocabulary = (*SPECIAL, *alphabet, *(left + right for left, right in merges))
        self.number = {token: place for place, token in enumerate(self.vocabulary)}
        self._cut = lru_cache(maxsize=50_000)(self._merged)

    def encode(self, text: str) -> list[int]:
        """The numbers of the pieces of a text; a character that was never seen in training is <unk>."""
        marked = unicodedata.normalize("NFC", text).replace(" ", SPACE)
        return [self.number.get(piece, UNKNOWN) for chunk in CHUNK.findall(marked) for piece in self._cut(chunk)]

    def decode(self, numbers: Sequence[int]) -> str:
        """The text that these pieces make; special tokens are left out."""
        return "".join(piece for number, piece in zip(numbers, self.pieces(numbers)) if number >= len(SPECIAL))

    def pieces(self, numbers: Sequence[int]) -> list[str]:
        """What each number stands for, with real spaces.

        Raises: LabError where a number stands for no piece.
        """
        if wrong := [number for number in numbers if not 0 <= number < len(self.vocabulary)]:
            raise LabError(f"{wrong[0]} is not the number of a piece; they go from 0 to {len(self.vocabulary) - 1}")
        return [self.vocabulary[number].replace(SPACE, " ") for number in numbers]

    def _merged(self, chunk: str) -> tuple[str, ...]:
        pieces = list(chunk)
        while known := [pair for pair in pairwise(pieces) if pair in self.rank]:
            best = min(known, key=self.rank.__getitem__)
            place, merged = 0, []
            while place < len(pieces):
                found = tuple(pieces[place : place + 2]) == best
                merged.append("".join(best) if found else pieces[place])
                place += 1 + found
            pieces = merged
        return tuple(pieces)
