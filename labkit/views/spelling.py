"""Tokens as people read them: the marks of the common tokenizers become spaces, line ends become visible.

Byte-level tokenizers (GPT-2, Llama 3) write a space as Ġ and a line end as Ċ, and every other byte as some letter;
SentencePiece writes a space as ▁ and single bytes as <0x0A>; WordPiece (BERT) marks the rest of a word with ##.
Texts that are decoded already stay as they are.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

SPECIAL = re.compile(r"^(<\|.*\|>|</?[A-Za-z_0-9]{1,24}>|\[[A-Z_0-9]{2,16}\])$")
BYTE = re.compile(r"^<0x([0-9A-Fa-f]{2})>$")
CLOSING = set(".,:;!?)]}%'’”")


@dataclass(frozen=True)
class Piece:
    """One token: the space before it that is no part of it, what is shown, whether a line ends behind it, and whether
    it is a control token ([CLS], <|endoftext|>) or a stand-in for something invisible (a space alone, a line end).
    """

    text: str
    gap: str = ""
    line: bool = False
    special: bool = False
    invisible: bool = False


def spelled(tokens: Sequence[str]) -> list[Piece]:
    """How to show these tokens one after the other."""
    tokens = [str(token) for token in tokens]
    ordinary = [token for token in tokens if not SPECIAL.match(token)]
    if any("Ġ" in token or "Ċ" in token for token in ordinary):
        return [_piece(token if SPECIAL.match(token) else _bytes(token)) for token in tokens]
    if any("▁" in token for token in ordinary):
        return [_piece(_sentence_piece(token)) for token in tokens]
    if any(token.startswith("##") for token in ordinary):
        return [_word_piece(token, place) for place, token in enumerate(tokens)]
    return [_piece(token) for token in tokens]


def _piece(token: str, gap: str = "") -> Piece:
    if SPECIAL.match(token):
        return Piece(token, gap, special=True)
    if token == "":
        return Piece("∅", gap, invisible=True)
    if not token.strip(" \t\r\n"):
        shown = token.replace(" ", "␣").replace("\t", "⇥").replace("\r", "").replace("\n", "↵") or "↵"
        return Piece(shown, gap, line="\n" in token, invisible=True)
    inside = token.replace("\r", "").replace("\t", "⇥").replace("\n", "↵")
    return Piece("".join(_visible(sign) for sign in inside), gap, line="\n" in token)


def _visible(sign: str) -> str:
    """The sign, or its number where it is a control character, which a page would swallow or obey."""
    return sign if unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else f"\\u{ord(sign):04x}"


@cache
def _letters() -> dict[str, int]:
    """The letter that stands for each byte in byte-level vocabularies: printable ones for themselves."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


def _bytes(token: str) -> str:
    if any(letter not in _letters() for letter in token):
        return token
    return bytes(_letters()[letter] for letter in token).decode("utf-8", errors="replace")


def _sentence_piece(token: str) -> str:
    byte = BYTE.match(token)
    if byte:
        value = int(byte[1], 16)
        return chr(value) if value < 128 else "\N{REPLACEMENT CHARACTER}"
    return token.replace("▁", " ")


def _word_piece(token: str, place: int) -> Piece:
    if token.startswith("##"):
        return _piece(token[2:])
    return _piece(token, " " if place and not (len(token) == 1 and token in CLOSING) else "")
