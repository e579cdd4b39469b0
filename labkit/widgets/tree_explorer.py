"""Explore a tree in a notebook: move through the training, choose a node, see which inputs go left and right there.

Only the step that is shown travels to the browser, so the recording may be as long as it likes. A node is chosen by a
click on it or with the keyboard in the list of nodes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from ipywidgets import HTML, Dropdown, HBox, Layout, Play, SelectionSlider, VBox, jslink

from labkit.errors import LabError
from labkit.views.images import sides
from labkit.views.theme import look
from labkit.views.tree import COLUMNS, tree
from labkit.views.wording import counted
from labkit.widgets.lite_figure import LiteFigure
from labkit.widgets.words import message, sentence

Route = Callable[[int], tuple[Sequence[int], Sequence[int], Sequence[float] | None]]
WHOLE = {"description_width": "initial"}
EACH = 36
"""Images at most on each side."""


class TreeExplorer(VBox):
    """The picture of a tree with a slider over the training and, where inputs are given, what each node does to them.

    Give `model` and `inputs` to see how this model, as it is now, sends these inputs; or give a function
    `route(node) -> (indices that go left, indices that go right, their scores or None)`. `images(indices)` returns the
    inputs as pictures, as the data sets of `labkit.load` do: `images=dataset.images`.

    Shapes: entropy (node) or (step, node) in bits, load (choice) or (step, choice); images(indices) (n, rows, columns)
    uint8; inputs as the model takes them.
    Raises: LabError when the two are not of one tree.
    """

    def __init__(
        self,
        entropy: xr.DataArray,
        load: xr.DataArray,
        model: Any = None,
        images: Callable[[Sequence[int]], np.ndarray] | None = None,
        *,
        inputs: Any = None,
        route: Route | None = None,
    ):
        self.entropy, self.load, self.images = entropy, load, images
        self.route = route or (routes(model, inputs) if model is not None and inputs is not None else None)
        both = set(load["step"].values.tolist()) if "step" in load.dims else set()
        self.steps = steps = (
            [step for step in entropy["step"].values.tolist() if step in both] if "step" in entropy.dims else []
        )
        self.slider = SelectionSlider(
            options=[(f"{step:,}", step) for step in steps or [0]],
            value=steps[-1] if steps else 0,
            description="Training step",
            style=WHOLE,
            layout=Layout(width="min(400px, 100%)"),
        )
        last = max(0, len(steps) - 1)
        self.play = Play(value=last, max=max(1, last), interval=400, show_repeat=False)
        self.node = Dropdown(options=self._names(), description="Node", style=WHOLE, layout=Layout(width="220px"))
        self.told = HTML()
        self.figure = LiteFigure(self._draw)
        self.sides: LiteFigure | None = None
        self.below = VBox([])
        timing = [self.play, self.slider] if last else []
        controls = HBox([*timing, self.node], layout=Layout(flex_flow="row wrap", grid_gap="4px 16px"))
        super().__init__([controls, self.figure, self.told, self.below])
        if last:
            jslink((self.play, "value"), (self.slider, "index"))
        self.slider.observe(lambda _change: self.figure.soon(self._draw), "value")
        self.node.observe(lambda _change: self._chosen(), "value")
        self.figure.on_point(self._clicked)
        self._chosen(redraw=False)

    def _names(self) -> list[tuple[str, int]]:
        if "node" not in self.entropy.dims:
            raise LabError(f"A tree is drawn from an entropy with the axis node, and got {dict(self.entropy.sizes)}.")
        values = self.entropy.transpose(..., "node").values.reshape(-1, self.entropy.sizes["node"])
        seen = np.flatnonzero(np.isfinite(values).any(0))
        count = int(seen.max(initial=0)) + 1
        return [("0, the root", 0)] + [
            (f"{node}, level {(node + 1).bit_length() - 1}", node) for node in range(1, count)
        ]

    def _draw(self, dark: bool) -> go.Figure:
        entropy, load = self.entropy, self.load
        if self.steps:
            entropy, load = entropy.sel(step=self.slider.value), load.sel(step=self.slider.value)
        figure = tree(entropy, load, dark=dark)
        if self.load.sizes["choice"] <= COLUMNS:  # the bars keep one scale from step to step
            figure.update_layout(yaxis2_range=[110 * float(self.load.max()), 0])
        return ringed(figure, self.node.value, dark)

    def _clicked(self, customdata: Any) -> None:
        first = customdata[0] if isinstance(customdata, list) else None  # leaves carry a number, nodes a list
        if first is not None and int(first) in [node for _, node in self.node.options]:
            self.node.value = int(first)

    def _chosen(self, redraw: bool = True) -> None:
        if redraw:
            self.figure.soon(self._draw)
        if self.route is None:
            return
        try:
            self._show_sides(*self.route(self.node.value))
        except Exception as error:  # the model is the user's: whatever it raises is said below the tree
            self.told.value, self.below.children = message(sentence(error), "error"), []

    def _show_sides(self, left: Sequence[int], right: Sequence[int], scores: Sequence[float] | None) -> None:
        left, right = np.asarray(left, dtype=int), np.asarray(right, dtype=int)
        order = ""
        if scores is not None and len(scores) == len(left) + len(right):
            sure = np.abs(np.asarray(scores, dtype=float))
            left, right = left[np.argsort(-sure[: len(left)])], right[np.argsort(-sure[len(left) :])]
            order = "The inputs that are surest of their way come first."
        if self.images is None or not len(left) + len(right):
            came = counted(len(left) + len(right), "input")
            text = f"Node {self.node.value}: {came} come here, {len(left):,} go left and {len(right):,} go right."
            self.told.value, self.below.children = message(text), []
            return
        if len(self.slider.options) > 1:
            order += " The images show what the model does now, whatever step the slider is at."
        self.told.value = message(order.strip()) if order else ""
        node, counts = self.node.value, (len(left), len(right))
        pictures = [picture_rows(self.images, side[:EACH]) for side in (left, right)]

        def draw(dark: bool) -> go.Figure:
            return sides(*pictures, counts=counts, node=node, dark=dark)

        if self.sides is None:
            self.sides = LiteFigure(draw)
        else:
            self.sides.soon(draw)
        self.below.children = [self.sides]


def picture_rows(images: Callable[[Sequence[int]], np.ndarray], rows: np.ndarray) -> xr.DataArray:
    """These inputs as pictures with named axes; none of them is a strip without pictures."""
    pixels = np.asarray(images(rows.tolist())) if len(rows) else np.zeros((0, 1, 1), dtype=np.uint8)
    return xr.DataArray(pixels, dims=("n", "rows", "columns"))


def ringed(figure: go.Figure, node: int, dark: bool) -> go.Figure:
    """The figure of a tree with a ring around one node, where that node is drawn."""
    for trace in figure.data:
        if trace.name not in ("decisions", "idle") or trace.customdata is None or not len(trace.customdata):
            continue
        place = np.flatnonzero(np.asarray(trace.customdata)[:, 0] == node)
        if len(place):
            at = int(place[0])
            marker = {"size": float(trace.marker.size[at]) + 12, "symbol": "circle-open", "color": look(dark).ink}
            marker["line"] = {"width": 3, "color": look(dark).ink}
            ring = go.Scatter(x=[trace.x[at]], y=[trace.y[at]], mode="markers", marker=marker, hoverinfo="skip")
            figure.add_trace(ring.update(name="chosen node", showlegend=False, cliponaxis=False))
            break
    return figure


def routes(model: Any, inputs: Any) -> Route:
    """How the first tree of a model sends these inputs, in evaluation, as a function of the node.

    Raises: NothingRecorded when the model has no tree.
    """
    from labkit.parts.tree import Branching
    from labkit.recording.observe import observe

    seen = observe(model, inputs, Branching).every(Branching)[0]
    nodes = seen.node.flatten(0, -2).cpu().numpy()
    scores = seen.scores.flatten(0, -2).float().cpu().numpy()

    def route(node: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows, places = np.nonzero(nodes == node)
        score = scores[rows, places]
        goes = score >= 0
        return rows[~goes], rows[goes], np.concatenate([score[~goes], score[goes]])

    return route
