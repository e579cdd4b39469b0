"""Model, trainer, batches and random numbers of one training: take a step, say the whole state, take a state back."""

from typing import Any

from torch import nn

from labkit.errors import LabError
from labkit.workbench.hold.checkpoint import State, batches_of, can_rewind, copied, put_back, weights
from labkit.workbench.hold.dials import Dial, dials_of
from labkit.workbench.hold.interventions import Intervention, Interventions
from labkit.workbench.hold.past import Deed, Past
from labkit.workbench.hold.randomness import Randomness


class Machine:
    """Takes steps one at a time. Nothing here knows of threads, steps' numbers or curves."""

    def __init__(self, model: nn.Module, task: Any, trainer: Any, seed: int, steps: int | None):
        self.model, self.task, self.trainer, self.seed = model, task, trainer, seed
        self.touches = Interventions(model)
        self.random = Randomness(seed)
        self.taken = 0
        self.lost = False
        """Whether it is known that the loss is no number any more."""
        self._batches: Any = None
        if trainer is not None:
            self.random.call(trainer.start, model, task, steps or 0)
        self.dials: list[Dial] = dials_of(model, trainer)

    def step(self) -> dict[str, float]:
        """Take the next batch and one step on it; what the trainer says of it."""
        return self.random.call(self._step)

    def _step(self) -> dict[str, float]:
        if self._batches is None:
            self._batches = batches_of(self.task, self.seed, self.taken)
        batch = next(self._batches)
        self.taken += 1
        return self.trainer.step(self.model, batch)

    def dial(self, name: str) -> Dial:
        """The dial of this name. Raises: LabError when there is none."""
        for dial in self.dials:
            if dial.name == name:
                return dial
        raise LabError(f"This run has no dial {name!r}; it has {', '.join(one.name for one in self.dials) or 'none'}.")

    def do(self, deed: Deed) -> tuple[str, str]:
        """Do this to the training; the kind of event that it is, and a sentence.

        Raises: LabError when it cannot be done.
        """
        self.random.ask_again()
        if deed.what == "touch":
            intervention = Intervention.from_dict(deed.value)
            self.touches.apply(intervention)
            return "intervention", self.touches.active[-1].says
        if deed.what == "untouch":
            undone = self.touches.undo()
            if undone is None:
                raise LabError("There is no intervention to take back.")
            return "undo", undone.undone
        dial = self.dial(deed.name)
        before = dial.value
        dial.turn(deed.value)
        return "change", f"{dial.name}: {before:g} → {dial.value:g}"

    def state(self) -> State:
        """Everything that the next step depends on, copied."""
        trainer = copied(self.trainer.state_dict()) if can_rewind(self.trainer) else None
        return {
            "weights": weights(self.model),
            "trainer": trainer,
            "random": self.random.state.clone(),
            "taken": self.taken,
            "touched": self.touches.to_list(),
            "dials": {dial.name: dial.value for dial in self.dials if dial.own},
        }

    def restore(self, state: State) -> None:
        """Take a state back. Raises: LabError when the trainer cannot, or the model has changed its shape."""
        if state["trainer"] is None:
            raise LabError(
                f"{type(self.trainer).__name__} has no state_dict and load_state_dict, so this run cannot be rewound."
            )
        put_back(self.model, state["weights"])
        self.trainer.load_state_dict(copied(state["trainer"]))
        for parameter in self.model.parameters():
            parameter.grad = None
        self.random.restore(state["random"])
        self.touches.restore(state["touched"])
        for dial in self.dials:
            if dial.name in state["dials"]:  # those of the trainer are in its own state
                dial.write(state["dials"][dial.name])
        self.taken, self._batches, self.lost = state["taken"], None, False

    def go_to(self, past: Past, branch: str, step: int, after: bool = False) -> None:
        """Bring everything to a step of a branch: the checkpoint before it, and the steps and deeds from there on.

        With `after`, also what was done at that very step.
        """
        at, state = past.find(branch, step)
        self.restore(state)
        self.replay(past, branch, at, step)
        if after:
            for deed in past.deeds(branch, step):
                self.do(deed)

    def replay(self, past: Past, branch: str, start: int, stop: int) -> None:
        """Take the steps from one to the other as they were taken, with all that was done between them."""
        for number in range(start, stop):
            for deed in past.deeds(branch, number):
                self.do(deed)
            self.step()
