"""The exercise on product keys: what is right passes, and every common mistake is explained."""

import re

import pytest
import torch

from labkit.workshop.exercise import check
from labkit.workshop.memory_exercises import best_slots

KEYS, CHOSEN = 8, 3
torch.manual_seed(0)
FIRST, SECOND = torch.randn(20, KEYS), torch.randn(20, KEYS)
RIGHT = (FIRST[:, :, None] + SECOND[:, None]).flatten(1).topk(CHOSEN).indices


def by_pairs():
    one, other = FIRST.topk(CHOSEN), SECOND.topk(CHOSEN)
    place = (one.values[:, :, None] + other.values[:, None]).flatten(1).topk(CHOSEN).indices
    return one.indices.gather(1, place // CHOSEN) * KEYS + other.indices.gather(1, place % CHOSEN), place


WRONG = {
    "list": (RIGHT.tolist(), "should be a tensor"),
    "shape": (RIGHT[:, :2], r"shape \(20, 2\)"),
    "float": (RIGHT.float(), "whole numbers"),
    "range": (RIGHT + KEYS**2, "numbered 0 to 63"),
    "twice": (RIGHT[:, :1].expand(-1, CHOSEN), "stands twice"),
    "order": (RIGHT.flip(-1), "not in order"),
    "swapped": (RIGHT % KEYS * KEYS + RIGHT // KEYS, "halves are swapped"),
    "paired": (FIRST.topk(CHOSEN).indices * KEYS + SECOND.topk(CHOSEN).indices, "all pairs of the best halves"),
    "places": (by_pairs()[1], "places among the pairs"),
    "one": (torch.cat((RIGHT[:-1], torch.tensor([[0, 1, 2]]))), r"query 19 has the slots \[0, 1, 2\]"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_search_is_explained(fault):
    answer, sentence = WRONG[fault]
    finding = check(lambda: answer, *best_slots(FIRST, SECOND, CHOSEN))
    assert not finding.right
    assert re.search(sentence, finding.says)


def test_the_search_among_all_slots_and_the_one_by_pairs_are_right():
    for answer in (RIGHT, by_pairs()[0]):
        assert check(answer.clone, *best_slots(FIRST, SECOND, CHOSEN)).right
