"""Tokens as people read them."""

import pytest

from labkit.views.spelling import spelled


def read(*tokens: str) -> str:
    return "".join(piece.gap + piece.text for piece in spelled(tokens))


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (("The", "Ġcat", "Ċ", "ĠÃ©tÃ©"), "The cat↵ été"),
        (("▁The", "▁cat", "s", "<0x0A>"), " The cats↵"),
        (("the", "cat", "##s", ",", "don", "'", "t"), "the cats, don' t"),
        (("The", " cat", "\n", "\t"), "The cat↵⇥"),
        (("a", " ", "", "b"), "a␣∅b"),
    ],
)
def test_the_marks_of_each_tokenizer_become_spaces_and_signs(tokens, text):
    assert read(*tokens) == text


@pytest.mark.parametrize("token", ["[CLS]", "<|endoftext|>", "<s>", "</s>", "<start_of_turn>", "[PAD]", "<unk>"])
def test_control_tokens_are_told_from_text(token):
    assert spelled([token, "Ġthe"])[0].special
    assert spelled([token])[0].text == token


@pytest.mark.parametrize("token", ["<", "a<b", "[x", "[see below]", "<a very long thing that is no token>"])
def test_brackets_in_text_are_no_control_tokens(token):
    assert not spelled([token])[0].special


def test_lines_end_where_the_text_has_a_line_end():
    assert [piece.line for piece in spelled(["a", ".\n", "\n\n", "b"])] == [False, True, True, False]


def test_what_a_page_would_obey_or_swallow_is_written_out():
    assert spelled(["a\u202eb\x07"])[0].text == "a\\u202eb\\u0007"


def test_half_a_character_is_shown_as_unknown_and_does_not_break():
    assert read("Ġa", "Ã") == " a\N{REPLACEMENT CHARACTER}"
