"""How much of each layer works on each token, with a threshold that can be moved."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.panels import colorbar, layer_named, names_of, some, ticks
from labkit.views.reading import entries, read
from labkit.views.scrubber import DEPTH, scrub
from labkit.views.spelling import spelled
from labkit.views.theme import look, styled
from labkit.views.thinning import blocks, compact, evenly
from labkit.views.wording import counted, escaped, number, percent, sentence, short

ROWS, COLUMNS, CELLS, FRAMES, WORDS = 120, 256, 36_000, 24, 18


def active_fraction(data: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """Layers by tokens, the colour is the share of units that are active, and bars are the mean of each layer.

    The slider is the threshold: a unit counts as active where the modulus of its activation exceeds it. All
    thresholds were measured; nothing between them is interpolated. The scale stays the same while the slider moves.
    The picture opens at the lowest threshold.

    Shapes:
        data: (threshold, layer, token) or (layer, token), shares from 0 to 1, maybe with the coordinate `text` (token)
    Raises:
        LabError: other axes, or shares beyond 0 and 1.
    """
    data = read("active_fraction", data, ("layer", "token"), ("threshold",))
    values = data.transpose(..., "layer", "token").values.astype(np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    values = values if "threshold" in data.dims else values[None]
    if np.nanmin(values) < 0 or np.nanmax(values) > 1:
        raise LabError("active_fraction needs shares of the units, from 0 to 1, and found a value beyond.")
    limits = np.array(entries(data, "threshold"), dtype=np.float64) if "threshold" in data.dims else np.zeros(1)
    order = np.argsort(limits, kind="stable")
    values, limits = values[order], limits[order]
    shown = evenly(len(values), FRAMES)
    layers = names_of(data, "layer")
    kept, rows = some(layers, ROWS)
    room = max(8, min(COLUMNS, CELLS // (len(shown) * len(rows))))
    grids = [blocks(values[at][kept], len(rows), room)[0] for at in shown]
    group = -(-values.shape[2] // room)
    means = 100 * np.nanmean(values, 2)[:, kept]
    figure = _drawn(data, rows, grids, means[0], group, dark)
    parts = [_moving(grid, means[at]) for grid, at in zip(grids, shown)]
    if len(shown) > 1:
        scrub(
            figure,
            [{"data": part, "traces": [0, 1]} for part in parts],
            [_limit(float(limits[at])) for at in shown],
            "active above",
            dark,
        )
        figure.update_layout(sliders=[{"active": 0}])
    deep = (DEPTH - 20) * (len(shown) > 1)
    figure.update_layout(margin={"b": 20 + deep})
    found = _found(values, limits, layers)
    notes = [found[0]]
    notes += [f"each cell the mean of {group} tokens"] * (group > 1)
    notes += [f"{len(rows)} of {len(layers):,} layers drawn"] * (len(rows) < len(layers))
    notes += [f"{len(shown)} of {len(limits):,} thresholds on the slider"] * (len(shown) < len(limits))
    return styled(
        figure,
        title="Share of active units, by layer and token",
        subtitle=sentence("; ".join(notes)),
        alt=f"Share of active units in {counted(len(layers), 'layer')} over {counted(values.shape[2], 'token')}: "
        + "; ".join(found)
        + ".",
        dark=dark,
        above=70 * (bool(_words(data)) and grids[0].shape[1] <= WORDS and group == 1),
        height=max(420, min(900, 260 + 34 * len(rows))) + deep,
        axes={"x": "token", "y": "layer"},
    )


def _limit(value: float) -> str:
    return number(float(f"{value:.3g}"))


def _moving(grid: np.ndarray, means: np.ndarray) -> list[dict]:
    return [{"type": "heatmap", "z": compact(100 * grid)}, {"type": "bar", "x": compact(means)}]


def _drawn(
    data: xr.DataArray, rows: list[str], grids: list[np.ndarray], means: np.ndarray, group: int, dark: bool
) -> go.Figure:
    colors = look(dark)
    tokens = [escaped(str(one)) for one in entries(data, "token")][::group]
    words = _words(data)[::group]
    highest = 100 * max(float(np.nanmax(grid)) for grid in grids)
    top = next(one for one in (1, 2, 5, 10, 20, 50, 100) if highest <= one * 1.0001)
    written = bool(words) and len(tokens) <= WORDS and group == 1
    axis = ticks(tokens, most=WORDS if written else 9, lines=1)
    axis |= {"ticktext": words, "tickangle": -90, "side": "top"} if written else {"title": {"text": "Token"}}
    figure = go.Figure(
        go.Heatmap(
            x=tokens,
            y=rows,
            z=compact(100 * grids[0]),
            text=[words] * len(rows) if words else None,
            zmin=0,
            zmax=top,
            colorscale=colors.scale(),
            ygap=1 if len(rows) <= 60 else 0,
            colorbar=colorbar("Active units (%)", dark, x=1.0, xanchor="left"),
            hovertemplate="%{y}, token %{x}"
            + (" %{text}" if words else "")
            + ": %{z:.3~g} % active"
            + f"<br>(mean of {group} tokens from there)" * (group > 1)
            + "<extra></extra>",
            hoverongaps=False,
            name="active (%)",
        )
    )
    figure.add_bar(
        y=rows,
        x=compact(means),
        orientation="h",
        marker={"color": colors.series[0], "line": {"width": 0}},
        width=0.6 if len(rows) < 30 else 0.9,
        hovertemplate="%{y}: %{x:.3~g} % active on average<extra></extra>",
        name="mean of the layer",
        showlegend=False,
        xaxis="x2",
    )
    figure.update_layout(
        xaxis={**axis, "domain": [0, 0.76]},
        xaxis2={
            "title": {"text": "Mean (%)"},
            "domain": [0.8, 0.99],
            "range": [0, 1.05 * top],
            "anchor": "y",
            "nticks": 3,
        },
        yaxis={**ticks(rows, most=24), "autorange": "reversed"},
    )
    return figure


def _words(data: xr.DataArray) -> list[str]:
    """What the tokens are called, as people read them; none where the data has no texts."""
    if "text" not in data.coords or data["text"].dims != ("token",):
        return []
    return [
        escaped(short(piece.text.strip(" ") or "␣", 12)) for piece in spelled([str(one) for one in data["text"].values])
    ]


def _found(values: np.ndarray, limits: np.ndarray, layers: list[str]) -> list[str]:
    means = np.nanmean(values, (1, 2))
    per = np.nanmean(values[0], 1)
    most, least = int(np.nanargmax(per)), int(np.nanargmin(per))
    told = [f"above {_limit(limits[0])} {percent(float(means[0]))} of the units are active"]
    if len(limits) > 1:
        told[0] += f", above {_limit(limits[-1])} {percent(float(means[-1]))}"
    if most != least:
        ends = [f"{layer_named(layers[at])} ({percent(float(per[at]))})" for at in (most, least)]
        told.append(f"most in {ends[0]}, fewest in {ends[1]}")
    return told


def example(seed: int = 0) -> dict:
    """Both hidden layers of a small network that guesses the next character, on 60 characters it never saw."""
    from labkit.views.network_specimen import LAYERS, text_network

    network = text_network(seed)
    hidden = [activity[1:61] for activity in network.hidden()]
    limits = np.round(np.linspace(0, 3, 16), 2)
    shares = [[(activity > limit).mean(1) for activity in hidden] for limit in limits]
    data = xr.DataArray(
        np.array(shares),
        dims=("threshold", "layer", "token"),
        coords={
            "threshold": limits,
            "layer": list(LAYERS),
            "token": np.arange(1, 61),
            "text": ("token", list(network.tokens[1:61])),
        },
        attrs={"long_name": "share of active units", "units": ""},
    )
    return {"data": data}
