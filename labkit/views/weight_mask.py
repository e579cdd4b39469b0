"""The zeros of one weight matrix as a map: scattered, in groups, in blocks, in whole rows."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.views.panels import colorbar
from labkit.views.reading import read
from labkit.views.theme import look, styled
from labkit.views.thinning import blocks, compact
from labkit.views.wording import counted, number, percent, sentence

SIDE = 256


def weight_mask(data: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """Which weights are there: each cell the share of non-zero weights in its block, and bars for rows and columns.

    Up to 256 x 256 weights each has its own cell; more are put together in equal blocks, whose size the subtitle
    says. The bars at the side are the share of weights left in each row (output) and column (input), so that an empty
    one is seen even where it is thinner than a pixel.

    Shapes:
        data: (output, input), the weights or their mask; what is exactly 0 counts as zero
    Raises:
        LabError: other axes.
    """
    data = read("weight_mask", data, ("output", "input"))
    there = (np.nan_to_num(data.values) != 0).astype(np.float32)
    cells, tall, wide = blocks(there, SIDE, SIDE)
    rows, columns = there.mean(1), there.mean(0)
    colors = look(dark)
    figure = go.Figure(
        go.Heatmap(
            z=compact((100 * cells).round()),
            x0=(wide - 1) / 2,
            dx=wide,
            y0=(tall - 1) / 2,
            dy=tall,
            zmin=0,
            zmax=100,
            colorscale=colors.scale(),
            colorbar=colorbar("Weights that are not zero (%)", dark),
            hovertemplate="output %{y}, input %{x}: %{z:.3~g} % left<extra></extra>",
            name="left (%)",
        )
    )
    for across, share in ((True, columns), (False, rows)):
        starts = np.arange(0, len(share), wide if across else tall)
        step = wide if across else tall
        least = 100 * np.minimum.reduceat(share, starts)
        place = compact(starts + (step - 1) / 2)
        figure.add_bar(
            x=place if across else compact(least),
            y=compact(least) if across else place,
            orientation="v" if across else "h",
            width=step,
            xaxis="x" if across else "x2",
            yaxis="y2" if across else "y",
            marker={"color": colors.series[0], "line": {"width": 0}},
            hovertemplate=("input %{x}: %{y:.3~g} %" if across else "output %{y}: %{x:.3~g} %")
            + " left<extra></extra>",
            name="left by input" if across else "left by output",
            showlegend=False,
        )
    figure.update_layout(
        xaxis={
            "title": {"text": "Input"},
            "domain": [0, 0.84],
            "range": [-0.5, there.shape[1] - 0.5],
            "nticks": 6,
            "showgrid": False,
            "anchor": "y",
        },
        yaxis={
            "title": {"text": "Output"},
            "domain": [0, 0.84],
            "range": [there.shape[0] - 0.5, -0.5],
            "showgrid": False,
            "anchor": "x",
        },
        xaxis2={"domain": [0.86, 0.99], "range": [0, 100], "tickvals": [100], "ticksuffix": " %", "anchor": "y"},
        yaxis2={"domain": [0.87, 1], "range": [0, 100], "tickvals": [100], "ticksuffix": " %", "anchor": "x"},
        bargap=0,
    )
    empty = [int((share == 0).sum()) for share in (rows, columns)]
    notes = [f"{percent(float(there.mean()))} of {number(there.size)} weights are not zero"]
    notes.append(f"{counted(empty[0], 'output')} and {counted(empty[1], 'input')} have none")
    notes += [f"each cell is {tall} x {wide} weights; bars are the emptiest row or column of a cell"] * (
        tall * wide > 1
    )
    name = str(data.name or data.attrs.get("long_name") or "a weight")
    return styled(
        figure,
        title=f"What is left of {name}",
        subtitle=sentence("; ".join(notes)),
        alt=f"Map of {number(there.shape[0])} outputs by {number(there.shape[1])} inputs: {'; '.join(notes[:2])}. "
        f"Output {rows.argmax()} keeps most, {percent(float(rows.max()))} of its weights, output {rows.argmin()} fewest, "
        f"{percent(float(rows.min()))}.",
        dark=dark,
        height=600,
        axes={"x": "input", "y": "output"},
    )


def example(seed: int = 0) -> dict:
    """The first weight of a trained ReLU network of which the smaller four of every five were set to zero."""
    from labkit.views.network_specimen import pruned_weights

    name, weight = next(iter(pruned_weights(seed).items()))
    return {"data": xr.DataArray(weight, dims=("output", "input"), name=name)}
