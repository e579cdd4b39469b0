"""What the board says in words and tables, as HTML in which everything that students typed is escaped."""

from html import escape

from labkit.views.wording import counted
from labkit.workshop.classroom.room import Room, Tries

EXERCISES = 16
"""Exercises in the table at once: those that most students are at."""
WRONG = 2
"""Wrong sentences shown of each exercise."""


def join_line(address: str) -> str:
    """What students paste into their notebook."""
    return f'import labkit\nseat = labkit.join("{address}", "your name")\nseat'


def top(address: str, ended: bool) -> str:
    """How to join, in letters that are read from the last row."""
    if ended:
        return '<p class="ended">This class has ended. What was told can still be taken away.</p>'
    return (
        '<p class="how">Join from your notebook: paste this into a cell, and put in your name.</p>'
        f'<pre class="join" tabindex="0" aria-label="the line to join with">{escape(join_line(address))}</pre>'
    )


def people(room: Room, shown: dict[int, str], mode: str, troubles: list[str]) -> str:
    """How many are here, who, and what arrives."""
    with room.lock:
        here, count = room.present(), room.count
    beats = room.beats()
    most = max(max(beats), 1)
    bars = "".join(
        f'<rect x="{at * 4}" y="{40 - 38 * beat / most:.1f}" width="3" height="{38 * beat / most:.1f}"></rect>'
        for at, beat in enumerate(beats)
        if beat
    )
    now = sum(beats[-6:-1]) / 5
    pulse = (
        f'<svg class="pulse" viewBox="0 0 240 40" preserveAspectRatio="none" role="img" '
        f'aria-label="messages in the last minute, {now:.0f} a second now"><line x1="0" y1="40" x2="240" y2="40"></line>'
        f"{bars}</svg>"
    )
    away = len(shown) - len(here)
    gone = f", {away} not reached now" if away else ""
    marks = "".join(
        f'<span class="who{"" if number in here else " away"}">{escape(name)}</span>'
        for number, name in sorted(shown.items(), key=lambda one: one[1].casefold())
        if mode != "none"
    )
    words = "".join(f'<p class="trouble" role="status">{escape(one)}</p>' for one in troubles)
    return (
        f'<div class="here"><p class="count"><strong>{len(here)}</strong> here{gone}</p>{pulse}'
        f'<p class="soft">{counted(count, "message")}, {now:.0f} a second</p></div>'
        f'<div class="names">{marks}</div>{words}'
    )


def checks(room: Room, shown: dict[int, str], mode: str) -> str:
    """Exercises by students: right, wrong, how often tried; beside it what most get wrong."""
    with room.lock:
        order = list(room.checks)
        found = {exercise: dict(by_student) for exercise, by_student in room.checks.items()}
        wrong = {exercise: room.wrong[exercise].most_common(WRONG) for exercise in order}
    kept = set(sorted(order, key=lambda one: -len(found[one]))[:EXERCISES])
    rows = [one for one in order if one in kept]
    if not rows:
        return '<p class="nothing">No exercise was checked yet.</p>'
    seats = sorted(
        {seat for one in rows for seat in found[one]}, key=lambda seat: (shown.get(seat, "").casefold(), seat)
    )
    wide = "" if len(seats) <= 24 else " crowded"
    head = "".join(
        f'<th scope="col" class="seat"><span>{escape(shown.get(seat, "")) if mode != "none" else "·"}</span></th>'
        for seat in seats
    )
    body = "".join(
        f'<tr><th scope="row">{escape(one)}</th><td class="share">{_share(found[one])}</td>'
        f'{"".join(_cell(found[one].get(seat)) for seat in seats)}<td class="wrong">{_wrong(wrong[one])}</td></tr>'
        for one in rows
    )
    more = f'<p class="soft">{len(order) - len(rows)} more exercises are in the files to take away.</p>'
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Checks"><table class="checks{wide}">'
        f'<thead><tr><th scope="col">Exercise</th><th scope="col" class="share">Right</th>{head}'
        f'<th scope="col">What most get wrong now</th></tr></thead><tbody>{body}</tbody></table></div>'
        f"{more if len(order) > len(rows) else ''}"
    )


def _share(by_student: dict[int, Tries]) -> str:
    right = sum(tries.right for tries in by_student.values())
    return f"<strong>{right}</strong> of {len(by_student)}"


def _cell(tries: Tries | None) -> str:
    if tries is None:
        return '<td class="none"><span class="unseen">not tried</span></td>'
    word, mark, kind = ("right", "✓", "right") if tries.right else ("not yet", "✗", "not-yet")
    often = f'<sub aria-hidden="true">{min(tries.count, 99)}</sub>' if tries.count > 1 else ""
    told = f"{word}, {counted(tries.count, 'try', 'tries')}"
    seen = f'<span aria-hidden="true">{mark}</span>{often}<span class="unseen">{told}</span>'
    return f'<td class="{kind}" title="{told}">{seen}</td>'


def _wrong(common: list[tuple[str, int]]) -> str:
    return "".join(
        f"<p><strong>{count}×</strong> {escape(says.removeprefix('Not yet: '))}</p>" for says, count in common if says
    )
