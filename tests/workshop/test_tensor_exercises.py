"""The exercises on tensors: right answers are right, and a wrong one is told what is wrong with it."""

import re

import pytest
import torch

from labkit.parts.quadratic import Factors, forms_of, tensor_of
from labkit.parts.spectra import hard_rank, soft_rank, variances
from labkit.workshop.exercise import OPEN, check
from labkit.workshop.tensor_exercises import both_ranks, same_forms

CHANCE = torch.Generator().manual_seed(0)
FACTORS = Factors(*(torch.randn(size, generator=CHANCE) for size in ((4, 5), (4, 5), (3, 4))))
FORMS, TENSOR = forms_of(FACTORS), tensor_of(FACTORS)
VALUES = torch.randn(200, 6, generator=CHANCE) * torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5, 0.1]) + 2
POWERS = variances(VALUES)
HARD, SOFT = hard_rank(POWERS), soft_rank(POWERS)


def off(answer):
    answer = answer.clone()
    answer[0, 1, 1] += 1
    return answer


WRONG_FORMS = {
    "a list": (FORMS.tolist(), "should be a tensor"),
    "one output": (FORMS[0], r"shape \(5, 5\).*\(3, 5, 5\)"),
    "not symmetric": (TENSOR, "the tensor itself"),
    "mirrored": (TENSOR.transpose(-1, -2), "the tensor itself"),
    "neither": (TENSOR + torch.arange(5.0), "not symmetric"),
    "twice": (2 * FORMS, "twice too large"),
    "negative": (-FORMS, "signs"),
    "another": (off(FORMS), "not those of the layer"),
}


@pytest.mark.parametrize("fault", WRONG_FORMS)
def test_wrong_forms_are_explained(fault):
    answer, sentence = WRONG_FORMS[fault]
    finding = check(lambda: answer, *same_forms(FACTORS))
    assert not finding.right
    assert re.search(sentence, finding.says)


def test_right_forms_are_right():
    assert check(FORMS.clone, *same_forms(FACTORS)).right
    assert check(lambda: FORMS.double(), *same_forms(FACTORS)).right


def second_moment():
    return torch.linalg.eigvalsh(VALUES.double().T @ VALUES.double()).numpy()


WRONG_RANKS = {
    "one number": (HARD, "two numbers"),
    "three": ((HARD, SOFT, 1.0), "two numbers"),
    "nan": ((HARD, float("nan")), "not a number"),
    "swapped": ((SOFT, HARD), "other order"),
    "entropy": ((HARD, float(torch.tensor(SOFT).log())), "not undone"),
    "bits": ((HARD, float(torch.tensor(SOFT).log2().exp())), "in bits"),
    "singular": ((hard_rank(POWERS**0.5), soft_rank(POWERS**0.5)), "singular values"),
    "uncentred": ((hard_rank(second_moment()), soft_rank(second_moment())), "mean"),
    "upside down": ((1 / HARD, SOFT), "upside down"),
    "another": ((HARD + 1, SOFT), "the hard rank should be"),
}


@pytest.mark.parametrize("fault", WRONG_RANKS)
def test_wrong_ranks_are_explained(fault):
    answer, sentence = WRONG_RANKS[fault]
    finding = check(lambda: answer, *both_ranks(VALUES))
    assert not finding.right
    assert re.search(sentence, finding.says)


def test_right_ranks_are_right():
    assert check(lambda: (HARD, SOFT), *both_ranks(VALUES)).right
    assert check(lambda: torch.tensor([HARD, SOFT]), *both_ranks(VALUES)).right


def test_no_answer_is_asked_for():
    assert check(lambda: ..., *both_ranks(VALUES)).says == OPEN
