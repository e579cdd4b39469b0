"""Words above a picture that must fit a telephone too: the theme's own lines are as wide as 600 pixels."""

import html
from typing import Any

import plotly.graph_objects as go

from labkit.views.wording import wrapped

TITLE, HIGH = 30, 25
LETTERS, LINES, PIXELS = 44, 7, 19


def narrowed(figure: go.Figure, subtitle: str) -> go.Figure:
    """The same figure with title and subtitle in lines that a screen of 400 pixels shows, and room for them."""
    title: Any = figure["layout"]["title"]
    whole = html.unescape(str(title["text"]).replace("<br>", " "))
    words = (
        (str(title["text"]), wrapped(whole, TITLE), HIGH),
        (title["subtitle"]["text"], wrapped(subtitle, LETTERS, LINES), PIXELS),
    )
    more = sum(pixels * (after.count("<br>") - str(before).count("<br>")) for before, after, pixels in words)
    margin: Any = figure["layout"]["margin"]
    height: Any = figure["layout"]["height"]
    return figure.update_layout(
        title={"text": words[0][1], "subtitle": {"text": words[1][1]}},
        margin={"t": margin["t"] + more},
        height=height + more,
    )
