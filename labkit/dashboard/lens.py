"""The lens of the Look inside page: one input, one layer, and what the layer makes of the input."""

import base64
import io
from html import escape
from typing import Any

import numpy as np
import panel as pn
import torch
import xarray as xr
from torch.nn import functional as F

from labkit.dashboard.gallery import Album
from labkit.dashboard.inside import Tree, activation, by_class, choices, layers, recorded, side_by_side, tree_of
from labkit.dashboard.layout import Session, card, grid, html
from labkit.dashboard.subject import Subject
from labkit.parts.gate import Routing
from labkit.parts.tree import Branching
from labkit.views.heatmap import heatmap
from labkit.views.images import sides
from labkit.views.tree import tree
from labkit.views.usage import usage
from labkit.widgets.picture import Picture

ANY = "any class"
MANY = 40
TOP = 5


class Lens:
    """Controls for one subject, and the pictures of the input and the layer that are chosen."""

    def __init__(self, session: Session, subject: Subject):
        self.session, self.subject = session, subject
        model, x = subject.model, subject.x
        self.layers = layers(model, x)
        self.hard, self.soft = recorded(model, x, (Routing, Branching)), recorded(model, x, Branching, soft=True)
        self.output = recorded(model, x)[""]
        self.rows = subject.rows()
        labels = {f"{name or 'the whole model'}: {words}": name for name, words in self.layers.items()}
        gates = [name for name in self.layers if name in self.hard]
        first = next((name for name in gates if isinstance(self.first(name), Routing)), next(iter(gates), ""))
        settings = {"sizing_mode": "stretch_width", "margin": (0, 0, 12, 0)}
        known = [name for name in subject.classes if subject.labels is not None and subject.rows(name)]
        self.of = pn.widgets.Select(label="Class", options=[ANY, *known], visible=bool(known), **settings)
        self.index = pn.widgets.IntSlider(label="Input", start=0, end=len(x) - 1, value=0, **settings)
        self.layer = pn.widgets.Select(
            label="Layer", options=labels, value=first, sizing_mode="stretch_width", margin=0
        )
        self.picture, self.answer = html(""), html("", margin=(14, 0, 0, 0))
        self.album = Album(session)
        self.node = pn.widgets.Select(label="Node", options=[0], sizing_mode="stretch_width", margin=0)
        self.tree: Tree | None = None
        self.of.param.watch(lambda _event: self.narrow(), "value")
        self.index.param.watch(lambda _event: self.moved(), "value")
        self.layer.param.watch(lambda _event: self.changed(), "value")
        self.node.param.watch(lambda _event: self.album.redraw("Node by node"), "value")
        session.guarded(self.changed)()
        session.guarded(self.moved)()

    @property
    def row(self) -> int:
        """The place of the chosen input in the subject's inputs."""
        return self.rows[min(self.index.value, len(self.rows) - 1)]

    def narrow(self) -> None:
        """Only inputs of the chosen class."""
        self.rows = self.subject.rows("" if self.of.value == ANY else self.of.value)
        self.index.param.update(end=max(1, len(self.rows) - 1), value=0)
        self.session.guarded(self.moved)()

    def moved(self) -> None:
        """Another input: its picture, the model's answer, and the pictures that depend on it."""
        self.picture.object, self.answer.object = picture(self.subject, self.row), self.answers()
        self.album.redraw("This input")

    def changed(self) -> None:
        """Another layer: the pictures that it allows, the most telling one first."""
        name = self.layer.value
        self.tree = tree_of(self.hard, self.soft, name)
        draws = {"This input": self.draw_activation, "Many inputs": self.draw_many}
        if isinstance(self.first(name), Routing) and self.subject.labels is not None:
            draws = {"Choices by class": self.draw_usage, **draws}
        if self.tree is not None:
            self.node.options = list(range(len(self.tree.entropy)))
            sides = {"Node by node": self.draw_sides} if self.subject.images is not None else {}
            draws = {"Tree": self.draw_tree, **sides, **draws}
        controls = {"Node by node": (self.node,)}
        self.album.fill([Picture(one, SAYS[one], draw, {}, controls.get(one, ())) for one, draw in draws.items()])
        if "Tree" in draws:
            self.album.frames["Tree"].pane.param.watch(self.clicked, "click_data")
        self.answer.object = self.answers()

    def clicked(self, event: Any) -> None:
        """A node of the tree was clicked: show which inputs go left and right there."""
        points = (event.new or {}).get("points", [])
        numbers = points[0].get("customdata") if points else None
        number = numbers[0] if isinstance(numbers, list) else numbers
        if isinstance(number, int | float) and int(number) in self.node.options:
            self.node.value = int(number)
            self.album.open("Node by node")

    def first(self, name: str) -> Any:
        """What the gate of this name returned for all inputs; None where it is no gate."""
        return self.hard.calls(name)[0] if name in self.hard else None

    def draw_activation(self, _chosen: dict, dark: bool) -> Any:
        values = activation(self.subject.model, self.subject.x[[self.row]], self.layer.value)
        drawn = heatmap(values, dark=dark)
        return drawn.update_layout(height=min(drawn.layout.height, 230 + 60 * len(values)))

    def draw_many(self, _chosen: dict, dark: bool) -> Any:
        rows = spread(self.subject)
        names = [f"{self.subject.label(row)} #{row}".strip() for row in rows]
        return heatmap(side_by_side(self.subject.model, self.subject.x[rows], self.layer.value, names), dark=dark)

    def draw_usage(self, _chosen: dict, dark: bool) -> Any:
        shares = by_class(self.hard, self.layer.value, self.subject.labels, self.subject.classes)
        if self.tree is not None:
            return usage(shares, dark=dark)
        within = (100 * shares / shares.sum("choice")).transpose("class", "choice")
        within["choice"].attrs["long_name"] = "choice"
        return heatmap(within.assign_attrs(long_name="where each class goes", units="% of the class"), dark=dark)

    def draw_tree(self, _chosen: dict, dark: bool) -> Any:
        return tree(self.tree.entropy, self.tree.load, dark=dark)

    def draw_sides(self, _chosen: dict, dark: bool) -> Any:
        node = self.node.value
        rows = self.tree.sides(node)
        left, right = (xr.DataArray(self.subject.images(side[:MANY]), dims=("n", "rows", "columns")) for side in rows)
        return sides(left, right, counts=(len(rows[0]), len(rows[1])), node=node, dark=dark)

    def answers(self) -> str:
        """What the model answers to the input, and what the layer chose for it, as bars."""
        parts = []
        if self.output.ndim == 2 and self.output.shape[1] > 1:
            shares = F.softmax(self.output[self.row].float(), -1)
            best = torch.topk(shares, min(TOP, len(shares)))
            pairs = [(self.subject.named(int(place)), float(share)) for share, place in zip(*best)]
            parts.append("<h3>The model’s answer</h3>" + bars(pairs))
        if isinstance(self.first(self.layer.value), Routing):
            kind = "leaf" if self.tree is not None else "choice"
            chosen = [(f"{kind} {number}", share) for number, share in choices(self.hard, self.layer.value, self.row)]
            parts.append("<h3>What this layer chose</h3>" + bars(chosen[:TOP]))
        if self.tree is not None:
            parts.append("<h3>Its way down the tree</h3>" + way(self.tree, self.row))
        return "<br>".join(parts)

    def view(self) -> list[Any]:
        """The input on the left, the layer on the right."""
        says = html(f'<p class="soft">{escape(self.subject.says)}</p>', margin=(0, 0, 12, 0))
        chosen = card(says, self.of, self.index, self.picture, self.answer, title="Input")
        layer = card(self.layer, self.album.view(), title="Layer")
        return [grid(chosen, layer, columns="minmax(0, 320px) minmax(0, 1fr)", narrow="minmax(0, 1fr)", gap="0 20px")]


