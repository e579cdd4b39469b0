"""How many directions a layer really uses: the variance of its activations along each, largest first."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.labels import legend_height
from labkit.views.panels import colorbar, coordinate, layer_named, names_of, some, ticks
from labkit.views.reading import read, title_of
from labkit.views.theme import HEIGHT, look, styled
from labkit.views.thinning import compact
from labkit.views.wording import counted, fixed, listed, number, percent, sentence, short

LINES, ROWS, COLUMNS, POINTS = 6, 150, 160, 500
FLOOR = 1e-7  # shares below it are rounding errors of single precision


def spectrum(data: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """Share of the variance by component on a logarithmic scale, with the effective rank of each layer marked.

    The effective rank is the number of equally strong directions that would be as spread out; a layer that falls
    steeply uses few of its units' directions. Up to six layers are lines with a ring at the effective rank; more are
    rows of a heat map with a mark in each.

    Shapes:
        data: (layer, component), shares in descending order, NaN where a layer has fewer components; the coordinate
            `effective_rank` (layer)
    Raises:
        LabError: other axes, no `effective_rank`, or a negative share.
    """
    data = read("spectrum", data, ("layer", "component"))
    ranks = coordinate("spectrum", data, "effective_rank", ("layer",), "how many directions a layer uses")
    shares = data.values.astype(np.float64)
    if np.nanmin(shares) < -1e-6:
        raise LabError("spectrum needs shares of the variance, from 0 to 1, and found a negative one.")
    shares = np.where(shares >= FLOOR, shares, np.nan)
    there = np.asarray(np.isfinite(shares).any(1))
    names = [name for name, one in zip(names_of(data, "layer"), there) if one]
    shares, ranks = shares[there], ranks.astype(np.float64)[there]
    kept, drawn = some(names, LINES if len(names) <= LINES else ROWS)
    figure = go.Figure()
    if len(names) <= LINES:
        _lines(figure, shares, ranks, names, dark)
    else:
        _rows(figure, shares[kept], ranks[kept], drawn, dark)
    few, many = int(ranks.argmin()), int(ranks.argmax())
    told = [
        f"{layer_named(names[at])} {fixed(ranks[at], 10)} of {np.isfinite(data.values[there][at]).sum():,}"
        for at in {few, many}
    ]
    notes = [f"effective rank: {listed(told)}"]
    notes += [f"{len(drawn)} of {len(names):,} layers drawn"] * (len(drawn) < len(names))
    legend = max(0, legend_height(names) - 10) if 1 < len(names) <= LINES else 0
    figure.update_layout(margin={"b": 20 + legend})
    return styled(
        figure,
        title=f"{title_of(data, 'Share of the variance')} by component",
        subtitle=sentence("; ".join(notes)),
        alt=_alt(shares, ranks, names, notes[0]),
        dark=dark,
        height=HEIGHT + legend,
        axes={} if len(names) <= LINES else {"y": "layer"},
    )


def _lines(figure: go.Figure, shares: np.ndarray, ranks: np.ndarray, names: list[str], dark: bool) -> None:
    colors = look(dark)
    for place, (name, row) in enumerate(zip(names, shares)):
        style, filled = colors.line(place), np.flatnonzero(np.isfinite(row))
        kept = np.unique(np.geomspace(1, filled[-1] + 1, POINTS).round().astype(int)) - 1
        kept = kept[np.isfinite(row[kept])]
        figure.add_scatter(
            x=compact(kept + 1),
            y=compact(100 * row[kept]),
            mode="lines",
            line={"width": 3, "color": style["color"], "dash": style["dash"]},
            name=f"{short(layer_named(name), 30)}: {number(float(f'{ranks[place]:.3g}'))}",
            legendgroup=str(place),
            showlegend=len(names) > 1,
            hovertemplate=f"{name}, component %{{x}}: %{{y:.3~g}} % of the variance<extra></extra>",
        )
    for place, (name, row, rank) in enumerate(zip(names, shares, ranks)):
        style, filled = colors.line(place), np.flatnonzero(np.isfinite(row))
        height = float(np.exp(np.interp(rank - 1, filled, np.log(row[filled]))))
        figure.add_scatter(
            x=[float(rank)],
            y=[100 * height],
            mode="markers",
            marker={
                "size": 14,
                "symbol": "circle",
                "color": colors.surface,
                "line": {"width": 3, "color": style["color"]},
            },
            name=f"effective rank of {short(name, 30)}",
            legendgroup=str(place),
            showlegend=False,
            hovertemplate=f"effective rank of {name}: %{{x:.4~g}}<extra></extra>",
        )
    decades = [10.0**power for power in range(2, -6, -1)]
    written = {"tickvals": decades, "ticktext": [number(one) for one in decades]}
    figure.update_layout(
        xaxis={"title": {"text": "Component, strongest first (ring and legend: effective rank)"}, "showgrid": False},
        yaxis={"title": {"text": "Share of the variance (%)"}, "type": "log", **written},
    )


def _rows(figure: go.Figure, shares: np.ndarray, ranks: np.ndarray, names: list[str], dark: bool) -> None:
    """A heat map over the logarithm of the component's number, so that the first components are not squeezed."""
    places = np.unique(np.geomspace(1, shares.shape[1], COLUMNS).round().astype(int))
    cells = np.log10(100 * shares[:, places - 1])
    low, high = float(np.floor(np.nanmin(cells))), float(np.ceil(np.nanmax(cells)))
    powers = range(int(low), int(high) + 1)
    figure.add_heatmap(
        x=compact(np.log10(places)),
        y=names,
        z=compact(cells),
        customdata=np.broadcast_to(places.astype(np.uint16), cells.shape),
        zmin=low,
        zmax=high if high > low else low + 1,
        colorscale=look(dark).scale(),
        colorbar=colorbar(
            "Share of the variance (%)", dark, tickvals=list(powers), ticktext=[number(10.0**one) for one in powers]
        ),
        hovertemplate="%{y}, component %{customdata}: 10<sup>%{z:.2f}</sup> %<extra></extra>",
        hoverongaps=False,
        name="power of ten of the share in %",
    )
    figure.add_scatter(
        x=compact(np.log10(np.maximum(ranks, 1))),
        y=names,
        customdata=compact(ranks),
        mode="markers",
        marker={
            "symbol": "circle",
            "size": max(5, min(12, 300 // len(names))),
            "color": look(dark).surface,
            "line": {"width": 2, "color": look(dark).ink},
        },
        name="effective rank (power of ten)",
        showlegend=False,
        hovertemplate="%{y}: effective rank %{customdata:.4~g}<extra></extra>",
    )
    marks = [one for one in (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000) if one <= shares.shape[1]]
    figure.update_layout(
        xaxis={
            "title": {"text": "Component, strongest first (rings: effective rank)"},
            "tickvals": [float(np.log10(one)) for one in marks],
            "ticktext": [number(one) for one in marks],
            "showgrid": False,
        },
        yaxis={**ticks(names, most=16), "autorange": "reversed"},
    )


def _alt(shares: np.ndarray, ranks: np.ndarray, names: list[str], note: str) -> str:
    told = []
    for place in range(len(names)) if len(names) <= 3 else (0, len(names) - 1):
        row = np.nan_to_num(shares[place])
        half = int(np.searchsorted(np.cumsum(row), 0.9 * row.sum())) + 1
        told.append(
            f"in {layer_named(names[place])} {counted(half, 'component')} hold 90 % of the variance, the first {percent(row[0])}"
        )
    return f"Spectrum of {counted(len(names), 'layer')}; {note}. {sentence('; '.join(told))}."


def example(seed: int = 0) -> dict:
    """Pixels and both hidden layers of a trained ReLU network on held-out digits; the rank by entropy."""
    from labkit.views.network_specimen import LAYERS, digits_network

    network = digits_network(seed)
    parts = [network.inputs, *network.hidden()]
    widest = max(part.shape[1] for part in parts)
    shares, ranks = np.full((len(parts), widest), np.nan), []
    for row, part in zip(shares, parts):
        variance = np.linalg.svd(part - part.mean(0), compute_uv=False).astype(np.float64) ** 2
        row[: len(variance)] = variance / variance.sum()
        sure = row[np.flatnonzero(row > 0)]
        ranks.append(float(np.exp(-(sure * np.log(sure)).sum())))
    coords = {"layer": ["pixels", *LAYERS], "component": np.arange(widest), "effective_rank": ("layer", ranks)}
    attrs = {"long_name": "share of the variance", "units": ""}
    return {"data": xr.DataArray(shares, dims=("layer", "component"), coords=coords, attrs=attrs)}
