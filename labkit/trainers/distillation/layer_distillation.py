"""Trains a network, then teaches small networks to answer as some of its layers do, and puts them in these layers' places.

    first      the whole network learns the task                                     θ ← θ - η ∂(task loss)/∂θ
    then, for each chosen layer f with inputs x recorded in that network:
               its student g learns f's answers, and nothing else                    φ ← φ - η' ∂/∂φ  |g(x) - f(x)|² / |f(x)|²
    at last    g stands where f stood; all other weights are those of the teacher

Symbols: f a layer of the trained network, the teacher; g its student with parameters φ; x what f was given and f(x) what it
answered while the teacher read a batch; |·|² the sum over all numbers of the batch; η, η' learning rates. Dividing by |f(x)|²
moves no minimum: 0 is a student that answers as the layer does, 1 one that always says nothing.

Each student sees the inputs that the teacher's layer got, never what another student made of them. So all are taught side by
side, no gradient goes from one to another, and what their errors do to each other shows only when they stand in their places.
Labels play no part in the second half.

Of the steps that a training has, the share `teaching` goes to the first half. Both halves use Adam with a short warm-up and a
cosine down to nothing. Until the first step of the second half the network keeps its own layers.

Source: "Rethinking Attention: Exploring Shallow Feed-Forward Neural Networks as an Alternative to Attention Layers in
Transformers" (P048). Confirmed against the authors' code, which writes the recordings to files and reads them many times;
here each batch is recorded afresh. The warm-up and the division are ours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example

Build = Callable[[nn.Module], nn.Module]
"""Makes the student of a layer."""


class Exchanged(nn.Module):
    """A student in the place of a layer that it still knows, and that it can be compared with."""

    def __init__(self, original: nn.Module, student: nn.Module):
        super().__init__()
        self.student = student
        self._original = (original,)  # in a tuple it is no part of the network: neither counted, trained nor saved
        self.heard: list[tuple[tuple[Tensor, ...], Tensor]] | None = None

    @property
    def original(self) -> nn.Module:
        return self._original[0]

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.heard is None:
            return self.student(*inputs)
        answer = self.original(*inputs)
        self.heard.append((inputs, answer))
        return answer


def exchange(model: nn.Module, places: Mapping[str, Build]) -> dict[str, Exchanged]:
    """Put students into the places whose names fit a pattern ("encoder.*.attend"), in place; name -> what stands there.

    Raises: LabError where a pattern fits no module.
    """
    made: dict[str, Exchanged] = {}
    for pattern, build in places.items():
        found = [name for name, _ in model.named_modules() if name and fnmatchcase(name, pattern)]
        # A star also matches dots: of a module and its parts the module is meant.
        outer = [name for name in found if not any(name.startswith(f"{other}.") for other in found)]
        if not outer:
            raise LabError(f"No module of this {type(model).__name__} is called {pattern}.")
        for name in outer:
            holder, _, last = name.rpartition(".")
            original = model.get_submodule(name)
            made[name] = Exchanged(original, build(original).train(original.training))
            setattr(model.get_submodule(holder), last, made[name])
    return made


def recorded(model: nn.Module, x: Tensor) -> dict[str, list[tuple[tuple[Tensor, ...], Tensor]]]:
    """What the original layers are given and answer while the network reads x with all of them back in their places."""
    places = {name: part for name, part in model.named_modules() if isinstance(part, Exchanged)}
    for part in places.values():
        part.heard = []
    try:
        with torch.no_grad():
            model(x)
        return {name: part.heard or [] for name, part in places.items()}
    finally:
        for part in places.values():
            part.heard = None


def missed(student: nn.Module, heard: list[tuple[tuple[Tensor, ...], Tensor]]) -> Tensor:
    """The squared distance of a student's answers to the recorded ones, as a share of the squares of these."""
    apart = sum((student(*inputs) - answer).square().sum() for inputs, answer in heard)
    return torch.as_tensor(apart / sum(answer.square().sum() for _, answer in heard).clamp_min(1e-12))  # type: ignore[union-attr]


