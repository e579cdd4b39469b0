"""Python's half of the array explorer: it answers what the browser asks, and reads no more of the array than that.

The array may be larger than memory (a netCDF variable opened lazily, a dask array): a picture reads one window of one
plane in bands, a hover one block.
"""

import json
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from labkit.errors import LabError
from labkit.views.reading import title_of, units_of
from labkit.views.theme import look
from labkit.views.tiles import CELLS, HOW, Blocks, blocks_of, bounds, coded, fitted, real
from labkit.views.wording import number
from labkit.widgets.array_labels import axes_of, axis_facts, label_of, labelled, span_of, tick_labels, word_of
from labkit.widgets.cursor import plain

NOMINAL = 520
"""Pixels of the first picture each way, before the browser has said how many it has."""
KEPT = 8
"""Windows that are kept, so that another reduction of the same window reads nothing again."""
SEARCHED = 2**26
"""Values of an array at most whose limits over all planes are looked for."""
Asked = Mapping[str, Any]


class ArrayReading:
    """An array of numbers as planes: two axes are drawn, and the others choose which plane.

    Raises: LabError when the array has no two axes, holds no real numbers, or an axis is not one of its own.
    """

    def __init__(
        self,
        data: Any,
        rows: str | None = None,
        columns: str | None = None,
        how: str = "strongest",
        limits: tuple[float, float] | None = None,
        title: str = "",
    ):
        self.data = labelled(data)
        self.rows, self.columns = axes_of(self.data, rows, columns)
        if how not in HOW:
            raise LabError(f"ArrayExplorer shows of each block one of {', '.join(HOW)}, not {how!r}.")
        if limits is not None and not limits[0] < limits[1]:
            raise LabError(f"ArrayExplorer needs limits that rise, (low, high), and got {limits}.")
        self.how, self.limits = how, limits
        self.title = title or title_of(self.data, "values")
        self._planes: OrderedDict[tuple, dict[str, Any]] = OrderedDict()
        self._windows: OrderedDict[tuple, Blocks] = OrderedDict()
        self._all: tuple[float, float] | None = None

    def setup(self) -> dict[str, Any]:
        """What the browser must know once: the axes with their names, the words and the colours."""
        looks = {"light": look(False), "dark": look(True)}
        scales = ["plane", "visible"]
        scales += ["all"] if self.data.size <= SEARCHED and self.data.ndim > 2 else []
        return {
            "title": self.title,
            "units": units_of(self.data),
            "axes": {str(dim): axis_facts(self.data, str(dim)) for dim in self.data.dims},
            "scales": ["given", *scales] if self.limits else scales,
            "colors": {name: [one.sequential, one.diverging] for name, one in looks.items()},
            "cells": CELLS,
        }

    def first(self) -> dict[str, Any]:
        """What the browser would ask first, if it had a picture of ordinary size."""
        rows, columns = self.data.sizes[self.rows], self.data.sizes[self.columns]
        index = self.inside({}, (self.rows, self.columns))
        steady = "step" in index and self.data.size <= SEARCHED // 4
        return {
            "count": 0,
            "rows": self.rows,
            "columns": self.columns,
            "index": index,
            "window": [0, rows, 0, columns],
            "block": list(fitted(rows, columns, NOMINAL, NOMINAL)),
            "how": self.how,
            "scale": "given" if self.limits else "all" if steady else "plane",
            "root": False,
        }

    def answer(self, asked: Asked) -> tuple[str, bytes]:
        """The picture that was asked for: what it is, as JSON text, and its codes, compressed where that helps.

        An array that cannot be read any more, because its file was closed, is said in the text.
        """
        try:
            state, codes = self._answer(asked)
        except Exception as error:  # whatever opened the file raises what it likes
            return json.dumps(
                {"count": asked.get("count", 0), "error": f"The array cannot be read: {_said(error)}"}
            ), b""
        small = zlib.compress(codes, 1)
        state["zipped"] = len(small) < len(codes)
        return json.dumps(state), small if state["zipped"] else codes

    def _answer(self, asked: Asked) -> tuple[dict[str, Any], bytes]:
        rows, columns, index, window, block = self._where(asked)
        found = self.blocks(rows, columns, index, window, block)
        values = found.shown(asked["how"] if asked["how"] in HOW else "mean")
        plane = self.plane(rows, columns, index)
        low, high, signed = self._limits(str(asked["scale"]), plane, values)
        top, bottom, left, right = window
        state = {
            **{key: asked[key] for key in ("count", "how", "scale", "root")},
            "rows": rows,
            "columns": columns,
            "index": index,
            "window": list(window),
            "block": list(block),
            "shape": list(values.shape),
            "limits": [low, high],
            "signed": signed,
            "missing": bool(np.isnan(values).any()),
            "sampled": [found.read, found.tall] if found.read < found.tall else None,
            "ticks": [tick_labels(self.data, rows, top, bottom), tick_labels(self.data, columns, left, right)],
            "chosen": {dim: self.label(dim, place) for dim, place in index.items()},
            "alt": plane["alt"],
        }
        return state, coded(values, low, high, bool(asked["root"])).tobytes()

    def cell(self, asked: Asked) -> dict[str, Any]:
        """The exact value of the cell that was asked for; of a block also where its strongest value lies."""
        try:
            rows, columns, index, window, _ = self._where(asked)
            values = self._values(rows, columns, index, window)
        except Exception as error:
            return {
                "count": asked.get("count", 0),
                "head": "",
                "value": "",
                "more": f"This cannot be read: {_said(error)}",
            }
        top, bottom, left, right = window
        head = f"{span_of(self.data, rows, top, bottom)}, {span_of(self.data, columns, left, right)}"
        told = {"count": asked["count"], "head": head, "more": ""}
        if values.size == 1:
            return told | {"value": exact(values.flat[0])}
        kept = real(values)
        there = np.isfinite(kept)
        if not there.any():
            return told | {"value": "no value"}
        at = np.unravel_index(np.argmax(np.where(there, np.abs(kept), -1)), kept.shape)
        row, column = top + int(at[0]), left + int(at[1])
        place = f"{self.word(rows)} {self.label(rows, row)}, {self.word(columns)} {self.label(columns, column)}"
        shown = {"strongest": kept[at], "mean": kept[there].mean(dtype=np.float64), "lowest": kept[there].min()}
        how = asked["how"] if asked["how"] in HOW else "mean"
        more = f"{HOW[how]} of {values.shape[0]} x {values.shape[1]} values; the strongest, {exact(kept[at])}, is at {place}"
        return told | {"value": exact(shown[how]), "more": more}

    def numbers(self, asked: Asked) -> tuple[dict[str, Any], bytes]:
        """The window in blocks as float64, with the label of every row and column, for a table or a file."""
        rows, columns, index, window, block = self._where(asked)
        found = self.blocks(rows, columns, index, window, block)
        labels = [
            [self.label(dim, place) for place in range(start, stop, step)]
            for dim, start, stop, step in zip((rows, columns), window[::2], window[1::2], block)
        ]
        values = found.shown(asked["how"]).astype("<f8")
        return {"count": asked["count"], "rows": labels[0], "columns": labels[1]}, values.tobytes()

    def place(self, asked: Asked) -> dict[str, Any]:
        """The coordinates of one cell on every axis of the array, as plain Python values."""
        rows, columns, index, window, _ = self._where(asked)
        places = {**index, rows: window[0], columns: window[2]}
        return {str(dim): plain(self.data[dim].values[places[str(dim)]]) for dim in self.data.dims}

    def value(self, asked: Asked) -> float:
        """The number in one cell."""
        rows, columns, index, (top, _, left, _), _ = self._where(asked)
        return float(self._values(rows, columns, index, (top, top + 1, left, left + 1)).flat[0])

    def blocks(
        self, rows: str, columns: str, index: Mapping[str, int], window: tuple, block: tuple[int, int]
    ) -> Blocks:
        """A window of a plane in blocks."""
        key = (rows, columns, *index.items(), *window, *block)
        if key not in self._windows:
            plane = self.data.isel(dict(index)).transpose(rows, columns)
            self._windows[key] = blocks_of(lambda down, across: plane[down, across].values, window, block)
            while len(self._windows) > KEPT:
                self._windows.popitem(last=False)
        self._windows.move_to_end(key)
        return self._windows[key]

    def plane(self, rows: str, columns: str, index: Mapping[str, int]) -> dict[str, Any]:
        """What is known of a whole plane: its lowest, highest and mean value, and the sentence that says so."""
        key = (rows, columns, *index.items())
        if key not in self._planes:
            sizes = self.data.sizes[rows], self.data.sizes[columns]
            window, block = (0, sizes[0], 0, sizes[1]), fitted(*sizes, NOMINAL, NOMINAL)
            self._planes[key] = self._known(self.blocks(rows, columns, index, window, block), rows, columns, index)
            while len(self._planes) > 1024:
                self._planes.popitem(last=False)
        return self._planes[key]

    def _known(self, found: Blocks, rows: str, columns: str, index: Mapping[str, int]) -> dict[str, Any]:
        where = ", ".join(f"{self.word(dim)} {self.label(dim, place)}" for dim, place in index.items())
        head = f"{self.title}, {found.bottom:,} by {found.right:,} ({self.word(rows)} by {self.word(columns)})"
        head += f" at {where}" if where else ""
        if not found.count.any():
            return {"low": 0.0, "high": 1.0, "alt": f"{head}: every value is missing."}
        low, high = float(np.nanmin(found.low)), float(np.nanmax(found.high))
        mean = number(float(found.total.sum(dtype=np.float64) / found.count.sum(dtype=np.float64)))
        units = f" {units_of(self.data)}" if units_of(self.data) else ""
        top = self._place_of(found, found.high, high, rows, columns, index)
        least = self._place_of(found, found.low, low, rows, columns, index)
        rest = "" if found.read == found.tall else f" Told from {found.read} of every {found.tall} rows."
        alt = f"{head}: the mean is {mean}{units}, the highest is {number(high)}{units} at {top}, "
        return {"low": low, "high": high, "alt": f"{alt}the lowest is {number(low)}{units} at {least}.{rest}"}

    def _place_of(self, found: Blocks, grid: np.ndarray, value: float, rows: str, columns: str, index: Mapping) -> str:
        down, across = (int(at) for at in np.unravel_index(np.argmax(grid == value), grid.shape))
        top, left = found.top + down * found.tall, found.left + across * found.wide
        if found.tall * found.wide > 1:
            window = (top, min(top + found.read, found.bottom), left, min(left + found.wide, found.right))
            values = real(self._values(rows, columns, index, window))
            at = np.unravel_index(np.argmax(values == value), values.shape)
            top, left = top + int(at[0]), left + int(at[1])
        return f"{self.word(rows)} {self.label(rows, top)}, {self.word(columns)} {self.label(columns, left)}"

    def _limits(self, scale: str, plane: Mapping[str, Any], values: np.ndarray) -> tuple[float, float, bool]:
        if scale == "given" and self.limits is not None:
            low, high = map(float, self.limits)
            return low, high, low == -high
        if scale == "visible" and not np.isnan(values).all():
            return bounds(float(np.nanmin(values)), float(np.nanmax(values)))
        if scale == "all" and self.data.size <= SEARCHED:
            return bounds(*self._over_all())
        return bounds(plane["low"], plane["high"])

    def _over_all(self) -> tuple[float, float]:
        """The lowest and the highest value of the whole array, read plane by plane."""
        if self._all is None:
            others = [str(dim) for dim in self.data.dims if dim not in (self.rows, self.columns)]
            low, high = np.inf, -np.inf
            for place in np.ndindex(*(self.data.sizes[dim] for dim in others)):
                part = real(self.data.isel(dict(zip(others, place))).values)
                there = part if np.isfinite(part.sum()) else part[np.isfinite(part)]
                if there.size:
                    low, high = min(low, float(there.min())), max(high, float(there.max()))
            self._all = (low, high) if low <= high else (0.0, 1.0)
        return self._all

    def _where(self, asked: Asked) -> tuple[str, str, dict[str, int], tuple[int, int, int, int], tuple[int, int]]:
        """What a question is about, kept within the array and within the bytes of one picture."""
        rows, columns = axes_of(self.data, asked["rows"], asked["columns"])
        ends = []
        for dim, start, stop in zip((rows, columns), asked["window"][::2], asked["window"][1::2]):
            start = min(max(0, int(start)), self.data.sizes[dim] - 1)
            ends += [start, min(max(start + 1, int(stop)), self.data.sizes[dim])]
        height, width = ends[1] - ends[0], ends[3] - ends[2]
        tall, wide = (max(1, int(step)) for step in asked["block"])
        if -(-height // tall) * -(-width // wide) > CELLS:
            least = fitted(height, width, height, width)
            tall, wide = max(tall, least[0]), max(wide, least[1])
        return rows, columns, self.inside(asked["index"], (rows, columns)), (*ends,), (tall, wide)  # type: ignore[return-value]

    def inside(self, index: Mapping[str, Any], drawn: tuple[str, str]) -> dict[str, int]:
        """A place on every axis that is not drawn, within its ends."""
        dims = [str(dim) for dim in self.data.dims if dim not in drawn]
        return {dim: min(max(0, int(index.get(dim, 0))), self.data.sizes[dim] - 1) for dim in dims}

    def _values(self, rows: str, columns: str, index: Mapping[str, int], window: tuple) -> np.ndarray:
        top, bottom, left, right = window
        return self.data.isel(dict(index)).transpose(rows, columns)[top:bottom, left:right].values

    def word(self, dim: str) -> str:
        """What an axis is called in a sentence."""
        return word_of(self.data, dim)

    def label(self, dim: str, place: int) -> str:
        """One entry of an axis as people read it."""
        return label_of(self.data, dim, place)


def exact(value: Any) -> str:
    """The shortest text that is exactly this number."""
    return "no value" if value != value else str(np.asarray(value)[()])


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
