"""Goodness: how strongly a layer answers, as the one number that Forward-Forward training wants high or low.

A layer is shown an input that is right (positive) and one that is wrong (negative). It has no target vector, only this wish:

    L = softplus(θ - g⁺) + softplus(g⁻ - θ)          g = Σ_i h_i²   or   (1/n) Σ_i h_i²   or   (Σ_i h_i²)^½

Symbols: h the layer's activations, n how many, g the goodness, g⁺ of positive and g⁻ of negative inputs, θ the threshold.
softplus(z) = log(1 + eᶻ) is the logistic loss of the probability σ(g - θ) that an input is positive.

In supervised learning a positive input is an image whose first pixels say its class, a negative one the same image with a
wrong class there. Between layers the activations are divided by their length: the next layer sees their direction only, so it
cannot read off the goodness of the one below and has to find something of its own.

Source: "The Forward-Forward Algorithm: Some Preliminary Investigations" (P198): squares, the logistic loss around θ, the label
in the first pixels, division by the length, hard negatives. The goodness by length (the square root of the sum) is what the
authors' code of "Emergent representations in networks trained with the Forward-Forward algorithm" (P199) uses, with θ = 3.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Goodness = Literal["sum of squares", "mean of squares", "length"]
SMALL = 1e-8


def goodness(activations: Tensor, kind: Goodness = "sum of squares") -> Tensor:
    """How strongly each row answers. Shapes: (..., units) -> (...), 0 or more.

    Raises: ValueError for a kind that does not exist.
    """
    if kind == "sum of squares":
        return activations.square().sum(-1)
    if kind == "mean of squares":
        return activations.square().mean(-1)
    if kind == "length":
        return torch.linalg.vector_norm(activations, dim=-1)
    raise ValueError(f"goodness is a sum of squares, a mean of squares or a length, not {kind!r}.")


def goodness_loss(positive: Tensor, negative: Tensor, threshold: float) -> Tensor:
    """Half the wish above, averaged over the inputs; log 2 where everything lies at the threshold.

    Shapes: positive and negative goodness, each (rows,) -> a scalar. There need not be equally many.
    """
    return (F.softplus(threshold - positive).mean() + F.softplus(negative - threshold).mean()) / 2


def length_normalised(activations: Tensor) -> Tensor:
    """Every row with length 1; a silent row stays silent. Shapes: (..., units) -> the same."""
    return F.normalize(activations, dim=-1, eps=SMALL)


def labelled(x: Tensor, label: Tensor, classes: int, bright: float = 1.0) -> Tensor:
    """A copy of the inputs whose first `classes` numbers say a class: `bright` in its place and 0 in the others.

    Shapes: x (..., features), label (...) integers -> (..., features).
    Raises: ValueError where an input has fewer numbers than there are classes.
    """
    if x.shape[-1] < classes:
        raise ValueError(f"a label of {classes} classes does not fit into inputs of shape {tuple(x.shape)}.")
    mark = bright * F.one_hot(label, classes).to(x.dtype)
    return torch.cat([mark, x[..., classes:]], -1)


def unlabelled(x: Tensor, classes: int, bright: float = 1.0) -> Tensor:
    """A copy of the inputs with a neutral label: all classes alike. Shapes: (..., features) -> the same."""
    mark = torch.full((*x.shape[:-1], classes), bright / classes, dtype=x.dtype, device=x.device)
    return torch.cat([mark, x[..., classes:]], -1)


def every_label(x: Tensor, classes: int, bright: float = 1.0) -> Tensor:
    """Each input with each label in turn. Shapes: x (rows, features) -> (rows, classes, features)."""
    tried = torch.arange(classes, device=x.device).expand(len(x), classes)
    return labelled(x.unsqueeze(-2).expand(-1, classes, -1), tried, classes, bright)


def wrong_labels(label: Tensor, classes: int) -> Tensor:
    """For each label another one, all others equally likely. Shapes: (rows,) -> (rows,)."""
    return (label + torch.randint(1, classes, label.shape, device=label.device)) % classes


def likely_wrong_labels(scores: Tensor, label: Tensor) -> Tensor:
    """Hard negatives: wrong labels drawn in proportion to how likely the network finds them, softmax of its scores.

    Shapes: scores (rows, classes), label (rows,) -> (rows,).
    """
    others = scores.detach().scatter(-1, label.unsqueeze(-1), -torch.inf)
    return torch.multinomial(others.softmax(-1), 1).squeeze(-1)