@dataclass
class LayerDistillation:
    """Trains a network, then regresses students on recorded answers of its layers and puts them in their places.

    `places` maps a pattern of module names to what builds a student. The reported training loss is the task's in the first
    half, and in the second the mean share that the students miss, which is another unit.
    Raises: ValueError for learning rates that are not positive or a share that is not between 0 and 1; LabError where a
    pattern fits no module.
    Source: "Rethinking Attention: Exploring Shallow Feed-Forward Neural Networks as an Alternative to Attention Layers in
    Transformers" (P048).
    """

    places: Mapping[str, Build]
    learning_rate: float = 1e-2
    teacher_rate: float = 1e-2
    teaching: float = 0.5
    taken: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for rate in (self.learning_rate, self.teacher_rate):
            if rate <= 0:
                raise ValueError(f"the learning rates of LayerDistillation are above 0, not {rate:g}.")
        if not 0 <= self.teaching <= 1:
            raise ValueError(f"the share of teaching steps is between 0 and 1, not {self.teaching:g}.")

    def start(self, model: nn.Module, task: Any, steps: int) -> None:
        self.loss, self.taken = task.loss, 0
        self.first = round(self.teaching * steps)
        self.rest = steps - self.first
        self.students: list[Exchanged] = []
        self.still: float | None = None
        self.optimizer, self.scheduler = _descent(model, self.teacher_rate, self.first)

    def step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        model.train()
        if self.taken < self.first:
            loss = self.teach(model, batch)
        else:
            if self.taken == self.first:
                self.put(model)
            loss = self.distil(model, batch)
        self.taken += 1
        return {"training_loss": loss}

    @torch.no_grad()
    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        return model.eval()(x)

    def teach(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> float:
        """One step of the whole network on the task."""
        x, target = batch
        loss = self.loss(model(x), target)
        self._down(loss, model)
        return loss.item()

    def put(self, model: nn.Module) -> None:
        """Exchange the layers; from here on nothing but the students learns."""
        model.zero_grad(set_to_none=True)
        model.requires_grad_(False)
        self.students = list(exchange(model, self.places).values())
        learn = nn.ModuleList([one.student for one in self.students])
        self.optimizer, self.scheduler = _descent(learn, self.learning_rate, self.rest)

    def distil(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> float:
        """One step of each student towards what its layer answers. Where none can learn, the first batch has said it all."""
        learn = [value for one in self.students for value in one.student.parameters() if value.requires_grad]
        if not learn and self.still is not None:
            return self.still
        heard = recorded(model, batch[0])
        names = {part: name for name, part in model.named_modules() if isinstance(part, Exchanged)}
        losses = [missed(one.student, heard[names[one]]) for one in self.students]
        if learn:
            self._down(torch.stack(losses).sum(), *(one.student for one in self.students))
        self.still = float(sum(loss.item() for loss in losses) / max(len(losses), 1))
        return self.still

    def _down(self, loss: Tensor, *apart: nn.Module) -> None:
        """A step down the slope, which is clipped for each of these modules by itself."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for one in apart:
            nn.utils.clip_grad_norm_(one.parameters(), 1.0)
        self.optimizer.step()
        self.scheduler.step()


def _descent(model: nn.Module, rate: float, steps: int) -> tuple[Any, Any]:
    learn = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.Adam(learn or [torch.zeros(1)], rate)
    steps = max(steps, 2)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps + 1, pct_start=max(0.1, 2 / (steps + 1))
    )
    return optimizer, scheduler


def network(seed: int) -> tuple[nn.Module]:
    """A dense network from 8 numbers to 3 scores, whose middle layer gets a student."""
    torch.manual_seed(seed)
    return (nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 3)),)


def student(_: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 24))


example = Example(
    lambda: LayerDistillation({"2": student}),
    inputs=network,
    exempt={
        "learns from what it is given": "once the teacher has been taught, labels play no part: students learn its answers"
    },
)
