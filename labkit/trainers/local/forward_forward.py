"""Trains every layer by itself, with two forward passes and no backward pass through the network.

    positive:  the input with its right label        every layer l wants   g_l > θ
    negative:  the same input with a wrong label      every layer l wants   g_l < θ

    W_l ← W_l - η Adam( ∂ [softplus(θ - g_l⁺) + softplus(g_l⁻ - θ)] / ∂ W_l ),          the input of layer l is a constant

Symbols: g_l the goodness of layer l (`labkit.parts.goodness`), θ the threshold, η the learning rate. A layer's loss is made of
its own activations, and what it reads is cut from the graph: no gradient crosses from one layer into another. So a layer needs
to know nothing of what stands above it, and nothing has to be kept for a backward pass.

All layers learn at every step, each from what those below say at that moment. With `hard_negatives` the wrong labels are those
that the network finds likely; Hinton draws them by a softmax on a pass with a neutral label, here by the goodness of each label.

Source: "The Forward-Forward Algorithm: Some Preliminary Investigations" (P198). The optimizer and the threshold are free there.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from labkit.example import Example
from labkit.parts.carried_adam import CarriedAdam
from labkit.parts.goodness import goodness_loss, labelled, likely_wrong_labels, wrong_labels
from labkit.parts.goodness_network import GoodnessNetwork


@dataclass
class ForwardForward(CarriedAdam):
    """Adam on the goodness of each layer. The model is a `GoodnessNetwork`.

    Raises: ValueError for a learning rate that is not positive; TypeError for another kind of model.
    Source: "The Forward-Forward Algorithm: Some Preliminary Investigations" (P198).
    """

    learning_rate: float = 1e-2
    threshold: float = 3.0
    hard_negatives: bool = False

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"the learning rate of ForwardForward is above 0, not {self.learning_rate:g}.")

    def start(self, model: nn.Module, task: Any, steps: int) -> None:
        if not isinstance(model, GoodnessNetwork):
            raise TypeError(
                f"ForwardForward trains a GoodnessNetwork, whose layers have a goodness, not {type(model).__name__}."
            )
        self.begin(model)

    def step(self, model: GoodnessNetwork, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        x, target = batch
        self.follow(model.train())
        wrong = self._wrong(model, x, target)
        said = torch.cat([labelled(x, label, model.classes, model.bright) for label in (target, wrong)])
        losses, gaps = [], []
        for layer in model.layers:
            said = layer(said.detach())
            positive, negative = model.goodness(said).chunk(2)
            losses.append(goodness_loss(positive, negative, self.threshold))
            gaps.append((positive - negative).mean())
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()  # a sum of losses that share no weight: each layer gets its own gradient
        self.optimizer.step()
        return {
            "training_loss": torch.stack(losses).mean().item(),
            **{f"goodness_gap_{place}": gap.item() for place, gap in enumerate(gaps)},
        }

    @torch.no_grad()
    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        return model.eval()(x)

    @torch.no_grad()
    def _wrong(self, model: GoodnessNetwork, x: Tensor, target: Tensor) -> Tensor:
        return likely_wrong_labels(model(x), target) if self.hard_negatives else wrong_labels(target, model.classes)


def network(seed: int) -> tuple[nn.Module]:
    """Two layers over 8 numbers, of which the first 3 give way to the label."""
    torch.manual_seed(seed)
    return (GoodnessNetwork(8, 3, (24, 24), bright=3.0),)


example = Example(lambda: ForwardForward(3e-2, threshold=2.0), inputs=network)
