"""The x axes that one recording can be drawn against, steps, examples, seconds, FLOPs, and the buttons that switch."""

import base64
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.views.reading import axis_of, axis_title, entries
from labkit.views.theme import SMALL, look
from labkit.views.thinning import compact
from labkit.views.wording import escaped, sentence

KNOWN = {
    "examples": ("examples", "Training examples seen"),
    "seconds": ("seconds", "Seconds of training"),
    "flops": ("FLOPs", "Floating-point operations (FLOPs)"),
}
"""Coordinate -> what the button and the axis say, where the coordinate does not say it itself."""
MOST, ROOM = 4, 44


@dataclass(frozen=True)
class Axis:
    """One choice for the x axis: its values at each recorded place, which may differ by arm and by seed.

    Shapes: values (arms or 1, seeds or 1, places)
    """

    key: str
    button: str
    title: str
    values: np.ndarray

    def of(self, arm: int, seed: int | None = None) -> np.ndarray:
        """The places of one arm, for one seed or on the mean of the seeds, (places,)."""
        own = self.values[arm if len(self.values) > 1 else 0]
        if len(own) == 1 or seed is not None:
            return own[0 if seed is None or len(own) == 1 else seed]
        there = np.isfinite(own)
        return np.where(there.any(0), np.where(there, own, 0).sum(0) / np.maximum(there.sum(0), 1), np.nan)

    def at(self, steps: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Where steps of the recorded axis lie on this one, on the mean of the arms; between places on a line."""
        arms = [np.asarray(self.of(arm), np.float64) for arm in range(len(self.values))]
        there = [np.isfinite(one) for one in arms]
        each = [np.interp(steps, places[known], one[known]) for one, known in zip(arms, there) if known.any()]
        return np.mean(each, axis=0)


def axes_of(data: xr.DataArray, across: str, compare: str, over: str) -> list[Axis]:
    """The recorded axis, and every coordinate along it whose numbers never fall: at most four in all.

    A coordinate belongs to the steps alone, or also to the arms and the seeds: faster arms have earlier seconds.
    """
    places = np.array(entries(data, across))
    found = [Axis(across, f"{across}s", escaped(axis_of(data, across)), places[None, None])]
    for key, coordinate in data.coords.items():
        fits = across in coordinate.dims and set(coordinate.dims) <= {across, compare, over}
        if key == across or not fits or coordinate.dtype.kind not in "iuf" or len(found) == MOST:
            continue
        missing = [dim for dim in (compare, over) if dim not in coordinate.dims]
        values = coordinate.expand_dims(missing).transpose(compare, over, across).values
        steps = np.diff(values.astype(np.float64), axis=-1)
        if np.isfinite(values).any() and not (steps < 0).any() and (steps > 0).any():
            button, title = KNOWN.get(str(key), (str(key), sentence(str(key).replace("_", " "))))
            named = bool(coordinate.attrs.get("long_name"))
            found.append(Axis(str(key), button, escaped(axis_title(coordinate, title) if named else title), values))
    return found


def slim(values: np.ndarray) -> np.ndarray:
    """The numbers in at most four bytes each, which is more than a screen can show."""
    small = compact(values)
    return small.astype(np.float32) if small.dtype == np.float64 else small


def as_bytes(values: np.ndarray) -> dict[str, str]:
    """An array as plotly.js reads it from base64; plotly's own export would write a button's arrays out in digits."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return {"dtype": little.dtype.str[1:], "bdata": base64.b64encode(little.tobytes()).decode()}


def switch(figure: go.Figure, axes: list[Axis], places: list[list[np.ndarray]], dark: bool) -> None:
    """A row of buttons above the plot that puts all traces onto another x axis; it needs no kernel.

    `places` holds for each axis the x of every trace, in the order of the traces. The button also says in the
    figure's `meta` which axis of the data lies on x now, so that a cursor at a step is not drawn at a second.
    """
    colors = look(dark)
    buttons = [
        {
            "label": axis.button,
            "method": "update",
            "args": [
                {"x": [as_bytes(slim(x)) for x in traces]},
                {"xaxis.title.text": axis.title, "xaxis.autorange": True, "meta.axes.x": axis.key},
            ],
        }
        for axis, traces in zip(axes, places)
    ]
    # Plotly paints the chosen button in a white of its own, so the letters must be dark in both versions.
    figure.update_layout(
        updatemenus=[
            {
                "type": "buttons",
                "direction": "right",
                "active": 0,
                "x": 0,
                "xanchor": "left",
                "y": 1,
                "yanchor": "bottom",
                "pad": {"b": 8, "l": 0, "t": 0},
                "bgcolor": colors.muted if dark else colors.grid,
                "bordercolor": colors.muted,
                "font": {"size": SMALL, "color": colors.surface if dark else colors.ink},
                "buttons": buttons,
            }
        ]
    )
