"""The tokens of a text along the top of a picture: a window of them in view, and a slider that moves it over the text."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.choices import texts_of
from labkit.views.scrubber import DEPTH, scrub
from labkit.views.theme import BUDGET, SMALL, look
from labkit.views.thinning import compact
from labkit.views.wording import longest, number

WINDOW, STOPS = 30, 150  # tokens in view, places of the slider
SPARE = 60_000  # bytes kept for everything but the tokens


@dataclass(frozen=True)
class Strip:
    """Which tokens of the data a picture carries: `count` of `total`, from the place `start` on, `window` in view."""

    data: xr.DataArray
    total: int
    start: int
    count: int
    window: int = WINDOW

    @property
    def kept(self) -> xr.DataArray:
        """The tokens that the picture carries."""
        return self.data.isel(token=slice(self.start, self.start + self.count))

    @cached_property
    def texts(self) -> list[str] | None:
        """Their texts as people read them."""
        return texts_of(self.kept)

    @cached_property
    def numbers(self) -> np.ndarray:
        """Their numbers as the data has them, or their places where those have gaps."""
        given = self.kept["token"].values
        if "token" in self.data.coords and given.dtype.kind in "iu" and (np.diff(given) == 1).all():
            return given.astype(np.int64)
        return np.arange(self.start, self.start + self.count)

    @property
    def brief(self) -> bool:
        """Whether every text fits into a cell."""
        return self.texts is not None and max(map(longest, self.texts)) <= 2

    @property
    def above(self) -> int:
        """Pixels that the texts need above the plot."""
        if self.texts is None or self.brief:
            return 40
        return int(34 + max(map(longest, self.texts)) * SMALL * 0.6)

    def notes(self) -> list[str]:
        """What the picture leaves out, or how to see the rest, for the subtitle."""
        notes = [f"{self.window} tokens in view, slide for more"] if self.count > self.window else []
        if self.count < self.total:
            last = self.start + self.count
            more = f", start={last if last < self.total else 0} shows more"
            notes.append(f"tokens {self.start:,} to {last - 1:,} of {self.total:,}{more}")
        return notes

    def draw(self, figure: go.Figure, dark: bool, at: int = 0) -> int:
        """Set the axis of the tokens and the slider, which opens near the kept token at this place.

        Returns the pixels that the slider needs below the plot.
        """
        first = self.numbers[0]
        wide = min(self.count, self.window)
        axis: dict = {
            "side": "top",
            "range": [first - 0.5, first + wide - 0.5],
            "showgrid": False,
            "title": {"text": "Token", "standoff": 6},
            "ticklabelstandoff": 2,
            "maxallowed": first + self.count - 0.5,
            "minallowed": first - 0.5,
        }
        if self.texts is None or self.brief:
            axis |= {"dtick": 5, "tick0": 0, "tickformat": ","}
        else:
            axis |= {"tickvals": compact(self.numbers), "ticktext": self.texts, "tickangle": -90}
            axis["tickfont"] = {"size": 12, "color": look(dark).ink}
            axis["title"] = {"text": ""}
        figure.update_layout(xaxis=axis, dragmode="pan")
        self._ends(figure, dark)
        if self.count <= self.window:
            return 0
        stride = self.window * -(-self.count // (self.window * STOPS))
        places = [*range(0, self.count - self.window, stride), self.count - self.window]
        frames = [
            {
                "layout": {"xaxis": {"range": [first + one - 0.5, first + one + self.window - 0.5]}},
                "traces": [],
                "data": [],
            }
            for one in places
        ]
        labels = [f"{number(first + one)} to {number(first + one + self.window - 1)}" for one in places]
        scrub(figure, frames, labels, "tokens", dark)
        opened = int(np.abs(np.array(places) - at).argmin())
        figure.update_layout(frames[opened]["layout"])
        figure.update_layout({"sliders": [{"active": opened}]})
        return DEPTH - 40

    def _ends(self, figure: go.Figure, dark: bool) -> None:
        """A line between one sequence and the next."""
        if "sequence" not in self.kept.coords:
            return
        places = np.flatnonzero(np.diff(self.kept["sequence"].values)) + self.numbers[0] + 0.5
        line = {"color": look(dark).ink, "width": 2}
        if len(places) <= 80:
            figure.update_layout(
                shapes=[
                    {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "y domain", "line": line}
                    for at in places.tolist()
                ]
            )


def strip_of(view: str, data: xr.DataArray, start: int, cell: float, window: int = WINDOW) -> Strip:
    """As many tokens from `start` on as fit into a picture's bytes, where each cell of (layer, token) needs `cell`.

    Raises:
        LabError: there is no token `start`.
    """
    total = data.sizes["token"]
    if not 0 <= start < total:
        raise LabError(f"{view} can start at the tokens 0 to {total - 1:,}, and start is {start}.")
    return Strip(data, total, start, max(1, min(total - start, room_for(data, cell))), window)


def room_for(data: xr.DataArray, cell: float) -> int:
    """How many tokens fit into a picture's bytes."""
    text = 18 if "text" in data.coords else 0
    return int((BUDGET - SPARE) // (data.sizes["layer"] * cell * 4 / 3 + text))
