"""Several plots in one figure: where each one stands, its heading, and the colour bar that they share."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.reading import entries
from labkit.views.theme import SMALL, TEXT, look
from labkit.views.thinning import evenly
from labkit.views.wording import escaped, short, unique, wrapped


def stack(heights: list[float], gap: float) -> list[list[float]]:
    """The domains of panels from top to bottom that fill 0..1; heights and gap in pixels, or any common measure."""
    total, top, domains = sum(heights) + gap * (len(heights) - 1), 1.0, []
    for height in heights:
        domains.append([max(0.0, top - height / total), top])
        top -= (height + gap) / total
    return domains


def numbered(letter: str, place: int) -> str:
    """Plotly's name of the axis at this place: x, x2, x3, ..."""
    return letter if place == 0 else f"{letter}{place + 1}"


def heading(figure: go.Figure, text: str, y: float, x: float = 0.0, rise: int = 4, width: int = 60) -> None:
    """Words above a panel whose upper left corner is at (x, y) of the paper."""
    figure.add_annotation(
        text=f"<b>{wrapped(text, width, lines=2)}</b>",
        x=x,
        y=y,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="bottom",
        yshift=rise,
        showarrow=False,
        align="left",
        font={"size": TEXT},
    )


def colorbar(title: str, dark: bool, **more: Any) -> dict:
    """The legend of a colour scale at the right of the plot."""
    return {
        "title": {"text": wrapped(title, 34, lines=2), "side": "right", "font": {"size": SMALL}},
        "thickness": 14,
        "outlinewidth": 0,
        "nticks": 6,
        "tickfont": {"size": SMALL, "color": look(dark).muted},
        **more,
    }


def names_of(data: xr.DataArray, dim: str) -> list[str]:
    """The labels of an axis as texts for plotly, no two the same."""
    return unique([escaped(f"{name:.4g}" if isinstance(name, float) else str(name)) for name in entries(data, dim)])


def ticks(names: list[str], most: int = 24, width: int = 22, lines: int = 2) -> dict:
    """At most so many ticks of a category axis, evenly spread, long names cut or broken."""
    kept = np.arange(0, len(names), -(-len(names) // most))
    lines = lines if len(kept) == len(names) and len(names) <= most / lines else 1
    words = told_apart(names) if max(map(len, names)) > width else names
    return {
        "type": "category",
        "tickvals": [names[at] for at in kept],
        "ticktext": [_broken(words[at], width, lines) for at in kept],
        "showgrid": False,
    }


def _broken(name: str, width: int, lines: int) -> str:
    """A long name in lines; a dotted one (transformer.h.0.mlp) keeps its end, which tells it from the others."""
    if len(name) <= width:
        return name
    if "." in name and " " not in name:
        return "…" + name[-(width - 1) :]
    return wrapped(name, width, lines=lines).replace("&amp;", "&") if lines > 1 else short(name, width)


def told_apart(names: list[str]) -> list[str]:
    """Dotted names without the parts that all of them share: model.layers.3.mlp -> 3."""
    split = [name.split(".") for name in names]
    if len(names) < 2 or min(map(len, split)) < 2:
        return names
    start = next((at for at, parts in enumerate(zip(*split)) if len(set(parts)) > 1), 0)
    end = next((at for at, parts in enumerate(zip(*(one[::-1] for one in split))) if len(set(parts)) > 1), 0)
    cut = [".".join(parts[start : len(parts) - end]) for parts in split]
    return cut if all(cut) and len(set(cut)) == len(set(names)) else names


def across(names: list[str], room: int = 64) -> dict:
    """Ticks of a category axis along the foot of a plot 600 pixels wide: short, upright, as many as have room."""
    words = [name if len(name) <= 14 else "…" + name[-13:] for name in told_apart(names)]
    kept, _ = some(names, max(2, min(16, room // (max(map(len, words)) + 2))))
    return {
        "type": "category",
        "tickvals": [names[at] for at in kept],
        "ticktext": [words[at] for at in kept],
        "tickangle": 0,
        "showgrid": False,
    }


def layer_named(name: str) -> str:
    """A layer's name in a sentence; one that is a number is called layer 2."""
    return f"layer {name}" if name.isdigit() else name


def some(names: list[str], most: int) -> tuple[np.ndarray, list[str]]:
    """At most so many of the entries of an axis, evenly spread, and their names."""
    kept = evenly(len(names), most)
    return kept, [names[at] for at in kept]


def coordinate(view: str, data: xr.DataArray, name: str, dims: tuple[str, ...], means: str) -> np.ndarray:
    """The values of an extra coordinate along these axes, broadcast to them.

    Raises:
        LabError: there is none, with what it would mean.
    """
    if name not in data.coords:
        needed = f"({', '.join(dims)})"
        raise LabError(f"{view} needs the coordinate {name} {needed}, {means}, and the data has none.")
    given = data[name]
    for dim in dims:
        if dim not in given.dims:
            given = given.expand_dims({dim: data.sizes[dim]})
    return given.transpose(*dims).values
