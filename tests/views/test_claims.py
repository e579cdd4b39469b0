"""The table of claims: sign, word and colour, and nothing that a page could run."""

import re
from html.parser import HTMLParser

import pytest

from labkit.errors import LabError
from labkit.views.claims import COLUMNS, VERDICTS, claims, example

ROW = {
    "says": "Trees are faster.",
    "rule": "ratio below 1",
    "measured": "0.52",
    "verdict": "shown",
    "estimate": 0.52,
    "low": 0.48,
    "high": 0.56,
    "threshold": 1.0,
    "seeds": 5,
    "needs": None,
}


class Cells(HTMLParser):
    """The texts of the cells, and the tags."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)
        if tag in ("td", "th"):
            self.texts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} closes something else"

    def handle_data(self, data):
        if self.texts and "table" in self.open:
            self.texts[-1] += data


def test_every_verdict_has_its_sign_and_its_word():
    text = claims([{**ROW, "verdict": verdict} for verdict in VERDICTS])
    cells = Cells(text).texts[len(COLUMNS) :]
    assert [cell for cell in cells if cell[1:] in VERDICTS] == [sign + word for word, sign in VERDICTS.items()]
    assert "4 claims: 1 shown, 1 inconclusive, 1 contradicted, 1 out of reach" in text


def test_the_table_is_well_formed_and_has_headers():
    page = Cells(claims(**example(0)))
    assert page.open == []
    assert page.texts[: len(COLUMNS)] == list(COLUMNS)
    assert page.tags.count("tr") == 1 + len(example(0)["rows"])


def test_what_was_measured_is_said_once_and_numbers_stand_in_where_no_words_are():
    assert Cells(claims([ROW])).texts[len(COLUMNS) + 2] == "0.52"
    silent = {**ROW, "measured": ""}
    assert Cells(claims([silent])).texts[len(COLUMNS) + 2] == "0.520 [0.480 to 0.560], threshold 1"


def test_repeats_that_are_not_seeds_say_what_they_are():
    seeds, timings = ROW, {**ROW, "over": "timings"}
    assert Cells(claims([seeds])).texts[len(COLUMNS) + 3] == str(ROW["seeds"])
    assert Cells(claims([timings])).texts[len(COLUMNS) + 3] == f"{ROW['seeds']} timings"


def test_text_of_a_claim_is_never_markup():
    evil = {**ROW, "says": "<script>alert(1)</script>", "measured": "<img src=x>", "rule": '"&"', "needs": "<b>"}
    text = claims([evil])
    assert not {"script", "img", "b"} & set(Cells(text).tags)
    assert "&lt;script&gt;" in text


def test_what_could_not_be_measured_says_what_it_needs():
    row = {"says": "At scale.", "verdict": "out of reach", "needs": "eight GPUs"}
    cells = Cells(claims([row])).texts[len(COLUMNS) :]
    assert cells == ["At scale.", "–", "not measured here", "–", "–out of reachwould need eight GPUs"]


def test_the_table_follows_the_page_it_stands_in():
    text = claims([ROW])
    for variable in ("--jp-content-font-color1", "--jp-layout-color0", "--lab-ink", '[data-jp-theme-light="false"]'):
        assert variable in text
    assert 'class="lab-claims"' in text
    assert 'class="lab-claims lab-dark"' in claims([ROW], dark=True)
    assert "@media" in text


def test_the_verdicts_stand_out_in_light_and_dark():
    def bright(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    text = claims([ROW])
    for chosen in re.findall(r"\.lab-claims[^{]*\{(--surface[^}]*)\}", text):
        values = dict(re.findall(r"--(\w+):(#\w{6})", chosen))
        ground = bright(values["surface"])
        for name in ("ink", "quiet", "shown", "contradicted", "inconclusive", "beyond"):
            pair = sorted((ground, bright(values[name])))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, name


@pytest.mark.parametrize(
    ("rows", "hint"),
    [
        ([], "empty list"),
        (ROW, "got dict"),
        ("shown", "got str"),
        ([{**ROW, "verdict": "proved"}], "proved"),
        ([{"verdict": "shown"}], "`says`"),
        ([3], "found 3"),
    ],
)
def test_wrong_rows_are_refused(rows, hint):
    with pytest.raises(LabError, match=hint):
        claims(rows)
