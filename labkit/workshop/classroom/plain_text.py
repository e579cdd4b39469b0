"""What students type, made harmless to show: no control characters, no turned text, no towers of accents.

It is done once, where text comes in, so that nothing behind it meets anything else. Every page still escapes what it shows.
"""

import re
import unicodedata

TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
UNSEEN = "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u2060\u2061\u2062\u2063\u2064\u3164\ufeff\uffa0"
_dropped = re.compile(f"[{TURNING}{UNSEEN}\U000e0000-\U000e007f]")
ACCENTS = 2
"""How many accents a letter may carry; more of them pile up over the lines above."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|")


def cleaned(text: str) -> str:
    """The text in one line, with only what can be seen; half of a pair of surrogates becomes a question mark."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = _dropped.sub("", unicodedata.normalize("NFC", text))
    kept, accents = [], 0
    for letter in text:
        group = unicodedata.category(letter)
        accents = accents + 1 if group in ("Mn", "Me") else 0
        if accents > ACCENTS:
            continue
        kept.append(" " if group[0] == "Z" or group in ("Cc", "Cs", "Co", "Cn") else letter)
    return " ".join("".join(kept).split())


def shortened(text: str, most: int) -> str:
    """At most so many characters; a cut is shown by three dots."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def defused(cell: object) -> object:
    """A cell for a CSV file that no spreadsheet takes for a formula: such text begins with an apostrophe."""
    if isinstance(cell, str) and cell.lstrip(" '\u00a0").startswith(FORMULA):
        return f"'{cell}"
    return cell
