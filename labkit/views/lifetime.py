"""How choosy the units of each layer are: some answer to everything, some to a single input."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.panels import colorbar, heading, layer_named, names_of, numbered, some, stack, ticks
from labkit.views.reading import read, title_of
from labkit.views.theme import look, styled
from labkit.views.thinning import compact
from labkit.views.wording import counted, fixed, number, percent, sentence

PANELS, ROWS, BINS = 4, 200, 25


def lifetime(data: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """The distribution of lifetime sparsity over the units of each layer, always from 0 to 1.

    A unit at 0 answers equally to all inputs, a unit at 1 to one input only. Up to four layers are histograms below
    each other with a line at the median; more are rows of a heat map with a mark at the median of each. Units that
    never answer have no value (NaN) and are left out.

    Shapes:
        data: (layer, unit), from 0 to 1, NaN where there is no unit or the unit is dead
    Raises:
        LabError: other axes, or values beyond 0 and 1.
    """
    data = read("lifetime", data, ("layer", "unit"))
    values = data.values.astype(np.float64)
    if np.nanmin(values) < -1e-6 or np.nanmax(values) > 1 + 1e-6:
        raise LabError("lifetime needs values from 0 to 1, and found one beyond; lifetime sparsity cannot be there.")
    there = np.asarray(np.isfinite(values).any(1))
    names = [name for name, one in zip(names_of(data, "layer"), there) if one]
    values = values[there].clip(0, 1)
    edges = np.linspace(0, 1, BINS + 1)
    counts = np.stack([np.histogram(row[np.isfinite(row)], edges)[0] for row in values])
    shares = 100 * counts / counts.sum(1, keepdims=True)
    medians = np.nanmedian(values, 1)
    kept, drawn = some(names, PANELS if len(names) <= PANELS else ROWS)
    figure, middles = go.Figure(), (edges[1:] + edges[:-1]) / 2
    if len(names) <= PANELS:
        _bars(figure, names, middles, shares, counts, medians, dark)
    else:
        _rows(figure, drawn, middles, shares[kept], counts[kept], medians[kept], dark)
    choosy = [int(medians.argmin()), int(medians.argmax())]
    ends = [f"{layer_named(names[at])} {fixed(medians[at], 0.1)}" for at in dict.fromkeys(choosy)]
    median = f"the median is {fixed(medians[0], 0.1)}" if len(names) == 1 else f"medians from {' to '.join(ends)}"
    notes = [median, f"{counted(int(counts.sum()), 'unit')} with a value"]
    notes += [f"{len(drawn)} of {len(names):,} layers drawn"] * (len(drawn) < len(names))
    panels = len(names) if len(names) <= PANELS else 0
    return styled(
        figure,
        title=f"{title_of(data, 'Lifetime sparsity')}: how choosy the units are",
        subtitle=sentence("; ".join(notes)),
        alt=_alt(names, values, medians, counts),
        dark=dark,
        height=210 + 165 * panels if panels else max(420, min(900, 240 + 14 * len(drawn))),
        above=22 * (panels > 1),
        axes={} if panels else {"y": "layer"},
    )


def _bars(
    figure: go.Figure,
    names: list[str],
    middles: np.ndarray,
    shares: np.ndarray,
    counts: np.ndarray,
    medians: np.ndarray,
    dark: bool,
) -> None:
    colors, domains = look(dark), stack([120] * len(names), 46)
    for place, name in enumerate(names):
        axes = {"xaxis": numbered("x", place), "yaxis": numbered("y", place)}
        figure.add_bar(
            x=compact(middles),
            y=compact(shares[place]),
            customdata=compact(counts[place]),
            width=0.94 / BINS,
            marker={"color": colors.series[0], "line": {"width": 0}},
            hovertemplate="near %{x:.2f}: %{customdata} units, %{y:.3~g} %<extra></extra>",
            name=layer_named(name),
            showlegend=False,
            **axes,
        )
        figure.add_scatter(
            x=[float(medians[place])] * 2,
            y=[0, 1.08 * float(shares[place].max())],
            mode="lines",
            line={"width": 3, "color": colors.series[1]},
            name=f"median of {layer_named(name)}",
            hovertemplate="median %{x:.3f}<extra></extra>",
            showlegend=False,
            **axes,
        )
        if len(names) > 1:
            heading(figure, f"{layer_named(name)}: median {fixed(medians[place], 0.1)}", domains[place][1])
        last = place == len(names) - 1
        x: dict = {"anchor": axes["yaxis"], "range": [-0.01, 1.01], "showgrid": False, "showticklabels": last}
        x |= {"title": {"text": "0: answers to everything, 1: to one input only"}} if last else {}
        y = {"anchor": axes["xaxis"], "domain": domains[place], "title": {"text": "Units (%)"}, "nticks": 4}
        figure.update_layout({f"xaxis{axes['xaxis'][1:]}": x, f"yaxis{axes['yaxis'][1:]}": y})


def _rows(
    figure: go.Figure,
    names: list[str],
    middles: np.ndarray,
    shares: np.ndarray,
    counts: np.ndarray,
    medians: np.ndarray,
    dark: bool,
) -> None:
    colors = look(dark)
    figure.add_heatmap(
        x=compact(middles),
        y=names,
        z=compact(shares),
        customdata=compact(counts),
        zmin=0,
        zmax=float(shares.max()),
        colorscale=colors.scale(),
        ygap=1 if len(names) <= 40 else 0,
        colorbar=colorbar("Share of the layer's units (%)", dark),
        hovertemplate="%{y}, near %{x:.2f}: %{customdata} units, %{z:.3~g} %<extra></extra>",
        name="share (%)",
    )
    figure.add_scatter(
        x=compact(medians),
        y=names,
        mode="markers",
        marker={
            "symbol": "diamond",
            "size": max(5, min(13, 330 // len(names))),
            "color": colors.surface,
            "line": {"width": 1.5, "color": colors.ink},
        },
        hovertemplate="%{y}: median %{x:.3f}<extra></extra>",
        name="median",
        showlegend=False,
    )
    words = "0: answers to everything, 1: to one input only (diamond: median)"
    figure.update_layout(
        xaxis={"title": {"text": words}, "range": [0, 1], "showgrid": False},
        yaxis={**ticks(names, most=24), "autorange": "reversed"},
    )


def _alt(names: list[str], values: np.ndarray, medians: np.ndarray, counts: np.ndarray) -> str:
    told = []
    for place in range(len(names)) if len(names) <= 3 else sorted({int(medians.argmin()), int(medians.argmax())}):
        row = values[place][np.isfinite(values[place])]
        choosy = percent(float((row > 0.9).mean()))
        told.append(
            f"{layer_named(names[place])} has the median {number(medians[place])}, {choosy} of its units above 0.9"
        )
    return f"Lifetime sparsity of {counted(int(counts.sum()), 'unit')} in {counted(len(names), 'layer')}: {'; '.join(told)}."


def example(seed: int = 0) -> dict:
    """Treves and Rolls' measure for the units of a ReLU network on 500 held-out digits."""
    from labkit.views.network_specimen import LAYERS, digits_network

    hidden = digits_network(seed).hidden()
    values = np.full((len(LAYERS), max(part.shape[1] for part in hidden)), np.nan)
    for row, activity in zip(values, hidden):
        power = (activity**2).mean(0)
        alive = power > 0
        dense = activity.mean(0)[alive] ** 2 / power[alive]
        row[np.flatnonzero(alive)] = (1 - dense) / (1 - 1 / len(activity))
    coords = {"layer": list(LAYERS), "unit": np.arange(values.shape[1])}
    attrs = {"long_name": "lifetime sparsity", "units": ""}
    return {"data": xr.DataArray(values, dims=("layer", "unit"), coords=coords, attrs=attrs)}
