"""What every page shares: header and navigation, light and dark, large type, cards, chips, and errors as sentences."""

import logging
import re
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from typing import Any

import panel as pn
import param

from labkit.catalogue.words import STAGES, VERDICTS
from labkit.dashboard.visits import arrive
from labkit.errors import LabError
from labkit.views.theme import FONT

FOLDER = Path(__file__).resolve().parent
TYPE = re.compile(r"(\bfont(?:-size)?:[^;}]*?)(\d+(?:\.\d+)?px)")
NAVIGATION = (
    ("papers", "Papers"),
    ("study", "Study"),
    ("look", "Look inside"),
    ("race", "Race"),
    ("runs", "Runs"),
    ("speed", "Speed"),
)
SHAPES = {
    "shown": "✓",
    "contradicted": "✗",
    "inconclusive": "?",
    "out of reach": "–",
    "recorded": "●",
    "built": "◐",
    "planned": "○",
    "not built": "–",
}
log = logging.getLogger(__name__)


def growing(sheet: str) -> str:
    """A stylesheet whose letters grow with `--type`, which presenter mode sets, in every shadow root at once."""
    return TYPE.sub(r"\1calc(\2 * var(--type, 1))", sheet)


PARTS = growing((FOLDER / "parts.css").read_text(encoding="utf-8"))


class House(pn.theme.Design):
    """The look of every widget: one stylesheet on the colours of page.css, so that light and dark switch at once."""

    modifiers = {  # noqa: RUF012 (panel's own convention)
        pn.viewable.Viewable: {"stylesheets": [pn.theme.base.Inherit, PARTS]},
    }
    _themes = {"default": pn.theme.Theme, "dark": pn.theme.Theme}  # noqa: RUF012


class Session(param.Parameterized):
    """One page of one visitor: light or dark, the address it was asked for, and what to stop when it is closed.

    `visit` is what all pages in the same browser share; it outlives each of them.
    """

    dark = param.Boolean(default=False, doc="Whether figures are drawn for a dark page.")

    def __init__(self, arguments: dict[str, str] | None = None, defaults: dict[str, str] | None = None, **params: Any):
        if arguments is None:
            arguments = {name: values[0].decode() for name, values in pn.state.session_args.items()}
        asked = {**(defaults or {}), **arguments}
        chosen = asked.get("theme") or pn.state.cookies.get("labkit-theme", "light")
        super().__init__(dark=chosen == "dark", **params)
        self.arguments = asked
        self.message = pn.pane.HTML("", visible=False, sizing_mode="stretch_width", margin=(0, 0, 18, 0))
        self.visit, leave = arrive()
        self.at_end(leave)

    def say(self, sentence: str, kind: str = "error") -> None:
        """Show a sentence on top of the page; an empty one takes it away."""
        role = "alert" if kind == "error" else "status"
        self.message.object = f'<p class="message {kind}" role="{role}">{escape(sentence)}</p>' if sentence else ""
        self.message.visible = bool(sentence)

    def fail(self, error: BaseException) -> None:
        """Show an error as a sentence."""
        self.say(sentence(error))

    def guarded(self, action: Callable[..., Any]) -> Callable[..., Any]:
        """The same action, with any error shown as a sentence in the page instead of lost in a terminal."""

        def act(*args: Any, **kwargs: Any) -> Any:
            try:
                return action(*args, **kwargs)
            except Exception as error:  # one broken action is said in the page and leaves the page alive
                self.fail(error)
                return None

        return act

    def at_end(self, action: Callable[[], None]) -> None:
        """Call `action` when the page has been closed."""
        if pn.state.curdoc is not None:
            pn.state.on_session_destroyed(lambda _context: action())


def sentence(error: BaseException) -> str:
    """What to tell a person about an error: the lab's own sentence, or what failed where nobody foresaw it."""
    if isinstance(error, LabError):
        return str(error)
    log.error("a page failed", exc_info=error)
    return f"This did not work, and labkit has no better words for it: {type(error).__name__}: {error}"


def page(
    title: Callable[[Session], str],
    here: str,
    build: Callable[[Session], Iterable[Any]],
    session: Session,
):
    """A whole page: header, navigation, and what `build` returns, or a sentence where it raises."""
    contents = session.guarded(build)(session)
    shown_title = title(session) if contents is not None else "Not shown"
    if contents is None:
        contents = [
            heading("This page cannot be shown", 'The reason is above. <a href="./papers">Back to the papers</a>')
        ]
    theme = pn.widgets.Checkbox(label="theme", value=session.dark)
    theme.link(session, value="dark")
    main = pn.Column(session.message, *contents, sizing_mode="stretch_width", css_classes=["stack"], margin=0)
    framed = pn.Template((FOLDER / "page.html").read_text(encoding="utf-8"), design=House)
    framed.add_panel("theme", theme)
    framed.add_panel("main", main)
    for name, value in {
        "page_title": shown_title,
        "here": here,
        "dark": session.dark,
        "font": FONT,
        "navigation": NAVIGATION,
        "page_css": growing((FOLDER / "page.css").read_text(encoding="utf-8")),
        "presenter_script": (FOLDER / "presenter.js").read_text(encoding="utf-8"),
    }.items():
        framed.add_variable(name, value)
    return framed


def heading(title: str, lead: str, above: str = "") -> pn.pane.HTML:
    """The top of a page: its name, and one sentence on what can be done here. `lead` and `above` are HTML."""
    crumbs = f'<p class="crumbs">{above}</p>' if above else ""
    text = f'{crumbs}<h1>{escape(title)}</h1><p class="lead">{lead}</p>'
    return pn.pane.HTML(text, sizing_mode="stretch_width", margin=(0, 0, 20, 0))


def card(*contents: Any, title: str = "", hint: str = "", **params: Any) -> pn.Column:
    """A box with a title and a sentence of explanation. `hint` is HTML."""
    top = []
    if title:
        told = f'<p class="soft">{hint}</p>' if hint else ""
        top = [html(f"<h2>{escape(title)}</h2>{told}", margin=(0, 0, 10, 0))]
    settings = {"sizing_mode": "stretch_width", "margin": (0, 0, 20, 0), **params}
    return pn.Column(*top, *contents, css_classes=["card-box"], **settings)


def grid(*contents: Any, columns: str, narrow: str = "", gap: str = "14px 16px", **params: Any) -> pn.Column:
    """Things side by side, `columns` as in CSS grid-template-columns, `narrow` the same below 800 pixels."""
    sheet = ".scroll-button { display: none; }"
    sheet += f":host {{ display: grid !important; grid-template-columns: {columns}; gap: {gap}; align-items: start; }}"
    if narrow:
        sheet += f"@media (max-width: 800px) {{ :host {{ grid-template-columns: {narrow}; }} }}"
    settings = {"sizing_mode": "stretch_width", "margin": 0, **params}
    return pn.Column(*contents, stylesheets=[sheet], **settings)


def html(text: str, **params: Any) -> pn.pane.HTML:
    """A piece of HTML over the whole width."""
    return pn.pane.HTML(text, **{"sizing_mode": "stretch_width", "margin": 0, **params})


def chip(code: str, text: str = "") -> str:
    """A status or a verdict as a word with a shape and a colour."""
    word = text or VERDICTS.get(code) or STAGES.get(code, code)
    shape = f'<span aria-hidden="true">{SHAPES.get(code, "")}</span>'
    return f'<span class="chip {code.replace(" ", "-")}">{shape}{escape(word)}</span>'
