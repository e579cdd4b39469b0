"""The theme: contrast, colour blindness, even colour scales."""

import itertools

import numpy as np
import plotly.graph_objects as go
import pytest

from labkit.views import theme
from labkit.views.theme import DARK, LIGHT, Look, alt_text, payload, styled

# from linear RGB to cone responses, and from their cube roots to lightness and two hues: Ottosson's OKLab
CONES = "0.4122214708 0.5363325363 0.0514459929 0.2119034982 0.6806995451 0.1073969566 0.0883024619 0.2817188376 0.6299787005"
LAB = "0.2104542553 0.7936177850 -0.0040720468 1.9779984951 -2.4285922050 0.4505937099 0.0259040371 0.7827717662 -0.8086757660"
TO_CONES, TO_LAB = (np.array(text.split(), dtype=float).reshape(3, 3) for text in (CONES, LAB))
# Machado, Oliveira and Fernandes 2009, full strength, on linear RGB
SIGHT = {
    "common": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(color: str) -> np.ndarray:
    parts = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def oklab(color: str, sight: str = "common") -> np.ndarray:
    seen = np.clip(np.array(SIGHT[sight]) @ linear(color), 0, 1)
    return TO_LAB @ np.cbrt(TO_CONES @ seen)


def contrast(one: str, other: str) -> float:
    bright = sorted(float(linear(color) @ [0.2126, 0.7152, 0.0722]) for color in (one, other))
    return (bright[1] + 0.05) / (bright[0] + 0.05)


both = pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])


@both
def test_lines_and_texts_stand_out_from_the_background(colors: Look):
    assert min(contrast(color, colors.surface) for color in colors.series) >= 3
    assert contrast(colors.ink, colors.surface) >= 7
    assert contrast(colors.muted, colors.surface) >= 4.5


@both
@pytest.mark.parametrize("sight", SIGHT)
def test_colour_blind_people_tell_the_lines_apart(colors: Look, sight: str):
    apart = [
        np.linalg.norm(oklab(one, sight) - oklab(other, sight))
        for one, other in itertools.combinations(colors.series, 2)
    ]
    assert min(apart) > 0.06


@both
def test_the_sequential_scale_has_equal_steps_and_one_direction(colors: Look):
    points = np.array([oklab(color) for color in colors.sequential])
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert steps.max() / steps.min() < 1.25
    brightness = np.diff(points[:, 0])
    assert (brightness < 0).all() or (brightness > 0).all()
    assert contrast(colors.sequential[0], colors.surface) < 1.5
    assert contrast(colors.sequential[-1], colors.surface) > 10


@both
def test_the_diverging_scale_is_even_on_both_sides_of_its_neutral_middle(colors: Look):
    points = np.array([oklab(color) for color in colors.diverging])
    middle = points[len(points) // 2]
    assert np.linalg.norm(middle[1:]) < 0.02, "zero is grey"
    reach = np.linalg.norm(points - middle, axis=1)
    assert (np.diff(reach[: len(points) // 2 + 1]) < 0).all()
    assert (np.diff(reach[len(points) // 2 :]) > 0).all()
    assert abs(points[0, 0] - points[-1, 0]) < 0.1, "both ends are equally strong"


def test_no_two_lines_share_color_dash_and_marker():
    styles = [tuple(LIGHT.line(place).values()) for place in range(36)]
    assert len(set(styles)) == 36


def test_a_figure_from_elsewhere_takes_the_theme_and_keeps_its_meta():
    figure = go.Figure(go.Scatter(y=[1, 2]), layout={"meta": {"run": "a"}, "margin": {"r": 99}})
    styled(figure, alt="Two points, 1 and 2.", title="A <b>title</b>", dark=True)
    assert alt_text(figure) == "Two points, 1 and 2."
    assert figure.layout.meta["run"] == "a"
    assert figure.layout.margin.r == 99
    assert figure.layout.title.text == "A &lt;b&gt;title&lt;/b&gt;"
    assert figure.layout.template.layout.paper_bgcolor == DARK.surface
    assert 0 < payload(figure) < 6_000, "the theme itself is small"


def test_a_figure_without_alt_text_says_so():
    assert alt_text(go.Figure()) == ""


def test_fading_keeps_the_color():
    assert theme.faded("#0072B2", 0.2) == "rgba(0, 114, 178, 0.2)"
