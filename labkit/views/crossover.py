"""Where a method starts to lose: a grid of two sizes, how many times as fast as dense, and the line of break-even."""

import itertools

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.narrow import narrowed
from labkit.views.reading import axis_of, entries, read, title_of
from labkit.views.theme import look, styled
from labkit.views.thinning import compact, evenly
from labkit.views.wording import counted, escaped, number, percent, seconds, sentence

ROWS, COLUMNS = 16, 16
TABLES = ("low", "high", "ours", "dense")
EXTREME = 64.0
"""The colours end where one is so many times as fast as the other."""


def crossover(data: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """Each cell is one size: the number says how many times as fast as dense, the colour the same on a logarithmic scale.

    Pale is equally fast, blue is faster than dense, orange slower. The line of break-even runs
    between measured neighbours of which one is faster and the other slower. Empty cells were not measured.

    Shapes:
        data: (batch, width) or (batch, active), how many times as fast as dense, greater than 0; NaN where not measured;
            coordinates of the same shape, if any: `low` and `high` (quartiles), `ours` and `dense` (seconds)
    Raises:
        LabError: other axes, ratios that are not positive, or nothing to draw.
    """
    other = "active" if isinstance(data, xr.DataArray) and "active" in data.dims else "width"
    data = read("crossover", data, ("batch", other))
    if np.nanmin(data.values) <= 0:
        raise LabError("crossover needs ratios greater than 0: how many times as fast as dense each one is.")
    data = data.isel({"batch": evenly(data.sizes["batch"], ROWS), other: evenly(data.sizes[other], COLUMNS)})
    batches, sizes = ([_size(one, dim) for one in entries(data, dim)] for dim in ("batch", other))
    heights = np.log2(data.values.astype(float))
    bound = min(np.log2(EXTREME), max(1.0, float(np.nanmax(np.abs(heights)))))
    figure = go.Figure()
    figure.add_heatmap(
        z=compact(np.clip(heights, -bound, bound)),
        x=list(range(len(sizes))),
        y=list(range(len(batches))),
        text=[[_times(one) if np.isfinite(one) else "" for one in row] for row in data.values],
        texttemplate="%{text}",
        textfont={"size": 13},
        hovertext=_hover(data, batches, sizes, other),
        hovertemplate="%{hovertext}<extra></extra>",
        hoverongaps=False,
        colorscale=_scale(dark),
        zmin=-bound,
        zmax=bound,
        xgap=2,
        ygap=2,
        name="logarithm to base 2 of the speed-up",
        showscale=False,
    )
    _break_even(figure, heights, dark)
    for axis, dim, words in (("xaxis", other, sizes), ("yaxis", "batch", batches)):
        places = {"tickvals": list(range(len(words))), "ticktext": words, "tickangle": 0}
        span = {"range": [-0.5, len(words) - 0.5], "showgrid": False}
        figure.update_layout({axis: {"title": {"text": escaped(axis_of(data, dim))}, **places, **span}})
    title = title_of(data, "A method")
    told = _told(data.values, batches, sizes, other)
    known = int(np.isfinite(data.values).sum())
    spare = [f"{known} of {data.size} cells measured"] if known < data.size else []
    subtitle = sentence("; ".join([f"how many times as fast as dense; {told}", *spare]))
    styled(
        figure,
        title=title,
        subtitle=subtitle,
        alt=f"{title} against dense, {counted(known, 'measured cell')}: {told}. Fastest {_extreme(data, batches, sizes, other)}.",
        dark=dark,
        height=190 + max(46 * len(batches), 150),
    )
    return narrowed(figure, subtitle)


def _size(value: object, dim: str) -> str:
    return percent(float(value)) if dim == "active" else number(float(value))  # type: ignore[arg-type]


def _times(ratio: float) -> str:
    return f"{number(float(f'{ratio:.2g}'))}×"


def _scale(dark: bool) -> list[list]:
    """Ours has the blue of the first series everywhere, so faster is blue."""
    return [[1 - place, color] for place, color in reversed(look(dark).scale(signed=True))]


def _hover(data: xr.DataArray, batches: list[str], sizes: list[str], other: str) -> list[list[str]]:
    tables = {name: data.coords[name].transpose(*data.dims).values for name in TABLES if name in data.coords}
    told = []
    for row, batch in enumerate(batches):
        line = []
        for column, size in enumerate(sizes):
            words = [
                f"batch {batch}, {other} {size}: {number(float(f'{data.values[row, column]:.3g}'))} times as fast as dense"
            ]
            if {"low", "high"} <= set(tables):
                low, high = (number(float(f"{tables[name][row, column]:.3g}")) for name in ("low", "high"))
                words.append(f"quartiles {low} to {high}")
            if {"ours", "dense"} <= set(tables):
                words.append(f"{seconds(tables['ours'][row, column])} against {seconds(tables['dense'][row, column])}")
            line.append("<br>".join(words) if np.isfinite(data.values[row, column]) else "")
        told.append(line)
    return told


def _break_even(figure: go.Figure, heights: np.ndarray, dark: bool) -> None:
    """A line along the edges between measured neighbours of which one is faster and the other slower than dense."""
    x, y = [], []
    for row, column in itertools.product(range(heights.shape[0]), range(heights.shape[1])):
        for down, across in ((0, 1), (1, 0)):
            other = (row + down, column + across)
            if other[0] == heights.shape[0] or other[1] == heights.shape[1]:
                continue
            pair = heights[row, column], heights[other]
            if np.isfinite(pair).all() and (pair[0] > 0) != (pair[1] > 0):
                middle = column + across / 2, row + down / 2
                x += [middle[0] - down / 2, middle[0] + down / 2, None]
                y += [middle[1] - across / 2, middle[1] + across / 2, None]
    if x:
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"width": 4, "color": look(dark).ink},
            name="equally fast",
            hoverinfo="skip",
            showlegend=False,
        )


