"""What the notebook controls say: messages with a mark, durations, errors as sentences, and the table of claims."""

from html import escape
from typing import Any

from labkit.errors import LabError
from labkit.views.theme import FONT

MARKS = {"info": "", "done": "✓ ", "error": "⚠ "}
COLORS = {
    "info": "--jp-border-color1, #8a93a3",
    "done": "--jp-success-color1, #009e73",
    "error": "--jp-error-color1, #d55e00",
}


def prose(markup: str) -> str:
    """HTML in the letters and the colour of the figures beside it."""
    style = f"font: calc(14px * var(--type, 1))/1.5 {FONT}; color: var(--jp-content-font-color1, inherit); white-space: normal"
    return f'<div style="{escape(style)}">{markup}</div>'


def message(text: str, kind: str = "info") -> str:
    """A sentence as HTML, with a bar at its side; kind is info, done or error, marked by a sign as well as a colour."""
    role = "alert" if kind == "error" else "status"
    style = (
        f"border-left: 4px solid var({COLORS[kind]}); padding: 4px 12px; margin: 6px 0; "
        f"font: calc(14px * var(--type, 1))/1.45 {FONT}; "
        "color: var(--jp-content-font-color1, inherit); white-space: normal"
    )
    return f'<div role="{role}" style="{escape(style)}">{MARKS[kind]}{escape(text)}</div>'


def sentence(error: BaseException) -> str:
    """What to tell a person about an error."""
    if isinstance(error, LabError):
        return str(error)
    return f"This did not work: {type(error).__name__}: {error}"


def duration(seconds: float) -> str:
    """A time span in words: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def claims_table(rows: list[dict[str, Any]]) -> str:
    """The claims with their verdicts as an HTML table that follows the notebook's theme."""
    from labkit.views.claims import claims

    return claims(rows)
