"""How a memory uses its slots: sorted from the busiest to the idle ones, against all being used alike."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.choices import filled, layers_of, noun_of, plural
from labkit.views.labels import legend_height, legend_name
from labkit.views.reading import entries, read
from labkit.views.theme import HEIGHT, look, styled
from labkit.views.thinning import compact, evenly
from labkit.views.wording import counted, escaped, listed, number, percent, sentence

LAYERS, POINTS, FEW = 12, 160, 50
QUANTITIES = ("used share", "KL from uniform", "collisions")


def slot_usage(load: xr.DataArray, quantities: xr.DataArray | None = None, *, dark: bool = False) -> go.Figure:
    """One curve for each layer: its slots from the busiest to the idle ones, in shares of an equal share, on log axes.

    The level line at 1 is a memory that reads all slots alike; a curve that ends early leaves the rest of its slots
    idle. KL is Σ z ln(z S), z the share of a slot of S: 0 when all are read alike, ln S when only one is.

    Shapes:
        load: (choice) or (layer, choice), the share of the reading that falls on each slot; NaN where a layer has fewer
        quantities: (layer, quantity) as measured, with "used share", "KL from uniform" (nats) and "collisions" (chance
            that two inputs read the same slot); without it the first two are taken from the load
    Raises:
        LabError: other axes, a negative share, or other quantities.
    """
    load = filled(read("slot_usage", load, ("choice",), ("layer",)))
    names, short = layers_of(load) if "layer" in load.dims else ([""], [""])
    values = load.values.astype(np.float64).reshape(load.sizes["choice"], -1).T
    if np.nanmin(np.where(np.isfinite(values), values, np.nan)) < 0 or not np.nansum(values) > 0:
        raise LabError("slot_usage needs shares of the reading, from 0 to 1, and found a negative one or only zeros.")
    noun, rows = noun_of(load, "slot"), [row[np.isfinite(row)] for row in values]
    told = _told(rows, names, quantities)
    kept = evenly(len(names), LAYERS)
    figure, lowest, most, legend = _drawn(rows, told, kept, short, noun, dark)
    notes = [_summary(told, short, noun)]
    notes += [f"{len(kept)} of {len(names):,} layers are drawn"] if len(kept) < len(names) else []
    below = legend_height(legend) if len(kept) > 1 else 0
    figure.update_layout(
        showlegend=len(kept) > 1,
        xaxis={
            "title": {"text": f"{sentence(escaped(plural(noun)))} from the busiest to the idlest"},
            "tickformat": ",",
            **({"type": "log", "range": [-0.03, float(np.log10(most)) + 0.03], "dtick": 1} if most > FEW else {}),
        },
        yaxis={
            "type": "log",
            "title": {"text": "Load (times an equal share)"},
            "range": lowest,
            "dtick": max(1, round((lowest[1] - lowest[0]) / 8)) if lowest[1] - lowest[0] > 1.5 else "D2",
            "tickformat": ",~g",
        },
    )
    figure.add_hline(y=1, line={"color": look(dark).ink, "width": 1.5, "dash": "dot"})
    return styled(
        figure,
        title=f"How the {plural(noun)} are used",
        subtitle=sentence("; ".join(notes)),
        alt=_alt(rows, told, short, noun),
        dark=dark,
        height=HEIGHT + below,
        axes={},
    )


def _told(rows: list[np.ndarray], names: list[str], quantities: xr.DataArray | None) -> np.ndarray:
    """(layer, 3) in the order of QUANTITIES; what was not measured is taken from the load or missing."""
    told = np.full((len(rows), 3), np.nan)
    for place, row in enumerate(rows):
        if row.sum() > 0:
            share = row[row > 0] / row.sum()
            told[place, :2] = (row > 0).mean(), float((share * np.log(share * len(row))).sum())
    if quantities is None:
        return told
    given = read("slot_usage", quantities, ("layer", "quantity"))
    found, layers = [str(one) for one in entries(given, "quantity")], layers_of(given)[0]
    if not set(QUANTITIES[:2]) <= set(found):
        raise LabError(f"slot_usage needs the quantities {listed(QUANTITIES)}, and found {', '.join(found)}.")
    for place, name in enumerate(names):
        at = layers.index(name) if name in layers else 0 if names == [""] and len(layers) == 1 else None
        for column, quantity in enumerate(QUANTITIES if at is not None else ()):
            if quantity in found:
                told[place, column] = float(given.values[at, found.index(quantity)])
    return told


def _drawn(
    rows: list[np.ndarray], told: np.ndarray, kept: np.ndarray, short: list[str], noun: str, dark: bool
) -> tuple[go.Figure, list[float], int, list[str]]:
    colors, figure, legend, ends = look(dark), go.Figure(), [], [1.0]
    for place, at in enumerate(kept):
        ordered = np.sort(rows[at])[::-1]
        used = int((ordered > 0).sum())
        if not used:
            continue
        share = ordered[:used] * len(ordered) / ordered.sum()
        ranks = np.arange(1, used + 1)
        ranks = ranks if used <= POINTS else np.unique(np.geomspace(1, used, POINTS).round().astype(int))
        style = colors.line(place)
        name = f"layer {short[at]}: {percent(used / len(ordered))} used" if short[at] else "load"
        legend.append(name)
        ends += [float(share[0]), float(share[used - 1])]
        figure.add_scatter(
            x=compact(ranks),
            y=compact(share[ranks - 1]),
            mode="lines+markers",
            line={"width": 3, "color": style["color"], "dash": style["dash"]},
            marker={"symbol": style["symbol"], "size": 9, "maxdisplayed": 6},
            name=legend_name(name),
            hovertemplate=f"the {escaped(noun)} at rank %{{x:,}}: %{{y:.3~g}} times an equal share",
        )
        if used < len(ordered):
            figure.add_scatter(
                x=[used],
                y=[float(share[-1])],
                mode="markers",
                marker={"symbol": "line-ns", "size": 18, "line": {"width": 3, "color": style["color"]}},
                hovertemplate=f"{len(ordered) - used:,} {escaped(plural(noun))} from here on were never read"
                "<extra></extra>",
                showlegend=False,
                name=f"last used, layer {short[at]}",
            )
    low, high = np.log10(min(ends)), np.log10(max(ends))
    air = 0.06 * (high - low) or 0.3
    return figure, [low - air, high + air], max(len(row) for row in rows), legend


def _summary(told: np.ndarray, short: list[str], noun: str) -> str:
    used, kl, meet = told.T
    if len(told) == 1:
        words = f"{percent(used[0])} of the {plural(noun)} are used, {number(kl[0])} nats from uniform"
        return words + (f", two inputs meet in one with a chance of {percent(meet[0])}" if np.isfinite(meet[0]) else "")
    worst = int(np.nanargmax(kl))
    least, most = (percent(float(one)) for one in (np.nanmin(used), np.nanmax(used)))
    words = f"{least if least == most else f'{least} to {most}'} of the {plural(noun)} are used"
    words += f"; farthest from uniform is layer {short[worst]} with {number(kl[worst])} nats"
    if np.isfinite(meet[worst]):
        words += f", where two inputs meet with a chance of {percent(meet[worst])}"
    return words


def _alt(rows: list[np.ndarray], told: np.ndarray, short: list[str], noun: str) -> str:
    each = []
    for place in np.argsort(-np.nan_to_num(told[:, 1]))[:3]:
        row = np.sort(rows[place])[::-1]
        tenth = row[: max(1, len(row) // 10)].sum() / row.sum() if row.sum() else np.nan
        where = f"layer {short[place]}" if short[place] else "the memory"
        each.append(
            f"{where} uses {percent(told[place, 0])} of {len(row):,}, the busiest tenth has {percent(tenth)}, KL "
            f"{number(told[place, 1])} nats"
        )
    return f"Sorted use of the {plural(noun)} of {counted(len(rows), 'layer')}: {'; '.join(each)}."


def example(seed: int = 0) -> dict:
    """Two memories of 256 slots, four read for each character of a text, really trained on it."""
    from labkit.views.routed_specimen import measured, routed

    run = routed(seed, "none", experts=256, chosen=4, hidden=0, steps=200)
    return {"load": measured(run, run.chosen()[-1], ("layer", "choice"), "share of the reading", "fraction")}
