"""Files to take away: a plain button, usable with the keyboard, that makes its file in Python when it is pressed."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import panel as pn

from labkit.dashboard.layout import Session

SAVE = """
const file = JSON.parse(source.value);
const link = document.createElement("a");
link.href = URL.createObjectURL(new Blob([file.text], {type: file.type}));
link.download = file.name;
link.click();
setTimeout(() => URL.revokeObjectURL(link.href), 60000);
"""


@dataclass(frozen=True)
class File:
    """What a button saves: its label, the name and type of the file, and the text, made when the button is pressed."""

    label: str
    name: str
    type: str
    make: Callable[[], str]


def downloads(session: Session, *files: File) -> pn.FlexBox:
    """A row of buttons, one for each file."""
    carrier = pn.widgets.TextInput(visible=False)
    carrier.jscallback(value=SAVE)
    count = iter(range(10**9))  # the same file twice is sent twice

    def save(file: File) -> None:
        carrier.value = json.dumps({"name": file.name, "type": file.type, "text": file.make(), "count": next(count)})

    buttons = []
    for file in files:
        button = pn.widgets.Button(label=file.label, margin=(0, 10, 8, 0))
        button.on_click(session.guarded(lambda _event, file=file: save(file)))
        buttons.append(button)
    return pn.FlexBox(*buttons, carrier, margin=(16, 0, 0, 0), sizing_mode="stretch_width")
