"""Files that were recorded elsewhere: routing of other programs, and trainings that were watched. No model is needed."""

from html import escape
from pathlib import Path
from typing import Any

import panel as pn

from labkit.dashboard.background import in_background
from labkit.dashboard.gallery import Chapters
from labkit.dashboard.layout import Session, grid, html
from labkit.errors import LabError
from labkit.recording.foreign.open_routing import open_routing
from labkit.recording.saving import open_recording
from labkit.widgets.history_pictures import chapters as history_chapters
from labkit.widgets.recorded_views import told
from labkit.widgets.routing_pictures import routing
from labkit.workbench.routing_inspection import inspect_routing

HOW = (
    "The path of a file on this machine: a recording that <code>labkit.recording.saving.save</code> wrote (.nc), "
    "Megatron’s <code>router_trace</code> (.jsonl), or vLLM’s <code>routed_experts</code> (.npy)."
)
EXAMPLE = "trace.jsonl"


class RecordedCard:
    """Asks for a file, and shows the pictures of what is in it."""

    def __init__(self, session: Session, path: str = ""):
        self.session = session
        self.path = pn.widgets.TextInput(
            label="File", placeholder=EXAMPLE, value=path, sizing_mode="stretch_width", margin=0
        )
        self.open = pn.widgets.Button(label="Open it", color="primary", margin=0, align="end")
        self.book = Chapters(session)
        self.stage = pn.Column(sizing_mode="stretch_width", margin=(16, 0, 0, 0))
        self.open.on_click(lambda _event: self.read())
        if path:
            self.read()

    def read(self) -> None:
        """Read the file in the background; a second click meanwhile does nothing."""
        if self.open.disabled:
            return
        self.session.say("")
        self.open.disabled = True
        path = self.path.value.strip()
        self.stage[:] = []
        in_background(self.session, lambda: contents(path), self.show, lambda: self.open.param.update(disabled=False))

    def show(self, found: tuple[str, dict]) -> None:
        """What was in the file."""
        head, chapters = found
        self.book.fill(chapters)
        self.stage[:] = [html(head, margin=(0, 0, 12, 0)), self.book.view()]

    def view(self) -> list[Any]:
        """The field, the button, and below them the pictures."""
        columns = {"columns": "minmax(0, 560px) auto", "narrow": "minmax(0, 1fr)"}
        return [
            html(f'<p class="soft">{HOW}</p>', margin=(0, 0, 10, 0)),
            grid(self.path, self.open, **columns),
            self.stage,
        ]


def contents(path: str) -> tuple[str, dict]:
    """What a file holds, in words as HTML, and its pictures by chapter.

    Raises: LabError when there is no such file, or when it is none that can be shown.
    """
    if not path:
        raise LabError(f"Give the path of a file, such as {EXAMPLE}.")
    if Path(path).suffix == ".nc":
        kept = open_recording(Path(path).expanduser())
        found = history_chapters(kept.data, kept.events) if hasattr(kept.data, "data_vars") else {}
        if not any(found.values()):
            raise LabError(
                f"{path} holds no watched training; open other recordings in a notebook with open_recording."
            )
        return told(kept.data, kept.events), found
    measured, left_out = inspect_routing(routings := open_routing(path))
    says = [*getattr(routings, "says", ()), *(f"{name}: {why}" for name, why in left_out.items())]
    notes = "".join(f"<li>{escape(str(one))}</li>" for one in says)
    head = f"<p>{len(measured['choice_load']['layer'])} layers that choose.</p><ul>{notes}</ul>"
    return head, {"Routing": routing(measured)}
