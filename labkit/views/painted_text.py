"""A text with every token coloured by a number: how strongly a unit answers there, how surprised the model is."""

import html

import numpy as np
import xarray as xr

from labkit.errors import LabError
from labkit.views.paint import KIND, Scale, legend, painted, style
from labkit.views.panels import coordinate
from labkit.views.reading import entries, read, title_of, units_of
from labkit.views.spelling import Piece, spelled
from labkit.views.wording import counted, number, short

TOKENS, UNITS, STOPS = 2_400, 6, 60


def painted_text(values: xr.DataArray, *, dark: bool = False) -> str:
    """The text itself, each token on the colour of its value; with an axis `unit` the text once for each unit.

    The exact value is in the title of each token (point at it), and the strongest tokens can be reached with the Tab
    key, which shows the value below the token. A bar at the edge of a token grows with its value, at the foot for
    positive and at the head for negative values, so that colour is not needed. Spaces alone, line ends and control
    tokens are shown by signs. Of a long text the stretch around the strongest token is shown. It takes its theme from
    the page around it where that has one (JupyterLab, the dashboard); else `dark` chooses.

    Shapes:
        values: (token) or (unit, token), with the coordinate `text` (token) and maybe `sequence` (token)
    Raises:
        LabError: other axes, no `text`, or no value at all.
    """
    values = read("painted_text", values, ("token",), ("unit",))
    values = values.transpose(..., "token")
    text = coordinate("painted_text", values, "text", ("token",), "the token itself")
    if text.dtype.kind in "iufb":
        raise LabError(
            "painted_text needs the tokens as texts, and the coordinate text has numbers; decode them first."
        )
    numbers = values.values.astype(np.float64)
    rows = numbers if "unit" in values.dims else numbers[None]
    units = [f"Unit {unit}" for unit in entries(values, "unit")] if "unit" in values.dims else [""]
    pieces = spelled([str(token) for token in text])
    shown = rows[:UNITS]
    room = TOKENS // len(shown)
    scale = Scale.of(shown)
    blocks = [_block(values, row, unit, pieces, scale, room) for row, unit in zip(shown, units)]
    name = title_of(values, "Value")
    notes = [counted(rows.shape[1], "token")]
    notes += [f"the first {UNITS} of {len(rows):,} units"] if len(rows) > UNITS else []
    notes += [f"Tab steps through the strongest {STOPS}" if rows.shape[1] > STOPS else "Tab steps through them"]
    return (
        f'{style()}<figure class="{KIND}{" lab-dark" if dark else ""}"><figcaption><b>{html.escape(name)}, token by '
        f"token</b><small>{'; '.join(notes)}.</small>{legend(scale, name, units_of(values))}</figcaption>"
        f"{''.join(blocks)}</figure>"
    )


def _block(values: xr.DataArray, row: np.ndarray, unit: str, pieces: list[Piece], scale: Scale, room: int) -> str:
    """One unit: a sentence with the strongest token, and the text."""
    start, end = window(row, room)
    strength = np.abs(np.nan_to_num(row[start:end]))
    stops = set(np.argsort(-strength, kind="stable")[:STOPS].tolist())
    tokens = entries(values, "token")
    titles = [f"{number(row[at])}, token {tokens[at]}" for at in range(start, end)]
    body = painted(_parted(values, pieces, start, end), row[start:end], titles, scale, stops)
    best = start + int(strength.argmax())
    said = f"strongest is {number(row[best])} at token {tokens[best]}, “{short(pieces[best].text.strip(), 24)}”"
    if not np.isfinite(row).any():
        said = "no value"
    part = f"; tokens {tokens[start]} to {tokens[end - 1]} of {len(row):,}" if end - start < len(row) else ""
    head = f"<h4>{html.escape(unit)}</h4>" if unit else ""
    return f'{head}<small>{html.escape(said + part)}</small><div class="text">{body}</div>'


def window(row: np.ndarray, room: int) -> tuple[int, int]:
    """At most so many tokens, the strongest near the middle."""
    if len(row) <= room:
        return 0, len(row)
    best = int(np.abs(np.nan_to_num(row)).argmax())
    start = min(max(0, best - room // 2), len(row) - room)
    return start, start + room


def _parted(values: xr.DataArray, pieces: list[Piece], start: int, end: int) -> list[Piece]:
    """The pieces, with an empty line before each new sequence."""
    part = pieces[start:end]
    if "sequence" not in values.coords:
        return part
    owner = values["sequence"].values[start:end]
    fresh = {at for at in range(1, len(part)) if owner[at] != owner[at - 1]}
    return [
        Piece(piece.text, "\n\n" if at in fresh else piece.gap, piece.line, piece.special, piece.invisible)
        for at, piece in enumerate(part)
    ]


def example(seed: int = 0) -> dict:
    """Two units of a small network that guesses the next character, on a text that it never saw."""
    from labkit.views.network_specimen import text_network

    network = text_network(seed)
    activity = network.hidden()[1]
    lively = np.argsort(-activity.std(0))[:2]  # the two whose answers differ most from character to character
    data = xr.DataArray(
        activity[:, lively].T,
        dims=("unit", "token"),
        coords={"unit": lively, "token": np.arange(len(activity)), "text": ("token", list(network.tokens))},
        attrs={"long_name": "activation", "units": ""},
    )
    return {"values": data}
