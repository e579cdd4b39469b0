"""The Speed page: which promises about speed are kept, every race, where methods start to lose, and who is correct."""

from collections.abc import Mapping
from html import escape
from typing import Any

import panel as pn
import plotly.graph_objects as go

from labkit.dashboard.gallery import Frame, gallery
from labkit.dashboard.layout import Session, card, heading, html
from labkit.dashboard.racing import Racing
from labkit.views.goals import goals
from labkit.widgets.picture import Chosen, Picture
from labkit.workbench.scoreboard.goals import missing_in_words
from labkit.workbench.scoreboard.machine import limits_in_words, origin
from labkit.workbench.scoreboard.saved import BOARD, CONTRACT, CROSSOVER, saved

NOTHING = {
    BOARD: "No board is saved yet. Press “Measure here” below, or run <code>./lab bench all --save</code>.",
    CROSSOVER: "No crossover is saved yet. Choose it below and press “Measure here”, or run "
    "<code>./lab bench crossover --save</code>.",
    CONTRACT: "No correctness board is saved yet; <code>./lab bench contract --save</code> makes one.",
}
FLOOR = (
    "A time alone says little: the <strong>floor</strong> is what this machine needs for the least work, measured in the "
    "same run, however it is programmed. Times of different machines cannot be compared, times of one run can."
)
PALE = "Blue is faster than dense, orange is slower, pale is equally fast. The thick line is break-even."


class SpeedPage:
    """The saved boards in one session, then whatever was measured here last."""

    def __init__(self, session: Session):
        self.session = session
        self.board = pn.Column(sizing_mode="stretch_width", margin=0)
        self.crossover = pn.Column(sizing_mode="stretch_width", margin=0)
        for name in (BOARD, CROSSOVER):
            self.show(name, session.guarded(saved)(name), fresh=False)
        self.racing = Racing(session, lambda name, found: self.show(name, found, fresh=True))

    def show(self, name: str, found: Mapping[str, Any] | None, fresh: bool) -> None:
        """Show this board in the place of the one before."""
        if name == BOARD:
            self.board[:] = board_cards(self.session, found, fresh)
        else:
            self.crossover[:] = [crossover_card(self.session, found, fresh)]

    def view(self) -> list[Any]:
        """The contents below the heading."""
        contract = self.session.guarded(saved)(CONTRACT)
        return [self.board, self.crossover, self.racing.view(), contract_card(self.session, contract)]


def whose(fresh: bool) -> str:
    """Whether this is the saved board or one's own."""
    return "Your run, a moment ago." if fresh else "The saved run."


def board_cards(session: Session, board: Mapping[str, Any] | None, fresh: bool) -> list[Any]:
    """Two cards: the promises with their verdicts, and the races."""
    if board is None or not board["cases"]:
        return [
            card(html(f'<p class="message">{NOTHING[BOARD]}</p>'), title="What was promised, and what was measured")
        ]
    cases = board["cases"]
    few = " Only a few sizes of each case were measured." if board["made"]["quick"] else ""
    hint = f"{whose(fresh)}{few} A promise is kept where it holds at every size it is for; the number is the worst of them."
    limits = " ".join(map(escape, limits_in_words(board["ceilings"])))
    pictures = [race_picture(case) for case in cases if any_time(case)]
    return [
        card(
            html(f'{verdicts(cases)}<p class="soft">{escape(missing_in_words(cases))}</p>'),
            html(provenance(board["made"]), margin=(14, 0, 0, 0)),
            title="What was promised, and what was measured",
            hint=hint,
        ),
        card(
            *([gallery(session, pictures)] if pictures else [html("<p>Nothing could be timed.</p>")]),
            html(f'<p class="soft">{limits}</p>{failures(cases)}', margin=(10, 0, 0, 0)),
            title="The races",
            hint=FLOOR,
        ),
    ]


def verdicts(cases: list[Mapping[str, Any]]) -> str:
    """The promises that could be measured as a table, the others folded away below it."""

    def some(measurable: bool) -> list[dict[str, Any]]:
        return [
            {**case, "goals": [one for one in case["goals"] if (one["verdict"] != "not measurable") == measurable]}
            for case in cases
        ]

    known, unknown = some(True), some(False)
    count = sum(len(case["goals"]) for case in unknown)
    table = goals(known) if any(case["goals"] for case in known) else "<p>No promise could be measured.</p>"
    more = f"{count} more could not be measured here, and why" if count else ""
    return table + (f"<details><summary>{more}</summary>{goals(unknown)}</details>" if count else "")


def any_time(case: Mapping[str, Any]) -> bool:
    """Whether anything of this case was timed."""
    return any("median" in times for row in case["rows"] for times in row["contestants"].values())


