"""Where the zeros of the weights lie, weight by weight, and which kernels can use them."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.panels import colorbar, names_of, some, ticks
from labkit.views.reading import entries, read
from labkit.views.theme import SMALL, look, styled
from labkit.views.thinning import compact
from labkit.views.wording import counted, escaped, listed, number, percent, sentence, short, wrapped

ROWS, WRITTEN, TOLD = 200, 24, 4
NOTHING = "nothing"


def weight_pattern(data: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """Weights by patterns of zeros, the share in per cent as colour and, with at most 24 weights, as number.

    Zeros alone save no time; the other columns are the patterns that kernels can skip. What a kernel can use of each
    weight is on hover, in words, where the measurement says it.

    Shapes:
        data: (parameter, pattern), shares from 0 to 1, NaN where a pattern does not fit; maybe with the coordinates
            `usable` (parameter), in words, and `size` (parameter), the number of weights
    Raises:
        LabError: other axes, or shares beyond 0 and 1.
    """
    data = read("weight_pattern", data, ("parameter", "pattern"))
    values = data.values.astype(np.float64)
    if np.nanmin(values) < 0 or np.nanmax(values) > 1:
        raise LabError("weight_pattern needs shares from 0 to 1, and found a value beyond.")
    kept, names = some(names_of(data, "parameter"), ROWS)
    patterns = [str(one) for one in entries(data, "pattern")]
    sizes = data["size"].values[kept] if "size" in data.coords else None
    usable = [str(one) for one in data["usable"].values] if "usable" in data.coords else None
    shown, few = 100 * values[kept], len(names) <= WRITTEN
    about = [_about(place, sizes, [usable[at] for at in kept] if usable else None) for place in range(len(names))]
    figure = go.Figure(
        go.Heatmap(
            z=compact(shown),
            x=patterns,
            y=names,
            text=[[_written(cell) for cell in row] for row in shown] if few else None,
            texttemplate="%{text}" if few else None,
            textfont={"size": SMALL},
            hovertext=[[line] * len(patterns) for line in about] if any(about) else None,
            zmin=0,
            zmax=100,
            colorscale=look(dark).scale(),
            xgap=2,
            ygap=1 if len(names) <= 60 else 0,
            colorbar=colorbar("Share (%)", dark),
            hovertemplate="%{y}, %{x}: %{z:.3~g} %" + "%{hovertext}" * any(about) + "<extra></extra>",
            hoverongaps=False,
            name="share (%)",
        )
    )
    figure.update_layout(
        xaxis={
            "type": "category",
            "tickvals": patterns,
            "ticktext": [wrapped(one, 8, lines=3) for one in patterns],
            "side": "top",
            "tickangle": 0,
            "showgrid": False,
        },
        yaxis={**ticks(names, most=WRITTEN), "autorange": "reversed"},
    )
    notes = [_zeros(values, patterns, data)]
    if usable:
        used = [one for one in usable if one != NOTHING]
        notes.append(f"a kernel can use {len(used):,} of {counted(len(usable), 'weight matrix', 'weight matrices')}")
    notes += [f"{len(names)} of {values.shape[0]:,} drawn"] * (len(names) < len(values))
    return styled(
        figure,
        title="Where the zeros of the weights lie",
        subtitle=sentence("; ".join(notes)),
        alt=_alt(values, names_of(data, "parameter"), patterns, notes, usable),
        dark=dark,
        height=max(380, min(900, 220 + 34 * len(names))),
        above=44,
        axes={"y": "parameter"},
    )


def _written(cell: float) -> str:
    if not np.isfinite(cell):
        return "–"
    return percent(cell / 100).split("\u00a0")[0]


def _about(place: int, sizes: np.ndarray | None, usable: list[str] | None) -> str:
    """What is said on hover about a weight as a whole."""
    parts = [f"{int(sizes[place]):,} weights"] if sizes is not None else []
    parts += [f"of use for: {escaped(short(usable[place], 60))}"] if usable else []
    return "<br>" + "; ".join(parts) if parts else ""


def _zeros(values: np.ndarray, patterns: list[str], data: xr.DataArray) -> str:
    if "zeros" not in patterns:
        return f"{counted(len(values), 'weight')} by {counted(len(patterns), 'pattern')}"
    column = values[:, patterns.index("zeros")]
    size = data["size"].values.astype(float) if "size" in data.coords else np.ones(len(column))
    there = np.isfinite(column)
    return f"{percent(float((column * size)[there].sum() / size[there].sum()))} of all weights are zero"


def _alt(values: np.ndarray, names: list[str], patterns: list[str], notes: list[str], usable: list[str] | None) -> str:
    told = []
    if len(names) <= TOLD:
        for name, row in zip(names, values):
            cells = [f"{one} {number(100 * cell)} %" for one, cell in zip(patterns, row) if np.isfinite(cell)]
            told.append(f"{name}: {listed(cells)}")
    for place, pattern in enumerate(patterns if len(names) > TOLD else []):
        column = values[:, place]
        if np.isfinite(column).any():
            best = int(np.nanargmax(column))
            told.append(f"{pattern} up to {number(100 * float(column[best]))} % in {names[best]}")
    used = [f"{name} ({one})" for name, one in zip(names, usable or []) if one != NOTHING][:3]
    words = f" Of use: {listed(used)}." if used else ""
    return f"Patterns of zeros in {number(len(names))} weights; {notes[0]}. {sentence('; '.join(told))}.{words}"


def example(seed: int = 0) -> dict:
    """The three weights of a trained ReLU network, each pruned by size in its own way: the first weight by weight, the
    second two of every four, the third whole units.
    """
    from labkit.views.network_specimen import pruned_weights

    rows, uses, sizes = [], [], []
    for weight in pruned_weights(seed).values():
        zero = weight == 0
        fours, eights = (zero.reshape(len(zero), -1, size).sum(-1) >= size // 2 for size in (4, 8))
        tall, wide = (size // 16 * 16 for size in zero.shape)
        tiles = zero[:tall, :wide].reshape(tall // 16, 16, wide // 16, 16).all((1, 3))
        found = [
            float(one.mean()) if one.size else np.nan for one in (zero, fours, eights, zero.all(1), zero.all(0), tiles)
        ]
        rows.append(found)
        words = {"smaller dense product": found[3] + found[4] > 0, "2:4 tensor cores": found[1] == 1}
        uses.append(", ".join(word for word, holds in words.items() if holds) or NOTHING)
        sizes.append(weight.size)
    patterns = ["zeros", "2:4", "4:8", "empty rows", "empty columns", "empty 16x16 blocks"]
    coords = {"parameter": list(pruned_weights(seed)), "pattern": patterns}
    coords |= {"usable": ("parameter", uses), "size": ("parameter", sizes)}
    return {"data": xr.DataArray(rows, dims=("parameter", "pattern"), coords=coords)}
