"""What a pretrained model is once it is loaded: the module, real inputs for it, what they are, source and licence."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

TEMPERATURE = 0.05


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A model that somebody else trained, with real inputs that it can be looked at with.

    The model is in evaluation, its parameters are as after any construction (they require gradients). It is called
    as `model(inputs)`, or `model(**inputs)` where the inputs are a mapping; `encode` makes inputs of your own. Every
    `pretrained(name)` gives a new model and new tensors, so nothing that is done to them changes a later one.

    Shapes:
        inputs: (n, ...) a tensor, or a mapping of names to such tensors; `attention_mask` is 0 where there is padding
        targets: what the answers should be, integers: (n,) classes, (n, places) the next pieces of text and -100 where
            there is none; (n, 1) classes where the answer is a vector and not a score for each class
        texts: n rows of what stands at each place, as long as the inputs; "" where a place is padding
        labels: (n,) int64, the place of the class in `classes`
        images: (n, rows, columns) uint8, 0 black to 255 white
    """

    name: str
    model: nn.Module
    inputs: Any
    says: str
    source: str
    licence: str
    encode: Callable[..., Any] = field(repr=False)
    targets: Tensor = field(repr=False)
    loss: Callable[[Any, Any], Tensor] | None = field(default=None, repr=False)
    texts: tuple[tuple[str, ...], ...] | None = field(default=None, repr=False)
    labels: Tensor | None = field(default=None, repr=False)
    classes: tuple[str, ...] = ()
    images: np.ndarray | None = field(default=None, repr=False)

    @property
    def batch(self) -> tuple[Any, Tensor]:
        """Inputs and targets as the measurements take them; where `loss` is given, pass it on to them as well."""
        return self.inputs, self.targets

    def outputs(self, inputs: Any = None) -> Any:
        """What the model answers to these inputs, or to its own ones."""
        given = self.inputs if inputs is None else inputs
        return self.model(**given) if isinstance(given, Mapping) else self.model(given)

    @property
    def parameters(self) -> int:
        """How many numbers were learned."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def neighbours_loss(vectors: Tensor, batch: Any) -> Tensor:
    """How badly vectors of length 1 tell classes apart: mean of -log(share of the pull that comes from the own class).

    Every other input pulls with exp(cosine / 0.05), the strength that the receptor model was trained with; nats.

    Shapes: vectors (n, width); the batch is (inputs, classes), classes (n, 1); a class of one input is left out
    """
    classes = batch[1].reshape(-1)
    pull = (vectors @ vectors.T / TEMPERATURE).masked_fill(
        torch.eye(len(vectors), dtype=torch.bool, device=vectors.device), float("-inf")
    )
    own = pull.masked_fill(classes[:, None] != classes[None], float("-inf"))
    kept = own.isfinite().any(1)
    return (pull[kept].logsumexp(1) - own[kept].logsumexp(1)).mean()
