"""Pictures in a notebook, one at a time: a list of their names, the choices that each one offers, and the picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ipywidgets import HTML, Dropdown, HBox, Layout, ToggleButtons, VBox

from labkit.errors import LabError
from labkit.widgets.cursor import Cursor
from labkit.widgets.export import export_page
from labkit.widgets.lite_figure import LiteFigure, seen_dark
from labkit.widgets.picture import Picture
from labkit.widgets.words import message, sentence


class PictureBook(VBox):
    """Shows the pictures it was given, in chapters where there are several; choices that two pictures share are kept.

    A picture is drawn when it is turned to; all share the `cursor`. What cannot be drawn is said in a sentence in its place.
    """

    def __init__(self, chapters: Mapping[str, Sequence[Picture]] | None = None, cursor: Cursor | None = None):
        self.cursor = cursor or Cursor()
        self.chapters: dict[str, dict[str, Picture]] = {}
        self.chapter = ToggleButtons(options=[], style={"button_width": "auto"})
        self.view, self.choices = dropdown("View", []), HBox([], layout=row())
        self.says, self.place = HTML(), VBox([])
        self.figure: LiteFigure | None = None
        self._quiet = False
        super().__init__([self.chapter, HBox([self.view, self.choices], layout=row()), self.says, self.place])
        self.chapter.observe(lambda _change: self._open(), "value")
        self.view.observe(lambda _change: self._turn(), "value")
        self.fill(chapters or {})

    @property
    def picture(self) -> Picture | None:
        """The picture that is open, or None."""
        return self.chapters.get(self.chapter.value or "", {}).get(self.view.value or "")

    def fill(self, chapters: Mapping[str, Sequence[Picture]]) -> None:
        """Hold these pictures from now on; the same one stays open where there still is one of its name."""
        self.chapters = {name: {one.name: one for one in pictures} for name, pictures in chapters.items() if pictures}
        names, before = list(self.chapters), self.chapter.value
        self._quiet = True
        self.chapter.options = names
        self.chapter.value = before if before in names else next(iter(names), None)
        self._quiet = False
        self.chapter.layout.display = None if len(names) > 1 else "none"
        self._open()

    def turn_to(self, name: str) -> None:
        """Open the picture of this name, in whichever chapter it stands.

        Raises: LabError when there is none.
        """
        for chapter, pictures in self.chapters.items():
            if name in pictures:
                self.chapter.value, self.view.value = chapter, name
                return
        known = ", ".join(one for pictures in self.chapters.values() for one in pictures)
        raise LabError(f"There is no picture named {name!r} here; there is {known or 'none'}.")

    def redraw(self) -> None:
        """Draw the open picture again: what it shows has changed."""
        if self.picture is not None:
            self._draw()

    def export(
        self, path: Path | str, *, title: str = "Pictures", says: str = "", provenance: Mapping[str, Any] | None = None
    ) -> Path:
        """All pictures, each with its first choices, as one HTML page that needs no network. Returns the path.

        A picture that cannot be drawn is named on the page, with the reason.
        Raises: LabError when no picture can be drawn, or when the file cannot be written.
        """
        drawn: dict[str, Any] = {}
        missing: list[str] = []
        for chapter, pictures in self.chapters.items():
            for name, picture in pictures.items():
                head = name if len(self.chapters) == 1 else f"{chapter}: {name}"
                try:
                    both = {dark: picture.draw(picture.first(), dark) for dark in (False, True)}
                except Exception as error:  # one picture that fails leaves the others
                    missing.append(f"{head} is not here: {sentence(error)}")
                else:
                    drawn[head] = both.__getitem__
        if not drawn:
            raise LabError(f"There is no picture to export. {' '.join(missing)}".strip())
        export_page(drawn, path, title=title, says=" ".join([says, *missing]).strip(), provenance=provenance)
        return Path(path)

    def _open(self) -> None:
        """Offer the pictures of the chosen chapter."""
        if self._quiet:
            return
        names, before = list(self.chapters.get(self.chapter.value or "", {})), self.view.value
        self._quiet = True
        self.view.options = names
        self.view.value = before if before in names else next(iter(names), None)
        self._quiet = False
        self._turn()

    def _turn(self) -> None:
        """Show the chosen picture; choices that it shares with the last one stay as they are."""
        picture = self.picture
        if picture is None or self._quiet:
            return
        self.says.value = message(picture.says)
        boxes, before = [], self.chosen()
        for label, values in picture.choices.items():
            box = dropdown(label, values)
            if before.get(label) in values:
                box.value = before[label]
            box.observe(lambda _change: self._draw(), "value")
            if len(values) < 2:
                box.layout.display = "none"
            boxes.append(box)
        for box in self.choices.children:
            box.close()
        self.choices.children = boxes
        self._draw()

    def chosen(self) -> dict[str, str]:
        """What is chosen now, by label."""
        return {box.description: box.value for box in self.choices.children}

    def _draw(self) -> None:
        picture, chosen = self.picture, self.chosen()
        if picture is None:
            return

        def draw(dark: bool) -> Any:
            return picture.draw(chosen, dark)

        before = self.place.children
        try:
            if picture.html:
                self.place.children = [HTML(draw(seen_dark()))]
            else:
                if self.figure is None:
                    self.figure = LiteFigure(draw, cursor=self.cursor)
                else:
                    self.figure.replace(draw)
                self.place.children = [self.figure]
        except Exception as error:  # the numbers are of anyone's model: what a view makes of them is said here
            self.place.children = [HTML(message(sentence(error), "error"))]
        for one in before:
            if one is not self.figure:
                one.close()


def row() -> Layout:
    """Side by side, and below each other where there is no room."""
    return Layout(flex_flow="row wrap", grid_gap="0 18px")


def dropdown(label: str, values: list[str]) -> Dropdown:
    """A choice with its whole label and as wide as its longest entry."""
    layout = Layout(width="auto", max_width="460px")
    first = values[0] if values else None
    return Dropdown(
        options=values, value=first, description=label, style={"description_width": "initial"}, layout=layout
    )
