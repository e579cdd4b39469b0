"""Trains a whole network by backpropagation on the wish of Forward-Forward: high for right labels, low for wrong ones.

    L = softplus(θ - s⁺) + softplus(s⁻ - θ),          s = Σ_l g_l(h_l)

Symbols: s⁺ the score of an input with its right label, s⁻ with a wrong one, g_l the goodness of layer l, θ the threshold. The
inputs, the labels and the loss are those of Forward-Forward; what differs is that there is one loss for all layers, and its
gradient runs through all of them. Comparing the two tells what is due to the wish and what to learning layer by layer.

The model says itself what its score is (`judged`): a sum of goodness, or for a control something else.

Source: the network "BP/FF" of "Emergent representations in networks trained with the Forward-Forward algorithm" (P199); in the
authors' code, too, the goodness of all layers is added up and compared with one threshold.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.carried_adam import CarriedAdam
from labkit.parts.goodness import goodness_loss, labelled, wrong_labels
from labkit.parts.goodness_network import GoodnessNetwork


@dataclass
class GoodnessBackprop(CarriedAdam):
    """Adam on one loss of the summed goodness. The model is a `GoodnessNetwork`.

    Raises: ValueError for a learning rate that is not positive; TypeError for another kind of model.
    Source: "Emergent representations in networks trained with the Forward-Forward algorithm" (P199).
    """

    learning_rate: float = 1e-3
    threshold: float = 3.0

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"the learning rate of GoodnessBackprop is above 0, not {self.learning_rate:g}.")

    def start(self, model: nn.Module, task: Any, steps: int) -> None:
        if not isinstance(model, GoodnessNetwork):
            raise TypeError(
                f"GoodnessBackprop trains a GoodnessNetwork, which judges labels, not {type(model).__name__}."
            )
        self.begin(model)

    def step(self, model: GoodnessNetwork, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        x, target = batch
        self.follow(model.train())
        wrong = wrong_labels(target, model.classes)
        said = torch.cat([labelled(x, label, model.classes, model.bright) for label in (target, wrong)])
        positive, negative = model.judged(said).chunk(2)
        loss = goodness_loss(positive, negative, self.threshold)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {"training_loss": loss.item(), "goodness_gap": (positive - negative).mean().item()}

    @torch.no_grad()
    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        return model.eval()(x)


def network(seed: int) -> tuple[nn.Module]:
    """Two layers over 8 numbers, of which the first 3 give way to the label."""
    torch.manual_seed(seed)
    return (GoodnessNetwork(8, 3, (24, 24), bright=3.0),)


example = Example(lambda: GoodnessBackprop(1e-2, threshold=2.0), inputs=network)
