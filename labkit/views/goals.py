"""What was promised of the speed, what was measured, and whether the promise was kept, as a table."""

import html
from collections.abc import Mapping, Sequence

from labkit.errors import LabError
from labkit.views.claims import STYLE

SIGNS = {
    "met": ("✓", "shown"),
    "missed": ("✗", "contradicted"),
    "out of reach": ("↑", "out-of-reach"),
    "not measurable": ("–", "out-of-reach"),
}
COLUMNS = ("Promised", "Measured", "Verdict")


def goals(cases: Sequence[Mapping], *, dark: bool = False) -> str:
    """An HTML table with a row for each goal, case by case; a verdict is a sign, a word and a colour.

    It takes its colours from the page around it where the page has any, else `dark` chooses. On a narrow screen each goal
    becomes a block.

    Shapes:
        cases: of a board: `title`, and `goals` with `says`, `verdict`, `measured`, `why`
    Raises:
        LabError: not such a list, a verdict that is none of the four, or no goal at all.
    """
    if isinstance(cases, str | Mapping) or not isinstance(cases, Sequence):
        raise LabError(f"goals needs the cases of a board (board['cases']), and got {type(cases).__name__}.")
    every = [goal for case in cases for goal in case["goals"]]
    if not every:
        raise LabError("goals needs at least one goal, and these cases state none.")
    for goal in every:
        if goal.get("verdict") not in SIGNS:
            raise LabError(f"goals needs verdicts ({', '.join(SIGNS)}), and found {goal.get('verdict')!r}.")
    verdicts = [goal["verdict"] for goal in every]
    tally = ", ".join(f"{verdicts.count(one)} {one}" for one in SIGNS if one in verdicts)
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    body = "".join(_case(case) for case in cases if case["goals"])
    return (
        f'<style>{STYLE}</style><table class="lab-claims{" lab-dark" if dark else ""}">'
        f"<caption>{len(every)} goals: {tally}</caption><thead><tr>{head}</tr></thead>{body}</table>"
    )


def _case(case: Mapping) -> str:
    title = f'<tr><th scope="rowgroup" colspan="3"><strong>{_text(case["title"])}</strong></th></tr>'
    return f"<tbody>{title}{''.join(_row(goal) for goal in case['goals'])}</tbody>"


def _row(goal: Mapping) -> str:
    sign, kind = SIGNS[goal["verdict"]]
    measured = _text(goal.get("measured") or "")
    why = f"<small>{_text(goal['why'])}</small>" if goal.get("why") else ""
    return (
        f'<tr><th scope="row">{_text(goal["says"])}</th><td data-column="{COLUMNS[1]}">{measured}{why}</td>'
        f'<td data-column="{COLUMNS[2]}"><span class="verdict {kind}"><span class="sign" aria-hidden="true">{sign}</span>'
        f"{goal['verdict']}</span></td></tr>"
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def example(seed: int = 0) -> dict:
    """Four goals of an imagined case, one of each verdict; the ratios are random."""
    import numpy as np

    fast, slow = np.random.default_rng(seed).lognormal((3, 0.3), 0.1)
    rows = [
        ("At least 5 times as fast as the official package", "met", f"{fast:.1f} times as fast as official", ""),
        ("At most 1.1 times the time of dense", "missed", f"{slow:.2f} times the time of dense, at batch 1", ""),
        (
            "At least 100 times as fast as dense",
            "out of reach",
            f"{4 * fast:.0f} times as fast as dense",
            f"this machine allows {5 * fast:.0f} times as fast and no more (12 MB at 30 GB/s)",
        ),
        ("Twice as fast as somebody's package", "not measurable", "", "somebody's package is not installed"),
    ]
    made = [dict(zip(("says", "verdict", "measured", "why"), row)) for row in rows]
    return {"cases": [{"title": "Trees", "goals": made}]}
