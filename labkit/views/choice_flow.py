"""The paths of the tokens: how many go from each expert of one layer to each expert of the next."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.choices import noun_of, plural, short_layer
from labkit.views.panels import told_apart
from labkit.views.reading import entries, read
from labkit.views.scrubber import DEPTH, scrub
from labkit.views.theme import SMALL, faded, look, styled
from labkit.views.thinning import evenly
from labkit.views.wording import counted, escaped, listed, number, percent, sentence

NODES, COLUMNS, FRAMES, OFTEN, HIGH = 10, 5, 24, 1.5, 460
ARROW = " -> "


@dataclass(frozen=True)
class Column:
    """The choices of one layer that stand for themselves, in order; the others are drawn as one."""

    layer: str
    kept: np.ndarray
    others: int

    @property
    def size(self) -> int:
        """How many nodes there are."""
        return len(self.kept) + (self.others > 0)


def choice_flow(flow: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """Layers as columns, experts as blocks, tokens as bands between them; strong bands are more than chance.

    A block and a band are as high as their share of the tokens. A band is strong where at least half as many tokens
    again take it as if the next layer did not care where they come from. The ten fullest experts of a layer stand for
    themselves, the rest is "other". Up to five layers stand side by side; with more of them a slider goes through the
    pairs.

    Shapes:
        flow: (between, from, to) or (from, to), share of the tokens; `between` holds "layer -> layer", each pair
            beginning where the one before ends; NaN where a layer has fewer experts
    Raises:
        LabError: other axes, or a negative share.
    """
    flow = read("choice_flow", flow, ("from", "to"), ("between",))
    values = flow.values.astype(np.float64).reshape(*flow.shape[:2], -1).transpose(2, 0, 1)
    values = np.where(np.isfinite(values), values, 0)
    if values.min() < 0 or values.sum() <= 0:
        raise LabError("choice_flow needs shares of tokens, from 0 to 1, and found a negative one or only zeros.")
    pairs = [str(one) for one in entries(flow, "between")] if "between" in flow.dims else ["first -> second"]
    layers, chained = _layers(pairs)
    noun = noun_of(flow, "expert")
    slides = not chained or len(values) >= COLUMNS
    shown = evenly(len(values), FRAMES) if slides else np.arange(1)
    parts = [values[[at]] if slides else values for at in shown]
    names = [[layers[at][0], layers[at][1]] if slides else [layers[0][0], *(two for _, two in layers)] for at in shown]
    drawn = [_sankey(part, some, noun, dark) for part, some in zip(parts, names)]
    figure = go.Figure(drawn[-1][0])
    _heads(figure, names[-1], noun, slides)
    if slides and len(shown) > 1:
        frames = [{"data": [trace], "traces": [0]} for trace, _ in drawn]
        labels = [" → ".join(one) for one in names]
        scrub(figure, frames, labels, "between layers", dark)
    below = (DEPTH - 40) * (slides and len(shown) > 1)
    figure.update_layout(margin={"l": 24, "r": 24, "b": 30 + below})
    told = _told(values[shown[-1]] if slides else values[-1], noun, names[-1][-2:])
    notes = [f"{len(shown)} of {len(values):,} pairs of layers"] if slides and len(shown) < len(values) else []
    others = max(column.others for column in drawn[-1][1])
    notes += [f"the {NODES} fullest of a layer, the rest is “other”"] if others else []
    return styled(
        figure,
        title=f"Which way the tokens take from {noun} to {noun}",
        subtitle=sentence("; ".join(["strong: at least 1.5 times as often as by chance", told[0], *notes])),
        alt=_alt(values, layers, noun, told),
        dark=dark,
        height=HIGH + 190 + below,
        above=30,
    )


def _layers(pairs: list[str]) -> tuple[list[tuple[str, str]], bool]:
    """The two layers of each pair, as short as they can be told apart, and whether each begins where the last ended."""
    split = [tuple(pair.split(ARROW, 1)) if ARROW in pair else (pair, "next") for pair in pairs]
    known = list(dict.fromkeys(name for pair in split for name in pair))
    short = dict(zip(known, [short_layer(name) for name in told_apart(known)]))
    chained = all(one[1] == two[0] for one, two in pairwise(split))
    return [(short[one], short[two]) for one, two in split], chained


def _columns(values: np.ndarray, names: list[str]) -> list[Column]:
    """For each layer its fullest choices; a choice that gets nothing is not drawn."""
    loads = [values[0].sum(1), *(part.sum(0) for part in values)]
    found = []
    for name, load in zip(names, loads):
        used = np.flatnonzero(load > 0)
        kept = used[np.argsort(-load[used], kind="stable")][: NODES if len(used) > NODES + 1 else NODES + 1]
        found.append(Column(name, np.sort(kept), len(used) - len(kept)))
    return found


def _merged(part: np.ndarray, left: Column, right: Column) -> np.ndarray:
    """The flow between the drawn nodes of two layers, all others added up at the end."""
    for axis, column in ((0, left), (1, right)):
        kept = np.take(part, column.kept, axis)
        rest = part.sum(axis, keepdims=True) - kept.sum(axis, keepdims=True)
        part = np.concatenate([kept, rest], axis) if column.others else kept
    return np.maximum(part, 0)


def _sankey(values: np.ndarray, names: list[str], noun: str, dark: bool) -> tuple[dict, list[Column]]:
    colors, columns = look(dark), _columns(values, names)
    starts = np.cumsum([0, *(column.size for column in columns)])
    source, target, share, ratio = [], [], [], []
    for place, (left, right) in enumerate(pairwise(columns)):
        table = _merged(values[place], left, right)
        chance = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
        rows, cells = np.nonzero(table > 0)
        source += (starts[place] + rows).tolist()
        target += (starts[place + 1] + cells).tolist()
        share += table[rows, cells].tolist()
        ratio += (table[rows, cells] / chance[rows, cells]).tolist()
    labels = [
        label
        for column in columns
        for label in [
            *(f"{escaped(noun)} {one}" for one in column.kept),
            *([f"other ({column.others})"] * (column.others > 0)),
        ]
    ]
    strong = [faded(colors.series[0], 0.75), faded(colors.muted, 0.22)]
    link = {
        "source": source,
        "target": target,
        "value": [float(f"{100 * one:.4g}") for one in share],
        "color": [strong[0] if one >= OFTEN else strong[1] for one in ratio],
        "customdata": [float(f"{one:.3g}") for one in ratio],
        "hovertemplate": "%{source.label} → %{target.label}: %{value:.2f} % of the tokens,<br>"
        "%{customdata} times as often as by chance<extra></extra>",
    }
    node = {
        "label": labels,
        "pad": 15,
        "thickness": 14,
        "color": colors.ink,
        "line": {"width": 0},
        "customdata": [column.layer for column in columns for _ in range(column.size)],
        "hovertemplate": "%{label}, layer %{customdata}: %{value:.2f} % of the tokens<extra></extra>",
    }
    font = {"size": SMALL, "color": colors.ink}
    return {"type": "sankey", "node": node, "link": link, "textfont": font, "name": "flow (% of the tokens)"}, columns


def _heads(figure: go.Figure, names: list[str], noun: str, slides: bool) -> None:
    """The layers' names above the columns."""
    for place, name in enumerate(["from" if slides else f"layer {names[0]}", *names[1:-1], names[-1]]):
        at = place / (len(names) - 1)
        words = ("to" if slides else f"layer {name}") if place else name
        figure.add_annotation(
            text=f"<b>{escaped(sentence(words))}</b>",
            x=at,
            y=1,
            xref="paper",
            yref="paper",
            xanchor="left" if at == 0 else "right" if at == 1 else "center",
            yanchor="bottom",
            yshift=6,
            showarrow=False,
        )


