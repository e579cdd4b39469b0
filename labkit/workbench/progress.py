"""Where a running study is: what it tells whoever watches it, in one process or in several."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One message of one training. The last four fields say how all trainings stand, where several run at once."""

    arm: str
    seed: int
    step: int
    steps: int
    done: float
    """Of the whole study, 0 to 1."""
    values: dict[str, float]
    finished: int = 0
    """Trainings that came to their end."""
    of: int = 0
    """How many trainings there are; 0 where they run one after the other."""
    running: int = 1
    stage: str = ""
    """What is done in this part of the work, where there are several parts."""
    lost: tuple[str, ...] = ()
    """A sentence for each training that was lost with its worker process, so far."""

    @property
    def place(self) -> str:
        """In words: which training this is, or how many there are where several run at once."""
        stage = f"{self.stage}: " if self.stage else ""
        if not self.of:
            return f"{stage}{self.arm}, seed {self.seed}, step {self.step} of {self.steps}"
        lost = f", {len(self.lost)} lost" if self.lost else ""
        return f"{stage}{self.finished} of {self.of} trainings done, {self.running} running{lost}"
