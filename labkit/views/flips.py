"""How settled the routing is: how many tokens change their first expert, over the training or between two recordings."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.choices import filled, layers_of, noun_of
from labkit.views.layer_lines import Wording, layer_lines, legend_room
from labkit.views.reading import entries, read
from labkit.views.theme import styled
from labkit.views.token_marks import token_marks
from labkit.views.wording import counted, listed, number, percent, sentence


def flips(data: xr.DataArray, *, start: int = 0, dark: bool = False) -> go.Figure:
    """The share of tokens that went to another expert: by step and layer, or token by token between two recordings.

    Over the training, lines are the mean of the layers and the most and the least restless one, and every layer is a
    row of colour; where it becomes pale the routing has settled. Between two recordings (two steps, two seeds, two
    number formats) a strong cell is a token whose first choice differs.

    Shapes:
        data: (step, layer) share of the tokens that changed since the step before, or (layer, token) 1 where the first
            choice differs, else 0; the attribute `between` may say of what the two recordings are
        start: the first token of a text that is too long for one picture
    Raises:
        LabError: other axes, shares outside 0..1, values that are neither 0 nor 1, or a start outside the text.
    """
    if isinstance(data, xr.DataArray) and "token" in data.dims:
        return _by_token(filled(read("flips", data, ("layer", "token"))), start, dark)
    data = filled(read("flips", data, ("step", "layer")))
    rows = data.values.astype(np.float64).T
    rows = np.where(np.isfinite(rows), rows, np.nan)
    if np.nanmin(rows) < 0 or np.nanmax(rows) > 1:
        raise LabError("flips needs shares of tokens from 0 to 1, and found others.")
    names, short = layers_of(data)
    steps, noun = np.array(entries(data, "step")), noun_of(data, "expert")
    count = np.isfinite(rows).sum(0)
    mean = np.divide(np.nansum(rows, 0), count, out=np.full(len(steps), np.nan), where=count > 0)
    each = np.nansum(rows, 1) / np.maximum(1, np.isfinite(rows).sum(1))
    most, least = int(each.argmax()), int(each.argmin())
    lines = {"mean of the layers": (100 * mean, 0)}
    if len(names) > 1:
        lines |= {f"most restless: layer {short[most]}": (100 * rows[most], 1)}
        lines |= {f"calmest: layer {short[least]}": (100 * rows[least], 2)}
    words = Wording("Flips (% of tokens)", "% of tokens", " % of the tokens")
    figure, height, notes = layer_lines(data, lines, 100 * rows, (names, short), steps, 0.0, words, dark)
    ends = np.flatnonzero(np.isfinite(mean))[[0, -1]]
    first, last = (f"{percent(float(mean[at]))} at step {number(steps[at])}" for at in ends)
    told = f"on average {first} and {last} go to another {noun} than at the step recorded before"
    ranked = [f"layer {short[at]} with {percent(each[at])}" for at in np.argsort(-each)[:3]]
    return styled(
        figure,
        title="How many tokens change their " + noun,
        subtitle=sentence("; ".join([told, *notes])),
        alt=f"Flips of {counted(len(names), 'layer')} over {counted(len(steps), 'step')}: {told}. "
        f"Over all steps most restless: {listed(ranked)}.",
        dark=dark,
        height=height,
        above=legend_room(list(lines)),
        axes={"x": "step", "y": "layer"},
    )


def _by_token(data: xr.DataArray, start: int, dark: bool) -> go.Figure:
    values = data.values.astype(np.float64)
    if not np.isin(values[np.isfinite(values)], (0, 1)).all():
        raise LabError(
            "flips needs 1 where the first choice of a token differs and 0 where not, and found other values."
        )
    noun, between = noun_of(data, "expert"), str(data.attrs.get("between", "")).strip()
    drawn = token_marks("flips", data, ["the same", "another"], start, "Along the text", dark)
    share = float(np.nansum(values) / np.isfinite(values).sum())
    never = float((np.nansum(values, 0) == 0).mean())
    told = f"{percent(share)} of the first choices differ" + (f" between {between}" if between else "")
    told += f", most in {drawn.worst()}" if share else ""
    calm = f"{percent(never)} of the tokens keep theirs in all layers"
    return styled(
        drawn.figure,
        title=f"Which tokens go to another {noun}",
        subtitle=sentence("; ".join([told, calm, *drawn.notes])),
        alt=f"Flips token by token, {counted(len(values), 'layer')} by {counted(values.shape[1], 'token')}: {told}; "
        f"{calm}. By layer: {drawn.in_words()}.",
        dark=dark,
        height=drawn.height,
        above=drawn.above,
        axes={"x": "token", "y": "layer"},
    )


def example(seed: int = 0) -> dict:
    """Two mixtures of 8 experts while they are trained: whose first choice changed since the step recorded before."""
    from labkit.views.routed_specimen import measured, routed

    run = routed(seed)
    first = run.index[..., 0]
    changed = np.concatenate([np.full((1, first.shape[1]), np.nan), (first[1:] != first[:-1]).mean(2)])
    data = measured(run, changed, ("step", "layer"), "share of tokens that went elsewhere", "fraction")
    return {"data": data.isel(step=slice(1, None))}
