"""One picture of measurements, as notebooks, the dashboard and exported pages show it: drawn when it is looked at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

Chosen = Mapping[str, str]


@dataclass(frozen=True)
class Picture:
    """A view of some measurements: its name, a sentence for newcomers, what can be chosen, and how it is drawn."""

    name: str
    says: str
    draw: Callable[[Chosen, bool], go.Figure | str]
    """(choices by label, dark) -> a figure, or HTML where text is painted."""
    choices: Mapping[str, list[str]] = field(default_factory=dict)
    """Label -> values, the first of them to begin with."""
    html: bool = False
    """Whether `draw` gives HTML."""
    controls: Sequence[Any] = ()
    """Widgets of the page's own that belong to the picture."""

    def first(self) -> dict[str, str]:
        """What is chosen to begin with."""
        return {label: values[0] for label, values in self.choices.items()}
