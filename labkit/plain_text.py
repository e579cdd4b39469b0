"""Studies and runs for a terminal: one line of progress, and tables that fit its width."""

import shutil
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import Any, TextIO

LEAST = 16
"""Characters below which a column of sentences cannot be read."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """A table whose cells wrap so that no line is wider than the terminal; on a narrow one, a block for each row."""
    width = width or shutil.get_terminal_size().columns
    widths = _widths([list(head), *map(list, rows)], width)
    wanted = [max(map(len, column)) for column in zip(head, *rows)]
    if any(has < min(LEAST, wants) for has, wants in zip(widths, wanted)):
        return "\n\n".join(_block(head, row, width) for row in rows)
    lines = [_wrapped(head, widths), "  ".join("-" * space for space in widths)]
    return "\n".join([*lines, *(_wrapped(row, widths) + "\n" * (len(rows) > 1) for row in rows)]).rstrip()


def _widths(rows: list[list[str]], width: int) -> list[int]:
    """Columns as wide as their longest cell; where that is too much, the widest give way first."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    least = [max(len(word) for cell in column for word in cell.split() or [""]) for column in zip(*rows)]
    room = width - 2 * (len(widths) - 1)
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda place: (widths[place] > least[place], widths[place]))
        if widths[widest] <= 1:
            break
        widths[widest] -= 1
    return widths


def _wrapped(cells: Sequence[str], widths: Sequence[int]) -> str:
    columns = [textwrap.wrap(cell, space) or [""] for cell, space in zip(cells, widths)]
    height = max(map(len, columns))
    filled = [column + [""] * (height - len(column)) for column in columns]
    lines = ("  ".join(f"{part:{space}}" for part, space in zip(line, widths)) for line in zip(*filled))
    return "\n".join(line.rstrip() for line in lines)


def _block(head: Sequence[str], cells: Sequence[str], width: int) -> str:
    return "\n".join(
        textwrap.fill(f"{name}: {cell}", max(width, 20), subsequent_indent="  ") for name, cell in zip(head, cells)
    )


def _repeats(row: dict[str, Any]) -> str:
    if not row["seeds"]:
        return "-"
    return str(row["seeds"]) if row.get("over", "seeds") == "seeds" else f"{row['seeds']} {row['over']}"


def claims(rows: Sequence[dict[str, Any]], width: int | None = None) -> str:
    """The claims of a run: what the paper says, the rule, what was measured, on how many seeds, and the verdict."""
    head = ("The paper says", "Rule", "We measured", "Repeats", "Verdict")
    cells = [
        (
            row["says"],
            row["rule"] or "-",
            row["measured"] or f"needs: {row['needs']}",
            _repeats(row),
            row["verdict"],
        )
        for row in rows
    ]
    return table(head, cells, width)


class ProgressLine:
    """Hears of a running study's progress. On a terminal one line that changes, elsewhere a line every tenth."""

    def __init__(self, out: TextIO | None = None):
        self.out = out or sys.stderr
        self.began, self.painted, self.tenth = time.monotonic(), 0.0, 0
        self.live = self.out.isatty()

    def __call__(self, progress: Any) -> None:
        now, tenth = time.monotonic(), int(progress.done * 10)
        if self.live and now - self.painted > 0.1:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{self._words(progress, now)[:width]}", end="", file=self.out, flush=True)
            self.painted = now
        elif not self.live and tenth > self.tenth:
            print(self._words(progress, now), file=self.out, flush=True)
            self.tenth = tenth

    def close(self) -> None:
        """Leave an empty line behind."""
        if self.live:
            print("\r\033[K", end="", file=self.out, flush=True)

    def _words(self, progress: Any, now: float) -> str:
        spent = now - self.began
        left = f", {clock(spent / progress.done - spent)} left" if progress.done > 0.02 else ""
        return f"{100 * progress.done:3.0f} %  {clock(spent)}{left}  {progress.place}"


def clock(seconds: float) -> str:
    """Seconds as people read them: 7 s, 1:05 min, 2:10 h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    large, small, unit = (*divmod(whole, 60), "min") if whole < 3600 else (*divmod(whole // 60, 60), "h")
    return f"{large}:{small:02d} {unit}"
