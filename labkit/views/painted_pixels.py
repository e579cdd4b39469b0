"""Images beside the map of a unit: where in the image it is active, or which pixels moved it."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.mosaic import GAP, Mosaic, grey, greys, smaller
from labkit.views.panels import colorbar
from labkit.views.reading import axis_title, entries, read, title_of
from labkit.views.theme import SMALL, look, styled
from labkit.views.thinning import compact
from labkit.views.wording import counted, number, percent, sentence, short

PAIRS, ACROSS = 9, 3
SCATTERED = 300  # cell borders; a longer outline runs everywhere and says nothing


def painted_pixels(images: xr.DataArray, maps: xr.DataArray, *, outline: float = 0.5, dark: bool = False) -> go.Figure:
    """Each image beside its map, with the strongest region of the map outlined on the image.

    A map coarser than its image is stretched over it without smoothing, so that its cells stay visible; the value of
    a cell is on hover. The outline runs around the cells that reach half (`outline`) of the strongest value of their
    map, unless these lie scattered all over it. All maps share one colour scale; with values of both signs zero is in
    the middle. At most nine pairs are shown.

    Shapes:
        images: (input, rows, columns), grey values
        maps: (input, rows, columns), the activation of a unit at each place, or the attribution of each pixel; the
            number of rows and columns is free
        outline: share of the strongest value, above 0 and at most 1
    Raises:
        LabError: other axes, a different number of images and maps, or an outline beyond 0 and 1.
    """
    images = read("painted_pixels", images, ("input", "rows", "columns"))
    maps = read("painted_pixels", maps, ("input", "rows", "columns"))
    if images.sizes["input"] != maps.sizes["input"]:
        raise LabError(
            f"painted_pixels needs one map for each image, and got {images.sizes['input']} images and "
            f"{maps.sizes['input']} maps."
        )
    if not 0 < outline <= 1:
        raise LabError(f"painted_pixels needs an outline above 0 and at most 1, and got {outline}.")
    pictures, merged = smaller(images.values[:PAIRS], 40)
    fields, joined = smaller(maps.values[:PAIRS], 28)
    names = [str(one) for one in entries(images, "input")[:PAIRS]]
    tiles = Mosaic(len(pictures), ACROSS, pictures.shape[1], pictures.shape[2], 0, max(2, pictures.shape[1] // 4))
    pitch = pictures.shape[2] // 8 + 1  # pixels between the two of a pair; twice that between pairs
    figure, colors = go.Figure(), look(dark)
    spots = _spots(tiles, pitch)
    _images(figure, pictures, spots, dark)
    _maps(figure, maps, fields, spots, tiles, names, dark)
    _outlines(figure, fields, spots, tiles, outline, dark)
    figure.add_scatter(
        x=[column + tiles.wide + pitch / 2 - 0.5 for _, column in spots],
        y=[row + tiles.tall + tiles.words / 2 - 0.5 for row, _ in spots],
        mode="text",
        text=[
            f"{name}: {number(float(np.nan_to_num(one).flat[np.abs(np.nan_to_num(one)).argmax()]))}"
            for name, one in zip(map(_label, names), fields)
        ],
        textfont={"size": SMALL - 1, "color": colors.ink},
        hoverinfo="skip",
        name="strongest value",
        showlegend=False,
    )
    rows, wide = tiles.down * (tiles.tall + tiles.words), max(column for _, column in spots) + 2 * tiles.wide + pitch
    bare = {"showgrid": False, "showticklabels": False, "constrain": "domain", "fixedrange": True}
    figure.update_layout(
        xaxis={**bare, "range": [-0.5, wide - 0.5], "constraintoward": "left"},
        yaxis={**bare, "range": [rows - 0.5, -0.5], "scaleanchor": "x", "constraintoward": "top"},
    )
    notes = [f"below each pair its input and its strongest value; outlined is what reaches {percent(outline)} of that"]
    notes += [f"{len(pictures)} of {counted(images.sizes['input'], 'image')}"] if len(images) > PAIRS else []
    notes += [f"{max(merged, joined)} x {max(merged, joined)} pixels in one"] if max(merged, joined) > 1 else []
    title = f"{title_of(maps, 'Activation')} over each image"
    return styled(
        figure,
        title=title,
        subtitle=sentence("; ".join(notes)),
        alt=_alt(title, fields, names, outline),
        dark=dark,
        height=170 + int(rows * 480 / wide),
    )


def _label(name: str) -> str:
    return short(name if not name.lstrip("-").isdigit() else f"input {name}", 20)


def _spots(tiles: Mosaic, pitch: int) -> list[tuple[int, int]]:
    """Row and column of the upper left pixel of each image; its map lies `pitch` pixels to its right."""
    pair = 2 * tiles.wide + 3 * pitch
    return [(place // ACROSS * (tiles.tall + tiles.words), place % ACROSS * pair) for place in range(tiles.count)]


def _images(figure: go.Figure, pictures: np.ndarray, spots: list[tuple[int, int]], dark: bool) -> None:
    tall, wide = pictures.shape[1:]
    size = max(row for row, _ in spots) + tall, max(column for _, column in spots) + wide
    canvas = np.full(size, GAP, np.uint8)
    for (row, column), image in zip(spots, grey(pictures)):
        canvas[row : row + tall, column : column + wide] = image
    figure.add_heatmap(
        z=canvas,
        zmin=0,
        zmax=GAP,
        colorscale=greys(look(dark)),
        showscale=False,
        hoverinfo="skip",
        name="images",
    )


def _maps(
    figure: go.Figure,
    maps: xr.DataArray,
    fields: np.ndarray,
    spots: list[tuple[int, int]],
    tiles: Mosaic,
    names: list[str],
    dark: bool,
) -> None:
    finite = fields[np.isfinite(fields)]
    low, high = float(finite.min()), float(finite.max())
    signed, bound = low < 0 < high, float(np.abs(finite).max())
    pitch = tiles.wide // 8 + 1
    tall, wide = fields.shape[1:]
    for place, ((row, column), field) in enumerate(zip(spots, fields)):
        left = column + tiles.wide + pitch - 0.5
        figure.add_heatmap(
            z=compact(field.astype(np.float32)),
            x0=left + tiles.wide / wide / 2,
            dx=tiles.wide / wide,
            y0=row - 0.5 + tiles.tall / tall / 2,
            dy=tiles.tall / tall,
            zmin=-bound if signed else min(low, 0.0),
            zmax=bound if signed or high > 0 else 1.0,
            colorscale=look(dark).scale(signed),
            showscale=place == 0,
            colorbar=colorbar(axis_title(maps, "Activation"), dark) if place == 0 else None,
            hovertemplate=f"{_label(names[place])}: %{{z:.4~g}}<extra></extra>",
            name=f"map of {_label(names[place])}",
        )


def _outlines(
    figure: go.Figure, fields: np.ndarray, spots: list[tuple[int, int]], tiles: Mosaic, outline: float, dark: bool
) -> None:
    """The borders of the strongest cells, as one line with breaks, drawn on the images."""
    x: list[float] = []
    y: list[float] = []
    tall, wide = fields.shape[1:]
    for (row, column), field in zip(spots, fields):
        strength = np.abs(np.nan_to_num(field))
        inside = np.pad(strength >= max(outline * strength.max(), 1e-30), 1)
        if (inside[1:] != inside[:-1]).sum() + (inside[:, 1:] != inside[:, :-1]).sum() > SCATTERED:
            continue
        for across in (False, True):
            turned = inside.T if across else inside
            for line, start in np.argwhere(turned[1:, 1:-1] != turned[:-1, 1:-1]).tolist():
                ends = [start, start + 1]
                down, right = (ends, [line, line]) if across else ([line, line], ends)
                y += [*(row - 0.5 + one * tiles.tall / tall for one in down), np.nan]
                x += [*(column - 0.5 + one * tiles.wide / wide for one in right), np.nan]
    figure.add_scatter(
        x=compact(np.array(x)),
        y=compact(np.array(y)),
        mode="lines",
        line={"width": 2.5, "color": look(dark).series[1]},
        hoverinfo="skip",
        name="outline",
        showlegend=False,
    )


def _alt(title: str, fields: np.ndarray, names: list[str], outline: float) -> str:
    told = []
    for name, field in list(zip(names, fields))[:3]:
        clean = np.nan_to_num(field)
        row, column = np.unravel_index(np.abs(clean).argmax(), clean.shape)
        share = float((np.abs(clean) >= outline * np.abs(clean).max()).mean())
        where = f"row {row + 1} of {clean.shape[0]}, column {column + 1} of {clean.shape[1]}"
        told.append(
            f"{_label(name)} is strongest with {number(clean[row, column])} at {where}, {percent(share)} outlined"
        )
    return f"{title}, {counted(len(fields), 'image')} beside their maps: {'; '.join(told)}."


def example(seed: int = 0) -> dict:
    """Which pixels move the strongest unit of a ReLU network: pixel times slope, for digits that it answers to."""
    from labkit.views.network_specimen import digits_network

    network = digits_network(seed)
    activity = network.hidden()
    unit = int(activity[1].std(0).argmax())
    order = np.argsort(-activity[1][:, unit])[:9]
    weights = network.weights[-1]
    slope = ((activity[0][order] > 0) * weights[1][0][:, unit]) @ weights[0][0].T
    names = [f"{network.tokens[at]}, input {at}" for at in order]
    axes = ("input", "rows", "columns")
    pixels = network.inputs[order]
    return {
        "images": xr.DataArray(pixels.reshape(-1, 8, 8), dims=axes, coords={"input": names}),
        "maps": xr.DataArray(
            (pixels * slope).reshape(-1, 8, 8),
            dims=axes,
            coords={"input": names},
            attrs={"long_name": f"pull of each pixel on unit {unit}", "units": ""},
        ),
    }
