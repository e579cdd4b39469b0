"""Leaf through the hidden units of any model in a notebook: what each answers to, how often, what is lost without it."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from ipywidgets import HTML, BoundedIntText, Button, Dropdown, HBox, Layout

from labkit.views.distribution import distribution
from labkit.views.unit_page import unit_page
from labkit.views.unit_text import unit_text
from labkit.views.wording import number, percent
from labkit.widgets.cursor import Cursor
from labkit.widgets.explorer import Explorer
from labkit.widgets.lite_figure import LiteFigure, seen_dark
from labkit.widgets.picture_book import row
from labkit.widgets.words import prose
from labkit.workbench.looked_at import Images
from labkit.workbench.units import UnitFacts, Units

WHOLE = {"description_width": "initial"}


class UnitExplorer(Explorer):
    """Shows one hidden unit at a time: its strongest inputs as images or as painted text, its distribution, and what
    changes in loss and output when it is set to its mean. Works on any model, also one that was trained a minute ago.

    `images(indices)` gives pictures of inputs, as the data sets of `labkit.load` do; `texts` names the tokens, one list
    for each input. `UnitExplorer(model, (x, labels))` measures the loss too. Move with the buttons, the field, or a
    `cursor` that other pictures share (its `layer` and `unit`).

    Raises: NothingRecorded when the model has no block whose hidden units can be read; LabError when batch, texts or
    pictures do not fit.
    """

    def __init__(
        self,
        model: Any,
        batch: Any,
        *,
        images: Images | None = None,
        texts: Sequence[Any] | None = None,
        loss: Callable[[Any, Any], Any] | None = None,
        cursor: Cursor | None = None,
    ):
        self.units = Units(model, batch, images=images, texts=texts, loss=loss)
        super().__init__(cursor, "layer", "unit")
        names = list(self.units.layers)
        self.layer = Dropdown(options=names, description="Layer", style=WHOLE, layout=Layout(max_width="360px"))
        self.unit = BoundedIntText(min=0, max=0, description="Unit", style=WHOLE, layout=Layout(width="140px"))
        self.stronger = Button(description="◀ stronger", layout=Layout(width="110px"))
        self.weaker = Button(description="weaker ▶", layout=Layout(width="110px"))
        self.stronger.tooltip = "The unit of this layer that says a little more on average"
        self.weaker.tooltip = "The unit of this layer that says a little less on average"
        self.figure: LiteFigure | None = None
        self.facts: UnitFacts | None = None
        self._quiet = False
        bar = HBox([self.layer, self.unit, self.stronger, self.weaker], layout=row())
        self.children = [bar, self.told, self.place]
        self.layer.observe(lambda _change: self._opened(), "value")
        self.unit.observe(lambda _change: self._turned(), "value")
        self.stronger.on_click(lambda _button: self.go(-1))
        self.weaker.on_click(lambda _button: self.go(1))
        self._opened()

    def go(self, by: int) -> None:
        """Turn to the unit that many places further in the order of mean activity."""
        order = self.units.order(self.layer.value)
        self.unit.value = order[min(len(order) - 1, max(0, order.index(self.unit.value) + by))]

    def show(self, layer: str, unit: int) -> None:
        """Turn to this unit.

        Raises: LabError for a layer or a unit that is not there.
        """
        self.units.check(layer, unit)
        if (layer, unit) == (self.layer.value, self.unit.value):
            return
        self._quiet = True
        self.layer.value = layer
        self.unit.max = self.units.layers[layer] - 1
        self.unit.value = unit
        self._quiet = False
        self._turned()

    def led(self) -> None:
        """Go to the unit of the shared cursor, where this model has it."""
        layer, unit = self.cursor.layer, self.cursor.unit
        if layer in self.units.layers and isinstance(unit, int) and 0 <= unit < self.units.layers[layer]:
            self.show(layer, unit)

    def _opened(self) -> None:
        """Another layer: begin with its strongest unit."""
        if self._quiet:
            return
        self._quiet = True
        self.unit.max = self.units.layers[self.layer.value] - 1
        self.unit.value = self.units.order(self.layer.value)[0]
        self._quiet = False
        self._turned()

    def _turned(self) -> None:
        if self._quiet:
            return
        self.cursor.move(layer=self.layer.value, unit=self.unit.value)
        self.in_turn(self._draw)

    def _draw(self) -> None:
        self.facts = self.units.facts(self.layer.value, self.unit.value)
        self.told.value = prose(told(self.facts, self.units))
        before = self.place.children
        self.place.children = self._page(self.facts)
        for one in before:
            if one is not self.figure:
                one.close()

    def _page(self, facts: UnitFacts) -> list[Any]:
        if facts.activity is not None:
            return [HTML(unit_text(facts.activity, facts.effect, dark=seen_dark()))]

        def draw(dark: bool) -> go.Figure:
            if facts.images is None:
                return distribution(spread(facts), dark=dark)
            return unit_page(facts.strongest, facts.images, facts.density, facts.effect, dark=dark)

        if self.figure is None:
            self.figure = LiteFigure(draw, cursor=self.cursor)
        else:
            self.figure.soon(draw)
        return [HTML(prose(strongest_list(facts))), self.figure] if facts.images is None else [self.figure]


def spread(facts: UnitFacts) -> xr.DataArray:
    """How often the unit answers how much, as one layer of `activation_density`: (layer, bin)."""
    density = facts.density
    coords = {
        "layer": [f"{facts.layer}, unit {facts.unit}"],
        "centre": (("layer", "bin"), density["bin"].values[None], {"long_name": "activation"}),
        "width": ("layer", [density.attrs["width"]]),
    }
    attrs = {"long_name": "share of activations", "units": "fraction"}
    return xr.DataArray(density.values[None], dims=("layer", "bin"), coords=coords, attrs=attrs)


def told(facts: UnitFacts, units: Units) -> str:
    """Where the unit stands in its layer, how often it is silent, and what could not be measured, as HTML."""
    order = units.order(facts.layer)
    place = f"{order.index(facts.unit) + 1:,} of {len(order):,} by mean activity"
    zeros = float(facts.density.attrs.get("zeros", 0.0))
    silent = f"; exactly zero for {percent(zeros)} of what it sees" if zeros else ""
    note = f" What is lost without it is not known: {escape(facts.note)}" if facts.note else ""
    return f"<b>{escape(facts.layer)}, unit {facts.unit}</b>: {place}{silent}.{note}"


def strongest_list(facts: UnitFacts) -> str:
    """The strongest inputs as a table, for inputs that are neither pictures nor text, and the effect of ablation."""
    effect = f"<p>{effect_words(facts.effect)}</p>" if facts.effect is not None else ""
    if not len(facts.strongest):
        return f"<p>This unit is silent for every input.</p>{effect}"
    known = bool((facts.strongest["input"] >= 0).all())
    which = facts.strongest["input" if known else "place"].values
    head = "Strongest inputs" if known else "Strongest tokens, of those that reach it"
    left = "text-align:left; padding-right: 24px"
    rows = "".join(
        f"<tr><td style='{left}'>{'input' if known else 'token'} {int(place):,}</td><td>{number(value)}</td></tr>"
        for place, value in zip(which, facts.strongest.values)
    )
    return f"<table><tr><th style='{left}'>{head}</th><th>Activation</th></tr>{rows}</table>{effect}"


def effect_words(effect: xr.DataArray) -> str:
    """What changes when the unit is set to its mean, in a sentence."""
    found = dict(zip(effect["quantity"].values.tolist(), effect.values.tolist()))
    parts = []
    if np.isfinite(found.get("loss", np.nan)):
        parts.append(f"the loss by {number(found['loss'])}")
    if np.isfinite(found.get("output", np.nan)):
        parts.append(f"the output by {percent(found['output'])} of its length")
    return f"Set to its mean, this unit changes {' and '.join(parts)}."
