"""How sure the routers are: how far the best expert lies ahead of the second, and the entropy of their answers."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.choices import filled, layers_of, noun_of, texts_of
from labkit.views.layer_lines import layer_ticks
from labkit.views.panels import colorbar, heading
from labkit.views.reading import entries, read
from labkit.views.scrubber import DEPTH, scrub
from labkit.views.theme import look, styled
from labkit.views.thinning import compact, evenly
from labkit.views.wording import counted, fixed, listed, number, percent, sentence

LAYERS, BINS, FRAMES, CELLS, CLOSE, FEW = 96, 40, 40, 34_000, 0.1, 6
QUANTILES = (5, 25, 50, 75, 95)


def certainty(margin: xr.DataArray, entropy: xr.DataArray | None = None, *, dark: bool = False) -> go.Figure:
    """A row for each layer: the histogram of the margin p1 - p2 as colour, and beside it the entropy of its tokens.

    A margin near 0 is a toss-up between two experts: a rounding error or one more step of training sends the token to
    the other one, and its answer changes. The entropy of the router's probabilities is 0 bits where one expert has
    all, 1 where two share; the thick line holds the middle half of the tokens, the thin one 90 % of them, the mark is
    the median. With an axis `step` a slider goes through the training.

    Shapes:
        margin: (layer, bin) or (step, layer, bin), share of the tokens; `bin` holds the middles of the bins of p1 - p2
        entropy: (layer, token) in bits, of the last step; layers are matched by name
    Raises:
        LabError: other axes, a negative share, or bins outside 0..1.
    """
    margin = filled(read("certainty", margin, ("layer", "bin"), ("step",)))
    middles = np.array(entries(margin, "bin"), dtype=np.float64)
    shares = margin.transpose(..., "layer", "bin").values.astype(np.float64)
    shares = np.where(np.isfinite(shares), shares, np.nan)
    shares = shares if "step" in margin.dims else shares[None]
    if np.nanmin(shares) < 0 or middles.min() < 0 or middles.max() > 1:
        raise LabError("certainty needs shares of tokens in bins of p1 - p2 from 0 to 1, and found others.")
    names, short = layers_of(margin)
    bits = None if entropy is None else _bits(read("certainty", entropy, ("layer", "token")), names)
    rows = evenly(len(names), LAYERS)
    shown = evenly(len(shares), max(2, min(FRAMES, CELLS // (len(rows) * min(len(middles), BINS)))))
    maps = [100 * _merged(shares[at][rows]) for at in shown]
    figure = _drawn(maps, middles, rows, names, short, bits, dark)
    scrubbed = len(shown) > 1
    if scrubbed:
        labels = [number(step) for step in np.array(entries(margin, "step"))[shown]]
        frames = [_frame(grid, len(rows)) for grid in maps]
        scrub(figure, frames, labels, "step", dark)
    below = (DEPTH - 20) * scrubbed
    figure.update_layout(margin={"b": 20 + below}, showlegend=False)
    told = _close(shares[-1], middles, short)
    notes = [f"{len(rows)} of {len(names):,} layers"] if len(rows) < len(names) else []
    notes += [f"{len(shown)} of {len(shares):,} steps on the slider"] if len(shown) < len(shares) else []
    noun = noun_of(margin if "choice" in margin.attrs else entropy if entropy is not None else margin, "expert")
    meaning = f"a margin near 0 is a toss-up, where a rounding error sends the token to another {noun}"
    return styled(
        figure,
        title="How sure the routers are",
        subtitle=sentence("; ".join([meaning, told, *notes])),
        alt=_alt(shares, middles, names, short, bits, entropy, told, margin),
        dark=dark,
        height=220 + max(90, min(620, (64 if len(rows) <= FEW else 34) * len(rows))) + below,
        above=52,
        axes={"x": "bin", "y": "layer"},
    )


def _frame(grid: np.ndarray, rows: int) -> dict:
    """What a step changes: bars layer by layer where there are few, else the map."""
    if rows > FEW:
        return {"data": [{"type": "heatmap", "z": compact(grid)}], "traces": [0]}
    layout = {f"yaxis{place + 3}": _ceiling(grid) for place in range(rows)}
    return {"data": [{"type": "bar", "y": compact(row)} for row in grid], "traces": list(range(rows)), "layout": layout}


def _ceiling(grid: np.ndarray) -> dict:
    """The axis of the bars of one step: from nothing to a round share, which is written at its end."""
    top = next(one for one in (5, 10, 20, 50, 100) if np.nanmax(grid) <= one * 1.0001)
    return {"range": [0, top], "tickvals": [top], "ticktext": [f"{top} %"]}


def _merged(grid: np.ndarray) -> np.ndarray:
    """At most forty bins, neighbours added up."""
    size = -(-grid.shape[1] // BINS)
    return np.add.reduceat(grid, np.arange(0, grid.shape[1], size), axis=1)


def _bits(entropy: xr.DataArray, names: list[str]) -> np.ndarray:
    """(layer, quantile) of the entropy of the layers with these names, NaN where there is none."""
    found, values = layers_of(entropy)[0], entropy.values.astype(np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    rows = np.full((len(names), len(QUANTILES)), np.nan)
    for place, name in enumerate(names):
        if name in found and np.isfinite(values[found.index(name)]).any():
            rows[place] = np.nanpercentile(values[found.index(name)], QUANTILES)
    if np.isnan(rows).all():
        raise LabError(f"certainty needs entropy of the layers of margin, and found {', '.join(found[:4])} instead.")
    return rows


def _drawn(
    maps: list[np.ndarray],
    middles: np.ndarray,
    rows: np.ndarray,
    names: list[str],
    short: list[str],
    bits: np.ndarray | None,
    dark: bool,
) -> go.Figure:
    colors, kept = look(dark), [names[at] for at in rows]
    size = -(-len(middles) // BINS)
    centres = np.array([middles[at : at + size].mean() for at in range(0, len(middles), size)])
    right = 1.0 if bits is None else 0.6
    top = max(1e-9, max(float(np.nanmax(grid)) for grid in maps))
    figure = go.Figure()
    if len(rows) <= FEW:
        for place, row in enumerate(maps[-1]):
            figure.add_bar(
                x=compact(centres),
                y=compact(row),
                yaxis=f"y{place + 3}",
                marker={"color": colors.series[2], "line": {"width": 0}},
                hovertemplate=f"layer {short[rows[place]]}: %{{y:.1f}} % of the tokens have a margin near %{{x:.2f}}"
                "<extra></extra>",
                name=f"layer {short[rows[place]]} (% of the tokens)",
            )
            ends = [1 - (place + 0.95) / len(rows), 1 - (place + 0.12) / len(rows)]
            side = {"anchor": "x", "side": "right", "domain": ends, **_ceiling(maps[-1])}
            figure.update_layout({f"yaxis{place + 3}": side, "bargap": 0.05})
        figure.add_scatter(x=[None] * len(rows), y=kept, hoverinfo="skip", mode="markers", name="layers")
    else:
        figure.add_heatmap(
            z=compact(maps[-1]),
            x=compact(centres),
            y=kept,
            colorscale=colors.scale(),
            zmin=0,
            zmax=top,
            ygap=2 if len(rows) <= 32 else 0,
            hovertemplate="%{y}: %{z:.1f} % of the tokens have a margin near %{x:.2f}<extra></extra>",
            colorbar=colorbar("% of the tokens", dark),
            name="tokens by margin (%)",
        )
    figure.update_layout(
        xaxis={
            "title": {"text": "Margin p1 − p2"},
            "domain": [0, right],
            "showgrid": False,
            "nticks": 6,
            "range": [0, 1],
        },
        yaxis={
            **layer_ticks(names, short, rows),
            "categoryorder": "array",
            "categoryarray": kept,
            "autorange": False,
            "range": [len(rows) - 0.5, -0.5],
        },
    )
    heading(figure, "Lead of the best choice (% of tokens)", 1, width=42 if bits is None else 24)
    if bits is None:
        return figure
    for low, high, width, words in ((0, 4, 2, "90 % of the tokens"), (1, 3, 8, "half of the tokens")):
        ends = bits[rows][:, [low, high]]
        figure.add_scatter(
            x=compact(np.concatenate([ends, np.full((len(rows), 1), np.nan)], 1).ravel()),
            y=[name for name in kept for _ in range(3)],
            mode="lines",
            line={"width": width if len(rows) <= 32 else width / 2, "color": colors.series[0]},
            opacity=1 if low == 0 else 0.6,
            hoverinfo="skip",
            xaxis="x2",
            name=words,
        )
    figure.add_scatter(
        x=compact(bits[rows][:, 2]),
        y=kept,
        customdata=compact(bits[rows]),
        mode="markers",
        marker={"size": 11 if len(rows) <= 32 else 6, "symbol": "diamond", "color": colors.ink},
        hovertemplate="%{y}: median %{x:.2f} bits,<br>half of the tokens %{customdata[1]:.2f} to %{customdata[3]:.2f},<br>"
        "90 % of them %{customdata[0]:.2f} to %{customdata[4]:.2f}<extra></extra>",
        xaxis="x2",
        name="median entropy (bits)",
    )
    figure.update_layout(
        xaxis2={
            "title": {"text": "Entropy (bits)"},
            "domain": [0.72, 1],
            "anchor": "y",
            "rangemode": "tozero",
            "nticks": 5,
        }
    )
    heading(figure, "Entropy: half and 90 % of the tokens", 1, x=0.72, width=22)
    return figure


def _close(shares: np.ndarray, middles: np.ndarray, short: list[str]) -> str:
    """How many tokens are close calls, and where most."""
    total = np.nansum(shares, 1)
    near = np.divide(np.nansum(shares[:, middles < CLOSE], 1), total, out=np.full(len(total), np.nan), where=total > 0)
    if np.isnan(near).all():
        return "the last step has no margins"
    most = int(np.nanargmax(near))
    worst = f", {percent(near[most])} in layer {short[most]}" if len(short) > 1 else ""
    return f"{percent(float(np.nanmean(near)))} of the tokens have a margin below {CLOSE}{worst}"


def _alt(
    shares: np.ndarray,
    middles: np.ndarray,
    names: list[str],
    short: list[str],
    bits: np.ndarray | None,
    entropy: xr.DataArray | None,
    told: str,
    margin: xr.DataArray,
) -> str:
    total = np.nansum(shares[-1], 1)
    mean = np.divide(np.nansum(shares[-1] * middles, 1), total, out=np.full(len(total), np.nan), where=total > 0)
    order = [at for at in np.argsort(np.nan_to_num(mean, nan=9)) if np.isfinite(mean[at])]
    each = listed([f"{fixed(mean[at], 0.1)} in layer {short[at]}" for at in order[:3]])
    when = f" at step {number(entries(margin, 'step')[-1])}" if "step" in margin.dims else ""
    parts = [
        f"Margins of the routers of {counted(len(names), 'layer')}{when}: {told}. The smallest mean margins are {each}."
    ]
    if bits is not None and entropy is not None:
        highest = int(np.nanargmax(bits[:, 2]))
        parts.append(
            f"The median entropy is highest in layer {short[highest]} with {fixed(bits[highest, 2], 0.1)} bits."
        )
        values = entropy.transpose("layer", "token").values.astype(np.float64)
        texts = texts_of(entropy)
        if texts and np.isfinite(values).any():
            token = int(np.nanargmax(np.where(np.isnan(values).all(0), 0, np.nansum(values, 0))))
            parts.append(f"Least sure over all layers is token {entries(entropy, 'token')[token]}, “{texts[token]}”.")
    return " ".join(parts)


def example(seed: int = 0) -> dict:
    """Two mixtures of 8 experts while they are trained, and the entropy of each character at the end."""
    from labkit.views.routed_specimen import measured, routed

    run = routed(seed)
    best = np.sort(run.probability, -1)
    lead = best[..., -1] - best[..., -2]
    edges = np.linspace(0, 1, 21)
    counts = np.stack([[np.histogram(row, edges)[0] / len(row) for row in step] for step in lead])
    p = np.clip(run.probability[-1], 1e-12, 1)
    margin = measured(run, counts, ("step", "layer", "bin"), "share of tokens", "fraction")
    margin = margin.assign_coords(bin=("bin", (edges[1:] + edges[:-1]) / 2, {"long_name": "lead of the best choice"}))
    entropy = measured(run, -(p * np.log2(p)).sum(-1), ("layer", "token"), "entropy of the router's answer", "bits")
    return {"margin": margin, "entropy": entropy}
