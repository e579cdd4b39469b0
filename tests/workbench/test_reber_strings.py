"""Reber strings: right ones are walks, wrong ones are not, and the test part has none of the training part."""

import random

import pytest
import torch

from labkit.workbench.tasks.reber_strings import SIGNS, ReberStrings, follows, right, spoilt


def spelt(rows) -> list[str]:
    return ["".join(SIGNS[sign] for sign in row).lstrip(SIGNS[0]) for row in rows.tolist()]


def test_the_strings_that_the_thesis_prints_are_told_apart():
    for string in ("BPTVPXTTVVE", "BTSXXTTTTVVE", "BTSSXXTTVVE", "BTXXVPXTVVE", "BPTTTTTVPSE"):
        assert follows(string), string
    for string in ("BTTVPXTVPSE", "BPSXXTTTVPSE", "BPSSSXXTVVE", "BTTTVPXTVVE", "BPSSXXTTVVE"):
        assert not follows(string), string


@pytest.mark.parametrize("embedded", [False, True])
def test_labels_are_true_and_parts_are_apart(embedded):
    task = ReberStrings(rows=400, test_rows=200, embedded=embedded)
    for x, target in ((task.train_x, task.train_y), (task.test_x, task.test_y)):
        strings = spelt(x)
        assert [follows(string, embedded) for string in strings] == target.bool().tolist()
        assert target.float().mean() == 0.5
        assert max(map(len, strings)) <= task.longest
        assert all(string[0] == "B" and string[-1] == "E" for string in strings)
    assert not set(spelt(task.train_x)) & set(spelt(task.test_x))
    again = ReberStrings(rows=400, test_rows=200, embedded=embedded)
    assert torch.equal(again.train_x, task.train_x)


def test_a_string_that_forgets_has_the_other_sign_at_its_end_and_nothing_else():
    draw = random.Random(1)
    for _ in range(50):
        string = right(draw, 20, embedded=True)
        other = spoilt(string, draw, embedded=True, forgets=True)
        assert [one != two for one, two in zip(string, other, strict=True)].count(True) == 1
        assert string[-2] != other[-2]
        assert follows(other[2:-2])
        assert not follows(other, embedded=True)


def test_more_mistakes_change_more_signs_and_a_wrong_string_stays_wrong():
    draw, string = random.Random(0), right(random.Random(3), 20)
    changed = []
    for mistakes in (1, 6):
        found = [spoilt(string, draw, mistakes=mistakes) for _ in range(40)]
        assert not any(map(follows, found))
        changed.append(sum(one != other for wrong in found for one, other in zip(string, wrong, strict=True)) / 40)
    assert changed[0] == 1 < 2 < changed[1] <= 6
