"""Every unit of every layer in one picture: a layer a row, the units in order, so that none drowns in an average."""

from typing import Literal

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.panels import colorbar, layer_named, names_of, some, ticks
from labkit.views.reading import axis_title, entries, read, title_of
from labkit.views.scrubber import DEPTH, scrub
from labkit.views.theme import SMALL, look, styled
from labkit.views.thinning import compact, evenly
from labkit.views.wording import counted, listed, number, percent, sentence

ROWS, COLUMNS, CELLS, MOVING, FRAMES = (300, 100), 256, 9_000, 36_000, 24  # rows without and with a slider
LABELLED = 14  # with at most as many layers, each tick says how many units are silent
LOUD = 5  # a highest value so many times above the 99th percentile is cut from the colours


def unit_map(
    data: xr.DataArray, *, order: Literal["value", "index"] = "value", silent: float = 0.0, dark: bool = False
) -> go.Figure:
    """Each layer a row over all its units, the value as colour; with an axis `step` a slider goes through the steps.

    `order="value"` puts the units of a layer from the highest value to the lowest and gives each layer the whole
    width, so that rows of different layers can be compared: where a row turns pale, the rest of its units is silent,
    and a tick marks the place. `order="index"` keeps the units in place, which suits a cursor on a unit. Where several
    units share a cell, the cell has the colour of the one farthest from zero, and the hover text says lowest and
    highest. Where single units lie far above the others, colours end at the 99th percentile of what is not zero, and
    the subtitle says so.

    Shapes:
        data: (layer, unit) or (step, layer, unit), one value for each unit; NaN where a layer has fewer units
        silent: units whose value is no farther from zero than this are called silent
    Raises:
        LabError: other axes, nothing to draw, or an order that is neither "value" nor "index".
    """
    if order not in ("value", "index"):
        raise LabError(f'unit_map can order the units by "value" or by "index", and order is {order!r}.')
    data = read("unit_map", data, ("layer", "unit"), ("step",))
    values = data.transpose(..., "layer", "unit").values.astype(np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    values = values if "step" in data.dims else values[None]
    there = np.asarray(np.isfinite(values).any((0, 2)))
    kept, names = some([name for name, one in zip(names_of(data, "layer"), there) if one], ROWS[len(values) > 1])
    values = values[:, np.flatnonzero(there)[kept]]
    shown = evenly(len(values), max(6, min(FRAMES, MOVING // (60 * len(names)))))
    columns = min(COLUMNS, values.shape[2], (CELLS if len(shown) == 1 else MOVING // len(shown)) // len(names))
    maps = [_cells(values[at], columns, order == "value") for at in shown]
    quiet = [_quiet(values[at], silent) for at in shown]
    figure = _drawn(data, maps, names, order, columns, dark)
    shared = -(-int(np.isfinite(values[-1]).sum(1).max()) // columns)
    rising = float(np.nanmin(values)) >= 0 and order == "value"
    parts = [_moving(cells, count, names, rising, dark) for cells, count in zip(maps, quiet)]
    figure.update_traces(parts[-1][0], selector=0)
    figure.add_trace(parts[-1][1])
    figure.update_layout(yaxis={**ticks(names), **_labels(names, quiet[-1])})
    if len(shown) > 1:
        steps = [number(one) for one in np.array(entries(data, "step"))[shown]]
        frames = [
            {"data": part, "traces": [0, 1], "layout": {"yaxis": _labels(names, count)}}
            for part, count in zip(parts, quiet)
        ]
        scrub(figure, frames, steps, "step", dark)
    title = f"{title_of(data, 'Value')}, unit by unit"
    notes = _notes(data, values, names, len(there), quiet[-1], shared, figure, len(shown))
    deep = (DEPTH - 20) * (len(shown) > 1)
    figure.update_layout(margin={"b": 20 + deep})
    return styled(
        figure,
        title=title,
        subtitle=sentence("; ".join(notes)),
        alt=_alt(title, values[-1], names, quiet[-1], data),
        dark=dark,
        height=max(400, min(900, 240 + 42 * len(names))) + deep,
        axes={"y": "layer"} if order == "value" else {"x": "unit", "y": "layer"},
    )


def _cells(rows: np.ndarray, columns: int, ordered: bool) -> np.ndarray:
    """(layer, column, 4): the value farthest from zero, the unit that has it, lowest and highest of the cell."""
    cells = np.full((len(rows), columns, 4), np.nan)
    widest = int(np.flatnonzero(np.isfinite(rows).any(0))[-1]) + 1
    for row, values in zip(cells, rows):
        units = np.flatnonzero(np.isfinite(values)) if ordered else np.arange(widest)
        if not len(units):
            continue
        units = units[np.argsort(-values[units], kind="stable")] if ordered else units
        part, cut = values[units], np.arange(columns) * len(units) // columns
        low, high = np.fmin.reduceat(part, cut), np.fmax.reduceat(part, cut)
        best = np.where(-low > high, low, high)
        cell = np.searchsorted(cut, np.arange(len(units)), side="right") - 1
        found = np.flatnonzero(part == best[cell])[::-1]
        which = np.full(columns, -1)
        which[cell[found]] = units[found]  # of equal ones the first
        which = units[cut] if len(units) < columns else which  # fewer units than cells: each fills several
        row[:] = np.stack([best, which, low, high], 1)
    return cells


def _quiet(rows: np.ndarray, silent: float) -> np.ndarray:
    """(layer, 2): how many units are silent, of how many."""
    there = np.isfinite(rows)
    return np.stack([(there & (np.abs(np.nan_to_num(rows)) <= silent)).sum(1), there.sum(1)], 1)


def _moving(cells: np.ndarray, quiet: np.ndarray, names: list[str], rising: bool, dark: bool) -> list[dict]:
    """What changes from step to step: the colours, and the ticks where the silent units begin."""
    some_silent = np.flatnonzero((quiet[:, 0] > 0) & rising)
    count = quiet[some_silent]
    marks = {
        "type": "scatter",
        "x": compact(100 * (1 - count[:, 0] / count[:, 1])),
        "y": [names[at] for at in some_silent],
        "customdata": compact(count),
        "name": "silent from here (%)",
        "mode": "markers",
        "showlegend": False,
        "cliponaxis": False,
        "marker": {
            "symbol": "line-ns",
            "size": max(3, min(60, 330 // len(names))),
            "line": {"width": 2, "color": look(dark).ink},
        },
        "hovertemplate": "%{y}: from here on silent, %{customdata[0]} of %{customdata[1]} units<extra></extra>",
    }
    return [{"type": "heatmap", "z": compact(cells[..., 0])}, marks]


def _drawn(
    data: xr.DataArray, maps: list[np.ndarray], names: list[str], order: str, columns: int, dark: bool
) -> go.Figure:
    cells = np.stack([one[..., 0] for one in maps])
    finite = cells[np.isfinite(cells)]
    low, high, loud = float(finite.min()), float(finite.max()), np.abs(finite[finite != 0])
    bulk, bound = (float(np.quantile(loud, share)) if loud.size else 0.0 for share in (0.99, 1))
    signed = low < -bound / 1000 and high > 0
    bound = bulk if bound > LOUD * bulk > 0 else bound
    width = data.sizes["unit"]
    where = (np.arange(columns) + 0.5) * 100 / columns if order == "value" else np.arange(columns) * width // columns
    single = len(maps) == 1
    hover = (
        "%{y}, unit %{customdata[0]}: %{z:.4~g}<br>units of this cell: %{customdata[1]:.4~g} to %{customdata[2]:.4~g}"
    )
    still = "%{y}, at %{x:.3~g} % of its units: %{z:.4~g}" if order == "value" else "%{y}, unit %{x}: %{z:.4~g}"
    figure = go.Figure(
        go.Heatmap(
            x=compact(where) if order == "value" else [str(one) for one in where],
            y=names,
            customdata=maps[0][..., 1:].astype(np.float32) if single else None,
            zmin=-bound if signed else min(low, bound),
            zmax=bound if signed or bound > low else low + 1,
            colorscale=look(dark).scale(signed),
            colorbar=colorbar(axis_title(data, "Value"), dark),
            ygap=1 if len(names) <= 60 else 0,
            hovertemplate=(hover if single else still) + "<extra></extra>",
            hoverongaps=False,
            name="farthest from zero",
        )
    )
    across = "Units of each layer, highest value first (%)" if order == "value" else "Unit"
    figure.update_layout(
        xaxis={"title": {"text": across}, "showgrid": False, "range": [0, 100]}
        if order == "value"
        else {"title": {"text": across}, **ticks([str(one) for one in where], most=9)},
        yaxis={"autorange": "reversed"},
    )
    return figure


def _labels(names: list[str], quiet: np.ndarray) -> dict:
    """The names of the rows, with the number of their silent units."""
    if len(names) > LABELLED:
        return {}
    text = ticks(names, width=24, lines=1)["ticktext"]
    told = [f"{name}<br>{silent:,} of {count:,} silent" for name, (silent, count) in zip(text, quiet)]
    return {"ticktext": told, "tickfont": {"size": SMALL - 1}}


def _notes(
    data: xr.DataArray,
    values: np.ndarray,
    names: list[str],
    layers: int,
    quiet: np.ndarray,
    shared: int,
    figure: go.Figure,
    frames: int,
) -> list[str]:
    silent, units = quiet.sum(0)
    notes = [f"{silent:,} of {counted(int(units), 'unit')} silent" + " at the last step" * (frames > 1)]
    notes += [f"up to {shared} units share a cell, the one farthest from zero gives its colour"] if shared > 1 else []
    top, shade = float(np.nanmax(np.abs(values))), float(figure.data[0].zmax)  # pyright: ignore
    if top > 1.05 * shade:
        notes.append(f"colours end at {number(shade)}, single units reach {number(top)}")
    notes += [f"{len(names)} of {layers:,} layers"] if len(names) < layers else []
    notes += [f"{frames} of {len(values):,} steps on the slider"] if frames < len(values) else []
    return notes


def _alt(title: str, last: np.ndarray, names: list[str], quiet: np.ndarray, data: xr.DataArray) -> str:
    row, unit = np.unravel_index(np.nanargmax(np.nan_to_num(last, nan=-np.inf)), last.shape)
    worst = int((quiet[:, 0] / np.maximum(quiet[:, 1], 1)).argmax())
    told = [
        f"the highest is {number(last[row, unit])} at unit {entries(data, 'unit')[unit]} of {layer_named(names[row])}"
    ]
    told.append(f"{number(quiet[:, 0].sum())} of {counted(int(quiet[:, 1].sum()), 'unit')} are silent")
    if quiet[worst, 0]:
        told.append(
            f"most of them in {layer_named(names[worst])}, {percent(quiet[worst, 0] / quiet[worst, 1])} of its units"
        )
    when = " at the last step" if "step" in data.dims else ""
    return f"{title} in {counted(len(names), 'layer')}{when}: {listed(told)}."


def example(seed: int = 0) -> dict:
    """Mean activation of every unit of a ReLU network on held-out digits, along its training."""
    from labkit.views.network_specimen import LAYERS, digits_network

    network = digits_network(seed)
    widest = max(len(weights[1]) for weights in network.weights[0][:-1])
    values = np.full((len(network.steps), len(LAYERS), widest), np.nan)
    for at in range(len(network.steps)):
        for layer, activity in enumerate(network.hidden(at)):
            values[at, layer, : activity.shape[1]] = activity.mean(0)
    data = xr.DataArray(
        values,
        dims=("step", "layer", "unit"),
        coords={"step": network.steps, "layer": list(LAYERS), "unit": np.arange(widest)},
        attrs={"long_name": "mean absolute activation", "units": ""},
    )
    return {"data": data}
