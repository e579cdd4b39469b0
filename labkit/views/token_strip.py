"""A text as the routers see it: a row a layer, a cell a token, in the colour of the expert that got it."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.choices import COLORS, layers_of, noun_of, one_by_one, plural
from labkit.views.reading import read
from labkit.views.strip import WINDOW, Strip, room_for, strip_of
from labkit.views.theme import look, styled
from labkit.views.thinning import compact, evenly
from labkit.views.wording import counted, listed, percent, sentence

LAYERS, RANKS = 64, 4
HIGH = ((4, 56), (12, 40), (24, 26), (LAYERS, 16))  # pixels of a row, with at most so many of them


def token_strip(choices: xr.DataArray, *, start: int = 0, dark: bool = False) -> go.Figure:
    """Which expert each token goes to: a row a layer, a column a token, the number of its first expert in the cell.

    Up to twelve experts have colours that colour-blind people tell apart; from the thirteenth on the colours repeat,
    and the number says which it is. A cross is a token that was dropped. Hover text tells all that were chosen and
    their weights. Thirty tokens are in view; the slider moves over the text.

    Shapes:
        choices: (layer, token, rank) number of the choice, best first, -1 where none; coordinates `weight` (layer,
            token, rank), if known, `text` (token), if it is a text, `choices` (layer), out of how many
        start: the first token of a text that is too long for one picture
    Raises:
        LabError: other axes, a choice that is no whole number, or a start outside the text.
    """
    choices = read("token_strip", choices, ("layer", "token", "rank"))
    values = choices.values
    finite = values[np.isfinite(values)]
    if (finite != np.round(finite)).any() or finite.min() < -1 or not (finite >= 0).any():
        raise LabError("token_strip needs the numbers of the choices, 0, 1, 2, ..., or -1, and found others.")
    noun, count = noun_of(choices, "expert"), _count(choices, int(finite.max()) + 1)
    rows = evenly(choices.sizes["layer"], LAYERS)
    known = "weight" in choices.coords
    holes = bool((~np.isfinite(values) | (values < 0)).any())
    ranks, cell = _affordable(choices.isel(layer=rows), count, known, holes)
    strip = strip_of("token_strip", choices.isel(layer=rows), start, cell, WINDOW if count <= 100 else 22)
    index, weight = _sorted(strip.kept, known)
    names, short = layers_of(strip.kept)
    figure = _drawn(strip, index[..., :ranks], weight, names, count, noun, dark)
    high = next(pixels for most, pixels in HIGH if len(names) <= most)
    ticks = {"tickvals": names, "ticktext": short, "type": "category", "autorange": "reversed", "showgrid": False}
    figure.update_layout(yaxis={**ticks, "title": {"text": "Layer"}, "fixedrange": True})
    below = strip.draw(figure, dark)
    figure.update_layout(margin={"b": 20 + below})
    chosen = values.shape[2]
    notes = [
        f"{chosen} of {counted(count, noun, plural(noun))} for each token; number and colour: "
        + ("the first of them" if chosen > 1 else f"the {noun}")
    ]
    notes += [f"colours repeat after {COLORS}"] if count > COLORS else []
    notes += [f"{len(rows)} of {choices.sizes['layer']:,} layers"] if len(rows) < choices.sizes["layer"] else []
    return styled(
        figure,
        title=f"Which {noun} each token goes to",
        subtitle=sentence("; ".join([*notes, *strip.notes()])),
        alt=_alt(choices, _sorted(choices, known)[0][..., 0], layers_of(choices)[1], count, noun),
        dark=dark,
        height=150 + strip.above + high * len(names) + below,
        above=strip.above,
        axes={"x": "token", "y": "layer"},
    )


def _count(choices: xr.DataArray, seen: int) -> int:
    """Out of how many was chosen, as far as the data tells."""
    return max(seen, int(choices["choices"].values.max()) if "choices" in choices.coords else seen)


def _affordable(choices: xr.DataArray, count: int, known: bool, holes: bool) -> tuple[int, int]:
    """How many of a token's choices the hover text can tell, two at least, and the bytes of a cell then."""
    size = 1 if count < (128 if holes else 256) else 2
    ranks = range(min(choices.sizes["rank"], RANKS), min(choices.sizes["rank"], 2) - 1, -1)
    cells = {
        rank: (4 if holes else size) + size * (rank - 1) + known * (size if rank > 1 else 1) * rank for rank in ranks
    }
    fit = [rank for rank, cell in cells.items() if room_for(choices, cell) >= choices.sizes["token"]]
    rank = fit[0] if fit else min(cells)
    return rank, cells[rank]


