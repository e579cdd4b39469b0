"""What a teacher can do with a class: say something, take it away, clear it, end it. What cannot be undone asks twice."""

from collections.abc import Callable

import panel as pn

from labkit.dashboard.layout import Session, card, html
from labkit.workshop.classroom.classroom import NOTICE, Classroom
from labkit.workshop.classroom.plain_text import cleaned, shortened

TAKE = '<p><a class="take" href="./class.csv" download>Everything as CSV</a> · {page}</p>'


def orders(session: Session, classroom: Classroom, names: pn.widgets.RadioButtonGroup) -> pn.Column:
    """The card at the foot of the board."""
    notice = pn.widgets.TextInput(
        label="Say something to every notebook", max_length=NOTICE, sizing_mode="stretch_width", margin=0
    )
    send = pn.widgets.Button(label="Say it", margin=0, align="end")
    done, take = html("", margin=(10, 0, 0, 0)), html("")

    def say(_event: object) -> None:
        text = shortened(cleaned(notice.value_input or notice.value or ""), NOTICE)
        if text:
            classroom.say("notice", {"says": text})
            notice.value = notice.value_input = ""
            done.object = '<p class="soft" role="status">Said.</p>'

    def offer(_event: object = None) -> None:
        page = f'<a class="take" href="./class.html?names={names.value}" download>The pictures as one HTML page</a>'
        take.object = TAKE.format(page=page)

    def clear() -> str:
        classroom.clear()
        return "Cleared: everything that was told is gone from this board and from the class's file."

    def end() -> str:
        classroom.end()
        return "The class has ended. Ctrl-C in the terminal closes it; until then it can be taken away."

    send.on_click(session.guarded(say))
    notice.param.watch(session.guarded(say), "enter_pressed") if "enter_pressed" in notice.param else None
    names.param.watch(offer, "value")
    offer()
    serious = [
        asked_twice(session, "Clear what was told", "Yes, clear it for good", clear, done),
        asked_twice(session, "End the class", "Yes, end it for everyone", end, done),
    ]
    return card(
        pn.Row(html("<p>How students are called:</p>", width=190, sizing_mode=None), names, margin=(0, 0, 14, 0)),
        pn.Row(notice, send, sizing_mode="stretch_width", margin=(0, 0, 14, 0)),
        take,
        pn.FlexBox(*serious, margin=(6, 0, 0, 0)),
        done,
        title="For whoever teaches",
        hint="Only this browser sees this page. Names in the HTML page are as chosen here; the CSV has them in full.",
    )


def asked_twice(session: Session, label: str, sure: str, act: Callable[[], str], done: pn.pane.HTML) -> pn.Row:
    """A button that asks before it acts."""
    first = pn.widgets.Button(label=label, color="danger", margin=(0, 10, 0, 0))
    yes = pn.widgets.Button(label=sure, color="danger", margin=(0, 10, 0, 0), visible=False)
    no = pn.widgets.Button(label="No", margin=(0, 10, 0, 0), visible=False)

    def ask(asking: bool) -> None:
        first.visible, yes.visible, no.visible = not asking, asking, asking

    def go(_event: object) -> None:
        ask(False)
        done.object = f'<p class="message done" role="status">{act()}</p>'

    first.on_click(lambda _event: ask(True))
    no.on_click(lambda _event: ask(False))
    yes.on_click(session.guarded(go))
    return pn.Row(first, yes, no, margin=0)