def _told(ratios: np.ndarray, batches: list[str], sizes: list[str], other: str) -> str:
    """In words: from which size on it is faster, for the smallest and the largest batch."""
    parts = []
    for place in dict.fromkeys((0, len(batches) - 1)):
        there = np.flatnonzero(np.isfinite(ratios[place]))
        if not len(there):
            continue
        wins = ratios[place, there] > 1
        if wins.all() or not wins.any():
            said = f"{'faster' if wins.all() else 'slower'} at every measured {_axis(other)}"
        else:
            changes = np.flatnonzero(wins[1:] != wins[:-1])
            last, after = there[changes[-1]], there[changes[-1] + 1]
            said = f"{'faster' if wins[-1] else 'slower'} from {_axis(other)} {sizes[after]} on ({sizes[last]} is not)"
        parts.append(f"at batch {batches[place]} {said}")
    return "; ".join(parts)


def _axis(other: str) -> str:
    return "active share" if other == "active" else other


def _extreme(data: xr.DataArray, batches: list[str], sizes: list[str], other: str) -> str:
    row, column = np.unravel_index(int(np.nanargmax(data.values)), data.shape)
    best = number(float(f"{data.values[row, column]:.3g}"))
    return f"is batch {batches[row]}, {_axis(other)} {sizes[column]}: {best} times as fast as dense"


def example(seed: int = 0) -> dict:
    """Simulated: a method with an overhead a call and a tenth of the work, a quarter of the cells not measured."""
    random = np.random.default_rng(seed)
    batches, widths = np.array([1, 4, 16, 64, 256]), np.array([256, 512, 1024, 2048, 4096, 8192])
    work = batches[:, None] * widths * 1536.0 * 2 / 100e9
    dense, ours = (work + 4e-6) * random.lognormal(0, 0.05, work.shape), 5e-4 + 0.1 * work
    ratio = np.where(random.random(work.shape) < 0.25, np.nan, dense / ours)
    dims = ("batch", "width")
    tables = {"ours": ours, "dense": dense, "low": 0.97 * ratio, "high": 1.03 * ratio}
    coords = {
        "batch": ("batch", batches, {"long_name": "inputs at once"}),
        "width": ("width", widths, {"long_name": "neurons in the hidden layer"}),
        **{name: (dims, table) for name, table in tables.items()},
    }
    attrs = {"long_name": "a sparse method", "units": "times as fast as dense"}
    return {"data": xr.DataArray(ratio, dims=dims, coords=coords, attrs=attrs)}
