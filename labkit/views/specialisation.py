"""Do experts specialise? Which classes each one gets, against chance, and how much the choice tells about the class."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.choices import against_even, filled, layers_of, noun_of, plural, rounded
from labkit.views.layer_lines import layer_ticks
from labkit.views.panels import colorbar, heading, stack
from labkit.views.reading import entries, read
from labkit.views.scrubber import DEPTH, scrub
from labkit.views.theme import SMALL, look, styled
from labkit.views.thinning import compact, evenly
from labkit.views.wording import counted, escaped, fixed, listed, named, number, percent, sentence, unique, wrapped

CLASSES, CHOICES, LAYERS, FRAMES, CELLS, WRITTEN = 40, 128, 64, 24, 64_000, 130
AGAINST = ("labels", "shuffled", "shuffled high")


def specialisation(by_class: xr.DataArray, information: xr.DataArray | None = None, *, dark: bool = False) -> go.Figure:
    """Classes by experts: how many times more often than by chance; below, the information in bits beside shuffled labels.

    100 % is what an expert would get of a class if experts did not care about classes. On a finite sample some cells
    differ by luck alone. Therefore the mutual information of expert and class stands beside what shuffled labels give:
    a layer specialises only where its mark lies to the right of the bar, which ends where 97.5 % of the shuffles do.
    With several layers a slider goes through them.

    Shapes:
        by_class: (choice, class) or (layer, choice, class), share of all inputs that have the class and the choice
        information: (layer, against) in bits, `against` with labels, shuffled (their mean) and shuffled high
    Raises:
        LabError: other axes, a negative share, or other entries of `against`.
    """
    by_class = filled(read("specialisation", by_class, ("choice", "class"), ("layer",)))
    names, short = layers_of(by_class) if "layer" in by_class.dims else ([""], [""])
    joint = by_class.values.astype(np.float64).reshape(*by_class.shape[:2], -1).transpose(2, 0, 1)
    joint = np.where(np.isfinite(joint), joint, np.nan)
    if np.nanmin(joint) < 0 or np.nansum(joint) <= 0:
        raise LabError("specialisation needs shares of inputs, from 0 to 1, and found a negative one or only zeros.")
    noun, classes = noun_of(by_class, "expert"), unique([named(entry, "class") for entry in entries(by_class, "class")])
    tables, rows = _tables(joint, classes)
    bits = None if information is None else _bits(read("specialisation", information, ("layer", "against")), names)
    widest = max(table.shape[1] for table in tables)
    shown = evenly(len(names), min(FRAMES, max(2, CELLS // (widest * len(rows)))))
    group = -(-joint.shape[1] // CHOICES)
    listed_rows = evenly(len(names), LAYERS)
    high = max(150, min(620, 24 * len(rows)))
    low = 0 if bits is None else max(50, min(460, 26 * len(listed_rows)))
    figure = go.Figure(_map(tables[shown[-1]], rows, noun, group, high / (high + low + 100 * (low > 0)), dark))
    upper, *lower = stack([high, low], 100) if low else stack([high], 0)
    _axes(figure, rows, noun, upper, tables[shown[-1]].shape[1])
    if bits is not None:
        _draw_bits(figure, bits[listed_rows], listed_rows, names, short, lower[0], dark)
    if len(shown) > 1:
        frames = [{"data": [_cells(tables[at], rows)], "traces": [0]} for at in shown]
        scrub(figure, frames, [short[at] for at in shown], "layer", dark)
    below = (DEPTH - 20) * (len(shown) > 1)
    figure.update_layout(margin={"b": 20 + below}, showlegend=False)
    verdict = _verdict(bits, short, noun)
    notes = [f"{len(shown)} of {len(names):,} layers on the slider"] if len(shown) < len(names) else []
    notes += [f"{group} neighbouring {plural(noun)} put together"] if group > 1 else []
    notes += [f"the {CLASSES - 1} most frequent of {len(classes):,} classes"] if len(classes) > CLASSES else []
    return styled(
        figure,
        title=_title(bits, noun),
        subtitle=sentence("; ".join([verdict, *notes])),
        alt=_alt(
            tables[shown[-1]], rows, short[shown[-1]], noun, verdict, (len(names), joint.shape[1], len(classes)), group
        ),
        dark=dark,
        height=220 + high + (low + 100) * (low > 0) + below,
        axes={"x": "choice", "y": "class"},
    )


def _tables(joint: np.ndarray, classes: list[str]) -> tuple[list[np.ndarray], list[str]]:
    """Shares (class, choice) of every layer that sum to 1, the classes beyond 40 together, and the names of the rows."""
    share = np.nansum(joint, (0, 1))
    kept = np.arange(len(classes))
    if len(classes) > CLASSES:
        kept = np.sort(np.argsort(-share, kind="stable")[: CLASSES - 1])
    rest = np.setdiff1d(np.arange(len(classes)), kept)
    tables = []
    for layer in joint:
        there = np.isfinite(layer).any(1)
        table = np.nan_to_num(layer[: int(np.flatnonzero(there).max(initial=0)) + 1]).T
        table = np.concatenate([table[kept], table[rest].sum(0, keepdims=True)]) if len(rest) else table
        group = -(-joint.shape[1] // CHOICES)
        table = np.add.reduceat(table, np.arange(0, table.shape[1], group), axis=1)
        tables.append(table / (table.sum() or 1))
    return tables, [classes[at] for at in kept] + ([f"{len(rest):,} other classes"] if len(rest) else [])


def _cells(table: np.ndarray, rows: list[str]) -> dict:
    """What a layer changes: how often against chance, in per cent, missing where class or choice have nothing."""
    chance = table.sum(0, keepdims=True) * table.sum(1, keepdims=True)
    ratio = np.divide(table, chance, out=np.full_like(table, np.nan), where=chance > 0)
    cells = rounded(ratio)
    part: dict = {"type": "heatmap", "z": compact(cells)}
    if cells.size <= WRITTEN:
        part["text"] = [["" if np.isnan(cell) else f"{cell:.0f}" for cell in row] for row in cells]
    return part


def _map(table: np.ndarray, rows: list[str], noun: str, group: int, part_high: float, dark: bool) -> go.Heatmap:
    part = {key: value for key, value in _cells(table, rows).items() if key != "type"}
    ticks = {"tickvals": [0, 50, 100, 150, 200], "ticktext": ["0", "50", "100", "150", "200+"]}
    which = f"{escaped(noun)} %{{x}}" if group == 1 else f"{group} {escaped(plural(noun))} from %{{x}} on"
    return go.Heatmap(
        x0=0,
        dx=group,
        y=[escaped(name) for name in rows],
        texttemplate="%{text}" if "text" in part else None,
        textfont={"size": SMALL - 1},
        xgap=1 if table.shape[1] <= 64 else 0,
        ygap=1,
        hovertemplate=f"{which}, %{{y}}: %{{z}} % of what chance would give<extra></extra>",
        colorbar=colorbar("% of chance", dark, **ticks, len=part_high, y=1, yanchor="top"),
        name="% of chance",
        **against_even(dark),
        **part,
    )


def _axes(figure: go.Figure, rows: list[str], noun: str, domain: list[float], columns: int) -> None:
    kept = evenly(len(rows), 24)
    figure.update_layout(
        xaxis={
            "title": {"text": sentence(escaped(noun))},
            "showgrid": False,
            "tickformat": ",d",
            "anchor": "y",
            **({"dtick": 1} if columns <= 16 else {"nticks": 12}),
        },
        yaxis={
            "domain": domain,
            "type": "category",
            "autorange": "reversed",
            "showgrid": False,
            "title": {"text": "Class"},
            "tickvals": [escaped(rows[at]) for at in kept],
            "ticktext": _brief([rows[at] for at in kept]),
        },
    )


def _brief(names: list[str]) -> list[str]:
    """Names for the ticks, cut at the end, or at the front where they would look the same."""
    cut = [wrapped(name, 18, lines=1) for name in names]
    if len(set(cut)) == len(set(names)):
        return cut
    return [escaped(name if len(name) <= 18 else "…" + name[-17:]) for name in names]


def _bits(information: xr.DataArray, names: list[str]) -> np.ndarray:
    """(layer, 3) in the order of AGAINST, layers matched by name."""
    found = [str(one) for one in entries(information, "against")]
    if not set(AGAINST) <= set(found):
        raise LabError(f"specialisation needs information against {', '.join(AGAINST)}, and found {', '.join(found)}.")
    values = information.isel(against=[found.index(one) for one in AGAINST]).values.astype(np.float64)
    layers = layers_of(information)[0]
    if names == [""] and len(layers) == 1:
        return values
    if not set(names) <= set(layers):
        raise LabError(f"specialisation needs the information of the same layers, and found {', '.join(layers[:4])}.")
    return values[[layers.index(name) for name in names]]


def _draw_bits(
    figure: go.Figure,
    bits: np.ndarray,
    rows: np.ndarray,
    names: list[str],
    short: list[str],
    domain: list[float],
    dark: bool,
) -> None:
    colors, kept = look(dark), [names[at] for at in rows]
    real, mean, high = bits.T
    above = real > high
    figure.add_bar(
        x=compact(high),
        y=kept,
        orientation="h",
        xaxis="x2",
        yaxis="y2",
        marker={"color": colors.grid, "line": {"width": 1, "color": colors.muted}},
        customdata=compact(mean),
        hovertemplate="layer %{y}: 97.5 % of the shuffles stay below %{x:.4f} bits, their mean is %{customdata:.4f}"
        "<extra></extra>",
        name="shuffled labels, 97.5 % stay below (bits)",
    )
    figure.add_scatter(
        x=compact(real),
        y=kept,
        mode="markers",
        xaxis="x2",
        yaxis="y2",
        marker={
            "size": 12 if len(rows) <= 24 else 8,
            "symbol": ["diamond" if one else "x" for one in above],
            "color": [colors.series[0] if one else colors.series[1] for one in above],
        },
        cliponaxis=False,
        hovertemplate="layer %{y}: %{x:.4f} bits<extra></extra>",
        name="information about the class (bits)",
    )
    figure.update_layout(
        xaxis2={
            "title": {"text": "Bits about the class; bar: what shuffled labels give"},
            "anchor": "y2",
            "rangemode": "tozero",
            "nticks": 8,
        },
        yaxis2={**layer_ticks(names, short, rows), "domain": domain},
        bargap=0.35,
    )
    heading(figure, "◆ more than chance, × not", domain[1])


def _verdict(bits: np.ndarray | None, short: list[str], noun: str) -> str:
    if bits is None:
        return "without shuffled labels nobody can say whether that is more than chance"
    above = np.flatnonzero(bits[:, 0] > bits[:, 2])
    best = int(np.nanargmax(bits[:, 0]))
    most = f"{fixed(bits[best, 0], 0.01)} bits, shuffled labels give {fixed(bits[best, 1], 0.01)}"
    where = f" in layer {short[best]}" if short != [""] else ""
    if not len(above):
        return f"no more than chance: at most {most}{where}"
    layers = "" if short == [""] else f" in {len(above)} of {counted(len(bits), 'layer')}"
    return f"the {noun} tells about the class{layers}, at most{where} with {most}"


def _title(bits: np.ndarray | None, noun: str) -> str:
    if bits is None:
        return f"Which classes each {noun} gets"
    if not (bits[:, 0] > bits[:, 2]).any():
        return f"The {plural(noun)} do not specialise"
    return f"What the {plural(noun)} specialise in"


def _alt(
    table: np.ndarray,
    rows: list[str],
    layer: str,
    noun: str,
    verdict: str,
    sizes: tuple[int, int, int],
    group: int,
) -> str:
    chance = table.sum(0, keepdims=True) * table.sum(1, keepdims=True)
    ratio = np.divide(table, chance, out=np.zeros_like(table), where=(chance > 0) & (table > 0))
    gain = np.where(ratio > 1, table * np.log2(np.maximum(ratio, 1)), 0)
    best = np.argsort(-gain, axis=None)[:3]
    told = []
    for place in best:
        row, column = np.unravel_index(place, table.shape)
        told.append(
            f"{noun} {column * group} gets {rows[row]} {number(ratio[row, column])} times as often as by chance "
            f"({percent(float(table[row, column] / max(1e-12, table[:, column].sum())))} of what it gets)"
        )
    where = f" in layer {layer}" if layer else ""
    layers, choices, classes = sizes
    return (
        f"Map of {counted(choices, noun, plural(noun))} by {counted(classes, 'class', 'classes')} in "
        f"{counted(layers, 'layer')}: {verdict}. Strongest{where}: {listed(told)}."
    )


def example(seed: int = 0) -> dict:
    """Characters of a text by kind in two mixtures of 8 experts, really trained, and 100 shuffles of the kinds."""
    from labkit.views.routed_specimen import KINDS, measured, routed

    run = routed(seed)
    last = run.index[-1]
    experts = run.probability.shape[-1]
    random = np.random.default_rng(seed)

    def table(kinds: np.ndarray) -> np.ndarray:
        counts = np.zeros((len(last), experts, len(KINDS)))
        for layer, chosen in enumerate(last):
            for rank in range(chosen.shape[1]):
                np.add.at(counts[layer], (chosen[:, rank], kinds), 1 / chosen.size)
        return counts

    def bits(joint: np.ndarray) -> np.ndarray:
        alone = joint.sum(2, keepdims=True) * joint.sum(1, keepdims=True)
        return (joint * np.log2(np.maximum(joint, 1e-300) / np.maximum(alone, 1e-300))).sum((1, 2))

    joint = table(run.kind)
    chance = np.stack([bits(table(random.permutation(run.kind))) for _ in range(100)])
    told = np.stack([bits(joint), chance.mean(0), np.quantile(chance, 0.975, 0)], 1)
    by_class = measured(run, joint, ("layer", "choice", "class"), "share of all inputs", "fraction")
    information = measured(run, told, ("layer", "against"), "information of the choice about the label", "bits")
    return {"by_class": by_class, "information": information.assign_coords(against=list(AGAINST))}
