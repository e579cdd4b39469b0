"""Silence the small activations of any model and see what it costs and what it saves, measured on this machine."""

from collections.abc import Callable
from math import isnan
from threading import Thread
from typing import Any

import plotly.graph_objects as go
import torch
import xarray as xr
from ipywidgets import Button, Dropdown, HBox, Layout

from labkit.analysis.activity.activation_density import activation_density
from labkit.analysis.sparsity.threshold_tradeoff import threshold_tradeoff
from labkit.errors import LabError
from labkit.recording.batches import answer, evaluating, judged, part_of, size_of
from labkit.views.tradeoff import tradeoff
from labkit.widgets.explorer import Explorer
from labkit.widgets.lite_figure import LiteFigure
from labkit.widgets.picture_book import row
from labkit.widgets.words import message, sentence
from labkit.workbench.looked_at import LookedAt, looked_at
from labkit.workbench.turns import TURNS

SAYS = (
    "Measures, at several thresholds and by four rules, what the model loses when its small activations are silenced, and "
    "how long the following product takes when only the active ones are multiplied. It takes about ten seconds."
)
NOTHING_TO_LOSE = (
    "There is nothing to lose that could be measured: give labels that fit the answer, as (x, labels), or loss=, a "
    "function of (output, batch)."
)
MEASURING = "Measuring …"


class ThresholdExplorer(Explorer):
    """A handle on the histogram of a layer's activations: loss or accuracy, active fraction and milliseconds move with it.

    `ThresholdExplorer(model, (x, labels))`; for a model whose answer is not class scores give `loss(output, batch)`.
    Nothing is measured before the button is pressed. `density` is what `activation_density` gives, where it is at hand.

    Raises: NothingRecorded when the model has no block whose hidden units can be read; LabError when the batch is empty
    or holds NaN.
    """

    def __init__(
        self,
        model: Any,
        batch: Any,
        *,
        loss: Callable[[Any, Any], Any] | None = None,
        density: xr.DataArray | None = None,
    ):
        looked = batch if isinstance(batch, LookedAt) else looked_at(batch)
        self.model, self.batch, self.loss = model, looked.batch, loss
        with TURNS.mine():
            self.density = activation_density(model, self.batch) if density is None else density
        super().__init__(None)
        names = [str(name) for name in self.density["layer"].values]
        style, layout = {"description_width": "initial"}, Layout(max_width="380px")
        self.layer = Dropdown(options=names, description="Layer", style=style, layout=layout)
        self.button = Button(description="Measure", button_style="primary", layout=Layout(width="110px"))
        self.measured: dict[str, xr.DataArray] = {}
        self.figure: LiteFigure | None = None
        self.worker: Thread | None = None
        self.children = [HBox([self.layer, self.button], layout=row()), self.told, self.place]
        self.button.on_click(lambda _button: self.measure())
        self.layer.observe(lambda _change: self._show(), "value")
        self._show()

    def measure(self) -> None:
        """Measure the chosen layer in the background; a second click meanwhile does nothing."""
        if (self.worker is not None and self.worker.is_alive()) or self.layer.value in self.measured:
            return
        self.button.disabled, self.layer.disabled = True, True
        self.told.value = message(MEASURING)
        self.worker = Thread(target=self._work, args=(self.layer.value,), name="labkit-threshold", daemon=True)
        self.worker.start()

    def _work(self, layer: str) -> None:
        failed = ""
        try:
            pattern = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in layer)
            with TURNS.mine():
                self._check()
                found = threshold_tradeoff(self.model, self.batch, layers=pattern, loss=self.loss)
            self.measured[layer] = found
        except Exception as error:  # the model is the user's: whatever it raises is said here
            failed = sentence(error)
        if self.comm is None:  # closed meanwhile
            return
        self.layer.disabled = False
        self._show()
        if failed:
            self.told.value = message(failed, "error")

    def _check(self) -> None:
        """Raises LabError where there is nothing to lose: neither labels that fit the answer nor a loss."""
        few = part_of(self.batch, torch.arange(min(2, size_of(self.batch))))
        with evaluating(self.model):
            judgement = judged(answer(self.model, few), few, self.loss)
        if all(isnan(value) for value in judgement):
            raise LabError(NOTHING_TO_LOSE)

    def _show(self) -> None:
        """The picture of the chosen layer, or the invitation to measure it."""
        layer = self.layer.value
        self.button.disabled = layer in self.measured
        if layer not in self.measured:
            self.told.value, self.place.children = message(SAYS), []
            return
        density, measured = self.density.sel(layer=layer), self.measured[layer]

        def draw(dark: bool) -> go.Figure:
            return tradeoff(density, measured, dark=dark)

        try:
            if self.figure is None:
                self.figure = LiteFigure(draw)
            else:
                self.figure.replace(draw)
        except Exception as error:  # without labels there is neither loss nor accuracy to draw
            self.told.value, self.place.children = message(sentence(error), "error"), []
            return
        self.told.value = message("Move the slider: nothing between two measured levels is made up.", "done")
        self.place.children = [self.figure]
