"""A view in a notebook: it follows the notebook's light or dark theme, and a screen reader says its alt text."""

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go

from labkit.widgets.lite_figure import LiteFigure


def picture(view: Callable[..., go.Figure], *data: Any, **settings: Any) -> LiteFigure:
    """Show what a view of `labkit.views` draws of these measurements: `picture(show, accuracy)`."""
    return LiteFigure(lambda dark: view(*data, dark=dark, **settings))
