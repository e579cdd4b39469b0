"""All that a class was told as one CSV file, in which no spreadsheet finds a formula."""

import csv
import io
import json
import time
from collections.abc import Iterator
from typing import Any

from labkit.workshop.classroom.journal import Journal, Message
from labkit.workshop.classroom.plain_text import defused

COLUMNS = ("time", "student", "seat", "kind", "what", "arm", "step", "right", "value", "says", "points")


def csv_parts(journal: Journal, names: dict[int, str]) -> Iterator[str]:
    """The file, piece by piece: a line for each message, in the order in which they came. `names` by seat."""
    yield "\ufeff" + _lines([COLUMNS])  # the mark tells spreadsheets that this is UTF-8
    after = 0
    while part := journal.told(after):
        yield _lines(_row(one, names.get(one.student, "")) for one in part)
        after = part[-1].place


def _row(message: Message, name: str) -> list[Any]:
    what = message.what
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(message.at / 1000))
    title = what.get("exercise") or what.get("question") or what.get("name", "")
    if message.kind == "value":
        title = f"{what['run']}: {what['name']}"
    return [
        moment,
        name,
        message.student,
        message.kind,
        title,
        what.get("arm", ""),
        what.get("step", what.get("seed", "")),
        what.get("right", ""),
        what.get("value", what.get("area", "")),
        what.get("says", ""),
        json.dumps(what["points"]) if "points" in what else "",
    ]


def _lines(rows: Any) -> str:
    out = io.StringIO()
    csv.writer(out).writerows([defused(cell) for cell in row] for row in rows)
    return out.getvalue()
