"""Pictures behind buttons: each is drawn when it is first opened, and again when something else is chosen."""

from typing import Any

import panel as pn

from labkit.dashboard.layout import Session, grid, html
from labkit.widgets.picture import Picture

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
            label: pn.widgets.Select(
                label=label, options=values, value=values[0], sizing_mode="stretch_width", margin=0
            )
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
        shown = [*self.picture.controls, *(one for one in self.selects.values() if len(one.options) > 1)]
        columns = "repeat(auto-fit, minmax(170px, 280px))"
        selectors = [grid(*shown, columns=columns, margin=(0, 0, 14, 0))] if shown else []
        says = html(f'<p class="soft">{self.picture.says}</p>', margin=(0, 0, 12, 0))
        return pn.Column(says, *selectors, self.pane, sizing_mode="stretch_width", margin=0)


class Album:
    """Pictures of which one is shown at a time: a row of buttons, and below it the picture of the pressed one."""

    def __init__(self, session: Session):
        self.session = session
        self.frames: dict[str, Frame] = {}
        self.buttons = pn.widgets.RadioButtonGroup(
            options=[], color="default", sizing_mode="stretch_width", margin=0, css_classes=["tabs"]
        )
        self.place = pn.Column(sizing_mode="stretch_width", margin=(14, 0, 0, 0))
        self.buttons.param.watch(lambda _event: self.turned(), "value")

    def fill(self, pictures: list[Picture]) -> None:
        """Hold these pictures from now on; the same one stays open where there still is one of its name."""
        open_now = self.buttons.value
        self.frames = {picture.name: Frame(self.session, picture) for picture in pictures}
        names = list(self.frames)
        self.buttons.param.update(options=names, value=open_now if open_now in names else next(iter(names), None))
        self.turned()

    def turned(self) -> None:
        """Show the picture whose button is pressed."""
        frame = self.frames.get(self.buttons.value)
        if frame:
            frame.open()  # drawn before it is placed: a figure takes the height that its place has then
        self.place[:] = [frame.view()] if frame else []

    def open(self, name: str) -> None:
        """Turn to a picture."""
        if name in self.frames:
            self.buttons.value = name

    def redraw(self, name: str) -> None:
        """Draw a picture again, if it was drawn before."""
        if name in self.frames:
            self.frames[name].draw()

    def view(self) -> pn.Column:
        """The buttons and the open picture."""
        return pn.Column(self.buttons, self.place, sizing_mode="stretch_width", margin=(10, 0, 0, 0))


class Chapters:
    """Pictures in chapters: a row of buttons for the chapters, and an album of the open one."""

    def __init__(self, session: Session):
        self.chapters: dict[str, list[Picture]] = {}
        self.chapter = pn.widgets.RadioButtonGroup(
            options=[], sizing_mode="stretch_width", margin=0, css_classes=["tabs"]
        )
        self.album = Album(session)
        self.chapter.param.watch(lambda _event: self.turned(), "value")

    def fill(self, chapters: dict[str, list[Picture]]) -> None:
        """Hold these pictures from now on."""
        self.chapters = {name: pictures for name, pictures in chapters.items() if pictures}
        names = list(self.chapters)
        self.chapter.param.update(options=names, value=names[0] if names else None)
        self.chapter.visible = len(names) > 1
        self.turned()

    def turned(self) -> None:
        """Another chapter."""
        if self.chapter.value in self.chapters:
            self.album.fill(self.chapters[self.chapter.value])

    def view(self) -> pn.Column:
        """The buttons and the open picture."""
        return pn.Column(self.chapter, self.album.view(), sizing_mode="stretch_width", margin=0)


def gallery(session: Session, pictures: list[Picture]) -> pn.Column:
    """An album that holds the same pictures for good."""
    album = Album(session)
    album.fill(pictures)
    return album.view()
