"""Painted texts: readable, reachable, bounded, and never markup."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

from labkit.errors import LabError
from labkit.views.paint import LEVELS, READABLE, Scale, contrast, shades, style
from labkit.views.painted_text import TOKENS, example, painted_text, window
from labkit.views.theme import DARK, LIGHT


def tokens(values, text=None, **coords) -> xr.DataArray:
    values = np.asarray(values, float)
    text = [f" word{at}" for at in range(values.shape[-1])] if text is None else text
    dims = ("unit", "token")[-values.ndim :]
    return xr.DataArray(
        values, dims=dims, coords={"text": ("token", text), **coords}, attrs={"long_name": "activation"}
    )


class Spans(HTMLParser):
    """The tokens: (class, title, text, whether Tab stops there)."""

    def __init__(self, text: str):
        super().__init__()
        self.tokens, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        self.inside = tag == "span" and "t" in found.get("class", "").split()
        if self.inside:
            self.tokens.append([found["class"], found["title"], "", "tabindex" in found])

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if getattr(self, "inside", False):
            self.tokens[-1][2] += data


def test_every_token_carries_its_exact_value_and_the_colour_of_it():
    found = Spans(painted_text(tokens([0.0, 0.125, 2.0, 4.0]))).tokens
    assert [one[1] for one in found] == ["0, token 0", "0.125, token 1", "2, token 2", "4, token 3"]
    assert [one[0] for one in found] == ["t", "t p1", "t p3", "t p6"]
    assert [one[2] for one in found] == [" word0", " word1", " word2", " word3"]


def test_values_of_both_signs_have_two_colours_and_zero_has_none():
    found = Spans(painted_text(tokens([-4.0, 0.0, 4.0, np.nan]))).tokens
    assert [one[0] for one in found] == ["t n6", "t", "t r6", "t"]
    assert found[3][1] == "no value, token 3"


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("letter", "prn")
def test_text_is_readable_on_every_shade(colors, letter):
    pairs = shades(colors, letter)
    assert len(pairs) == len({ground for ground, _ in pairs}) == LEVELS
    assert min(contrast(*pair) for pair in pairs) >= READABLE
    assert contrast(colors.ink, colors.surface) >= READABLE


def test_the_style_holds_the_tested_pairs():
    rules = style()
    for colors in (LIGHT, DARK):
        for ground, ink in shades(colors, "p"):
            assert f":{ground};" in rules
            assert ink in rules


def test_the_value_is_said_without_colour_by_a_bar_that_grows():
    bars = [float(one) for one in re.findall(r"\.p\d\{[^}]*inset 0 -([\d.]+)px", style())]
    assert len(bars) == LEVELS
    assert bars == sorted(bars)
    assert "inset 0 0.6px" in style(), "negative values have it at the head"


def test_the_strongest_tokens_can_be_reached_by_keyboard_in_reading_order():
    found = Spans(painted_text(tokens(np.arange(500.0)))).tokens
    assert [at for at, one in enumerate(found) if one[3]] == list(range(440, 500))
    assert all(one[3] for one in Spans(painted_text(tokens(np.arange(9.0)))).tokens)
    assert "focus::after{content:attr(title)" in style()


def test_a_long_text_shows_the_stretch_around_its_strongest_token():
    values = np.zeros(50_000)
    values[40_000] = 1
    text = painted_text(tokens(values))
    found = Spans(text).tokens
    assert len(found) == TOKENS
    assert "1, token 40000" in [one[1] for one in found]
    assert "of 50,000" in text
    assert len(text.encode()) < 300_000
    assert window(values[:100], 10) == (0, 10)
    assert window(np.arange(100), 10) == (90, 100)


def test_the_text_of_a_token_is_never_markup():
    found = Spans(painted_text(tokens([1.0, 2.0], ["<script>alert(1)</script>", '"><img>'])))
    assert not {"script", "img"} & set(found.tags)
    assert found.tokens[0][2] == "<script>alert(1)</script>"


def test_each_unit_has_its_own_block_on_one_scale():
    text = painted_text(tokens([[1.0, 0.0], [0.0, 4.0]], unit=[17, 23]))
    assert text.index("Unit 17") < text.index("Unit 23")
    assert [one[0] for one in Spans(text).tokens] == ["t p2", "t", "t", "t p6"]


def test_sequences_begin_on_a_line_of_their_own():
    text = painted_text(tokens([1.0, 2.0, 3.0], sequence=("token", [0, 0, 1])))
    assert re.search(r"word1</span>\n\n<span", text)
    assert not re.search(r"word0</span>\n", text)


def test_the_page_around_it_chooses_the_theme():
    text = painted_text(tokens([1.0]))
    assert '[data-jp-theme-light="false"] .lab-text' in text
    assert 'class="lab-text"' in text
    assert 'class="lab-text lab-dark"' in painted_text(tokens([1.0]), dark=True)


def test_a_scale_never_paints_what_is_zero_and_always_what_is_not():
    scale = Scale.of(np.array([0.0, 1e-9, 5.0]))
    assert [scale.level(one) for one in (0.0, 1e-9, 5.0, 50.0)] == [0, 1, LEVELS, LEVELS]


def test_the_example_paints_two_units():
    assert Spans(painted_text(**example(0))).tags.count("h4") == 2


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (tokens([1.0]).drop_vars("text"), "coordinate text"),
        (tokens([1.0], [5]), "decode them"),
        ([1, 2], "got list"),
        (tokens([1.0]) * np.nan, "no value"),
    ],
)
def test_what_is_no_text_is_refused(data, hint):
    with pytest.raises(LabError, match=hint) as caught:
        painted_text(data)
    assert str(caught.value).startswith("painted_text")
