"""Numbers and names as a person would write them, for titles, hover texts and alt texts."""

import html
import math
import textwrap
from collections.abc import Sequence
from typing import SupportsFloat

NON_BREAKING = "\u00a0"
WORDS = {
    "step": "training step",
    "seed": "seed",
    "arm": "arm",
    "width": "width",
    "choice": "leaf",
    "class": "class",
    "bin": "decision margin",
}


def number(value: SupportsFloat) -> str:
    """At most three significant digits, thousands with commas: 0.862, 12.3, 1,240, 0.00013."""
    value = float(value)
    if not math.isfinite(value):
        return "no value"
    if value == round(value) and abs(value) < 1e15:
        return _signed(f"{int(value):,}")
    if abs(value) >= 100:
        return _signed(f"{value:,.0f}")
    if abs(value) < 1e-4 or abs(value) >= 1e15:
        return _signed(f"{value:.2g}")
    digits = 2 - math.floor(math.log10(abs(value)))
    return _signed(f"{value:.{digits}f}".rstrip("0").rstrip("."))


def fixed(value: SupportsFloat, spread: SupportsFloat) -> str:
    """A value with as many decimals as its spread (what it varies by) makes worth reading: 0.86, 12.3, 1,240."""
    value, spread = float(value), float(spread)
    if not math.isfinite(value):
        return "no value"
    if not (math.isfinite(spread) and spread > 0):
        return number(value)
    digits = min(6, max(0, 1 - math.floor(math.log10(spread))))
    return _signed(f"{value:,.{digits}f}")


def _signed(text: str) -> str:
    """With a minus sign instead of a hyphen, and none before a zero."""
    if not text.startswith("-"):
        return text
    return f"\N{MINUS SIGN}{text[1:]}" if any(digit in text for digit in "123456789") else text[1:]


def percent(share: float) -> str:
    """A share of 0..1 in per cent: 24 %, 0.4 %, 0 %."""
    if not math.isfinite(share):
        return "no value"
    value = 100 * float(share)
    if 99.5 <= value < 99.95 or (0 < value < 9.95):
        text = f"{value:.1f}"
        return (text if text != "0.0" else "under 0.1") + NON_BREAKING + "%"
    return f"{value:.0f}{NON_BREAKING}%"


def seconds(value: float) -> str:
    """A duration in the unit that suits it: 340 ns, 12.5 µs, 3.1 ms, 2 s."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return number(float(f"{value / size:.3g}")) + NON_BREAKING + unit
    return number(float(f"{value * 1e9:.3g}")) + NON_BREAKING + "ns"


def counted(count: int, thing: str, things: str | None = None) -> str:
    """A count with its noun: 1 seed, 5 seeds, 1,000 steps."""
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"


def listed(items: Sequence[str]) -> str:
    """Names in a sentence: a, b and c."""
    items = list(items)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def named(value: object, dim: str) -> str:
    """The label of one entry of an axis: a text stays as it is, a number is named: seed 3."""
    return str(value) if isinstance(value, str) else f"{WORDS.get(dim, dim)} {value}"


def short(name: str, width: int = 28) -> str:
    """The name, cut with … where it is too long for a sentence."""
    return name if len(name) <= width else name[: width - 1].rstrip() + "…"


def unique(names: Sequence[str]) -> list[str]:
    """The names, with a number behind the second and later ones that are the same."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return result


def sentence(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def escaped(text: str) -> str:
    """Plotly reads < and & in texts as markup; this shows them as they are."""
    return html.escape(str(text), quote=False)


def wrapped(text: str, width: int, lines: int = 0) -> str:
    """The text as plotly shows it in lines of at most `width` characters; after `lines` of them it is cut with …."""
    parts = textwrap.wrap(text, width, break_on_hyphens=False) or [""]
    if lines and len(parts) > lines:
        parts = [*parts[: lines - 1], parts[lines - 1][: width - 1].rstrip() + "…"]
    return "<br>".join(escaped(part) for part in parts)


def longest(text: str) -> int:
    """The number of characters of the longest line of a wrapped text."""
    return max(len(html.unescape(line)) for line in text.split("<br>"))
