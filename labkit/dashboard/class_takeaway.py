"""The pictures of a class as one HTML page that needs no network, with everything that students typed escaped."""

import time
from collections.abc import Callable
from html import escape

import plotly.graph_objects as go

from labkit.dashboard.class_board import SHEET, TITLES
from labkit.dashboard.class_easel import Easel, draw
from labkit.dashboard.class_names import MODES, called
from labkit.dashboard.class_words import checks
from labkit.errors import LabError
from labkit.widgets.export import export_page
from labkit.workshop.classroom.classroom import Classroom

MOST = 12
"""Pictures of each part at most."""


def class_page(classroom: Classroom, easel: Easel, names: str) -> str:
    """The page; `names` is how students are called: names, initials or none."""
    mode, room = names if names in MODES else "initials", classroom.room
    shown = called(dict(room.students), mode)
    pictures: dict[str, str | Callable[[bool], go.Figure]] = {}
    if room.checks:
        pictures["Exercises"] = f"<style>{TABLE}</style>{checks(room, shown, mode)}"
    for part, (title, _, _) in TITLES.items():
        for name in easel.names(part)[:MOST]:
            try:
                draw(room, part, name, mode, False)
            except LabError:
                continue
            pictures[f"{title}: {name}"] = lambda dark, part=part, name=name: draw(room, part, name, mode, dark)
    if not pictures:
        pictures["Nothing was told yet"] = "<p>Nothing was told in this class yet.</p>"
    day = time.strftime("%Y-%m-%d", time.localtime(classroom.journal.begun))
    says = f"{len(shown)} students, {room.count:,} messages."
    return export_page(pictures, title=f"Class of {day}", says=says, provenance={"class": escape(day)})


TABLE = (
    ".scroll { overflow-x: auto; --good: #00674f; --good-soft: #dff3ec; --bad: #a63a00; --bad-soft: #fdeadf; --line: #8886; "
    "--ink-soft: #778; } " + "\n".join(line for line in SHEET.splitlines() if line.startswith((".checks", ".unseen")))
)