SAYS = {
    "This input": "What the layer returns for the chosen input. Long rows of numbers are folded; channels are tiles.",
    "Many inputs": "One row an input, grouped by class: columns that differ between classes tell them apart.",
    "Choices by class": "Where the layer sends the inputs of each class.",
    "Tree": "Discs are decisions, from decided to a coin toss; bars are the share of inputs in each leaf. Click a disc.",
    "Node by node": "Inputs that go left and right at this node. What do the inputs on one side have in common?",
}


def spread(subject: Subject) -> list[int]:
    """Some inputs of every class, class by class; the first ones where classes are not known."""
    if subject.labels is None or not subject.classes:
        return list(range(min(MANY, len(subject.x))))
    each = max(1, MANY // len(subject.classes))
    return [row for name in subject.classes for row in subject.rows(name)[:each]]


def picture(subject: Subject, row: int) -> str:
    """The input as an image with its class, as HTML; its number and size where it is no picture."""
    label = subject.label(row)
    told = f"<p><strong>{escape(label)}</strong> <span class='soft'>#{row}</span></p>" if label else f"<p>#{row}</p>"
    if subject.texts is not None:
        words = "".join(subject.texts[row])
        return f"{told}<p class='soft'>{escape(words)}</p>"
    if subject.images is None:
        size = " × ".join(map(str, subject.x.shape[1:]))
        return f"{told}<p class='soft'>{size} numbers; this data has no picture.</p>"
    return f'{told}<img class="pixels" alt="Input {row}, {escape(label or "unlabelled")}" src="{png(subject.images([row])[0])}">'


def png(pixels: np.ndarray) -> str:
    """Grey values (rows, columns) uint8 as the address of an image that lies in the page."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def bars(pairs: list[tuple[str, float]]) -> str:
    """Shares as labelled bars."""
    return "".join(
        f'<div class="bar"><span>{escape(name)}</span><span class="track"><span class="fill" '
        f'style="display:block;width:{100 * share:.1f}%"></span></span><span class="value">{100 * share:.1f} %</span></div>'
        for name, share in pairs
    )


def way(found: Tree, row: int) -> str:
    """An input's decisions, from the root to its leaf, in words."""
    turns = [f"node {node}: {'right' if right else 'left'} ({score:+.1f})" for node, right, score in found.path(row)]
    leaf = int(found.leaf[row])
    share = float(found.load[leaf])
    steps = "".join(f"<li>{turn}</li>" for turn in turns)
    return f'<ol class="soft">{steps}</ol><p>It ends in leaf {leaf}, with {100 * share:.1f} % of all inputs.</p>'
