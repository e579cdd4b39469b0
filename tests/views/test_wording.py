"""Numbers and names in sentences."""

import pytest

from labkit.views.wording import counted, fixed, listed, longest, number, percent, seconds, unique, wrapped


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1240, "1,240"),
        (0.86234, "0.862"),
        (12.34, "12.3"),
        (0.5, "0.5"),
        (-0.05, "−0.05"),
        (1234.6, "1,235"),
        (0.00013, "0.00013"),
        (2.4e-6, "2.4e-06"),
        (float("nan"), "no value"),
        (-3, "−3"),
    ],
)
def test_numbers_have_at_most_three_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [(0.8612, 0.1, "0.86"), (0.8612, 0.012, "0.861"), (1240.4, 300, "1,240"), (-0.0001, 0.1, "0.00")],
)
def test_decimals_follow_the_spread(value, spread, text):
    assert fixed(value, spread) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (1, "100 %"),
        (0.241, "24 %"),
        (0.0312, "3.1 %"),
        (0.0001, "under 0.1 %"),
        (0.997, "99.7 %"),
        (0.9999, "100 %"),
        (0.0996, "10 %"),
    ],
)
def test_shares_are_per_cent(share, text):
    assert percent(share).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("value", "text"), [(2, "2 s"), (0.0031, "3.1 ms"), (12.5e-6, "12.5 µs"), (3.4e-7, "340 ns"), (0.161, "161 ms")]
)
def test_durations_have_the_unit_that_suits_them(value, text):
    assert seconds(value).replace("\u00a0", " ") == text


def test_lists_and_counts_read_as_sentences():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed([]) == ""
    assert counted(1, "leaf", "leaves") == "1 leaf"
    assert counted(1000, "step") == "1,000 steps"


def test_wrapping_keeps_all_words_or_says_that_it_cuts():
    text = "a rather long name of an arm that someone chose"
    assert wrapped(text, 20).replace("<br>", " ") == text
    cut = wrapped(text, 20, lines=2)
    assert cut.endswith("…")
    assert longest(cut) <= 20
    assert wrapped("a<bbbbbb", 4) == "a&lt;bb<br>bbbb"
    assert longest("&lt;&lt;<br>a") == 2


def test_equal_names_get_numbers():
    assert unique(["a", "b", "a", "a"]) == ["a", "b", "a (2)", "a (3)"]
