"""How alike two layers see the same inputs: one number from 0 to 1 for each pair of layers."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.panels import across, colorbar, layer_named, names_of, some, ticks
from labkit.views.reading import axis_of, entries, read, title_of
from labkit.views.scrubber import DEPTH, scrub
from labkit.views.theme import SMALL, look, styled
from labkit.views.thinning import compact, evenly
from labkit.views.wording import counted, number, sentence

SIDE, CELLS, FRAMES, WRITTEN = 160, 36_000, 24, 10
CLOSE = 0.95  # from here on two layers are called alike


def similarity(data: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """A table of layers by layers, the scale always from 0 (nothing in common) to 1 (the same up to a rotation).

    The scale does not depend on the data, so that two pictures can be compared. The layers of two different models
    may stand on the two axes. With an axis `step` a slider goes through the steps. With at most ten layers each cell
    carries its number; of more than 160 some are drawn, evenly spread.

    Shapes:
        data: (layer, other) or (step, layer, other), for example linear CKA
    Raises:
        LabError: other axes, or values beyond 0 and 1 (an unbiased estimate may be a little below 0).
    """
    data = read("similarity", data, ("layer", "other"), ("step",))
    values = data.transpose(..., "layer", "other").values.astype(np.float64)
    values = values if "step" in data.dims else values[None]
    if np.nanmax(values) > 1.001 or np.nanmin(values) < -0.5:
        found = f"{number(np.nanmin(values))} to {number(np.nanmax(values))}"
        raise LabError(f"similarity needs values from 0 to 1, and found {found}; a distance is drawn by heatmap.")
    shown = evenly(len(values), FRAMES)
    side = min(SIDE, int((CELLS // len(shown)) ** 0.5))
    (tall, rows), (wide, columns) = (some(names_of(data, dim), side) for dim in ("layer", "other"))
    grids = values[np.ix_(shown, tall, wide)]
    colors, few = look(dark), max(len(rows), len(columns)) <= WRITTEN
    parts, same = [_cells(grid, few) for grid in grids], names_of(data, "layer") == names_of(data, "other")
    figure = go.Figure(
        go.Heatmap(
            **{key: value for key, value in parts[-1].items() if key != "type"},
            x=columns,
            y=rows,
            zmin=0,
            zmax=1,
            colorscale=colors.scale(),
            colorbar=colorbar("Similarity, 0 to 1", dark),
            texttemplate="%{text}" if few else None,
            textfont={"size": SMALL},
            xgap=few,
            ygap=few,
            hovertemplate="%{y} and %{x}: %{z:.4~f}<extra></extra>",
            hoverongaps=False,
            name="similarity",
        )
    )
    foot = axis_of(data, "layer") if same else axis_of(data, "other") if data["other"].attrs else "Other layer"
    figure.update_layout(
        xaxis={
            "title": {"text": foot},
            **across(columns, 48),
            "constrain": "domain",
        },
        yaxis={"title": {"text": axis_of(data, "layer")}, **ticks(rows, most=24), "autorange": "reversed"},
    )
    if len(shown) > 1:
        steps = [number(one) for one in np.array(entries(data, "step"))[shown]]
        scrub(figure, [{"data": [part], "traces": [0]} for part in parts], steps, "step", dark)
    deep = (DEPTH - 20) * (len(shown) > 1)
    figure.update_layout(margin={"b": 20 + deep})
    notes = [_found(values[-1], names_of(data, "layer"), names_of(data, "other"))]
    drawn = len(rows) < values.shape[1] or len(columns) < values.shape[2]
    notes += [f"{len(rows)} x {len(columns)} of {values.shape[1]:,} x {values.shape[2]:,} layers drawn"] * drawn
    notes += [f"{len(shown)} of {len(values):,} steps on the slider"] * (len(shown) < len(values))
    return styled(
        figure,
        title=f"{title_of(data, 'Similarity')}: which layers see alike",
        subtitle=sentence("; ".join(notes)),
        alt=_alt(data, values, notes[0]),
        dark=dark,
        height=560 + deep,
        axes={"x": "other", "y": "layer"},
    )


def _cells(grid: np.ndarray, few: bool) -> dict:
    part: dict = {"type": "heatmap", "z": compact(grid.astype(np.float32))}
    if few:
        part["text"] = [[f"{cell:.2f}" if np.isfinite(cell) else "" for cell in row] for row in grid]
    return part


def _found(grid: np.ndarray, rows: list[str], columns: list[str]) -> str:
    """The most and the least similar of the pairs that are not one layer with itself."""
    clean = np.where(np.isfinite(grid), grid, np.nan)
    if rows == columns:
        clean = np.where(np.eye(len(rows), dtype=bool) | np.tri(len(rows), dtype=bool), np.nan, clean)
    if np.isnan(clean).all():
        return "there is one layer only"
    if np.isfinite(clean).sum() == 1:
        row, column = np.argwhere(np.isfinite(clean))[0]
        return f"{layer_named(rows[row])} and {layer_named(columns[column])}: {number(clean[row, column])}"
    told = []
    for word, place in (("most alike are", np.nanargmax(clean)), ("least", np.nanargmin(clean))):
        row, column = np.unravel_index(place, clean.shape)
        told.append(
            f"{word} {layer_named(rows[row])} and {layer_named(columns[column])} ({number(clean[row, column])})"
        )
    return ", ".join(told)


def _alt(data: xr.DataArray, values: np.ndarray, found: str) -> str:
    rows, columns = names_of(data, "layer"), names_of(data, "other")
    when = f" at step {number(entries(data, 'step')[-1])}" if "step" in data.dims else ""
    said = (
        f"{title_of(data, 'Similarity')} of {counted(len(rows), 'layer')} with {counted(len(columns), 'layer')}{when}"
    )
    apart = values[-1][~np.eye(*values.shape[1:], dtype=bool)] if rows == columns else values[-1].ravel()
    apart = apart[np.isfinite(apart)]
    mean = f"; the mean over different layers is {number(apart.mean())}" if apart.size else ""
    near = int((apart >= CLOSE).sum()) // (2 if rows == columns else 1)
    close = f", {counted(near, 'pair')} at {CLOSE} or more" if apart.size else ""
    first = (
        f". At step {number(entries(data, 'step')[0])} {_found(values[0], rows, columns)}" if len(values) > 1 else ""
    )
    return f"{said}: {found}{mean}{close}{first}."


def example(seed: int = 0) -> dict:
    """Linear CKA of pixels, both hidden layers and scores of a ReLU network, along its training on digits."""
    from labkit.views.network_specimen import LAYERS, digits_network

    network = digits_network(seed)
    names = ["pixels", *LAYERS, "scores"]
    grids = []
    for at in range(len(network.steps)):
        parts = [network.inputs, *network.hidden(at), network.answers(at)]
        centred = [part - part.mean(0) for part in parts]
        shared = np.array([[np.linalg.norm(one.T @ other) ** 2 for other in centred] for one in centred])
        grids.append(shared / np.sqrt(np.outer(np.diag(shared), np.diag(shared))))
    data = xr.DataArray(
        np.array(grids),
        dims=("step", "layer", "other"),
        coords={"step": network.steps, "layer": names, "other": names},
        attrs={"long_name": "linear CKA", "units": ""},
    )
    return {"data": data}
