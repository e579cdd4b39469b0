"""What the exercises on Forward-Forward hold an answer against: the loss of a layer, and the ensemble of a class."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.parts.ensembles import SHARE, class_means
from labkit.parts.goodness import goodness_loss
from labkit.workshop.exercise import Test


def wished(positive: Tensor, negative: Tensor, threshold: float) -> tuple[Test, ...]:
    """Tests of an answer that should be the loss of a layer with this goodness on right and on wrong inputs."""
    wanted = goodness_loss(positive, negative, threshold).item()

    def form(answer: Any) -> str | None:
        if isinstance(answer, Tensor) and answer.ndim:
            return f"the answer has shape {tuple(answer.shape)}; a loss is one number: take the mean over the inputs."
        if not isinstance(answer, Tensor | float | int):
            return f"the answer is a {type(answer).__name__}; it should be one number."
        return None

    def right(answer: Any) -> str | None:
        found = float(answer)
        if _near(found, wanted):
            return None
        parts = F.softplus(threshold - positive), F.softplus(negative - threshold)
        if _near(found, 2 * wanted):
            return (
                "nearly: this is twice the loss; of the two means take half of the sum, so that all inputs count once."
            )
        if _near(found, goodness_loss(negative, positive, threshold).item()):
            return (
                "this layer would be quiet for right inputs and loud for wrong ones: the signs are the wrong way round."
            )
        if _near(found, goodness_loss(positive, negative, 0.0).item()):
            return "the threshold does not appear: what counts is how far the goodness is above it, or below."
        if any(_near(found, float(part.mean()) / half) for part in parts for half in (1, 2)):
            return (
                "only one of the two wishes is there; a layer that hears of one only is loud, or quiet, for everything."
            )
        if _near(found, float((parts[0].sum() + parts[1].sum()) / 2)) or _near(
            found, float(sum(p.sum() for p in parts))
        ):
            return "the loss grows with the number of inputs: take the mean over them and not the sum."
        if _near(found, float((negative.mean() - positive.mean()) / 2)) or _near(
            found, float(negative.mean() - positive.mean())
        ):
            return "a plain difference has no end: a layer would get louder for ever. softplus stops where all is well."
        hinge = float((F.relu(threshold - positive).mean() + F.relu(negative - threshold).mean()) / 2)
        if _near(found, hinge) or _near(found, 2 * hinge):
            return "this is a hinge, which is close; the loss asked for bends softly: softplus and not ReLU."
        return f"the loss here should be another number than {found:.3f}; compare each term with the equation."

    return form, right


def ensemble_of_class(values: Tensor, labels: Tensor, one: int) -> tuple[Test, ...]:
    """Tests of an answer that should say which units are in the ensemble of a class, by strength."""
    means = class_means(values, labels, int(labels.max()) + 1)
    wanted = means[one] > SHARE * means[one].max()

    def form(answer: Any) -> str | None:
        if not isinstance(answer, Tensor):
            return f"the answer is a {type(answer).__name__}; it should be a tensor of True and False."
        if answer.dtype != torch.bool:
            return f"the answer holds {str(answer.dtype).removeprefix('torch.')}; say True or False for every unit (compare)."
        if answer.shape != wanted.shape:
            return (
                f"the answer has shape {tuple(answer.shape)}; there is one answer for each of the {len(wanted)} units."
            )
        return None

    def right(answer: Tensor) -> str | None:
        if torch.equal(answer, wanted):
            return None
        every = values.mean(0)
        if torch.equal(answer, every > SHARE * every.max()):
            return "you looked at the images of all classes; take the rows of this class only."
        if torch.equal(answer, means[one] > SHARE):
            return "a tenth of what? Not 0.1, but a tenth of the strongest unit's mean on this class."
        if torch.equal(answer, means[one] > SHARE * means.max()):
            return "the strongest unit is looked for among all classes; take the strongest on this one."
        if torch.equal(answer, means[one] > 0) or torch.equal(answer, (values[labels == one] > 0).any(0)):
            return "that is every unit that answers at all; weak answers do not count."
        if torch.equal(answer, ~wanted):
            return "these are the units that are not in it."
        return f"{int(answer.sum())} units are in it by your rule, and {int(wanted.sum())} should be, or others."

    return form, right


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= 1e-4 * max(1.0, abs(other))
