"""A figure of the house in the other version, light or dark, without drawing it again: every theme colour is exchanged."""

import json
import re
from functools import lru_cache
from typing import Any

import plotly.graph_objects as go

from labkit.views.theme import DARK, LIGHT, Look

COLOR = re.compile(r"#[0-9A-Fa-f]{6}(?![0-9A-Za-z])|rgba?\(\s*\d+\s*,\s*\d+\s*,\s*\d+\s*(?:,\s*[\d.]+\s*)?\)")


def is_dark(figure: go.Figure) -> bool | None:
    """Which version a figure is drawn in; None where it does not have the theme of the house."""
    theme: Any = figure.to_dict()["layout"].get("template", {}).get("layout", {})
    surface = str(theme.get("paper_bgcolor", "")).upper()
    return {LIGHT.surface: False, DARK.surface: True}.get(surface)


def recolored(figure: go.Figure, dark: bool) -> go.Figure:
    """The figure in the dark or the light version; one without the house's theme is returned as it is.

    A colour that was mixed from several, or painted into an image, stays; a function `draw(dark)` draws those rightly too.
    """
    if is_dark(figure) in (None, dark):
        return figure
    text = COLOR.sub(lambda found: exchanged(found[0], dark), figure.to_json() or "{}")
    return go.Figure(json.loads(text), skip_invalid=True)


def exchanged(color: str, dark: bool) -> str:
    """The colour that stands for this one in the other version, as opaque as it is."""
    pairs = counterparts(dark)
    if color.startswith("#"):
        return pairs.get(color.upper(), color)
    *channels, alpha = (float(part) for part in [*re.findall(r"[\d.]+", color), "1"][:4])
    other = pairs.get("#" + "".join(f"{int(channel):02X}" for channel in channels))
    if other is None:
        return color
    red, green, blue = (int(other[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {alpha:g})"


@lru_cache(maxsize=2)
def counterparts(dark: bool) -> dict[str, str]:
    """Each colour of the one version, and the colour at its place in the other."""
    old, new = (LIGHT, DARK) if dark else (DARK, LIGHT)
    return {one.upper(): other for one, other in reversed(list(zip(every(old), every(new))))}


def every(colors: Look) -> list[str]:
    """All colours of a version in order."""
    plain = [colors.surface, colors.ink, colors.muted, colors.grid]
    return [*plain, *colors.series, *colors.sequential, *colors.diverging]
