"""Which tokens were dropped where: no expert had a place for them, so the layer did nothing to them."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.choices import filled, noun_of, plural
from labkit.views.reading import read
from labkit.views.theme import styled
from labkit.views.token_marks import token_marks
from labkit.views.wording import counted, percent, sentence


def dropped(data: xr.DataArray, *, start: int = 0, dark: bool = False) -> go.Figure:
    """Dropped tokens as strong cells, a row a layer; beside each layer its share, below where in the text they lie.

    Where the data tells it, a pale cell is a token that lost some of its places and kept others. Places are usually
    given out in the order of the tokens, so the profile below shows whether late tokens pay.

    Shapes:
        data: (layer, token), 1 where a token is dropped, else 0; coordinate `lost` (layer, token), if known, how many
            of its places a token lost; `text` (token), if it is a text
        start: the first token of a text that is too long for one picture
    Raises:
        LabError: other axes, values that are neither 0 nor 1, or a start outside the text.
    """
    data = filled(read("dropped", data, ("layer", "token")))
    values = data.values.astype(np.float64)
    if not np.isin(values[np.isfinite(values)], (0, 1)).all():
        raise LabError("dropped needs 1 for a dropped token and 0 for a kept one, and found other values.")
    noun = noun_of(data, "expert")
    words, marks = ["kept", "dropped"], data
    if "lost" in data.coords:
        lost = data["lost"].transpose("layer", "token").values
        if ((lost > 0) & (values == 0)).any():
            words = ["kept", "lost some of its places", "dropped"]
            marks = data.copy(data=np.where(values == 1, 2, np.where(np.isfinite(values) & (lost > 0), 1, values)))
    drawn = token_marks("dropped", marks, words, start, "Along the text: do late tokens pay?", dark)
    there = np.isfinite(values)
    share = float(np.nansum(values) / there.sum())
    half = values.shape[1] // 2
    early, late = (
        float(np.nanmean(part)) if np.isfinite(part).any() else np.nan for part in np.split(values, [half], 1)
    )
    what = str(data.attrs.get("long_name", "")).strip()
    what = f" ({what})" if what and what != "dropped" else ""
    told = f"{percent(share)} of all tokens in all layers are dropped{what}"
    told += f", most in {drawn.worst()}" if share else ""
    sides = f"{percent(early)} in the first half of the text, {percent(late)} in the second" if half else ""
    return styled(
        drawn.figure,
        title=f"Which tokens no {noun} had a place for",
        subtitle=sentence("; ".join(filter(None, [told, sides, *_pale(words), *drawn.notes]))),
        alt=f"Dropped tokens, {counted(len(values), 'layer')} by {counted(values.shape[1], 'token')}: {told}; {sides}. "
        f"By layer: {drawn.in_words()}." + _partly(marks, words, noun),
        dark=dark,
        height=drawn.height,
        above=drawn.above,
        axes={"x": "token", "y": "layer"},
    )


def _pale(words: list[str]) -> list[str]:
    return ["pale: lost some of its places and kept others"] if len(words) > 2 else []


def _partly(marks: xr.DataArray, words: list[str], noun: str) -> str:
    if len(words) == 2:
        return ""
    share = float((marks.values == 1).sum() / np.isfinite(marks.values.astype(np.float64)).sum())
    return f" {percent(share)} lost some of their {plural(noun)} and kept others."


def example(seed: int = 0) -> dict:
    """Two mixtures of 8 experts with room for exactly an equal share of the choices each, really trained."""
    from labkit.views.routed_specimen import measured, routed

    run = routed(seed, "none", capacity=1.0, rate=0.02)
    gone = run.index[-1] < 0
    data = measured(run, gone.all(-1) * 1.0, ("layer", "token"), "dropped", "0 or 1")
    return {"data": data.assign_coords(lost=(("layer", "token"), gone.sum(-1)))}
