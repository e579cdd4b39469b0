"""Codes, tokens and how guessing is slowed down."""

import re

import pytest

from labkit.errors import LabError
from labkit.workshop.classroom.allowance import Allowance, Guessing
from labkit.workshop.classroom.codes import WORDS, digest, new_code, new_token, place_of, same, spelled


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_code_can_be_read_aloud_and_is_one_of_more_than_a_million():
    assert re.fullmatch(r"[A-Z]{3,8}-\d{4}", new_code())
    assert len(set(WORDS)) == len(WORDS)
    assert len(WORDS) * 10_000 > 1_000_000


def test_tokens_are_long_and_never_the_same():
    assert len({new_token() for _ in range(1000)}) == 1000
    assert len(new_token()) >= 22  # 128 bits in base 64
    assert digest("a") != digest("b")


@pytest.mark.parametrize("typed", ["kite-7431", " KITE 7431 ", "Kite_7431", "KITE–7431", "KITE - 7431"])
def test_a_code_is_understood_as_people_type_it(typed):
    assert same(spelled(typed), "KITE-7431")


@pytest.mark.parametrize("typed", ["KITE-7432", "", None, 7431, ["KITE-7431"], "KITE-7431-", "\ud800"])
def test_any_other_code_is_wrong(typed):
    assert not same(spelled(typed), "KITE-7431")


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.168.1.20:5010/KITE-7431", ("192.168.1.20", 5010, "KITE-7431")),
        ("http://192.168.1.20:5012/kite-7431/", ("192.168.1.20", 5012, "KITE-7431")),
        ("teachers-laptop.local/KITE-7431", ("teachers-laptop.local", 5010, "KITE-7431")),
        ("[fe80::1]:5010/KITE-7431", ("fe80::1", 5010, "KITE-7431")),
    ],
)
def test_an_address_is_taken_apart(address, place):
    assert place_of(address) == place


@pytest.mark.parametrize("address", ["", "KITE-7431", "192.168.1.20:5010", "x:notaport/KITE-7431", "h/../etc", None, 5])
def test_a_wrong_address_is_answered_with_what_one_looks_like(address):
    with pytest.raises(LabError, match="copy the line from the board"):
        place_of(address)


def test_an_allowance_comes_back_with_time_and_not_beyond_its_size():
    clock = Clock()
    turns = Allowance(10, 2, clock)
    assert turns.take(10) == 0
    assert turns.take(1) == 0.5
    clock.now = 100
    assert turns.left() == 10
    assert turns.take(50) == 0  # more than there can ever be is let through once it is full, and paid back
    assert turns.take(1) == pytest.approx((1 + 40) / 2)


def test_a_program_that_tries_codes_is_slowed_down_to_one_in_eight_seconds():
    clock = Clock()
    door, tried = Guessing(clock), 0
    for _ in range(3600 * 4):
        clock.now += 0.25
        if not door.wait("10.0.0.9"):
            door.failed("10.0.0.9")
            tried += 1
    assert tried < 900  # of 1.4 million codes in an hour


def test_a_class_behind_one_address_survives_its_typing_mistakes():
    clock = Clock()
    door, waited = Guessing(clock), []
    for _student in range(30):
        clock.now += 2
        for _mistake in range(2):
            waited.append(door.wait("10.0.0.1"))
            door.failed("10.0.0.1")
        waited.append(door.wait("10.0.0.1"))
    assert max(waited) < 4


def test_many_addresses_together_do_not_guess_faster_than_four_a_second():
    clock = Clock()
    door, tried = Guessing(clock), 0
    for second in range(600):
        for host in range(50):
            clock.now += 0.02
            if not door.wait(f"10.0.{second % 200}.{host}"):
                door.failed(f"10.0.{second % 200}.{host}")
                tried += 1
    assert tried < 240 + 4 * 600 + 10
