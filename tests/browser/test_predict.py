"""A guess is drawn with the mouse and with keys, locked, and what happened is drawn over it."""

import json

import numpy as np
import pytest

from labkit.widgets.predict import PLACES, predict

pytestmark = pytest.mark.browser
AXES = {"x": ("step", 0, 600), "y": ("accuracy", 0, 1)}
STEPS = np.linspace(0, 600, 61)


@pytest.fixture
def guess_page(page, tmp_path):
    """The exported page of a guess that nobody has drawn yet."""
    predict("How good will it get?", **AXES).again().export_html(tmp_path / "guess.html")
    page.goto((tmp_path / "guess.html").as_uri())
    drawn(page)
    return page


def drawn(page) -> None:
    page.wait_for_function("() => labkitModel.get('acked') === labkitModel.get('seq')")


def values(page) -> list:
    return json.loads(page.evaluate("labkitModel.get('drawn')"))


def drag(page, *shares: tuple[float, float]) -> None:
    """Draw through places given as shares of the canvas, from the left and from the top."""
    box = page.locator("canvas").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in shares]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
    page.mouse.up()


def test_a_curve_is_drawn_redrawn_wiped_and_locked(guess_page):
    page, lock = guess_page, guess_page.get_by_role("button", name="Lock my guess")
    assert lock.is_disabled()
    drag(page, (0.02, 0.9), (0.5, 0.3), (0.99, 0.12))
    first = values(page)
    assert None not in first
    assert first[0] < first[PLACES // 2] < first[-1]
    drag(page, (0.4, 0.8), (0.6, 0.8))
    assert values(page)[PLACES // 2] < 0.5 * first[PLACES // 2]
    page.get_by_role("button", name="Eraser").click()
    drag(page, (0.4, 0.5), (0.6, 0.5))
    assert values(page)[PLACES // 2] is None
    assert values(page)[0] == first[0]
    lock.click()
    assert page.evaluate("labkitModel.get('locked')") is True
    kept = values(page)
    drag(page, (0.1, 0.1), (0.9, 0.1))
    assert values(page) == kept
    page.get_by_role("button", name="Change it").click()
    page.get_by_role("button", name="Start over").click()
    assert values(page) == [None] * PLACES
    assert page.errors == []


def test_the_keyboard_draws_and_says_where_it_is(guess_page):
    page, canvas, spoken = guess_page, guess_page.locator("canvas"), guess_page.locator(".labkit-guess-spoken")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    spoken.filter(has_text="step 0: your guess is 0.51").wait_for()
    page.keyboard.press("End")
    page.keyboard.press("PageUp")
    spoken.filter(has_text="step 600: your guess is 0.61").wait_for()
    page.keyboard.press("Home")
    page.keyboard.press("Delete")
    spoken.filter(has_text="step 0: not drawn").wait_for()
    for _ in range(60):
        page.keyboard.press("Shift+ArrowDown")
    assert values(page)[0] == 0
    assert "Nothing is drawn" not in canvas.get_attribute("aria-label")
    page.get_by_role("button", name="Lock my guess").press("Enter")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert values(page)[0] == 0
    assert page.errors == []


def test_what_happened_is_drawn_over_it_with_the_area_between(guess_page):
    page = guess_page
    guess = predict("How good will it get?", **AXES).again().points([(0, 0.5), (600, 0.5)]).lock()
    guess.reveal((STEPS, np.where(STEPS > 300, 0.9, 0.2)))
    page.evaluate(
        """([state, drawn]) => { labkitModel.set("drawn", drawn); labkitModel.set("locked", true);
            labkitModel.set("state", state); labkitModel.set("seq", 9); }""",
        [guess.state, guess.drawn],
    )
    drawn(page)
    assert page.get_by_text("On average your guess is").inner_text() == guess.gap.says
    for word in ("your guess", "what happened", "too high", "too low"):
        assert page.locator(".labkit-guess-legend").get_by_text(word, exact=True).is_visible()
    assert page.get_by_role("button", name="Change it").is_hidden()
    inks = page.evaluate(
        """() => [[0.25, 0.58], [0.75, 0.32]].map(([x, y]) => {
            const canvas = document.querySelector("canvas");
            const [left, top] = [Math.round(x * canvas.width), Math.round(y * canvas.height)];
            return [...canvas.getContext("2d").getImageData(left, top, 1, 1).data];
        })"""
    )
    assert inks[0] != inks[1]
    assert inks[0][3] > 0
    assert inks[1][3] > 0
    page.locator("canvas").focus()
    page.keyboard.press("ArrowRight")
    page.locator(".labkit-guess-spoken").filter(has_text="what happened: 0.2").wait_for()
    assert page.errors == []


def test_a_page_of_hostile_words_shows_them_as_words(page, tmp_path):
    asked = predict("<img src=x onerror=alert(1)></script>", x=("<b>step</b>", 0, 1), y=("<i>y</i>", 0, 1))
    asked.export_html(tmp_path / "guess.html")
    page.goto((tmp_path / "guess.html").as_uri())
    drawn(page)
    assert page.locator("img").count() == 0
    assert page.get_by_text("<img src=x onerror=alert(1)></script>").is_visible()
    assert page.errors == []
