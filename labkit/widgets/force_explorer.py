"""Send a token to another expert and see what happens: click a token, and every expert is tried for it in turn."""

from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go
import xarray as xr
from ipywidgets import BoundedIntText, Dropdown, HBox, Layout

from labkit.analysis.routing.forced_choice import forced_choice
from labkit.analysis.routing.token_choices import token_choices
from labkit.views.forced_choice import forced_choice as view
from labkit.views.token_strip import token_strip
from labkit.widgets.cursor import Cursor
from labkit.widgets.explorer import Explorer
from labkit.widgets.lite_figure import LiteFigure
from labkit.widgets.picture_book import row
from labkit.widgets.words import message
from labkit.workbench.looked_at import LookedAt, looked_at
from labkit.workbench.turns import TURNS
from labkit.workbench.words_of_tokens import named_tokens


class ForceExplorer(Explorer):
    """Which expert each token goes to, in all layers, and what would change if a token were sent to another one.

    `ForceExplorer(model, (x, labels), texts=...)`. A click on a token in a layer tries every expert for it and shows how
    loss and output change; the model is afterwards as before, to the bit.

    Raises: NothingRecorded when the model has no router; LabError when batch or texts do not fit.
    """

    def __init__(
        self,
        model: Any,
        batch: Any,
        *,
        texts: Sequence[Any] | None = None,
        loss: Callable[[Any, Any], Any] | None = None,
        cursor: Cursor | None = None,
    ):
        looked = batch if isinstance(batch, LookedAt) else looked_at(batch, texts=texts)
        self.model, self.batch, self.loss = model, looked.batch, loss
        with TURNS.mine():
            choices = token_choices(model, self.batch)
        if looked.words is not None and not isinstance(batch, LookedAt):
            looked.words.check([choices.sizes["token"]])
        self.choices = named_tokens(choices, looked.words)
        super().__init__(cursor, "layer", "token")
        names = [str(name) for name in self.choices["layer"].values]
        style = {"description_width": "initial"}
        self.layer = Dropdown(options=names, description="Layer", style=style, layout=Layout(max_width="380px"))
        last = self.choices.sizes["token"] - 1
        self.token = BoundedIntText(min=0, max=last, description="Token", style=style, layout=Layout(width="150px"))
        self.strip = LiteFigure(lambda dark: token_strip(self.choices, dark=dark), cursor=self.cursor)
        self.figure: LiteFigure | None = None
        self.found: xr.DataArray | None = None
        self._quiet, self._tried = False, ("", -1)
        self.children = [self.strip, HBox([self.layer, self.token], layout=row()), self.told, self.place]
        self.layer.observe(lambda _change: self._chosen(), "value")
        self.token.observe(lambda _change: self._chosen(), "value")
        self._chosen()

    def led(self) -> None:
        """The cursor was moved, by a click on the strip or in another picture."""
        layer, token = self.cursor.layer, self.cursor.token
        self._quiet = True
        if layer in self.layer.options:
            self.layer.value = layer
        if isinstance(token, int | float) and 0 <= token <= self.token.max:
            self.token.value = int(token)
        self._quiet = False
        self._try()

    def _chosen(self) -> None:
        if not self._quiet:
            self.cursor.move(layer=self.layer.value, token=self.token.value)
            self._try()

    def _try(self) -> None:
        """Try every expert for the chosen token, once."""
        if self._tried != (self.layer.value, self.token.value):
            self._tried = (self.layer.value, self.token.value)
            self.in_turn(self._force)

    def _force(self) -> None:
        layer, token = self._tried
        self.found = forced_choice(self.model, self.batch, layer=layer, token=token, loss=self.loss)
        found, noun = self.found, self.found["choice"].attrs.get("long_name", "choice")
        word = f" “{self.choices['text'].values[token]}”" if "text" in self.choices.coords else ""
        self.told.value = message(f"Token {token:,}{word} in {layer}, sent to each {noun} in turn.")

        def draw(dark: bool) -> go.Figure:
            return view(found, dark=dark)

        if self.figure is None:
            self.figure = LiteFigure(draw)
        else:
            self.figure.soon(draw)
        self.place.children = [self.figure]
