"""Tokens that something happened to: a row a layer, a cell a token, how many in each layer, and where in the text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.views.choices import layers_of
from labkit.views.panels import heading, stack
from labkit.views.strip import strip_of
from labkit.views.theme import look
from labkit.views.thinning import compact, evenly
from labkit.views.wording import escaped, listed, percent

LAYERS, PROFILE, LOW = 64, 120, 100  # rows, bars of the profile, its pixels
HIGH = ((4, 48), (12, 36), (24, 26), (LAYERS, 18))  # pixels of a row, with at most so many of them


@dataclass(frozen=True)
class Marks:
    """The picture of marked tokens before it has a title.

    Shapes:
        shares: (layer) the share of the layer's tokens that are marked, NaN where it has none
    """

    figure: go.Figure
    height: int
    above: int
    notes: list[str]
    shares: np.ndarray
    names: list[str]

    def worst(self) -> str:
        """The layer with the largest share, in words."""
        most = int(np.nanargmax(self.shares))
        return f"layer {self.names[most]} ({percent(float(self.shares[most]))})"

    def in_words(self) -> str:
        """The shares of up to four layers in a sentence."""
        order = [at for at in np.argsort(-np.nan_to_num(self.shares), kind="stable") if np.isfinite(self.shares[at])]
        return listed([f"{percent(float(self.shares[at]))} in layer {self.names[at]}" for at in order[:4]])


def token_marks(view: str, data: xr.DataArray, words: Sequence[str], start: int, along: str, dark: bool) -> Marks:
    """Draw marks 0, 1, ... of (layer, token); `words` say what each means, and the last is what is counted.

    NaN where a layer has no such token. `along` heads the profile, which goes over the whole text: the share of all
    layers in which a token is marked, in up to 120 stretches.
    """
    levels, colors = len(words) - 1, look(dark)
    values = data.values.astype(np.float64)
    there = np.isfinite(values)
    hit = values >= levels
    count = there.sum(1)
    shares = np.divide(hit.sum(1), count, out=np.full(len(count), np.nan), where=count > 0)
    rows = evenly(len(values), LAYERS)
    strip = strip_of(view, data.isel(layer=rows), start, 1 if there.all() else 4)
    names, short = layers_of(strip.kept)
    strong = colors.series[1]
    scale = [colors.grid, *[colors.diverging[7 if dark else 6]] * (levels > 1), strong]
    steps = [[(at + end) / len(scale), color] for at, color in enumerate(scale) for end in (0, 1)]
    cells = strip.kept.values.astype(np.float64)
    brief = strip.brief and len(names) <= HIGH[1][0]
    told = "; ".join(f"{level}: {escaped(word)}" for level, word in enumerate(words))
    figure = go.Figure(
        go.Heatmap(
            z=compact(cells),
            x0=int(strip.numbers[0]),
            dx=1,
            y=names,
            text=[strip.texts] * len(names) if brief else None,
            texttemplate="%{text}" if brief else None,
            textfont={"size": 13},
            colorscale=steps,
            zmin=-0.5,
            zmax=levels + 0.5,
            showscale=False,
            xgap=1,
            ygap=2,
            hovertemplate=f"token %{{x}}, %{{y}}: %{{z}}<br>({told})<extra></extra>",
            name=escaped(words[-1]),
        )
    )
    pixels = next(one for most, one in HIGH if len(names) <= most) * len(names)
    upper, lower = stack([pixels, LOW], 60)
    below = strip.draw(figure, dark, _fullest(cells >= levels, strip.window))
    ticks = [f"{name} · {percent(share)}" for name, share in zip(short, shares[rows])]
    figure.update_layout(
        xaxis={"anchor": "y"},
        yaxis={
            "tickvals": names,
            "ticktext": ticks,
            "type": "category",
            "autorange": "reversed",
            "showgrid": False,
            "domain": upper,
            "title": {"text": "Layer · share"},
            "fixedrange": True,
        },
    )
    _profile(figure, hit, there, data, lower, dark)
    heading(figure, along, lower[1], width=70)
    figure.update_layout(margin={"b": 20 + below}, showlegend=False)
    notes = [f"{len(rows)} of {len(values):,} layers"] if len(rows) < len(values) else []
    height = 190 + strip.above + pixels + 60 + LOW + below
    return Marks(figure, height, strip.above, [*notes, *strip.notes()], shares, layers_of(data)[1])


def _fullest(hit: np.ndarray, window: int) -> int:
    """The first place from which on a window holds most of the marks."""
    total = np.concatenate([[0], hit.sum(0).cumsum()])
    return int((total[window:] - total[:-window]).argmax()) if len(total) > window else 0


def _profile(
    figure: go.Figure, hit: np.ndarray, there: np.ndarray, data: xr.DataArray, domain: list, dark: bool
) -> None:
    """Bars below: of the cells of each stretch of the text, the share that is marked."""
    size = -(-hit.shape[1] // PROFILE)
    starts = np.arange(0, hit.shape[1], size)
    marked, all_of = (np.add.reduceat(one.sum(0), starts) for one in (hit, there))
    share = 100 * np.divide(marked, all_of, out=np.zeros(len(starts)), where=all_of > 0)
    stretch = f"the {size} tokens from %{{x}} on" if size > 1 else "token %{x}"
    figure.add_bar(
        x=compact(starts + size / 2 - 0.5),
        y=compact(share),
        width=0.9 * size,
        xaxis="x2",
        yaxis="y2",
        marker={"color": look(dark).series[0], "line": {"width": 0}},
        customdata=compact(starts),
        hovertemplate=f"{stretch.replace('%{x}', '%{customdata}')}: %{{y:.1f}} %<extra></extra>",
        name="share along the text (%)",
    )
    figure.update_layout(
        xaxis2={"anchor": "y2", "showgrid": False, "title": {"text": "Token"}, "range": [-0.5, hit.shape[1] - 0.5]},
        yaxis2={"domain": domain, "title": {"text": "Share (%)"}, "rangemode": "tozero", "nticks": 4},
    )
