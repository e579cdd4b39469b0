"""What may be told to a class: four kinds, limits on each field, and text that does no harm wherever it is shown."""

import csv
import io
import json
import math

import numpy as np
import pytest

from labkit.workshop.classroom.messages import NAME, POINTS, SAYS, Refused, named, read, wire
from labkit.workshop.classroom.plain_text import cleaned, defused

CHECK = {"exercise": "leaf", "right": False, "says": "Not yet."}
VALUE = {"run": "net", "name": "loss", "step": 3, "value": 0.5}
STUDY = {"name": "accuracy", "seed": 4, "arm": "dense", "value": 0.9}
GUESS = {"question": "How deep?", "points": [[0, 1], [1, 2.5]]}


@pytest.mark.parametrize(("kind", "what"), [("check", CHECK), ("value", VALUE), ("study", STUDY), ("guess", GUESS)])
def test_the_four_kinds_are_taken_as_they_are(kind, what):
    assert read(kind, what) == what


@pytest.mark.parametrize(
    ("kind", "what", "says"),
    [
        ("run", {}, "A class takes check"),
        (None, {}, "A class takes check"),
        ({"$ne": 1}, {}, "A class takes check"),
        ("check", [], "fields by name"),
        ("check", {**CHECK, "extra": 1}, "has no field 'extra'"),
        ("check", {"exercise": "leaf"}, "needs right"),
        ("check", {**CHECK, "right": 1}, "true or false"),
        ("check", {**CHECK, "exercise": ""}, "is empty"),
        ("check", {**CHECK, "exercise": "\u202e\u200b"}, "is empty"),
        ("check", {**CHECK, "says": "x" * (SAYS + 1)}, "longer than"),
        ("check", {**CHECK, "says": "x" * 1_000_000}, "longer than"),
        ("check", {**CHECK, "says": {"a": 1}}, "must be text"),
        ("value", {**VALUE, "value": "1e5"}, "must be a number"),
        ("value", {**VALUE, "value": True}, "must be a number"),
        ("value", {**VALUE, "value": 10**400}, "too large"),
        ("value", {**VALUE, "step": 1.5}, "whole number"),
        ("value", {**VALUE, "step": 2**60}, "whole number"),
        ("value", {**VALUE, "step": "nan"}, "whole number"),
        ("guess", {**GUESS, "points": []}, "list of points"),
        ("guess", {**GUESS, "points": [[0, 1, 2]]}, "list of points"),
        ("guess", {**GUESS, "points": [[0, "nan"]]}, "finite"),
        ("guess", {**GUESS, "points": [[0, 1]] * (POINTS + 1)}, "more than"),
        ("guess", {**GUESS, "points": "[[0, 1]]"}, "list of points"),
    ],
)
def test_everything_else_is_refused_with_a_reason(kind, what, says):
    with pytest.raises(Refused, match=says):
        read(kind, what)


def test_a_sender_shortens_what_is_too_long_instead():
    told = read("check", {**CHECK, "says": "x" * 1_000_000}, cut=True)
    assert len(told["says"]) == SAYS
    assert read("check", told) == told
    guess = read("guess", {**GUESS, "points": [[x, 1.0] for x in range(10_000)]}, cut=True)
    assert len(guess["points"]) == POINTS
    assert guess["points"][0] == [0.0, 1.0]
    assert guess["points"][-1] == [9999.0, 1.0]


def test_a_sender_takes_numbers_as_libraries_have_them():
    import torch

    told = read("value", {**VALUE, "step": np.int64(3), "value": torch.tensor(0.5)}, cut=True)
    assert told == VALUE
    assert read("check", {**CHECK, "right": np.bool_(True)}, cut=True)["right"] is True
    assert read("guess", {**GUESS, "points": np.array([[0.0, 1.0]])}, cut=True)["points"] == [[0.0, 1.0]]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_travels_as_a_word_and_comes_back(value):
    sent = json.dumps(wire(read("value", {**VALUE, "value": value}, cut=True)), allow_nan=False)
    back = read("value", json.loads(sent))["value"]
    assert back == value or (math.isnan(back) and math.isnan(value))


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("Ada\u202egnp.exe", "Adagnp.exe"),
        ("a\u2066b\u2069c\u200bd\ufeff", "abcd"),
        ("one\ntwo\r\n\x00three\x1b[31m", "one two three [31m"),
        ("half \ud800 pair", "half ? pair"),
        ("tag\U000e0041s", "tags"),
        ("   ", ""),
        ("Zoë 李明 Øystein", "Zoë 李明 Øystein"),
        ("e" + "\u0301" * 50, "é\u0301\u0301"),
    ],
)
def test_text_keeps_only_what_can_be_seen_in_one_line(text, seen):
    assert cleaned(text) == seen
    cleaned(text).encode("utf-8")


def test_markup_stays_text():
    assert cleaned("<script>alert(1)</script>") == "<script>alert(1)</script>"


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", " =1", "\t=1", "'=1", "\u00a0=1", "|x"]
)
def test_no_spreadsheet_finds_a_formula(cell):
    out = io.StringIO()
    csv.writer(out).writerow([defused(cell)])
    assert out.getvalue().lstrip('"').startswith("'")


def test_numbers_and_harmless_text_stay_as_they_are_in_a_spreadsheet():
    assert [defused(cell) for cell in (-1.5, 3, "Ada", "a=b", "")] == [-1.5, 3, "Ada", "a=b", ""]


def test_a_name_is_short_and_never_empty():
    assert named("x" * 5000) == "x" * (NAME - 1) + "…"
    assert named("\u202e \u200b") == "someone"
    with pytest.raises(Refused):
        named(["Ada"])
