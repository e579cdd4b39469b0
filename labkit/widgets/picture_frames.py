"""From arrays to messages: what a live picture sends to the browser for each array it shows, and what a place is called.

A cell travels as one byte (`labkit.views.tiles`), up to 32,768 of them also as a half-precision number, so that pointing
at a cell tells its value at once; of larger pictures Python is asked.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from labkit.errors import LabError
from labkit.views.reading import units_of
from labkit.views.theme import look
from labkit.views.tiles import bounds, coded
from labkit.views.wording import number, percent
from labkit.widgets.array_labels import axis_facts, label_of, tick_labels, word_of
from labkit.widgets.cursor import plain
from labkit.widgets.shown_arrays import ONE, two_axes
from labkit.widgets.steady_range import Range

TRAVELS = 32_768
"""Cells of a picture at most whose values travel with it."""
BARS = 1_024
"""Numbers of one row at most that are drawn as bars."""
SHORT, LONGEST = 24, 120
"""Letters of a name that is always shown whole, and of any name at most."""
MARKS = 256
"""Cells that are marked at most."""
Place = Mapping[str, Any]


@dataclass(frozen=True)
class Words:
    """The words around a picture: its title, one sentence on what one sees, and what is said where there is nothing."""

    title: str = ""
    says: str = ""
    empty: str = "Nothing to show yet."


class Frames:
    """Turns one array after the other into messages, and places of the picture into entries of the array.

    Raises: LabError when an array has more than two axes or holds no real numbers.
    """

    def __init__(self) -> None:
        self.data: xr.DataArray | None = None
        self.range = Range()
        self._about: tuple = ()
        self._axes: list[dict[str, Any]] = []
        self._kind = ""

    def message(
        self,
        data: Any,
        words: Words,
        *,
        step: int | None,
        marks: Sequence[Place],
        picked: Place | None,
        bars: bool | None,
    ) -> tuple[dict[str, Any], bytes]:
        """`state`, to be sent as JSON text, and `cells`, its bytes. None as data, or no entries, is an empty picture."""
        state: dict[str, Any] = {"title": words.title, "says": words.says, "step": step}
        data = None if data is None else two_axes(data)
        if data is None or not data.size:
            self.data = None
            reason = words.empty if data is None else f"There is nothing to show: {_nothing(data)}"
            return {**state, "shape": [0, 0], "empty": reason}, b""
        kind = "bars" if bars is not False and data.shape[0] == 1 and data.shape[1] <= BARS else "cells"
        if bars and kind == "cells":
            raise LabError(f"Bars show one row of at most {BARS:,} numbers, and the array is {_size(data)}.")
        self._take(data, kind)
        values = np.asarray(self.data.values, dtype=np.float32)  # type: ignore[union-attr]
        whole = bool(np.isfinite(values.sum()))
        values = values if whole else np.where(np.isfinite(values), values, np.nan)
        low, high = self.range.fit(values, bool(data.attrs.get("signed")), zero=kind == "bars")
        signed = bounds(low, high)[2]
        state |= {
            "kind": kind,
            "shape": list(values.shape),
            "axes": self._axes,
            "limits": [low, high],
            "signed": signed,
            "missing": not whole and bool(np.isnan(values).any()) and not data.attrs.get("pictures"),
            "pictures": bool(data.attrs.get("pictures")),
            "name": str(data.attrs.get("long_name") or data.name or "value").replace("_", " "),
            "units": units_of(data),
            "even": data.attrs.get("even_share"),
            "note": str(data.attrs.get("note", "")),
            "marks": [[*at, str(place.get("says", "changed by hand"))] for place in marks for at in self._spots(place)][
                :MARKS
            ],
            "picked": next(iter(self.cells(picked)), None) if picked else None,
            "alt": self._alt(values),
        }
        codes = coded(values, low, high).tobytes()
        half = b""
        if values.size <= TRAVELS:
            state["scale"] = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
            half = (values / np.float32(state["scale"])).astype("<f2").tobytes()
        return state, codes + bytes(len(codes) % 2) + half

    def _take(self, data: xr.DataArray, kind: str) -> None:
        """Keep the array; where its axes are the same as before, so are their words."""
        about = (data.dims, data.shape, kind, str(data.attrs.get("long_name")))
        same = about == self._about and self.data is not None and _same_entries(data, self.data)
        if about[0] != (self._about or ((),))[0] or about[3] != (self._about or ("",) * 4)[3] or kind != self._kind:
            self.range = Range()
        if not same:
            sides = zip(data.dims, data.shape)
            self._axes = [axis_facts(data, str(dim)) | {"ticks": _ticks(data, str(dim), size)} for dim, size in sides]
        self.data, self._about, self._kind = data, about, kind

    def place(self, row: int, column: int) -> dict[str, Any] | None:
        """The coordinates of a cell by axis, as plain Python values; None where there is no such cell, or a gap.

        Coordinates over both axes and those of the whole array count too: {"parameter": "slot.weight", "row": 3, "column": 7}.
        """
        data = self.data
        if data is None or not (0 <= row < data.shape[0] and 0 <= column < data.shape[1]):
            return None
        at = dict(zip(data.dims, (row, column)))
        found: dict[str, Any] = {}
        for name, coordinate in data.coords.items():
            if coordinate.ndim == 0 or name in data.dims or set(coordinate.dims) == set(data.dims):
                found[str(name)] = plain(coordinate.isel({dim: at[dim] for dim in coordinate.dims}).values[()])
        gaps = [str(name) for name in data.coords if data[name].ndim == 2 and found[str(name)] == -1]
        if gaps and data.attrs.get("pictures"):
            return None
        for name in gaps:
            del found[name]
        covered = any(coordinate.ndim == 2 for coordinate in data.coords.values())
        for dim, place in at.items():
            if str(dim) not in found and not covered and str(dim) != ONE:
                found[str(dim)] = place
        return found

    def value(self, row: int, column: int) -> float:
        """The number in a cell."""
        assert self.data is not None
        return float(self.data.values[row, column])

    def cells(self, place: Place | None) -> list[tuple[int, int]]:
        """The cells that a place names, as (row, column); an axis that it does not name is taken whole. [] where the
        array has no such entry, or is of another layer or parameter.
        """
        data = self.data
        if data is None or not place:
            return []
        fits = np.ones(data.shape, bool)
        named = {str(name): coordinate for name, coordinate in data.coords.items()}
        for axis, entry in place.items():
            if axis in ("says", "value"):
                continue
            if axis in named:
                there = named[axis].broadcast_like(data).transpose(*data.dims).values == entry
            elif axis in data.dims and isinstance(entry, int):
                there = (np.arange(data.sizes[axis]) == entry).reshape([-1 if dim == axis else 1 for dim in data.dims])
            else:
                return []
            fits &= there
        if fits.all() and fits.size > 1:
            return []
        return [(int(row), int(column)) for row, column in zip(*np.nonzero(fits))]

    def _spots(self, place: Place) -> list[tuple[int | None, int | None]]:
        """The cells that a place names; a row or a column that is meant whole once, with None for the other axis."""
        cells, shape = self.cells(place), self.data.shape if self.data is not None else (0, 0)
        rows, columns = {row for row, _ in cells}, {column for _, column in cells}
        if len(rows) == 1 and len(cells) == shape[1] > 1:
            return [(rows.pop(), None)]
        if len(columns) == 1 and len(cells) == shape[0] > 1:
            return [(None, columns.pop())]
        return [*cells]

    def exactly(self, row: int, column: int) -> str:
        """The value in a cell as people read it, with six digits."""
        value = self.value(row, column)
        return f"{value:.6g}" if math.isfinite(value) else "no value"

    def _alt(self, values: np.ndarray) -> str:
        """A sentence for those who do not see the picture."""
        assert self.data is not None
        down, across = (str(dim) for dim in self.data.dims)
        rows, columns = word_of(self.data, down), word_of(self.data, across)
        many = f"{values.shape[1]:,} bars, one for each {columns}"
        if self._kind != "bars":
            many = f"{values.shape[0]:,} by {values.shape[1]:,} cells ({rows} by {columns})"
        whole = bool(np.isfinite(values.sum()))
        if not whole and np.isnan(values).all():
            return f"{many}; every value is missing."
        highest, lowest = (np.argmax, np.argmin) if whole else (np.nanargmax, np.nanargmin)
        ends = [
            f"{word} {self.said(float(values.flat[at]))} at {self.spoken(*divmod(int(at), values.shape[1]))}"
            for word, at in (("the highest is", highest(values)), ("the lowest is", lowest(values)))
        ]
        return f"{many}; {', '.join(ends)}."

    def said(self, value: float) -> str:
        """A value in words: shares as per cent."""
        assert self.data is not None
        return percent(value) if units_of(self.data) == "fraction" and value <= 1 else number(value)

    def spoken(self, row: int, column: int) -> str:
        """Where a cell is, in words: layer slot.gate, expert 3."""
        assert self.data is not None
        parts = [
            f"{word_of(self.data, str(dim))} {label_of(self.data, str(dim), place)}"
            for dim, place in zip(self.data.dims, (row, column))
            if str(dim) != ONE
        ]
        return ", ".join(parts)


def colors() -> dict[str, Any]:
    """What the browser must know once: the scales of both versions, and the colour of bars."""
    return {
        name: {"scales": [one.sequential, one.diverging], "bar": one.series[0], "even": one.series[1]}
        for name, one in (("light", look(False)), ("dark", look(True)))
    }


def opening(words: Words) -> dict[str, Any]:
    """The traits of a picture that has nothing to show yet."""
    state, _ = Frames().message(None, words, step=None, marks=(), picked=None, bars=None)
    return {"setup": json.dumps({"colors": colors()}), "state": json.dumps(state)}


def _ticks(data: xr.DataArray, dim: str, size: int) -> dict[str, Any]:
    """Labels at round places of an axis, names as a whole: the browser knows how much room there is."""
    found = tick_labels(data, dim, 0, size)
    values = data[dim].values
    if values.dtype.kind in "UOT":
        names = differing([str(value)[:LONGEST] for value in values])
        found["texts"] = {place: names[int(place)] for place in found["texts"]}
    return found


def differing(names: Sequence[str]) -> list[str]:
    """Long names of layers without what all begin and end with: … blocks.3 … for encoder.blocks.3.mlp.act."""
    pieces = [name.split(".") for name in names]
    if len(set(names)) < 2 or max(map(len, names)) <= SHORT:
        return list(names)
    least = min(map(len, pieces))
    same = [len({one[at] for one in pieces}) == 1 for at in range(least)]
    first = same.index(False) if False in same else least
    back = [len({one[-1 - at] for one in pieces}) == 1 for at in range(least - first)]
    last = back.index(False) if False in back else len(back)
    start = max(0, first - 1)
    return [f"{'… ' * (start > 0)}{'.'.join(one[start : len(one) - last])}{' …' * (last > 0)}" for one in pieces]


def _same_entries(one: xr.DataArray, other: xr.DataArray) -> bool:
    if set(one.coords) != set(other.coords):
        return False
    axes = (name for name in one.coords if one[name].ndim == 1)
    return all(
        one[name].values is other[name].values or np.array_equal(one[name].values, other[name].values) for name in axes
    )


def _nothing(data: xr.DataArray) -> str:
    dim = next(dim for dim, size in data.sizes.items() if size == 0)
    return f"the array has no entry along {word_of(data, str(dim))}."


def _size(data: xr.DataArray) -> str:
    return " by ".join(f"{size:,}" for size in data.shape)
