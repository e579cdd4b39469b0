"""Everything about a model on some inputs, in a notebook: `ModelView(model, x)` and nothing else is needed.

Measurements that fit the model are taken at once; what takes longer, or asks what would be if, waits in its own tab.
"""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import xarray as xr
from ipywidgets import HTML, Tab, VBox

from labkit.errors import LabError
from labkit.recording.provenance import about, surroundings
from labkit.widgets.attention_explorer import AttentionExplorer
from labkit.widgets.cursor import Cursor
from labkit.widgets.explorer import Explorer, close_all, not_measured
from labkit.widgets.force_explorer import ForceExplorer
from labkit.widgets.inside_pictures import chapters
from labkit.widgets.picture_book import PictureBook
from labkit.widgets.threshold_explorer import ThresholdExplorer
from labkit.widgets.unit_explorer import UnitExplorer
from labkit.widgets.weight_explorer import WeightExplorer
from labkit.widgets.words import message, prose, sentence
from labkit.workbench.inspection import Inspection, inspected
from labkit.workbench.looked_at import Images, looked_at

FORCED, TOKENS = 4, 256
"""So many inputs' tokens can be sent elsewhere, or more while these have fewer tokens than this."""


class ModelView(VBox):
    """What a model's units, layers, attention heads, routers and weights do with these inputs.

    `batch` is what the model takes: a tensor, (x, labels), or a Mapping as tokenizers give it. Of more than 512 inputs that
    many are looked at, evenly. `texts` names the tokens (one list for each input, "" for padding), `images(indices)`, or
    an array of them, gives pictures of the inputs, `classes` are the names of the labels 0, 1, ..., and
    `loss(output, batch)` is needed where the answer is not class scores. All pictures share `cursor`.

    Raises: LabError when the batch is empty, holds NaN or does not fit the model, when texts or pictures do not fit the
    batch, or when nothing in the model can be measured.
    """

    def __init__(
        self,
        model: Any,
        batch: Any,
        *,
        texts: Sequence[Any] | None = None,
        images: Images | None = None,
        loss: Callable[[Any, Any], Any] | None = None,
        classes: Sequence[str] | None = None,
        cursor: Cursor | None = None,
    ):
        self.model, self.loss = model, loss
        self.looked = looked_at(batch, texts=texts, images=images)
        self.cursor = cursor or Cursor()
        self.inspection = found = inspected(model, self.looked, classes=classes)
        self.book = PictureBook(chapters(found), cursor=self.cursor)
        makers: dict[str, Callable[[], Any]] = {"Overview": lambda: self.book}
        if "unit_activity" in found.measurements:
            makers |= {"Units": self._units, "Thresholds": self._thresholds}
        if found.anatomy.of("attention"):
            makers["Attention"] = self._attention
        if "token_choices" in found.measurements:
            makers["What if"] = self._what_if
        if "weight_pattern" in found.measurements:
            makers["Weights"] = lambda: WeightExplorer(model)
        self._makers = list(makers.values())
        self.tabs = Tab([VBox() for _ in makers], titles=list(makers))
        super().__init__([HTML(heading(found)), self.tabs])
        self.tabs.observe(lambda _change: self._open(), "selected_index")
        self.tabs.selected_index = 0
        self._open()

    def turn_to(self, tab: str) -> None:
        """Open a tab by its name: Overview, Units, Thresholds, Attention, What if or Weights.

        Raises: LabError where this model has no such tab.
        """
        if tab not in self.tabs.titles:
            raise LabError(f"There is no tab {tab!r} here; there is {', '.join(self.tabs.titles)}.")
        self.tabs.selected_index = self.tabs.titles.index(tab)

    def export(self, path: Path | str) -> Path:
        """All pictures of the overview as one HTML page, which needs no network and no Python. Returns the path.

        Raises: LabError when the file cannot be written.
        """
        found = self.inspection
        provenance = surroundings() | about(self.model) | {"inputs": found.inputs}
        return self.book.export(path, title=found.model, says=measured_on(found), provenance=provenance)

    def close(self) -> None:
        """Close everything in it."""
        close_all(self)
        super().close()

    def _open(self) -> None:
        """Make the content of the open tab, where that was not done before; only what is seen follows the cursor."""
        opened = self.tabs.selected_index or 0
        place = self.tabs.children[opened]
        if not place.children:
            try:
                place.children = [self._makers[opened]()]
            except Exception as error:  # the model is the user's: whatever it raises is said in the tab
                place.children = [HTML(message(sentence(error), "error"))]
        for number, tab in enumerate(self.tabs.children):
            for one in tab.children:
                if isinstance(one, Explorer) and one.awake != (number == opened):
                    one.wake(number == opened)

    def _units(self) -> UnitExplorer:
        return UnitExplorer(self.model, self.looked, loss=self.loss, cursor=self.cursor)

    def _thresholds(self) -> ThresholdExplorer:
        density: xr.DataArray | None = self.inspection.measurements.get("activation_density")
        return ThresholdExplorer(self.model, self.looked, loss=self.loss, density=density)

    def _attention(self) -> AttentionExplorer:
        return AttentionExplorer(self.model, self.looked, cursor=self.cursor)

    def _what_if(self) -> ForceExplorer:
        starts = self.looked.starts() or range(self.looked.size + 1)
        few = max(FORCED, sum(start <= TOKENS for start in starts) - 1)
        return ForceExplorer(self.model, self.looked.first(few), loss=self.loss, cursor=self.cursor)


def measured_on(found: Inspection) -> str:
    """How many inputs were looked at, in a sentence."""
    inputs = f"{found.inputs:,} input{'s' * (found.inputs != 1)}"
    return f"Measured on {inputs}{f', evenly from {found.of:,}' if found.of > found.inputs else ''}."


def heading(found: Inspection) -> str:
    """What was found in the model, and what was not measured and why, as HTML."""
    count = len(found.anatomy.blocks)
    table = found.anatomy._repr_html_()
    blocks = f"<details><summary>What it is made of ({count} block{'s' * (count != 1)})</summary>{table}</details>"
    remarks = "".join(message(remark, "error") for remark in found.remarks)
    head = f"<h2 style='margin:4px 0; font: inherit; font-size: 22px; font-weight: 600'>{escape(found.model)}</h2>"
    says = f"<p style='margin:2px 0'>{measured_on(found)}</p>"
    return prose(f"{head}{says}{remarks}{blocks}{not_measured(found.left_out)}")