def _told(part: np.ndarray, noun: str, names: list[str]) -> list[str]:
    """Which single path takes most, and which differs most from chance, between two layers."""
    part = part / part.sum()
    chance = part.sum(1, keepdims=True) * part.sum(0, keepdims=True)
    ratio = np.divide(part, chance, out=np.zeros_like(part), where=chance > 0)
    gain = np.where(part > 0, part * np.log2(np.maximum(ratio, 1e-12)), 0)
    row, column = np.unravel_index(part.argmax(), part.shape)
    bits = float(gain.sum())
    most = f"most, {percent(part[row, column])}, go from {noun} {row} to {noun} {column}"
    other = np.unravel_index(gain.argmax(), part.shape)
    strong = (
        f"from {noun} {other[0]} to {noun} {other[1]} go {number(ratio[other])} times as many as by chance "
        f"({percent(part[other])})"
    )
    between = f"between layer {names[0]} and {names[1]} "
    return [f"{between}{most}", strong, f"the way tells {number(bits)} bits about the next {noun}"]


def _alt(values: np.ndarray, layers: list[tuple[str, str]], noun: str, told: list[str]) -> str:
    idle = [int((part.sum(1) == 0).sum()) for part in values]
    none = f" {counted(sum(idle), noun, plural(noun))} that got no token are not drawn." if sum(idle) else ""
    shares = []
    for part in values:
        whole = part / (part.sum() or 1)
        chance = whole.sum(1, keepdims=True) * whole.sum(0, keepdims=True)
        shares.append(float(whole[(whole > 0) & (whole >= OFTEN * chance)].sum()))
    pairs = [f"{percent(share)} between {one} and {two}" for share, (one, two) in zip(shares, layers)]
    return (
        f"Flow of tokens between the {plural(noun)} of {counted(len(layers) + 1, 'layer')}: {'; '.join(told)}. Paths "
        f"taken at least {OFTEN} times as often as by chance carry {listed(pairs[:4])}.{none}"
    )


def example(seed: int = 0) -> dict:
    """The characters of a text between two mixtures of 8 experts, really trained without a balance loss."""
    from labkit.views.routed_specimen import NAMES, routed

    run = routed(seed, "none", chosen=1)
    first, second = run.index[-1][..., 0]
    counts = np.zeros((1, 8, 8))
    np.add.at(counts[0], (first, second), 1 / len(first))
    axis = {"long_name": run.noun}
    return {
        "flow": xr.DataArray(
            counts,
            dims=("between", "from", "to"),
            coords={
                "between": [ARROW.join(NAMES)],
                "from": ("from", np.arange(8), axis),
                "to": ("to", np.arange(8), axis),
            },
            attrs={"long_name": "share of tokens", "units": "fraction"},
        )
    }
