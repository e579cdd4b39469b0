"""Several trainings at once, told as one piece of work: progress of the whole, results in order, and what was lost."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from labkit.workbench.crew.crew import Begun, Done, Lost, Told, Train, work_off
from labkit.workbench.progress import Progress


@dataclass
class Board:
    """How all trainings stand. `steps` is the length of each one, 0 where nobody knows."""

    jobs: Sequence[tuple[str, int]]
    steps: int
    reached: dict[int, int] = field(default_factory=dict)
    """The step that each running training is at."""
    results: dict[int, Any] = field(default_factory=dict)
    lost: dict[int, str] = field(default_factory=dict)

    def note(self, event: Begun | Told | Done | Lost) -> Progress:
        """Write down what happened, and say how everything stands now."""
        number, values = event.number, {}
        if isinstance(event, Told):
            self.reached[number], values = event.step, event.values
        elif isinstance(event, Begun):
            self.reached[number] = 0
        else:
            self.reached.pop(number, None)
            if isinstance(event, Done):
                self.results[number] = event.result
            else:
                self.lost[number] = event.says
        over = number in self.results or number in self.lost
        arm, seed = self.jobs[number]
        return Progress(
            arm,
            seed,
            self.steps if over else self.reached[number],
            self.steps,
            self.done,
            values,
            finished=len(self.results),
            of=len(self.jobs),
            running=len(self.reached),
            lost=tuple(self.lost.values()),
        )

    @property
    def done(self) -> float:
        """How much of the whole is done, 0 to 1; a lost training is over and counts."""
        over = len(self.results) + len(self.lost)
        under_way = sum(min(step / self.steps, 1.0) for step in self.reached.values()) if self.steps else 0.0
        return (over + under_way) / len(self.jobs)


def several(
    train: Train,
    jobs: Sequence[tuple[str, int]],
    *,
    steps: int = 0,
    workers: int | None = None,
    watch: Callable[[Progress], None] | None = None,
    stop: Event | None = None,
    on_lost: Callable[[dict[int, str]], None] | None = None,
) -> tuple[list[Any], dict[int, str]]:
    """Train all jobs in a crew. Returns the results in the order of the jobs (None where one was lost), and the lost.

    `on_lost` hears of every loss, with all sentences so far by number of the job; what it raises ends everything.
    Raises: what `crew.work_off` raises.
    """
    board = Board(jobs, steps)
    with closing(work_off(train, jobs, workers=workers, stop=stop)) as events:  # type: ignore[type-var]
        for event in events:
            progress = board.note(event)
            if watch is not None:
                watch(progress)
            if isinstance(event, Lost) and on_lost is not None:
                on_lost(board.lost)
    return [board.results.get(number) for number in range(len(jobs))], board.lost
