"""Which leaf or expert serves which class: where the inputs of each class go, and how full each of them is."""

from typing import Literal

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.choices import noun_of, plural
from labkit.views.reading import entries, read
from labkit.views.theme import SMALL, TEXT, look, styled
from labkit.views.thinning import compact
from labkit.views.wording import counted, escaped, named, number, percent, sentence, unique, wrapped

COLUMNS, ROWS = 128, 64
WRITTEN = 130  # cells; with at most as many, each one carries its number


def usage(
    by_class: xr.DataArray, *, share: Literal["class", "choice", "leaf"] = "class", dark: bool = False
) -> go.Figure:
    """Choices by classes as a heat map, in their order, with the load of each as a bar above.

    The picture speaks of leaves, experts, slots: of what the axis `choice` says in its `long_name`, and of leaves where
    it says nothing. `share="class"` asks where a class goes: a row sums to 100 %. `share="choice"` (or "leaf") asks
    what a choice gets: a column does. More than 128 choices are put together with their neighbours, which for leaves
    are those in the tree, more than 64 classes likewise.

    Shapes:
        by_class: (choice, class), share of all inputs that have the class and made the choice; empty choices at the
            end (NaN, where arms of different size share an array) are dropped
    Raises:
        LabError: other axes, a negative share, or a `share` that is neither "class" nor "choice".
    """
    if share not in ("class", "choice", "leaf"):
        raise LabError(f'usage can show the share of a "class" or of a "choice", and share is {share!r}.')
    by_class = read("usage", by_class, ("choice", "class"))
    noun = noun_of(by_class)
    counts = by_class.values.astype(np.float64)
    leaves = int(np.flatnonzero(np.isfinite(counts).any(1))[-1]) + 1
    counts = np.nan_to_num(counts[:leaves], posinf=0, neginf=0)
    if counts.min() < 0 or counts.sum() <= 0:
        raise LabError("usage needs shares of inputs, from 0 to 1, and found a negative one or nothing but zeros.")
    counts = counts / counts.sum()
    names = [named(entry, "class") for entry in entries(by_class, "class")]
    group, block = -(-leaves // COLUMNS), -(-len(names) // ROWS)
    starts, tops = np.arange(0, leaves, group), np.arange(0, len(names), block)
    cells = np.add.reduceat(np.add.reduceat(counts, starts, axis=0), tops, axis=1)
    rows = unique([names[at] for at in tops])
    per = cells.sum(0, keepdims=True) if share == "class" else cells.sum(1, keepdims=True)
    shown = 100 * np.divide(cells, per, out=np.full_like(cells, np.nan), where=per > 0).T
    figure = _drawn(shown, 100 * cells.sum(1), starts, group, rows, share, noun, dark)
    idle = int((counts.sum(1) == 0).sum())
    each = f"{noun} %d" if group == 1 else f"the {group} {plural(noun)} from %d on"
    notes = ["each row sums to 100\u00a0%" if share == "class" else "each column sums to 100\u00a0%"]
    notes += [f"{idle:,} of {leaves:,} {plural(noun)} without inputs"] if idle else []
    notes += [f"{group} neighbouring {plural(noun)} a column, the first one named"] if group > 1 else []
    notes += [f"{block} classes a row, the first one named"] if block > 1 else []
    return styled(
        figure,
        title="Where each class goes" if share == "class" else f"What each {noun} gets",
        subtitle=sentence("; ".join(notes)),
        alt=_alt(shown, cells, starts, (noun, each), rows, share, (leaves, len(names), idle)),
        dark=dark,
        height=max(480, min(900, 270 + 30 * len(rows))),
        axes={"x": "choice", "y": "class"},
    )


def _drawn(
    shown: np.ndarray,
    load: np.ndarray,
    starts: np.ndarray,
    group: int,
    rows: list[str],
    share: str,
    noun: str,
    dark: bool,
) -> go.Figure:
    colors, leaves = look(dark), [str(start) for start in starts]
    leaf = escaped(noun) if group == 1 else f"{group} {escaped(plural(noun))} from"
    about = "of the inputs of this class go here" if share == "class" else f"of the inputs of this {escaped(noun)}"
    tall = np.arange(0, len(rows), -(-len(rows) // 24))
    ticks = [wrapped(rows[at], 18, lines=2 if len(tall) == len(rows) else 1) for at in tall]
    figure = go.Figure(
        go.Heatmap(
            z=compact(shown),
            y=[escaped(name) for name in rows],
            x=leaves,
            text=[[f"{cell:.0f}" if cell >= 0.5 else "" for cell in row] for row in shown] if _few(shown) else None,
            texttemplate="%{text}" if _few(shown) else None,
            textfont={"size": SMALL},
            zmin=0,
            zmax=next(top for top in (1, 2, 5, 10, 20, 50, 100) if np.nanmax(shown) <= top * 1.0001),
            colorscale=colors.scale(),
            xgap=1 if len(starts) <= 64 else 0,
            ygap=1,
            colorbar={
                "title": {"text": "Share (%)", "side": "right", "font": {"size": SMALL}},
                "thickness": 14,
                "len": 0.72,
                "y": 0.36,
                "outlinewidth": 0,
                "nticks": 6,
                "tickfont": {"size": SMALL, "color": colors.muted},
            },
            hovertemplate=f"{leaf} %{{x}}, %{{y}}: %{{z:.1f}} % {about}<extra></extra>",
            name="share",
        )
    )
    figure.add_bar(
        x=leaves,
        y=compact(load),
        yaxis="y2",
        width=0.7 if len(starts) <= 64 else 0.9,
        marker={"color": colors.series[0], "line": {"width": 0}},
        hovertemplate=f"{leaf} %{{x}}: %{{y:.1f}} % of all inputs<extra></extra>",
        name="load",
        showlegend=False,
    )
    every = max(1, len(starts) // 8) if len(starts) > 16 else 1
    places = np.arange(0, len(starts), every)
    figure.update_layout(
        xaxis={
            "title": {"text": sentence(escaped(noun)) + ", in the order of the tree" * (noun == "leaf")},
            "tickvals": [leaves[at] for at in places],
            "ticktext": [str(starts[at]) for at in places],
            "showgrid": False,
            "range": [-0.5, len(starts) - 0.5],
            "type": "category",
            "anchor": "y",
        },
        yaxis={
            "tickvals": [escaped(rows[at]) for at in tall],
            "ticktext": ticks,
            "autorange": "reversed",
            "type": "category",
            "showgrid": False,
            "domain": [0, 0.74],
            "title": {"text": "Class", "font": {"size": TEXT}},
        },
        yaxis2={"domain": [0.79, 1], "title": {"text": "Inputs (%)"}, "nticks": 4, "rangemode": "tozero"},
        plot_bgcolor=colors.surface,
    )
    return figure


def _few(shown: np.ndarray) -> bool:
    return shown.size <= WRITTEN


def _alt(
    shown: np.ndarray,
    cells: np.ndarray,
    starts: np.ndarray,
    nouns: tuple[str, str],
    rows: list[str],
    share: str,
    sizes: tuple[int, int, int],
) -> str:
    (leaves, classes, idle), (noun, leaf) = sizes, nouns
    row, column = np.unravel_index(np.nanargmax(shown), shown.shape)
    load = cells.sum(1)
    most = int(load.argmax())
    where = leaf % starts[column]
    which = rows[row] if rows[row].startswith("class ") else f"class {rows[row]}"
    best = f"{where} takes {percent(shown[row, column] / 100)} of {which}"
    if share != "class":
        best = f"{percent(shown[row, column] / 100)} of what {where} gets is {which}"
    none = f"{number(idle)} of {number(leaves)} {plural(noun)} get no input" if idle else f"every {noun} gets inputs"
    return (
        f"Heat map of {counted(leaves, noun, plural(noun))} by {counted(classes, 'class', 'classes')}: {best}, the "
        f"largest share. {sentence(leaf % starts[most])} is fullest with {percent(load[most])} of all inputs; {none}."
    )


def example(seed: int = 0) -> dict:
    """A soft tree of depth 3, really trained on digits: which leaf the held-out digits reach."""
    from labkit.views.specimen import CLASSES, grown

    run = grown(seed)
    data = xr.DataArray(
        run.by_class,
        dims=("choice", "class"),
        coords={"class": list(CLASSES)},
        attrs={"long_name": "leaf usage by class", "units": "share of inputs"},
    )
    return {"by_class": data}
