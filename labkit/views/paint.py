"""The colours and the HTML of painted texts: a token's background says its value, a bar at its edge says it again."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labkit.views.spelling import Piece
from labkit.views.theme import DARK, FONT, LIGHT, Look
from labkit.views.wording import number

LEVELS = 6  # shades on each side of zero
READABLE = 4.5  # contrast of a text and its ground
KIND = "lab-text"


@dataclass(frozen=True)
class Scale:
    """From a value to the number of its shade: 0 to LEVELS, or with both signs -LEVELS to LEVELS."""

    bound: float
    signed: bool

    @classmethod
    def of(cls, values: np.ndarray) -> "Scale":
        """The scale that just holds these values."""
        finite = values[np.isfinite(values)]
        return cls(float(np.abs(finite).max()) if finite.size else 0.0, bool((finite < 0).any()))

    def level(self, value: float) -> int:
        """The shade of a value; it is 0 for zero and for a missing value only."""
        if not np.isfinite(value) or not value or not self.bound:
            return 0
        return (1 if value > 0 else -1) * max(1, round(LEVELS * min(1.0, abs(value) / self.bound)))

    def kind(self, level: int) -> str:
        """The class of a shade: p1.. on the scale from zero up, r1.. and n1.. on the two sides of the signed one."""
        letter = "n" if level < 0 else "r" if self.signed else "p"
        return f"{letter}{abs(level)}" if level else ""


def shades(colors: Look, letter: str) -> list[tuple[str, str]]:
    """Ground and ink of the levels 1 to LEVELS: places of the colour scale on which one of both inks is readable."""
    middle = len(colors.diverging) // 2
    scale = {"p": colors.sequential, "r": colors.diverging[middle:], "n": colors.diverging[middle::-1]}[letter]
    places = [place / 100 * (len(scale) - 1) for place in range(6, 101)]
    pairs = [_inked(_between(scale, place), colors) for place in places]
    good = [pair for pair in pairs if contrast(*pair) >= READABLE]
    return [good[at] for at in np.linspace(0, len(good) - 1, LEVELS).round().astype(int)]


def _inked(ground: str, colors: Look) -> tuple[str, str]:
    return ground, max((colors.ink, colors.surface), key=lambda ink: contrast(ink, ground))


def _between(scale: Sequence[str], place: float) -> str:
    low, high, part = scale[int(place)], scale[min(int(place) + 1, len(scale) - 1)], place % 1
    mixed = [round((1 - part) * int(low[at : at + 2], 16) + part * int(high[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{one:02X}" for one in mixed)


def contrast(one: str, other: str) -> float:
    """How much two colours stand out from each other, 1 to 21, as the accessibility guidelines (WCAG) count it."""

    def bright(color: str) -> float:
        parts = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((bright(one), bright(other)))
    return (high + 0.05) / (low + 0.05)


def style() -> str:
    """The rules of painted texts, for light and dark pages; the page around decides where it has a theme."""
    light, dark = (_variables(colors) for colors in (LIGHT, DARK))
    levels = "".join(
        f".{KIND} .{letter}{level}{{background:var(--{letter}{level});color:var(--{letter}{level}i);"
        f"box-shadow:inset 0 {'' if letter == 'n' else '-'}{0.6 * level:g}px 0 currentColor}}"
        for letter in "prn"
        for level in range(1, LEVELS + 1)
    )
    return f"""<style>
.{KIND}{{{light}}}
.lab-dark .{KIND},.{KIND}.lab-dark{{{dark}}}
[data-jp-theme-light="true"] .{KIND}{{{light}}}
[data-jp-theme-light="false"] .{KIND}{{{dark}}}
.{KIND}{{margin:.5rem 0;padding:.6rem .8rem;background:var(--ground);color:var(--text);font:15px/1.5 {FONT};
max-width:72rem;overflow-wrap:anywhere}}
.{KIND} figcaption{{margin:0 0 .5rem}} .{KIND} figcaption b{{font-size:18px}}
.{KIND} small{{color:var(--dim);font-size:14px;display:block}} .{KIND} h4{{font-size:15px;margin:.9rem 0 .1rem}}
.{KIND} .text{{line-height:1.9;white-space:pre-wrap;font-size:16px;margin:.2rem 0}}
.{KIND} .t{{border-radius:2px;padding:2px 0;position:relative}}
.{KIND} .t:hover,.{KIND} .t:focus{{outline:2px solid var(--text);outline-offset:1px;z-index:2}}
.{KIND} .t:focus::after{{content:attr(title);position:absolute;left:0;top:100%;z-index:3;white-space:nowrap;
padding:1px 6px;background:var(--text);color:var(--ground);font:14px/1.5 {FONT};box-shadow:none}}
.{KIND} .mark{{letter-spacing:1px}} .{KIND} .special{{outline:1px solid currentColor;font-size:13px;padding:1px 3px;margin:0 2px}}
.{KIND} .key{{display:inline-flex;gap:3px;vertical-align:middle;margin:0 .4rem}}
.{KIND} .key span{{width:1.5rem;height:1.25rem;border-radius:3px}}
.{KIND} .seq{{display:inline;padding:0 .4rem}}
{levels}</style>"""


def _variables(colors: Look) -> str:
    words = [f"--ground:{colors.surface};--text:{colors.ink};--dim:{colors.muted}"]
    for letter in "prn":
        for place, (ground, ink) in enumerate(shades(colors, letter)):
            words.append(f"--{letter}{place + 1}:{ground};--{letter}{place + 1}i:{ink}")
    return ";".join(words)


def legend(scale: Scale, name: str, units: str) -> str:
    """The shades from lowest to highest with the values at both ends, for eyes; values are in the titles for all."""
    ends = [-scale.bound if scale.signed else 0.0, scale.bound]
    levels = range(-LEVELS if scale.signed else 1, LEVELS + 1)
    keys = "".join(f'<span class="{scale.kind(level)}"></span>' for level in levels if level)
    unit = f" {html.escape(units)}" if units else ""
    return (
        f'<small aria-hidden="true">{html.escape(name)}: {number(ends[0])}{unit}<span class="key">{keys}</span>'
        f"{number(ends[1])}{unit}</small>"
    )


def painted(pieces: Sequence[Piece], values: np.ndarray, titles: Sequence[str], scale: Scale, stops: set[int]) -> str:
    """The tokens as HTML; those whose place is in `stops` can be reached with the Tab key."""
    parts = []
    for place, (piece, value) in enumerate(zip(pieces, values)):
        kinds = ["t", scale.kind(scale.level(float(value)))]
        kinds += ["special"] * piece.special + ["mark"] * piece.invisible
        reach = ' tabindex="0"' if place in stops else ""
        parts.append(
            f'{piece.gap}<span class="{" ".join(filter(None, kinds))}"{reach} '
            f'title="{html.escape(titles[place])}">{html.escape(piece.text)}</span>'
            + ("\n" if piece.line else "<wbr>" * piece.invisible)
        )
    return "".join(parts)
