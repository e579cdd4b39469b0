"""What all routing views share: the word for a choice, its colour, the layers' names, and the axis of the tokens."""

from typing import Any

import numpy as np
import xarray as xr

from labkit.views.panels import told_apart
from labkit.views.reading import entries
from labkit.views.spelling import spelled
from labkit.views.theme import look
from labkit.views.wording import WORDS, escaped, short, unique

PLURALS = {"leaf": "leaves", "branch": "branches", "memory": "memories"}
EXTRA = {  # with the six series colours the twelve that colour-blind people tell apart best: scale and place in it
    "light": (
        ("sequential", 1),
        ("sequential", 3),
        ("diverging", 9),
        ("diverging", 4),
        ("sequential", 4),
        ("diverging", 7),
    ),
    "dark": (
        ("sequential", 1),
        ("diverging", 7),
        ("diverging", 10),
        ("diverging", 0),
        ("diverging", 6),
        ("sequential", 3),
    ),
}
COLORS = 12
LETTERS = 12  # of a token's text


def noun_of(data: xr.DataArray, default: str | None = None) -> str:
    """What is chosen: the `long_name` of the axis `choice`, else the attribute `choice` of the data, else `default`.

    Recordings from before that was written down are of trees: without a default the word is "leaf".
    """
    for axis in ("choice", "from"):
        if axis in data.coords and data[axis].attrs.get("long_name"):
            return str(data[axis].attrs["long_name"])
    return str(data.attrs.get("choice") or default or WORDS["choice"])


def plural(noun: str) -> str:
    """More than one of them: leaves, experts."""
    return PLURALS.get(noun, noun + "s")


def palette(dark: bool) -> tuple[str, ...]:
    """Twelve colours of the theme; no two look alike to colour-blind people."""
    colors = look(dark)
    return (*colors.series, *(getattr(colors, scale)[at] for scale, at in EXTRA["dark" if dark else "light"]))


def one_by_one(count: int, dark: bool) -> dict[str, Any]:
    """The colour scale of a heat map of the choices 0..count-1; after twelve the colours start again."""
    colors = palette(dark)
    steps: list[list] = []
    for choice in range(count):
        color = colors[choice % COLORS]
        steps += [[choice / count, color], [(choice + 1) / count, color]]
    return {"colorscale": steps, "zmin": -0.5, "zmax": count - 0.5}


def against_even(dark: bool) -> dict[str, Any]:
    """Colours for per cent of an equal share or of chance: 100 in the middle, 200 and more strong, 0 as strong."""
    return {"colorscale": look(dark).scale(signed=True), "zmin": 0, "zmid": 100, "zmax": 200}


def rounded(ratio: np.ndarray) -> np.ndarray:
    """Ratios in whole per cent; 0 stays for what is exactly none, and for missing values it is NaN."""
    whole = np.round(100 * ratio)
    return np.where((ratio > 0) & (whole < 1), 1, whole)


def filled(data: xr.DataArray) -> xr.DataArray:
    """Without the layers and the steps that hold no value: a history has one axis for all layers, also those without
    a router, and what is looked at seldom is missing at most of its steps.
    """
    for dim in ("layer", "step"):
        if dim in data.dims:
            there = np.isfinite(data.values).any(tuple(at for at, one in enumerate(data.dims) if one != dim))
            data = data.isel({dim: np.flatnonzero(there)})
    return data


def layers_of(data: xr.DataArray, dim: str = "layer") -> tuple[list[str], list[str]]:
    """The layers' names as the data has them (escaped for plotly), and as short as they can be told apart."""
    names = unique([str(name) for name in entries(data, dim)])
    return [escaped(name) for name in names], [escaped(short_layer(name)) for name in told_apart(names)]


def short_layer(name: str, width: int = 18) -> str:
    """A layer's name with its end kept, which tells it from the others."""
    return name if len(name) <= width else "…" + name[-(width - 1) :]


def texts_of(data: xr.DataArray) -> list[str] | None:
    """The tokens as people read them, or None where the data has no texts."""
    if "text" not in data.coords or data["text"].dims != ("token",):
        return None
    pieces = spelled([str(text) for text in data["text"].values])
    return [escaped(short(piece.text.strip() or piece.text, LETTERS)) for piece in pieces]
