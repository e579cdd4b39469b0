"""The pictures of a run as tabs: each is drawn when its tab is opened, and again when something else is chosen."""

from typing import Any

import panel as pn

from labkit.dashboard.layout import Session, grid, html
from labkit.dashboard.pictures import Picture

SETTINGS = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}


def figure_pane(height: int = 460, **params: Any) -> pn.pane.Plotly:
    """An empty place for a figure."""
    return pn.pane.Plotly(
        None, config=SETTINGS, sizing_mode="stretch_width", height=height, margin=0, link_figure=False, **params
    )


class Frame:
    """One picture with its selectors. Nothing is drawn before `open` is called."""

    def __init__(self, session: Session, picture: Picture):
        self.session, self.picture, self.opened = session, picture, False
        self.selects = {
            label: pn.widgets.Select(name=label, options=values, value=values[0], sizing_mode="stretch_width", margin=0)
            for label, values in picture.choices.items()
        }
        self.pane = figure_pane()
        for select in self.selects.values():
            select.param.watch(lambda _event: self.draw(), "value")
        session.param.watch(lambda _event: self.draw(), "dark")

    def open(self) -> None:
        """Draw it, if that was not done before."""
        if not self.opened:
            self.opened = True
            self.draw()

    def draw(self) -> None:
        """Draw the picture for what is chosen now."""
        if self.opened:
            self.session.guarded(self._draw)()

    def _draw(self) -> None:
        chosen = {label: select.value for label, select in self.selects.items()}
        figure = self.picture.draw(chosen, self.session.dark)
        if figure.layout.height:
            self.pane.height = int(figure.layout.height)
        self.pane.object = figure

    def view(self) -> pn.Column:
        """The sentence, the selectors with more than one choice, and the figure."""
        shown = [select for select in self.selects.values() if len(select.options) > 1]
        columns = "repeat(auto-fit, minmax(170px, 280px))"
        selectors = [grid(*shown, columns=columns, margin=(0, 0, 14, 0))] if shown else []
        says = html(f'<p class="soft">{self.picture.says}</p>', margin=(0, 0, 12, 0))
        return pn.Column(says, *selectors, self.pane, sizing_mode="stretch_width", margin=0)


def gallery(session: Session, pictures: list[Picture]) -> pn.Tabs:
    """Tabs of pictures, the first one open."""
    frames = [Frame(session, picture) for picture in pictures]
    tabs = pn.Tabs(
        *((frame.picture.name, frame.view()) for frame in frames),
        dynamic=True,
        sizing_mode="stretch_width",
        margin=0,
    )
    tabs.param.watch(lambda event: frames[event.new].open(), "active")
    if frames:
        frames[0].open()
    return tabs


