"""The weights of any model as maps: every matrix number by number, or where its zeros are."""

from typing import Any

import plotly.graph_objects as go
import xarray as xr
from ipywidgets import Dropdown, HBox, Layout, ToggleButtons

from labkit.analysis.sparsity.weight_pattern import matrices
from labkit.errors import LabError
from labkit.views.weight_mask import weight_mask
from labkit.widgets.array_explorer import ArrayExplorer
from labkit.widgets.explorer import Explorer
from labkit.widgets.lite_figure import LiteFigure
from labkit.widgets.picture_book import row
from labkit.widgets.words import message

VALUES, ZEROS = "values", "zeros"
SAYS = {
    VALUES: "Each cell is a weight, rows are outputs, columns inputs; zoom in to see single ones.",
    ZEROS: "Where the weights are that are exactly zero: scattered, or in a pattern that a kernel can leave out.",
}


class WeightExplorer(Explorer):
    """Shows one weight matrix at a time, as numbers or by its zeros. A kernel is laid out as (outputs, places x inputs).

    Raises: LabError when the model has no weight matrix.
    """

    def __init__(self, model: Any):
        found = matrices(model)
        self.model, names = model, list(found)
        if not names:
            raise LabError("This model has no weight matrix and no convolution kernel.")
        super().__init__(None)
        style = {"description_width": "initial"}
        layout = Layout(width="auto", max_width="460px")
        self.parameter = Dropdown(options=names, description="Weights", style=style, layout=layout)
        self.kind = ToggleButtons(options=[VALUES, ZEROS], style={"button_width": "auto"})
        self.figure: LiteFigure | None = None
        self.array: ArrayExplorer | None = None
        self.children = [HBox([self.parameter, self.kind], layout=row()), self.told, self.place]
        if any(bool((weight == 0).any()) for weight in found.values()):
            self.kind.value = ZEROS
        self.parameter.observe(lambda _change: self._show(), "value")
        self.kind.observe(lambda _change: self._show(), "value")
        self._show()

    def weights(self, name: str) -> xr.DataArray:
        """One matrix as the model uses it now: (output, input)."""
        found = matrices(self.model)
        if name not in found:
            raise LabError(f"The model has no weight matrix {name!r}; there is {', '.join(found)}.")
        values = found[name].detach().float().cpu().numpy()
        return xr.DataArray(values, dims=("output", "input"), name=name, attrs={"long_name": "weight", "units": ""})

    def _show(self) -> None:
        self.in_turn(self._draw)

    def _draw(self) -> None:
        weights = self.weights(self.parameter.value)
        self.told.value = message(SAYS[self.kind.value])
        if self.kind.value == VALUES:
            if self.array is None:
                self.array = ArrayExplorer(weights, "output", "input", title="Weights")
            else:
                self.array.show(weights)
            self.place.children = [self.array]
            return

        def draw(dark: bool) -> go.Figure:
            return weight_mask(weights, dark=dark)

        if self.figure is None:
            self.figure = LiteFigure(draw)
        else:
            self.figure.replace(draw)
        self.place.children = [self.figure]
