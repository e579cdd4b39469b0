"""What of an array goes into a page that has no Python behind it: some planes in full, of others a coarse picture."""

import itertools
import math
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from labkit.views.tiles import HOW, fitted
from labkit.widgets.array_labels import TICKS, axis_facts, label_of, word_of
from labkit.widgets.array_reading import NOMINAL, ArrayReading

COARSE = 96
"""Cells each way of a plane that does not fit in full."""
NAMED, TRIED = 16_384, 2048
"""Labels of an axis, and planes, that a page holds at most."""
KINDS = {("f", 8): "f8", ("i", 1): "i1", ("u", 1): "u1", ("b", 1): "u1", ("i", 2): "i2", ("u", 2): "u2", ("i", 4): "i4"}
Index = dict[str, int]
Piece = tuple[dict[str, Any], bytes]


def snapshot(reading: ArrayReading, first: Mapping[str, Any], limit: int) -> tuple[dict[str, Any], bytes]:
    """What the page knows as JSON, and the planes, packed one by one; together about `limit` bytes in the page.

    The plane that is shown comes first, in full if it fits. Of the others, the nearest first, coarse pictures take up to a
    third of the room, and then full planes take their places as long as there is room.
    """
    room = limit * 3 // 4  # a byte takes four thirds of one as text
    order = list(itertools.islice(nearest_first(reading, first), TRIED))
    pieces: dict[int, Piece] = {}
    for at, index in enumerate(order):
        most = COARSE if at else min(NOMINAL, max(COARSE, math.isqrt(room // 8)))
        piece = coarse(reading, first, index, most)
        if at and weight(pieces) + len(piece[1]) > room // 3:
            break
        pieces[at] = piece
    full = 0
    for at, index in enumerate(order):
        piece = whole(reading, first, index, 24 * room)
        if piece is None or weight(pieces) - len(pieces.get(at, (0, b""))[1]) + len(piece[1]) > room:
            break
        pieces[at], full = piece, full + 1
    planes, start = [], 0
    for at in sorted(pieces):
        facts, packed = pieces[at]
        known = reading.plane(first["rows"], first["columns"], order[at])
        planes.append({**known, "index": order[at], "pieces": [{**facts, "from": start, "size": len(packed)}]})
        start += len(packed)
    return told(reading, first, planes, full), b"".join(pieces[at][1] for at in sorted(pieces))


def weight(pieces: Mapping[int, Piece]) -> int:
    """The bytes of all pieces."""
    return sum(len(packed) for _, packed in pieces.values())


def nearest_first(reading: ArrayReading, first: Mapping[str, Any]) -> Iterator[Index]:
    """The planes of the array, beginning with the one that is shown; those that are fewest places away come next."""
    here = reading.inside(first["index"], (first["rows"], first["columns"]))
    sizes = [reading.data.sizes[dim] for dim in here]
    if math.prod(sizes) > 2**20:
        yield here
        return
    places = sorted(
        np.ndindex(*sizes), key=lambda place: (sum(map(lambda a, b: abs(a - b), place, here.values())), place)
    )
    yield from (dict(zip(here, place)) for place in places)


def coarse(reading: ArrayReading, first: Mapping[str, Any], index: Index, most: int) -> Piece:
    """A plane in at most `most` x `most` cells, reduced as the explorer shows it."""
    rows, columns = (reading.data.sizes[first[axis]] for axis in ("rows", "columns"))
    block = fitted(rows, columns, most, most)
    found = reading.blocks(first["rows"], first["columns"], index, (0, rows, 0, columns), block)
    values = found.shown(first["how"]).astype("<f4")
    how = first["how"] if block != (1, 1) else ""
    return {"block": list(block), "shape": list(values.shape), "kind": "f4", "how": how}, zlib.compress(
        values.tobytes(), 6
    )


def whole(reading: ArrayReading, first: Mapping[str, Any], index: Index, most: int) -> Piece | None:
    """A plane in full; None where it has more than `most` bytes before it is packed."""
    plane = reading.data.isel(index).transpose(first["rows"], first["columns"])
    if plane.size * plane.dtype.itemsize > most:
        return None
    kind = KINDS.get((plane.dtype.kind, plane.dtype.itemsize), "f4" if plane.dtype.kind == "f" else "f8")
    values = plane.values.astype(np.dtype(f"<{kind}"))
    return {"block": [1, 1], "shape": list(values.shape), "kind": kind, "how": ""}, zlib.compress(values.tobytes(), 6)


def told(reading: ArrayReading, first: Mapping[str, Any], planes: list[dict[str, Any]], full: int) -> dict[str, Any]:
    """The words and labels of the page, with a sentence on what it holds and what it does not."""
    drawn, others = (first["rows"], first["columns"]), list(planes[0]["index"])
    count = math.prod(reading.data.sizes[dim] for dim in others)
    says = ""
    if count > 1 or not full:
        says = f"This page holds {full:,} of {count:,} planes in full"
        says += f" and {len(planes) - full:,} in coarse blocks." if len(planes) > full else "."
    first_plane = ", ".join(
        f"{reading.word(dim)} {reading.label(dim, place)}" for dim, place in planes[0]["index"].items()
    )
    absent = (
        f"This plane is not in this page, which holds {len(planes):,} of {count:,}, those nearest to {first_plane}."
    )
    everything = [reading.plane(*drawn, plane["index"]) for plane in planes] if len(planes) == count else []
    return {
        "planes": planes,
        "sizes": [reading.data.sizes[dim] for dim in drawn],
        "labels": [names(reading, dim) for dim in drawn],
        "words": [word_of(reading.data, dim) for dim in drawn],
        "others": {
            dim: [reading.label(dim, at) for at in range(min(NAMED, reading.data.sizes[dim]))] for dim in others
        },
        "limits": list(reading.limits) if reading.limits else None,
        "all": [min(one["low"] for one in everything), max(one["high"] for one in everything)] if everything else None,
        "ticks": TICKS,
        "how": HOW,
        "says": says,
        "absent": absent,
    }


def names(reading: ArrayReading, dim: str) -> dict[str, Any]:
    """The labels of an axis: counted where they are even and bare, else written out as far as there is room."""
    facts = axis_facts(reading.data, dim)
    size = reading.data.sizes[dim]
    if "stride" in facts and reading.label(dim, 0) == str(facts["first"]):
        return {"first": facts["first"], "stride": facts["stride"]}
    return {"texts": [label_of(reading.data, dim, at) for at in range(min(NAMED, size))]}
