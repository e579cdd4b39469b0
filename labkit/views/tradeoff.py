"""Sparsity with a handle: move the threshold over the activations, and see what is lost and what is saved."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.handle import ACTIVE, DENSE, TIME, bounds, cell, scaled, state
from labkit.views.panels import heading, layer_named, numbered, stack
from labkit.views.reading import axis_of, entries, read
from labkit.views.scrubber import DEPTH, scrub
from labkit.views.spread import Spread, spread_of
from labkit.views.theme import SMALL, Look, look, styled
from labkit.views.thinning import compact, evenly
from labkit.views.wording import escaped, listed, number, percent, sentence, short

LEVELS, METHODS = 24, 5
POINT = 0.01  # of accuracy; the handle starts at the last level that costs no more


def tradeoff(density: xr.DataArray, tradeoff: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """The histogram of the activations with the threshold as a line, and below it accuracy, active fraction and time.

    The slider goes through the measured levels; a line at the level and a table with the numbers of all methods move
    with it. Nothing between two levels is interpolated. The line in the histogram is the threshold of the method
    "magnitude"; what lies closer to zero is silenced and drawn pale. Times were measured; the dotted line is the dense
    product. Where no accuracy was measured, the loss is drawn.

    Shapes:
        density: (bin), share of the activations, with the coordinate `centre` (bin), one layer
        tradeoff: (method, level, quantity); level is the share of units to silence; quantities `active fraction`,
            `accuracy` or `loss`, `milliseconds`, `dense milliseconds`; the coordinate `threshold` (method, level)
            or (level) is the modulus below which "magnitude" silences a unit, else it is found from the histogram
    Raises:
        LabError: other axes, no active fraction, neither accuracy nor loss.
    """
    spread = spread_of("tradeoff", density)
    table = read("tradeoff", tradeoff, ("method", "level", "quantity"))
    table = table.isel(method=slice(METHODS)).sortby("level")
    table = table.isel(level=evenly(table.sizes["level"], LEVELS))
    known = [str(one) for one in entries(table, "quantity")]
    parts = {one: table.isel(quantity=place).values.astype(np.float64) for place, one in enumerate(known)}
    parts = {name: part for name, part in parts.items() if np.isfinite(part).any()}
    judged = next((one for one in ("accuracy", "loss") if one in parts), None)
    if ACTIVE not in parts or judged is None:
        raise LabError(
            f"tradeoff needs the quantities active fraction and accuracy or loss, and found {listed(list(parts)) or 'none'}."
        )
    methods, levels = [str(one) for one in entries(table, "method")], np.array(entries(table, "level"), np.float64)
    limits = _limits(table, spread, parts[ACTIVE], methods)
    shown = [one for one in (judged, ACTIVE, TIME) if one in parts]
    start = _start(parts[judged], methods, judged)
    figure, colors = go.Figure(), look(dark)
    heights = [120.0, *[105.0] * len(shown), 30.0 + 22.0 * len(methods)]
    domains = stack(heights, 48)
    _axes(figure, shown, domains, table, levels, parts, spread)
    for place, quantity in enumerate(shown):
        _lines(figure, parts, quantity, methods, levels, place + 1, colors)
    fixed_traces = len(list(figure.data))
    states = [state(at, levels, limits, parts, methods, shown, spread, colors) for at in range(len(levels))]
    for trace in states[start]:
        figure.add_trace(trace)
    places = list(range(fixed_traces, fixed_traces + len(states[start])))
    if len(levels) > 1:
        scrub(
            figure,
            [{"data": one, "traces": places} for one in states],
            [percent(one) for one in levels],
            "silenced",
            dark,
        )
        figure.update_layout(sliders=[{"active": start}])
    heading(figure, _head(density), domains[0][1])
    for place, quantity in enumerate(shown):
        heading(figure, WORDS[quantity], domains[place + 1][1])
    legend = 34
    figure.update_layout(
        margin={"b": 20 + DEPTH * (len(levels) > 1) + legend},
        legend={"yref": "container", "y": 0.005, "font": {"size": SMALL}},
    )
    told = _told(parts, methods, levels, judged, start)
    return styled(
        figure,
        title="What silencing units costs and saves",
        subtitle=sentence("; ".join([told[0], f"{len(levels)} measured levels, nothing in between"])),
        alt=sentence("; ".join(told)) + ".",
        dark=dark,
        height=int(sum(heights) + 48 * (len(heights) - 1)) + 190 + DEPTH * (len(levels) > 1) + legend,
        above=24,
        axes={"x": "level"},
    )


WORDS = {
    "accuracy": "Accuracy (%)",
    "loss": "Loss",
    ACTIVE: "Units that are active (%)",
    TIME: "Measured time (ms), dotted: dense",
}


def _head(density: xr.DataArray) -> str:
    layer = density.coords["layer"].item() if "layer" in density.coords and not density["layer"].dims else None
    of = f" of {short(layer_named(str(layer)), 30)}" if layer is not None else ""
    return f"Activations{of}, share (%): silenced below the line"


def _limits(table: xr.DataArray, spread: Spread, active: np.ndarray, methods: list[str]) -> np.ndarray:
    """The threshold of "magnitude" at each level; from the histogram where it was not recorded."""
    row = methods.index("magnitude") if "magnitude" in methods else 0
    if "threshold" in table.coords:
        given = table["threshold"]
        given = given.isel(method=row) if "method" in given.dims else given
        if given.dims == ("level",):
            return given.values.astype(np.float64)
    order = np.argsort(-np.abs(spread.middles))
    above = np.cumsum(spread.shares[order])
    return np.array(
        [np.abs(spread.middles[order])[min(np.searchsorted(above, one), len(order) - 1)] for one in active[row]]
    )


def _start(judged: np.ndarray, methods: list[str], name: str) -> int:
    """The sparsest level at which magnitude costs at most a hundredth: of accuracy, or of the loss."""
    row = judged[methods.index("magnitude") if "magnitude" in methods else 0]
    good = row >= row[0] - POINT if name == "accuracy" else row <= row[0] * (1 + POINT)
    return int(np.flatnonzero(good)[-1]) if good.any() else 0


def _lines(
    figure: go.Figure, parts: dict, quantity: str, methods: list[str], levels: np.ndarray, place: int, colors: Look
) -> None:
    axes = {"xaxis": numbered("x", place), "yaxis": numbered("y", place)}
    unit = {"accuracy": " %", ACTIVE: " %", TIME: " ms"}.get(quantity, "")
    for row, method in enumerate(methods):
        style = colors.line(row)
        figure.add_scatter(
            x=compact(100 * levels),
            y=compact(scaled(quantity, parts[quantity][row])),
            mode="lines+markers",
            line={"width": 2.5, "color": style["color"], "dash": style["dash"]},
            marker={"size": 7, "symbol": style["symbol"]},
            name=escaped(method),
            legendgroup=method,
            showlegend=place == 1,
            hovertemplate=f"{escaped(method)}, %{{x:.3~g}} % to silence: %{{y:.3~g}}{unit}<extra></extra>",
            **axes,
        )
    if quantity == TIME and DENSE in parts:
        dense = float(np.nanmedian(parts[DENSE]))
        figure.add_scatter(
            x=[100 * float(levels[0]), 100 * float(levels[-1])],
            y=[dense, dense],
            mode="lines",
            line={"width": 2, "color": colors.ink, "dash": "dot"},
            name="dense",
            showlegend=False,
            hovertemplate=f"dense: {number(float(f'{dense:.3g}'))} ms<extra></extra>",
            **axes,
        )


def _axes(
    figure: go.Figure,
    shown: list[str],
    domains: list[list[float]],
    table: xr.DataArray,
    levels: np.ndarray,
    parts: dict,
    spread: Spread,
) -> None:
    filled = 100 * spread.shares[spread.shares > 0]
    decades = [10.0**power for power in range(2, -8, -1)]
    layout: dict = {
        "xaxis": {"anchor": "y", "showgrid": False, "nticks": 8},
        "yaxis": {
            "domain": domains[0],
            "type": "log",
            "range": [float(np.log10(filled.min() / 2)), float(np.log10(filled.max() * 1.5))],
            "tickvals": decades[::2],
            "ticktext": [number(one) for one in decades[::2]],
        },
    }
    span = [100 * float(levels[0]) - 2, 100 * float(levels[-1]) + 2]
    for place, quantity in enumerate(shown):
        x, y = numbered("x", place + 1), numbered("y", place + 1)
        last = place == len(shown) - 1
        title = {"title": {"text": f"{escaped(axis_of(table, 'level'))} (%)"}} if last else {}
        layout[f"xaxis{x[1:]}"] = {"anchor": y, "showgrid": False, "showticklabels": last, "range": span, **title}
        ends = list(bounds(parts, quantity))
        layout[f"yaxis{y[1:]}"] = {"domain": domains[place + 1], "anchor": x, "range": ends, "nticks": 4}
    x, y = numbered("x", len(shown) + 1), numbered("y", len(shown) + 1)
    bare = {"showgrid": False, "showticklabels": False, "fixedrange": True}
    layout[f"xaxis{x[1:]}"] = {**bare, "anchor": y, "range": [0, len(shown) + 1]}
    rows = table.sizes["method"] + 0.5
    foot = [domains[-1][0], max(domains[-1][0] + 0.01, domains[-1][1] - 0.02)]
    layout[f"yaxis{y[1:]}"] = {**bare, "anchor": x, "domain": foot, "range": [rows, -0.5]}
    figure.update_layout(layout)


def _told(parts: dict, methods: list[str], levels: np.ndarray, judged: str, start: int) -> list[str]:
    """The first: what the start of the slider shows; then each method at that level, and the time against dense."""
    row = methods.index("magnitude") if "magnitude" in methods else 0
    whole, here = (cell(judged, float(parts[judged][row, at])) for at in (0, start))
    told = [
        f"with {percent(float(levels[start]))} to silence by {methods[row]}, {percent(float(parts[ACTIVE][row, start]))} "
        f"of the units are active and the {judged} is {here} instead of {whole}"
    ]
    others = [f"{name} {cell(judged, float(parts[judged][at, start]))}" for at, name in enumerate(methods) if at != row]
    told += [f"{judged} of the others at this level: {listed(others)}"] if others else []
    if TIME in parts and DENSE in parts and np.isfinite(parts[TIME][row, start]):
        speed = float(np.nanmedian(parts[DENSE])) / float(parts[TIME][row, start])
        how = f"{number(float(f'{speed:.2g}'))} times as fast as" if speed >= 1 else "slower than"
        told.append(f"measured {how} dense ({cell(TIME, float(parts[TIME][row, start]))} ms)")
    return told


def example(seed: int = 0) -> dict:
    """The first layer of a ReLU network on digits: thresholds set on half of the held-out digits, measured on the
    others; the times are those of the next product for one digit at a time, in numpy, on the machine that runs this.
    """
    from labkit.views.network_specimen import digits_network, measured_tradeoff

    activity = digits_network(seed).hidden()[0]
    shares, edges = np.histogram(activity, 60)
    density = xr.DataArray(
        shares / activity.size,
        dims="bin",
        coords={"centre": ("bin", (edges[1:] + edges[:-1]) / 2), "layer": "hidden 1"},
        attrs={"long_name": "share of activations", "zeros": float((activity == 0).mean())},
    )
    methods, levels, quantities, values, limits = measured_tradeoff(seed)
    coords = {"method": methods, "level": ("level", levels, {"long_name": "Share of units to silence"})}
    coords |= {"quantity": quantities, "threshold": (("method", "level"), limits)}
    return {"density": density, "tradeoff": xr.DataArray(values, dims=("method", "level", "quantity"), coords=coords)}
