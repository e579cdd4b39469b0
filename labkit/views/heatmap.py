"""Any table of numbers as colours: neurons by inputs, experts by layers, weights by weights, with a slider over steps."""

from collections.abc import Hashable

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.reading import axis_of, entries, read, title_of, units_of
from labkit.views.scrubber import DEPTH, scrub
from labkit.views.theme import SMALL, look, styled
from labkit.views.thinning import blocks, compact, evenly
from labkit.views.wording import escaped, fixed, named, number, sentence, unique, wrapped

ROWS, COLUMNS = 128, 256
CELLS, FRAMES = 36_000, 24  # over all frames: 4 bytes a cell, a third more as text
STEP = "step"


def heatmap(data: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """Two axes as rows and columns, the value as colour; with a third axis `step`, a slider goes through the steps.

    Values of one sign go from near the background to far from it; values of both signs have zero in the middle. More
    than 128 x 256 cells are averaged in blocks, and with a slider fewer cells are sent for each step; the subtitle
    says what a cell stands for. Missing values stay empty.

    Shapes:
        data: (rows, columns) or (step, rows, columns); the names of the axes are free
    Raises:
        LabError: not two axes beside `step`, or nothing to draw.
    """
    rows, columns, scrubbed = _axes_of(data)
    data = read("heatmap", data, (rows, columns), (STEP,) if scrubbed else ())
    grids = data.transpose(..., rows, columns).values.astype(np.float64)
    grids = grids if scrubbed else grids[None]
    labels = (
        [number(step) if isinstance(step, int | float) else str(step) for step in entries(data, STEP)[:]]
        if scrubbed
        else [""]
    )
    shown = evenly(len(grids), FRAMES)
    room = CELLS // len(shown)
    tall, wide = _room(grids.shape[1:], room)
    small = [blocks(np.where(np.isfinite(grids[at]), grids[at], np.nan), tall, wide) for at in shown]
    cells, height, width = np.stack([one[0] for one in small]), small[0][1], small[0][2]
    figure = _drawn(data, cells, (rows, columns), (height, width), dark)
    if len(shown) > 1:
        frames = [{"data": [{"type": "heatmap", "z": compact(grid)}], "traces": [0]} for grid in cells]
        scrub(figure, frames, [labels[at] for at in shown], STEP, dark)
        figure.update_layout(margin={"b": 20 + DEPTH})
    notes = [f"{number(grids.shape[1])} x {number(grids.shape[2])} values"]
    if height * width > 1:
        notes = [f"{notes[0]}, each cell the mean of {height} x {width} of them"]
    if len(shown) < len(grids):
        notes.append(f"{len(shown)} of {len(grids):,} steps on the slider")
    title = title_of(data, f"{rows} by {columns}")
    return styled(
        figure,
        title=title,
        subtitle=sentence("; ".join(notes)),
        alt=_alt(title, data, grids[-1], notes, labels[-1] if scrubbed else ""),
        dark=dark,
        height=560 + (DEPTH - 20) * (len(shown) > 1),
    )


def _axes_of(data: object) -> tuple[str, str, bool]:
    if not isinstance(data, xr.DataArray):
        raise LabError(f"heatmap needs a DataArray with two axes, and got {type(data).__name__}.")
    dims = [str(dim) for dim in data.dims]
    if len(dims) > 2:
        dims = [dim for dim in dims if data.sizes[dim] != 1] if sum(data.sizes[dim] != 1 for dim in dims) >= 2 else dims
    scrubbed = len(dims) == 3 and STEP in dims
    table = [dim for dim in dims if not (scrubbed and dim == STEP)]
    if len(table) != 2:
        raise LabError(
            f"heatmap needs two axes, or two and {STEP}, and found ({', '.join(map(str, data.dims))}); choose entries "
            f"of the others first with data.sel, or average with data.mean."
        )
    return table[0], table[1], scrubbed


def _room(shape: tuple[int, ...], room: int) -> tuple[int, int]:
    """Rows and columns that fit into so many cells; the longer of the two gives way, so that few experts stay apart."""
    tall, wide = min(shape[0], ROWS), min(shape[1], COLUMNS)
    while tall * wide > room:
        if tall > wide:
            tall = int(tall * 0.95)
        else:
            wide = int(wide * 0.95)
    return tall, wide


def _drawn(
    data: xr.DataArray, cells: np.ndarray, dims: tuple[str, str], block: tuple[int, int], dark: bool
) -> go.Figure:
    colors = look(dark)
    low, high = float(np.nanmin(cells)), float(np.nanmax(cells))
    signed = low < 0 < high
    bound = max(-low, high)
    units = units_of(data)
    places = [_place(data, dim, size) for dim, size in zip(dims, block)]
    figure = go.Figure(
        go.Heatmap(
            z=compact(cells[-1]),
            x=places[1]["names"],
            y=places[0]["names"],
            colorscale=colors.scale(signed),
            zmin=-bound if signed else low,
            zmax=bound if signed else high if high > low else low + 1,
            colorbar={
                "title": {"text": wrapped(units, 30, lines=2), "side": "right", "font": {"size": SMALL}},
                "thickness": 14,
                "outlinewidth": 0,
                "nticks": 6,
                "tickfont": {"size": SMALL, "color": colors.muted},
            },
            hovertemplate=f"{escaped(dims[0])} %{{y}}, {escaped(dims[1])} %{{x}}: %{{z:.4~g}} {escaped(units)}"
            + ("<br>(mean of the block that starts there)" if block != (1, 1) else "")
            + "<extra></extra>",
            name="values",
        )
    )
    for axis, dim, place in zip("yx", dims, places):
        figure.update_layout(
            {
                f"{axis}axis": {
                    "title": {"text": escaped(axis_of(data, dim))},
                    "showgrid": False,
                    "type": "category",
                    "tickvals": place["tickvals"],
                    "ticktext": place["ticktext"],
                    "constrain": "domain",
                }
            }
        )
    figure.update_yaxes(autorange="reversed")
    return figure


def _place(data: xr.DataArray, dim: Hashable, block: int) -> dict:
    """Where the cells of an axis stand, and at most ten ticks; a cell of several entries has the name of the first."""
    names = entries(data, str(dim))[::block]
    apart = next(
        step for step in (10**power * one for power in range(9) for one in (1, 2, 5)) if len(names) <= 16 * step
    )
    chosen = np.arange(0, len(names), 1 if isinstance(names[0], str) and len(names) <= 24 else apart)
    texts = [wrapped(_short(names[at]), 16, lines=2) for at in chosen]
    written = unique([escaped(_short(name)) for name in names])
    return {"names": written, "tickvals": [written[at] for at in chosen], "ticktext": texts}


def _short(name: object) -> str:
    return f"{name:.4g}" if isinstance(name, float) else str(name)


def _alt(title: str, data: xr.DataArray, grid: np.ndarray, notes: list[str], step: str) -> str:
    rows, columns = (str(dim) for dim in data.dims[:2])
    clean = np.where(np.isfinite(grid), grid, np.nan)
    if np.isnan(clean).all():
        return f"Heat map of {title}, {rows} by {columns}, {notes[0]}; at the last step every value is missing."
    spread = float(np.nanmax(clean) - np.nanmin(clean))
    told = []
    for word, place in (("highest", np.nanargmax(clean)), ("lowest", np.nanargmin(clean))):
        row, column = np.unravel_index(place, clean.shape)
        where = f"{named(entries(data, rows)[row], rows)}, {named(entries(data, columns)[column], columns)}"
        told.append(f"{word} is {fixed(clean[row, column], spread / 10)} at {where}")
    units = f" in {units_of(data)}" if units_of(data) else ""
    when = f" at step {step}" if step else ""
    mean = fixed(float(np.nanmean(clean)), spread / 10)
    return f"Heat map of {title}{units}, {rows} by {columns}, {notes[0]}{when}: the mean is {mean}, {', '.join(told)}."


def example(seed: int = 0) -> dict:
    """What a digit looks like to the nodes of a trained tree: the scores of 60 digits at each of its 15 nodes."""
    from labkit.views.specimen import grown

    run = grown(seed, depth=4)
    data = xr.DataArray(
        run.scores[:60].T,
        dims=("node", "input"),
        attrs={"long_name": "score of each input at each node", "units": "score"},
    )
    return {"data": data}
