"""Presenter mode of the dashboard: large type everywhere, and the arrow keys move the step of a picture."""

import socket
import time
import urllib.error
import urllib.request

import panel as pn
import pytest

from labkit.dashboard import layout

pytestmark = pytest.mark.browser
SIZE = "() => getComputedStyle(document.querySelector('header nav a')).fontSize"
INNER = """() => {
    const deep = (top, wanted) => [...top.querySelectorAll(wanted), ...[...top.querySelectorAll("*")]
        .filter((one) => one.shadowRoot).flatMap((one) => deep(one.shadowRoot, wanted))];
    return getComputedStyle(deep(document, "h2.mine")[0]).fontSize;
}"""
ACTIVE = """() => {
    const deep = (top, wanted) => [...top.querySelectorAll(wanted), ...[...top.querySelectorAll("*")]
        .filter((one) => one.shadowRoot).flatMap((one) => deep(one.shadowRoot, wanted))];
    return deep(document, ".js-plotly-plot")[0]?._fullLayout?.sliders?.[0]?.active;
}"""


def build(_session):
    from labkit.views.similarity import example, similarity

    slider = pn.widgets.IntSlider(label="Input", start=0, end=9, value=4)
    field = pn.widgets.TextInput(label="Search")
    return [
        layout.html('<h2 class="mine">A picture with steps</h2>'),
        pn.pane.Plotly(similarity(**example()), height=520, sizing_mode="stretch_width"),
        slider,
        field,
    ]


def ready(address: str) -> None:
    """Wait for the first page, which loads what all of them need."""
    for _ in range(200):
        try:
            with urllib.request.urlopen(address, timeout=120):
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError(f"{address} does not answer")


@pytest.fixture(scope="module")
def server():
    """The address of one page in the dashboard's frame."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pn.extension("plotly")
    served = pn.serve(
        {"papers": lambda: layout.page(lambda _session: "A page", "papers", build, layout.Session())},
        port=port,
        address="127.0.0.1",
        show=False,
        threaded=True,
    )
    address = f"http://127.0.0.1:{port}/papers"
    ready(address)
    yield address
    served.stop()


def test_letters_grow_wherever_they_are():
    assert (
        layout.growing("p { font-size: 15px; margin: 4px }")
        == "p { font-size: calc(15px * var(--type, 1)); margin: 4px }"
    )
    assert layout.growing("p { font: 600 15px/1.3 x }") == "p { font: 600 calc(15px * var(--type, 1))/1.3 x }"
    assert layout.growing("p { font-size: 0.9em; border: 1px }") == "p { font-size: 0.9em; border: 1px }"


def test_large_type_stays_from_page_to_page_until_escape(server, page):
    page.goto(server, wait_until="domcontentloaded")
    page.locator(".js-plotly-plot .slider-container").first.wait_for()
    small, inner = page.evaluate(SIZE), page.evaluate(INNER)
    page.get_by_role("button", name="Present").click()
    assert float(page.evaluate(SIZE)[:-2]) > 1.3 * float(small[:-2])
    assert float(page.evaluate(INNER)[:-2]) > 1.3 * float(inner[:-2])
    page.reload()
    page.locator(".js-plotly-plot .slider-container").first.wait_for()
    assert page.get_by_role("button", name="Present").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Escape")
    assert page.evaluate(SIZE) == small
    assert page.errors == []


def test_keys_move_the_step_and_leave_controls_alone(server, page):
    page.goto(server, wait_until="domcontentloaded")
    page.locator(".js-plotly-plot .slider-container").first.wait_for()
    start = page.evaluate(ACTIVE)
    page.locator("h2.mine").click()
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(200)
    assert page.evaluate(ACTIVE) == start  # not in presenter mode
    page.get_by_role("button", name="Present").click()
    for key, wanted in (
        ("ArrowLeft", start - 1),
        ("PageUp", start - 2),
        ("PageDown", start - 1),
        ("ArrowRight", start),
    ):
        page.keyboard.press(key)
        page.wait_for_function(f"() => ({ACTIVE})() === {wanted}")
    field = page.get_by_label("Search")
    field.fill("abc")
    field.press("ArrowLeft")
    field.press("x")
    assert field.input_value() == "abxc"
    assert page.evaluate(ACTIVE) == start
    handle = page.locator(".noUi-handle")
    handle.hover()
    page.locator("h2.mine").evaluate("(one) => one.ownerDocument.activeElement?.blur()")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("(handle) => handle.getAttribute('aria-valuenow') === '5.0'", arg=handle.element_handle())
    assert page.evaluate(ACTIVE) == start
    assert page.errors == []