def race_picture(case: Mapping[str, Any]) -> Picture:
    """A case as dots on an axis of time."""

    def draw(_chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.speed_board import speed_board
        from labkit.workbench.scoreboard.arrays import times_array

        return speed_board(times_array(case), dark=dark)

    clocks = " / ".join(dict.fromkeys(row["clock"] for row in case["rows"]))
    return Picture(case["title"], escape(f"{case['says']} Measured: {clocks}."), draw)


def failures(cases: list[Mapping[str, Any]]) -> str:
    """Who failed, with the sentence; nothing where nobody did."""
    said = {
        (case["title"], name, times["error"]): None
        for case in cases
        for row in case["rows"]
        for name, times in [
            *row["contestants"].items(),
            ("this size", {"error": row["error"]} if row.get("error") else {}),
        ]
        if "error" in times
    }
    rows = "".join(f"<li>{escape(title)}, {escape(name)}: {escape(error)}</li>" for title, name, error in said)
    return f"<details><summary>{len(said)} could not be timed</summary><ul>{rows}</ul></details>" if said else ""


def crossover_card(session: Session, found: Mapping[str, Any] | None, fresh: bool) -> Any:
    """Where each method starts to lose."""
    title = "Where a method starts to lose"
    if found is None:
        return card(html(f'<p class="message">{NOTHING[CROSSOVER]}</p>'), title=title)
    pictures = [grid_picture(grid) for grid in found["grids"] if any(one for line in grid["ratio"] for one in line)]
    wrong = "".join(
        f"<p>{escape(grid['title'])}: {escape(grid['error'])}</p>" for grid in found["grids"] if grid.get("error")
    )
    return card(
        *([gallery(session, pictures)] if pictures else []),
        html(wrong + provenance(found["made"]), margin=(14, 0, 0, 0)),
        title=title,
        hint=f"{whose(fresh)} A tree or a mixture has an overhead that only pays from some size on. {PALE}",
    )


def grid_picture(grid: Mapping[str, Any]) -> Picture:
    """A method against dense, over two sizes."""

    def draw(_chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.crossover import crossover
        from labkit.workbench.scoreboard.arrays import crossover_array

        return crossover(crossover_array(grid), dark=dark)

    return Picture(grid["title"], escape(grid["says"]), draw)


def contract_card(session: Session, found: Mapping[str, Any] | None) -> Any:
    """Speed is worth nothing where the answer is wrong: who keeps the layer contract."""
    title = "Who is correct"
    if found is None or not found["layers"]:
        return card(html(f'<p class="message">{NOTHING[CONTRACT]}</p>'), title=title)

    def draw(_chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.contract_board import contract_board

        return contract_board(found["layers"], dark=dark)

    failed = [
        (layer, check, said)
        for layer in found["layers"]
        for check, said in layer["checks"].items()
        if said != "passed" and not said.startswith("exempt")
    ]
    rows = "".join(
        f'<tr><th scope="row">{escape(layer["name"])}<br><small>{escape(layer["package"])}</small></th>'
        f"<td>{escape(check)}</td><td>{escape(said)}</td></tr>"
        for layer, check, said in failed
    )
    head = "<tr><th>Layer</th><th>Check</th><th>What failed</th></tr>"
    table = f'<div class="scroll"><table class="plain">{head}{rows}</table></div>'
    words = f"<details><summary>{len(failed)} failures in words</summary>{table}</details>" if failed else ""
    absent = "".join(f"<li>{escape(one['name'])}: {escape(one['why'])}</li>" for one in found.get("absent", ()))
    absent = f"<details><summary>Not checked</summary><ul>{absent}</ul></details>" if absent else ""
    says = "Hover over a cell for the sentence; below the picture all of them stand as a table."
    hint = "The same checks of the layer contract, run on our layers and on those of packages that people would install instead."
    frame = Frame(session, Picture("Checks by layer", says, draw))
    least = 230 + 28 * len(found["layers"])  # pixels; a narrow screen scrolls it, which Panel must not know
    frame.pane.stylesheets = [f":host {{ min-width: {least}px !important; }}"]
    frame.open()
    wide = pn.Column(
        frame.view(), sizing_mode="stretch_width", margin=0, styles={"overflow-x": "auto", "min-width": "0"}
    )
    return card(
        wide,
        html(words + absent, margin=(10, 0, 0, 0)),
        title=title,
        hint=hint,
    )


def provenance(made: Mapping[str, Any]) -> str:
    """Where a board comes from."""
    return f'<p class="provenance soft"><strong>Where this comes from:</strong> {escape(origin(made))}</p>'


def build(session: Session) -> list[Any]:
    """The contents of the page."""
    lead = (
        "How fast the layers are on this machine, against others and against what the hardware allows; each promise with "
        "its verdict."
    )
    return [heading("Speed", lead), *SpeedPage(session).view()]


def title(_session: Session) -> str:
    """The name of the page in the browser's tab."""
    return "Speed"