def _sorted(kept: xr.DataArray, known: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Choices and weights (layer, token, rank), dropped ones behind those that were kept; NaN where is no token."""
    index = kept.values.astype(np.float64)
    index = np.where(np.isfinite(index), index, -1)
    order = np.argsort(index < 0, -1, kind="stable")
    index = np.take_along_axis(index, order, -1)
    if not known:
        return index, None
    weight = kept["weight"].transpose(*kept.dims).values.astype(np.float64)
    absent = np.isnan(weight).all(-1)
    index[absent] = np.nan
    return index, np.take_along_axis(np.nan_to_num(weight), order, -1)


def _drawn(
    strip: Strip, index: np.ndarray, weight: np.ndarray | None, names: list[str], count: int, noun: str, dark: bool
) -> go.Figure:
    colors, first = look(dark), index[..., 0]
    dropped = first == -1
    more = [one for rank in range(index.shape[-1]) for one in _rank(index, weight, rank)]
    customdata = compact(np.nan_to_num(np.stack(more, -1), nan=-1)) if more else None
    write = strip.brief and len(names) <= HIGH[1][0]
    texts = [strip.texts] * len(names) if write and strip.texts else None
    figure = go.Figure(
        go.Heatmap(
            z=compact(np.where(dropped, np.nan, first)),
            x0=int(strip.numbers[0]),
            dx=1,
            y=names,
            text=texts,
            texttemplate="%{text}<br>%{z}" if texts else "%{z}",
            textfont={"size": 12},
            customdata=customdata,
            hovertemplate=_hover(strip, index, weight is not None, noun),
            **one_by_one(count, dark),
            showscale=False,
            xgap=1,
            ygap=2,
            name=f"first {noun}",
        )
    )
    rows, columns = np.nonzero(dropped)
    if len(rows):
        figure.add_scatter(
            x=compact(strip.numbers[columns]),
            y=[names[row] for row in rows],
            mode="markers",
            marker={"symbol": "x-thin", "size": 11, "line": {"width": 2, "color": colors.ink}},
            hovertemplate="token %{x}, %{y}: dropped, no " + noun + " got it<extra></extra>",
            name="dropped",
            showlegend=False,
        )
    return figure


def _rank(index: np.ndarray, weight: np.ndarray | None, rank: int) -> list[np.ndarray]:
    """What the hover text needs of one rank: the number (of the first it is the colour) and the weight in per cent."""
    number = [index[..., rank]] if rank else []
    return number + ([np.round(100 * weight[..., rank])] if weight is not None else [])


def _hover(strip: Strip, index: np.ndarray, known: bool, noun: str) -> str:
    place, lines = 0, []
    for rank in range(index.shape[-1]):
        which = "%{z}" if rank == 0 else f"%{{customdata[{place}]}}"
        place += rank > 0
        share = f" (%{{customdata[{place}]}} %)" if known else ""
        place += known
        lines.append(f"{'then ' if rank else ''}{noun} {which}{share}")
    none = "<br>(−1 is none: dropped)" if (index[..., 1:] == -1).any() else ""
    head = "token %{x}" if strip.texts is not None or "text" not in strip.kept.coords else ""
    return f"{head}, %{{y}}:<br>" + "<br>".join(lines) + none + "<extra></extra>"


def _alt(choices: xr.DataArray, first: np.ndarray, short: list[str], count: int, noun: str) -> str:
    told, same, chance = [], [], []
    for row in first:
        there = row[np.isfinite(row) & (row >= 0)].astype(int)
        share = np.bincount(there, minlength=count) / max(1, len(there))
        told.append((float(share.max()), int(share.argmax())))
        same.append((row[1:] == row[:-1])[(row[1:] >= 0) & (row[:-1] >= 0)].mean() if len(there) > 1 else np.nan)
        chance.append(float((share**2).sum()))
    most = sorted(range(len(told)), key=lambda row: -told[row][0])[:3]
    tops = listed([f"{noun} {told[row][1]} in layer {short[row]} with {percent(told[row][0])}" for row in most])
    dropped = float((first == -1).sum() / max(1, np.isfinite(first).sum()))
    lost = f" {percent(dropped)} of the tokens are dropped." if dropped else ""
    near = ""
    if np.isfinite(same).any():
        near = (
            f" Neighbouring tokens share their first {noun} in {percent(float(np.nanmean(same)))} of the cases, "
            f"shuffled ones would in {percent(float(np.mean(chance)))}."
        )
    sizes = f"{counted(choices.sizes['layer'], 'layer')} by {counted(choices.sizes['token'], 'token')}"
    return f"Token strip, {sizes}, {counted(count, noun, plural(noun))}. Most tokens go to {tops}.{near}{lost}"


def example(seed: int = 0) -> dict:
    """Characters of a text in two mixtures of 8 experts, two chosen, really trained on it."""
    from labkit.views.routed_specimen import measured, routed

    run = routed(seed)
    return {
        "choices": measured(run, run.index[-1], ("layer", "token", "rank"), "chosen expert", "", weight=run.weight[-1])
    }
