"""The Runs page: choose runs, lay their curves over each other, see what differs, take the numbers away."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import panel as pn

from labkit.dashboard.background import in_background
from labkit.dashboard.compare import METRIC, PARAMETER, Shelf, differences, recorded, tracked
from labkit.dashboard.download import File, downloads
from labkit.dashboard.gallery import figure_pane
from labkit.dashboard.layout import Session, card, grid, heading, html
from labkit.views.curves import curves
from labkit.workbench.tracking import begun, default_uri

TRACKED, RECORDED = "Tracked runs (an MLflow store)", "Recorded runs that come with the lab"
EMPTY = {
    TRACKED: (
        "<p>No runs are in this store yet. Open a <a href='./study'>study</a> and press “Run it here”; its runs appear here when "
        "it has finished. Runs that any other program logs with MLflow to this address appear here as well.</p>"
    ),
    RECORDED: "<p>No recorded runs lie in <code>assets/runs</code>. <code>./lab study NAME --save</code> makes one.</p>",
}
EACH, MEAN = "each run", "runs that differ in the seed only, as mean and band"
TICKED = 6
ALWAYS = ("name", "started")
COLUMNS = {"name": "Run", "started": "Started", "status": "Status", "params.scale": "Scale"}


class RunsPage:
    """Runs of one place in one session, and the comparison of those that are ticked."""

    def __init__(self, session: Session):
        self.session, self.shelf = session, None
        wide = {"sizing_mode": "stretch_width", "margin": 0}
        places = [TRACKED, RECORDED]
        self.place = pn.widgets.Select(
            label="Which runs",
            options=places,
            value=_first(session.arguments),
            **wide,
        )
        self.uri = pn.widgets.TextInput(
            label="Address of the store", value=session.arguments.get("uri", default_uri()), **wide
        )
        self.load = pn.widgets.Button(label="Open it", color="primary", margin=0, align="end")
        self.message = html("")
        self.table = pn.widgets.Tabulator(
            pd.DataFrame({"name": []}),
            selectable="checkbox",
            disabled=True,
            show_index=False,
            page_size=12,
            pagination="local",
            theme="simple",
            layout="fit_columns",
            row_height=38,
            widths={"name": "36%", "started": 116},
            min_width=0,
            configuration={"columnDefaults": {"headerWordWrap": True, "headerSort": True}},
            visible=False,
            **wide,
        )
        self.metric = pn.widgets.Select(label="Quantity", options=[], **wide)
        self.lines = pn.widgets.Select(label="One line for", options=[EACH, MEAN], **wide)
        self.pane, self.differ = figure_pane(420), html("", margin=(12, 0, 0, 0))
        self.exports = downloads(
            session,
            File("Every value (CSV)", "runs.csv", "text/csv", self.values_csv),
            File("Table (CSV)", "runs-table.csv", "text/csv", self.table_csv),
            File("Curves and table (HTML)", "runs.html", "text/html", self.page_html),
        )
        self.compared = card(
            grid(self.metric, self.lines, columns="repeat(auto-fit, minmax(220px, 420px))", margin=(0, 0, 10, 0)),
            self.pane,
            self.differ,
            self.exports,
            title="Compare",
            hint="Curves of the ticked runs.",
            visible=False,
        )
        self.place.param.watch(lambda _event: self.open(), "value")
        self.load.on_click(lambda _event: self.open())
        self.table.param.watch(lambda _event: self.chosen(), "selection")
        self.metric.param.watch(lambda _event: self.draw(), "value")
        self.lines.param.watch(lambda _event: self.draw(), "value")
        session.param.watch(lambda _event: self.draw(), "dark")
        self.open()

    @property
    def ids(self) -> list[str]:
        """The ids of the ticked runs."""
        return (
            [] if self.shelf is None else [str(self.shelf.table.run_id.iloc[place]) for place in self.table.selection]
        )

    def open(self) -> None:
        """Read the chosen place in the background: a new store takes seconds to set up."""
        self.session.say("")
        self.uri.visible = self.place.value == TRACKED
        self.shelf, self.compared.visible, self.table.visible = None, False, False
        self.message.object = '<p class="message" role="status">Reading the runs…</p>'
        self.load.disabled = True
        place, uri = self.place.value, self.uri.value.strip()

        def done() -> None:
            self.load.disabled = False
            if self.shelf is None:
                self.message.object = ""

        in_background(self.session, lambda: recorded() if place == RECORDED else tracked(uri or None), self.show, done)

    def show(self, shelf: Shelf) -> None:
        """Fill the table, and tick some runs so that there is something to see."""
        self.shelf = shelf
        if not len(shelf.table):
            self.message.object = f'<div class="message">{EMPTY[self.place.value]}</div>'
            return
        self.message.object = f'<p class="soft">{len(shelf.table)} runs. Tick those that you want to compare.</p>'
        self.table.param.update(value=shown(shelf), selection=[], titles=titles(shelf), visible=True)
        self.table.selection = first_choice(shelf)

    def chosen(self) -> None:
        """Other runs were ticked."""
        self.compared.visible = bool(self.ids)
        if self.ids:
            names = self.shelf.metrics(self.ids)
            options = {name.replace("_", " ").capitalize(): name for name in names}
            kept = self.metric.value if self.metric.value in names else next(iter(names), None)
            self.metric.param.update(options=options, value=kept)
            self.draw()

    def draw(self) -> None:
        """Draw the curves and the table of differences."""
        if self.ids and self.metric.value:
            self.session.guarded(self._draw)()

    def _draw(self) -> None:
        self.pane.object = self.figure()
        self.differ.object = differences(self.shelf, self.ids)

    def figure(self, dark: bool | None = None) -> Any:
        """The curves of the ticked runs."""
        values = self.shelf.curves(self.ids, self.metric.value, merged=self.lines.value == MEAN)
        return curves(
            values, across="step", compare="arm", over="seed", dark=self.session.dark if dark is None else dark
        )

    def values_csv(self) -> str:
        """Every value of the ticked runs."""
        return self.shelf.points(self.ids).to_csv(index=False)

    def table_csv(self) -> str:
        """The rows of the ticked runs with all settings and last values."""
        return self.shelf.table[self.shelf.table.run_id.isin(self.ids)].to_csv(index=False)

    def page_html(self) -> str:
        """A page with the curves and the table that needs nothing but a browser."""
        picture = self.figure(dark=False).to_html(full_html=False, include_plotlyjs=True)
        style = "body{font:15px sans-serif;max-width:1100px;margin:24px auto} th,td{padding:6px 12px;text-align:left}"
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Runs</title><style>{style}</style>'
            f"<h1>Compared runs</h1>{picture}{differences(self.shelf, self.ids)}</html>"
        )

    def view(self) -> list[Any]:
        """The contents below the heading."""
        top = grid(
            self.place, self.uri, self.load, columns="minmax(0, 300px) minmax(0, 1fr) auto", narrow="minmax(0, 1fr)"
        )
        return [card(top, title="Where from"), card(self.message, self.table, title="Runs"), self.compared]


def first_choice(shelf: Shelf) -> list[int]:
    """Rows to tick at first: of the newest study one run of each arm, else the newest runs; six at most."""
    table = shelf.table
    if {"params.study", "params.arm"} <= set(table):
        newest = table[table["params.study"] == table["params.study"].iloc[0]]
        table = newest.drop_duplicates("params.arm")
    return [int(place) for place in table.index[:TICKED]]


def shown(shelf: Shelf) -> pd.DataFrame:
    """The columns that people read: name, start, two results, and status and scale where they are not all the same."""
    table = shelf.table
    telling = [name for name in COLUMNS if name in table and (name in ALWAYS or table[name].nunique() > 1)]
    names = telling + [METRIC + name for name in shelf.metrics(list(table.run_id))[:2]]
    found = table[names].copy()
    if "started" in found:
        found["started"] = pd.to_datetime(found["started"]).dt.strftime("%-d %b %H:%M")
    if "status" in found:
        found["status"] = found["status"].str.capitalize()
    return found.round(4)


def _first(arguments: Mapping[str, str]) -> str:
    """What the page opens with: what its address says, else the tracked runs if there are any, else the recorded ones."""
    asked = arguments.get("from") == "tracked" or "uri" in arguments
    return TRACKED if asked or (begun() and arguments.get("from") != "recorded") else RECORDED


def titles(shelf: Shelf) -> dict[str, str]:
    """Column -> what it is called on the page."""
    plain = {
        name: name.removeprefix(METRIC).removeprefix(PARAMETER).replace("_", " ").capitalize() for name in shelf.table
    }
    return {**plain, **COLUMNS}


def build(session: Session) -> list[Any]:
    """The contents of the page; `?uri=...` opens a tracking store at once, `?from=recorded` the recorded runs."""
    lead = "Every run of a study is kept. Lay the curves of several over each other, see what differs, take the numbers away."
    return [heading("Runs", lead), *RunsPage(session).view()]


def title(_session: Session) -> str:
    """The name of the page in the browser's tab."""
    return "Runs"
