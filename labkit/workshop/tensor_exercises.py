"""What the exercises on bilinear layers and on ranks hold an answer against, with a sentence for each usual slip."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.parts.quadratic import Factors, forms_of, tensor_of
from labkit.parts.spectra import hard_rank, soft_rank, variances
from labkit.workshop.exercise import Test

CLOSE = 1e-4


def same_forms(factors: Factors) -> tuple[Test, ...]:
    """Tests of an answer that writes a bilinear layer as one symmetric matrix for each output."""
    wanted, plain = forms_of(factors), tensor_of(factors)

    def matrices(answer: Any) -> str | None:
        if not isinstance(answer, Tensor):
            return f"the answer is a {type(answer).__name__}; it should be a tensor with one matrix for each output."
        if answer.shape != wanted.shape:
            return (
                f"the answer has shape {tuple(answer.shape)}; one matrix of inputs by inputs for each output is "
                f"{tuple(wanted.shape)}."
            )
        return None

    def symmetric(answer: Tensor) -> str | None:
        if near(answer, answer.transpose(-1, -2)):
            return None
        if near(answer, plain) or near(answer, plain.transpose(-1, -2)):
            return "this is the tensor itself. It gives the right output, but eigenvectors need it symmetric."
        return "the matrices are not symmetric: the entry for inputs i and j should be that for j and i."

    def same(answer: Tensor) -> str | None:
        if near(answer, wanted):
            return None
        if near(answer, 2 * wanted):
            return "everything is twice too large: the matrix and its mirror image are to be averaged, not added."
        if near(answer.abs(), wanted.abs()):
            return "the sizes are right and some signs are not."
        x = torch.linspace(-1, 1, wanted.shape[-1], dtype=wanted.dtype)
        given, right = ((x @ matrix @ x).item() for matrix in (answer[0].to(wanted), wanted[0]))
        return (
            f"the matrices are symmetric, but they are not those of the layer: for one input the first output should be "
            f"{right:.3g}, and the answer makes it {given:.3g}."
        )

    return matrices, symmetric, same


def both_ranks(values: Tensor) -> tuple[Test, ...]:
    """Tests of an answer (hard rank, soft rank) of activations (rows, units)."""
    powers = variances(values)
    hard, soft = hard_rank(powers), soft_rank(powers)
    uncentred = torch.linalg.eigvalsh(values.double().T @ values.double()).clamp_min(0).numpy()
    shares = powers[powers > 0] / powers.sum()
    slips = {
        "the entropy is measured in bits or not undone: with the natural logarithm, take exp of it.": (
            (hard, math.exp(math.log(soft) / math.log(2))),
            (hard, math.log(soft)),
            (hard, math.log2(soft)),
        ),
        "these are the two ranks in the other order: first the hard one, then the soft one.": ((soft, hard),),
        "these are the ranks of the square roots: take the eigenvalues of the covariance, not the singular values.": (
            (hard_rank(np.sqrt(powers)), soft_rank(np.sqrt(powers))),
        ),
        "the mean was not taken off: covariance is about how units differ from their mean.": (
            (hard_rank(uncentred), soft_rank(uncentred)),
        ),
        "the hard rank is upside down: the square of the sum goes above, the sum of the squares below.": (
            (float((shares**2).sum()), soft),
        ),
    }

    def two(answer: Any) -> str | None:
        try:
            one, other = (float(part) for part in answer)
        except (TypeError, ValueError):
            return "the answer should be two numbers: the hard rank and the soft rank."
        wrong = [part for part in (one, other) if not math.isfinite(part)]
        return "one of the two is not a number: directions without variance have no logarithm." if wrong else None

    def same(answer: Any) -> str | None:
        given = tuple(float(part) for part in answer)
        if alike(given, (hard, soft)):
            return None
        for sentence, pairs in slips.items():
            if any(alike(given, pair) for pair in pairs):
                return sentence
        named = [
            f"the {name} rank should be {right:.4g} and is {wrong:.4g}"
            for name, right, wrong in zip(("hard", "soft"), (hard, soft), given, strict=True)
            if not alike((right,), (wrong,))
        ]
        return f"{' and '.join(named)}."

    return two, same


def near(answer: Tensor, wanted: Tensor) -> bool:
    return bool((answer.to(wanted) - wanted).abs().max() <= CLOSE * wanted.abs().max())


def alike(given: tuple[float, ...], wanted: tuple[float, ...]) -> bool:
    return all(math.isclose(one, other, rel_tol=1e-3) for one, other in zip(given, wanted, strict=True))
