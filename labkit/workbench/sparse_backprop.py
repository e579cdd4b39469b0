"""Trainers to compare with: backprop that pays for active units, one that learns nothing, one that never sees a class."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.parts.goodness_network import GoodnessNetwork
from labkit.trainers.local.forward_forward import ForwardForward
from labkit.workbench.backbones.labelled_layers import Classifier


@dataclass
class SparseBackprop:
    """Adam on the cross-entropy, plus a penalty on the mean activation of each layer."""

    learning_rate: float
    penalty: float = 0.0

    def start(self, model: nn.Module, task: Any, steps: int) -> None:
        self.loss, self.optimizer = task.loss, torch.optim.Adam(model.parameters(), self.learning_rate)

    def step(self, model: Classifier, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        x, target = batch
        said = model.train().responses(x)
        loss = self.loss(model.out(said[-1]), target)
        active = torch.stack([one.mean() for one in said]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        (loss + self.penalty * active).backward()
        self.optimizer.step()
        return {"training_loss": loss.item(), "mean_activation": active.item()}

    @torch.no_grad()
    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        return model.eval()(x)


class Idle(SparseBackprop):
    """Learns nothing: says its loss and leaves the network as it was drawn."""

    @torch.no_grad()
    def step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        return {"training_loss": F.cross_entropy(model.train()(batch[0]), batch[1]).item()}


@dataclass
class WithoutOne(ForwardForward):
    """Forward-Forward on the batches without one class, whose label is never shown, rightly or wrongly."""

    unseen: int = 0

    def step(self, model: GoodnessNetwork, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        seen = batch[1] != self.unseen
        return super().step(model, (batch[0][seen], batch[1][seen]))

    def _wrong(self, model: GoodnessNetwork, x: Tensor, target: Tensor) -> Tensor:
        others = torch.rand(len(target), model.classes)
        others[:, self.unseen] = -1
        return others.scatter(1, target.unsqueeze(1), -1).argmax(1)
