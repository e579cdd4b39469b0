"""The deck and the curves of a held run in a plain page, with a small stand-in for Python: what hands and keys do."""

import json
from types import SimpleNamespace

import pytest

from labkit.recording.history import Event
from labkit.widgets.deck_plan import plan_of, status_of
from labkit.widgets.live_curve import Curve, Labels, LiveCurve, packed
from labkit.widgets.live_deck import SCRIPT, STYLE, LiveDeck
from labkit.widgets.source import page as page_of
from labkit.workbench.hold.dials import Dial

pytestmark = pytest.mark.browser

OBEYS = """() => {
    globalThis.asked = [];
    globalThis.refuse = null;
    globalThis.deaf = false;
    const answers = [], known = new Set();
    globalThis.answer = () => {
        for (const one of JSON.parse(labkitModel.get("command") || "[]")) {
            if (known.has(one.id)) continue;
            known.add(one.id);
            asked.push(one);
            answers.push({ id: one.id, do: one.do, refused: refuse });
        }
        labkitModel.set("answers", JSON.stringify(answers));
    };
    labkitModel.on("change:command", () => { if (!deaf) setTimeout(answer, 20); });
}"""


class Run:
    """What the deck reads of a run."""

    name = "page"

    def __init__(self):
        self.values = {"learning rate": 0.01, "weight of load_balance": 0.0, "chosen of slot.gate": 2}
        self.branches = [
            SimpleNamespace(name="main", parent=None, start=0, last=400),
            SimpleNamespace(name="branch 2", parent="main", start=200, last=600),
        ]
        self.events = [
            Event(100, "main", "change", "learning rate: 0.1 → 0.01"),
            Event(300, "branch 2", "trouble", "Five of eight experts get nothing."),
        ]
        self.touches = SimpleNamespace(active=(SimpleNamespace(says="Unit 7 of slot.0 is set to zero."),))
        self.told = {"state": "paused", "step": 600, "steps": 1000, "branch": "branch 2", "speed": 10.0, "says": ""}
        self.told |= {"error": None, "viewing": None, "ahead": 0}

    together = ""

    @property
    def dials(self):
        return [
            self._dial("learning rate", 1e-6, 10, log=True, says="The size of a step."),
            self._dial("weight of load_balance", 0, 1, log=True),
            self._dial("chosen of slot.gate", 1, 8, whole=True, unit="experts", part_of=self.together),
        ]

    def _dial(self, name, low, high, **more):
        return Dial(name, low, high, lambda: self.values[name], lambda value: None, **more)

    def kept(self, name):
        return list(range(0, 401, 50)) if name == "main" else [*range(0, 200, 50), *range(200, 601, 50)]

    def status(self):
        return self.told


@pytest.fixture
def run():
    return Run()


@pytest.fixture
def deck(page, tmp_path, run):
    """A page with the deck of a paused run; what it orders is answered after a moment, and lies in `asked`."""
    values = {"status": json.dumps(status_of(run)), "plan": json.dumps(plan_of(run)), "command": "[]", "answers": "[]"}
    values |= {"done": 0, "seq": 1, "acked": 0}
    (tmp_path / "deck.html").write_text(page_of(SCRIPT, STYLE, values, "Deck"), encoding="utf-8")
    page.goto((tmp_path / "deck.html").as_uri())
    page.evaluate(OBEYS)
    page.wait_for_function("labkitModel.get('acked') === 1")
    return page


def with_a_clock(page):
    """Load the page anew under a clock that the test turns."""
    page.clock.install()
    page.reload()
    page.evaluate(OBEYS)
    page.wait_for_function("labkitModel.get('acked') === 1")


def tell(page, run, **changed):
    """Python shows the run anew."""
    run.told |= changed
    page.evaluate(
        """([status, plan]) => {
            labkitModel.set("status", status);
            labkitModel.set("plan", plan);
            labkitModel.set("seq", labkitModel.get("seq") + 1);
        }""",
        [json.dumps(status_of(run)), json.dumps(plan_of(run))],
    )
    page.wait_for_function("labkitModel.get('acked') === labkitModel.get('seq')")


def asked(page, count=1):
    """The orders so far without their ids, when there are so many and all are answered."""
    page.wait_for_function("(count) => asked.length >= count", arg=count)
    page.wait_for_function("!document.querySelector('[aria-busy=true]')")
    return [{key: one[key] for key in one if key != "id"} for one in page.evaluate("asked")]


def press(page, name):
    page.get_by_role("button", name=name, exact=True).first.click()


def clean(page):
    assert page.errors == []
    assert page.outside == []


def hand(page):
    return page.get_by_role("slider", name="The step that the pictures show")


def slider(page, name):
    return page.get_by_role("slider", name=name, exact=True)


def field(page, name):
    return page.get_by_role("textbox", name=f"{name}, exactly")


# Buttons and keys


def test_each_button_orders_its_thing(deck):
    press(deck, "Run")
    press(deck, "Step")
    deck.get_by_label("How many steps").fill("25")
    press(deck, "Steps")
    press(deck, "Undo")
    assert asked(deck, 4) == [
        {"do": "run"},
        {"do": "step", "count": 1},
        {"do": "step", "count": 25},
        {"do": "undo"},
    ]
    clean(deck)


def test_run_becomes_pause_in_place(deck, run):
    before = deck.get_by_role("button", name="Run", exact=True).bounding_box()
    tell(deck, run, state="running")
    after = deck.get_by_role("button", name="Pause").bounding_box()
    assert (before["x"], before["width"]) == (after["x"], after["width"])
    press(deck, "Pause")
    assert asked(deck) == [{"do": "pause"}]


def test_what_is_not_possible_now_can_be_reached_and_does_nothing(deck, run):
    tell(deck, run, state="running")
    step = deck.get_by_role("button", name="Step", exact=True)
    assert step.get_attribute("aria-disabled") == "true"
    step.focus()
    deck.keyboard.press("Enter")
    press(deck, "Pause")
    assert asked(deck) == [{"do": "pause"}]
    tell(deck, run, state="stopped")
    for name in ("Run", "Step", "Steps", "Stop", "Undo", "Branch here"):
        assert deck.get_by_role("button", name=name, exact=True).first.get_attribute("aria-disabled") == "true", name


def test_a_number_of_steps_that_is_none_is_said_at_the_field(deck):
    deck.get_by_label("How many steps").fill("ten")
    deck.keyboard.press("Enter")
    deck.get_by_text("is a whole number from 1, and not “ten”").wait_for()
    assert deck.get_by_label("How many steps").get_attribute("aria-invalid") == "true"
    deck.get_by_role("button", name="Put this message away").click()
    deck.get_by_text("is a whole number from 1").wait_for(state="hidden")
    deck.get_by_label("How many steps").fill("10")
    deck.keyboard.press("Enter")
    assert asked(deck) == [{"do": "step", "count": 10}]


def test_stopping_a_long_run_asks_once_more_and_a_short_one_does_not(deck, run):
    press(deck, "Stop")
    assert deck.evaluate("document.activeElement.textContent") == "Go on", "the safe answer has the focus"
    deck.keyboard.press("Escape")
    assert deck.evaluate("asked.length") == 0
    press(deck, "Stop")
    press(deck, "Stop it")
    assert asked(deck) == [{"do": "stop"}]
    tell(deck, run, step=50)
    press(deck, "Stop")
    assert asked(deck, 2) == [{"do": "stop"}, {"do": "stop"}]


def test_keys_work_while_the_deck_has_the_focus_and_are_listed(deck):
    root = deck.locator(".labkit-deck-root")
    assert root.get_attribute("data-lm-suppress-shortcuts") == "true", "else JupyterLab takes the keys"
    root.focus()
    for key in ("Space", ".", "ArrowRight", "n", "b", "l", "u"):
        deck.keyboard.press(key)
        deck.wait_for_function("!document.querySelector('[aria-busy=true]')")
    assert [one["do"] for one in asked(deck, 6)] == ["run", "step", "step", "step", "branch", "view", "undo"]
    deck.keyboard.press("?")
    deck.get_by_text("run or pause").wait_for()
    deck.keyboard.press("Escape")
    deck.get_by_text("run or pause").wait_for(state="hidden")


def test_letters_in_a_field_are_letters(deck):
    field(deck, "Learning rate").focus()
    deck.keyboard.press("End")
    deck.keyboard.type("nbu. ")
    assert deck.evaluate("asked.length") == 0


def test_two_clicks_at_once_both_arrive_and_a_double_click_is_one(deck):
    deck.evaluate("deaf = true")
    deck.get_by_role("button", name="Run", exact=True).dblclick()
    press(deck, "Step")
    assert deck.get_by_role("button", name="Run", exact=True).get_attribute("aria-busy") == "true"
    deck.evaluate("answer()")
    assert [one["do"] for one in asked(deck, 2)] == ["run", "step"]


def test_what_python_refuses_is_said(deck):
    deck.evaluate("refuse = 'The run has taken all its steps.'")
    press(deck, "Run")
    deck.get_by_role("alert").get_by_text("The run has taken all its steps.").wait_for()


def test_a_kernel_that_is_silent_is_told_and_the_page_stays_readable(deck, run):
    with_a_clock(deck)
    tell(deck, run, state="running")
    deck.clock.run_for(4000)
    assert not deck.locator(".labkit-deck-silence").is_visible()
    deck.clock.run_for(3000)
    said = deck.locator(".labkit-deck-silence")
    said.wait_for()
    assert "No news from the kernel since" in said.inner_text()
    assert deck.get_by_text("step 600 of 1,000").is_visible()
    tell(deck, run, step=601)
    deck.clock.run_for(600)
    said.wait_for(state="hidden")


def test_a_click_that_is_not_heard_is_told(deck):
    with_a_clock(deck)
    deck.evaluate("deaf = true")
    press(deck, "Run")
    deck.clock.run_for(6000)
    assert "has not answered since" in deck.locator(".labkit-deck-silence").inner_text()
    deck.evaluate("answer()")
    deck.clock.run_for(600)
    deck.locator(".labkit-deck-silence").wait_for(state="hidden")


def test_an_error_is_a_sentence_with_its_traceback_behind_details(deck, run):
    error = "Traceback (most recent call last):\n  File 'a.py', line 3\nValueError: shapes differ"
    tell(deck, run, state="failed", error=error, says="The step failed: ValueError: shapes differ")
    box = deck.locator(".labkit-deck-trouble-box")
    assert box.get_by_text("The step failed: ValueError: shapes differ").is_visible()
    assert not box.locator("pre").is_visible()
    box.get_by_text("details").click()
    assert "line 3" in box.locator("pre").inner_text()
    tell(deck, run, state="paused", error=None, says="")
    assert not box.is_visible()


# Dials


def test_a_dial_shows_what_python_confirms(deck, run):
    assert field(deck, "Learning rate").input_value() == "0.01"
    assert field(deck, "Chosen of slot.gate").input_value() == "2"
    run.values["learning rate"] = 0.5
    tell(deck, run)
    assert field(deck, "Learning rate").input_value() == "0.5"
    assert slider(deck, "Learning rate").get_attribute("aria-valuetext") == "0.5"


def test_an_exact_number_is_sent_when_it_is_entered(deck, run):
    field(deck, "Learning rate").fill("0.0375")
    assert deck.evaluate("asked.length") == 0
    deck.keyboard.press("Enter")
    assert asked(deck) == [{"do": "change", "name": "learning rate", "value": 0.0375}]
    run.values["learning rate"] = 0.0375
    tell(deck, run)
    assert field(deck, "Learning rate").input_value() == "0.0375"
    field(deck, "Learning rate").fill("7")
    deck.keyboard.press("Escape")
    assert field(deck, "Learning rate").input_value() == "0.0375"
    assert len(asked(deck)) == 1


def test_a_refused_value_says_why_and_goes_back(deck):
    deck.evaluate("refuse = 'learning rate goes from 1e-06 to 10, and 99 was asked for.'")
    field(deck, "Learning rate").fill("99")
    deck.keyboard.press("Enter")
    deck.get_by_text("goes from 1e-06 to 10, and 99").wait_for()
    assert field(deck, "Learning rate").input_value() == "0.01"
    assert field(deck, "Learning rate").get_attribute("aria-invalid") == "true"
    field(deck, "Learning rate").fill("much")
    deck.keyboard.press("Enter")
    deck.get_by_text("“much” is no number. From").wait_for()


def test_a_logarithmic_dial_moves_by_ratios_and_its_left_end_is_zero_where_that_is_allowed(deck):
    rate, weight = slider(deck, "Learning rate"), slider(deck, "Weight of load_balance")
    assert int(rate.input_value()) == pytest.approx(1000 * 4 / 7, abs=1)
    assert weight.input_value() == "0"
    weight.focus()
    deck.keyboard.press("ArrowRight")
    assert asked(deck)[0]["value"] == pytest.approx(1e-4, rel=0.02)
    deck.keyboard.press("Home")
    deck.wait_for_function("asked.at(-1).value === 0")
    deck.keyboard.press("End")
    deck.wait_for_function("asked.at(-1).value === 1")


def test_a_dial_of_whole_numbers_goes_from_one_to_the_next(deck):
    slider(deck, "Chosen of slot.gate").focus()
    deck.keyboard.press("ArrowRight")
    assert asked(deck) == [{"do": "change", "name": "chosen of slot.gate", "value": 3}]


def test_while_a_finger_drags_python_does_not_fight_it_and_the_last_value_is_sent(deck, run):
    box = slider(deck, "Learning rate").bounding_box()
    middle = box["y"] + box["height"] / 2
    deck.mouse.move(box["x"] + box["width"] * 4 / 7, middle)
    deck.mouse.down()
    for place in range(30):
        deck.mouse.move(box["x"] + box["width"] * (0.57 + place * 0.01), middle)
        tell(deck, run)
    held = float(field(deck, "Learning rate").input_value())
    assert held > 0.5, "the value that Python still has came back under the finger"
    deck.mouse.up()
    deck.wait_for_function("(held) => Math.abs(asked.at(-1)?.value - held) < 1e-9", arg=held)
    last = held
    run.values["learning rate"] = last
    tell(deck, run)
    assert float(field(deck, "Learning rate").input_value()) == pytest.approx(last)


def test_dragging_sends_at_most_ten_times_a_second(deck):
    with_a_clock(deck)
    sent = deck.evaluate(
        """async () => {
            const slider = document.querySelector(".labkit-deck-slider"), times = [];
            labkitModel.on("change:command", () => times.push(performance.now()));
            for (let place = 0; place < 50; place++) {
                slider.value = 500 + place;
                slider.dispatchEvent(new Event("input", { bubbles: true }));
            }
            return times.length;
        }"""
    )
    assert sent == 1
    deck.clock.run_for(200)
    assert deck.evaluate("asked.length") == 2
    assert deck.evaluate("asked[1].value") == deck.evaluate("Number((1e-6 * 1e7 ** 0.549).toPrecision(3))")


def test_the_help_of_a_dial_appears_on_hover_and_is_read_aloud(deck):
    tip = deck.get_by_text("The size of a step. From")
    assert not tip.is_visible()
    deck.get_by_text("Learning rate", exact=True).hover()
    tip.wait_for()
    assert tip.get_attribute("id") in slider(deck, "Learning rate").get_attribute("aria-describedby")


# The timeline


def at_step(page, step, lane):
    """Where a step lies on a lane, in pixels of the page."""
    box = page.locator(".labkit-deck-plot").bounding_box()
    return box["x"] + 10 + step / 1000 * (box["width"] - 26), box["y"] + lane * 34 + 20


def test_the_handle_goes_to_kept_steps_and_back_to_live(deck, run):
    assert hand(deck).get_attribute("aria-valuetext") == "live, step 600"
    deck.mouse.click(*at_step(deck, 262, 1))
    assert asked(deck) == [{"do": "view", "step": 250}]
    tell(deck, run, viewing=250)
    assert hand(deck).get_attribute("aria-valuenow") == "250"
    assert deck.get_by_text("The pictures show step 250.").is_visible()
    press(deck, "Live")
    assert asked(deck, 2)[-1] == {"do": "view", "step": None}
    tell(deck, run, viewing=None)
    assert not deck.get_by_role("button", name="Live").is_visible()


def test_dragging_the_handle_beyond_the_head_is_live(deck):
    deck.mouse.move(*at_step(deck, 100, 1))
    deck.mouse.down()
    deck.mouse.move(*at_step(deck, 400, 1), steps=5)
    deck.mouse.move(*at_step(deck, 900, 1), steps=5)
    deck.mouse.up()
    deck.wait_for_function("asked.at(-1)?.do === 'view' && asked.at(-1).step === null")


def test_arrow_keys_step_through_what_is_kept(deck, run):
    hand(deck).focus()
    for key, step in (("ArrowLeft", 600), ("ArrowLeft", 550), ("Home", 0), ("ArrowRight", 50), ("End", None)):
        deck.keyboard.press(key)
        deck.wait_for_function(
            "(step) => { const last = asked.at(-1); return last?.do === 'view' && last.step === step; }", arg=step
        )


def test_before_the_fork_the_steps_of_the_parent_can_be_seen_and_behind_it_only_ones_own(deck):
    for count, (step, lane, kept) in enumerate([(152, 0, 150), (390, 0, 400), (560, 1, 550)]):
        deck.mouse.click(*at_step(deck, step, lane))
        assert asked(deck, count + 1)[-1] == {"do": "view", "step": kept}
    lanes = deck.evaluate("[...document.querySelectorAll('.labkit-deck-name')].map((one) => one.textContent)")
    assert lanes == ["main", "branch 2"]


def test_an_event_tells_its_sentence_on_hover_and_in_a_list(deck):
    deck.mouse.move(*at_step(deck, 300, 1))
    deck.locator(".labkit-deck-bubble", has_text="Five of eight experts get nothing.").wait_for()
    deck.mouse.move(5, 5)
    deck.locator(".labkit-deck-bubble").wait_for(state="hidden")
    deck.get_by_text("2 events").click()
    assert deck.locator(".labkit-deck-event").all_inner_texts()[0].split() == (
        ["step", "300", "Five", "of", "eight", "experts", "get", "nothing.", "(branch", "2)"]
    )
    deck.get_by_role("button", name="step 100").click()
    assert asked(deck) == [{"do": "view", "step": 100}]


def test_branching_begins_at_the_step_that_is_viewed_and_lanes_can_be_switched(deck, run):
    tell(deck, run, viewing=250)
    press(deck, "Branch here")
    deck.get_by_role("button", name="Go on with main").click()
    assert asked(deck, 2) == [{"do": "branch", "step": 250}, {"do": "switch", "branch": "main"}]


# Interventions, themes, sizes


def test_what_was_picked_offers_what_can_be_done(deck, run):
    one = {"kind": "clamp", "layer": "slot.0", "index": 7, "value": 1.0}
    picked = {"says": "Unit 7 of slot.0, now 0.42", "choices": []}
    picked["choices"] = [
        {"words": "Silence it", "intervention": {**one, "kind": "ablate", "value": None}, "value": None, "unit": ""},
        {"words": "Hold it at", "intervention": one, "value": 1.0, "unit": ""},
    ]
    deck.evaluate(
        "(picked) => labkitModel.set('plan', JSON.stringify({ ...JSON.parse(labkitModel.get('plan')), picked }))",
        picked,
    )
    deck.get_by_text("Unit 7 of slot.0, now 0.42").wait_for()
    press(deck, "Silence it")
    deck.get_by_role("textbox", name="Hold it at, value").fill("0.25")
    deck.keyboard.press("Enter")
    found = asked(deck, 2)
    assert [one["intervention"]["kind"] for one in found] == ["ablate", "clamp"]
    assert [one.get("value") for one in found] == [None, 0.25]
    deck.get_by_role("textbox", name="Hold it at, value").fill("soft")
    deck.keyboard.press("Enter")
    deck.get_by_text("“soft” is no number.").wait_for()
    assert deck.evaluate("asked.length") == 2


def test_what_is_in_force_is_listed_with_undo(deck):
    deck.get_by_role("button", name="Undo: Unit 7 of slot.0 is set to zero.").click()
    assert asked(deck) == [{"do": "undo"}]


def test_a_recording_can_be_read_and_not_ordered(page, tmp_path, run):
    LiveDeck(run).export_html(tmp_path / "deck.html")
    page.goto((tmp_path / "deck.html").as_uri())
    page.get_by_text("step 600 of 1,000").wait_for()
    assert page.get_by_role("button", name="Run", exact=True).count() == 0
    assert page.get_by_role("button", name="Branch here").count() == 0
    page.locator(".labkit-deck-plot").click()
    assert page.evaluate("labkitModel.get('command')") == "[]"
    assert field(page, "Learning rate").is_disabled()
    clean(page)


@pytest.mark.parametrize("width", [420, 600, 900, 1400])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_cut_off_at_any_width(deck, width, theme):
    deck.emulate_media(color_scheme=theme)
    deck.evaluate("document.body.style.maxWidth = '1400px'")
    deck.set_viewport_size({"width": width, "height": 900})
    deck.wait_for_selector(f".labkit-deck-root[data-dark={'true' if theme == 'dark' else 'false'}]")
    assert deck.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wide = deck.evaluate(
        """() => [...document.querySelectorAll(".labkit-deck-root button, .labkit-deck-root input")]
            .filter((one) => one.checkVisibility()).map((one) => one.getBoundingClientRect())
            .filter((one) => one.right > innerWidth || one.left < 0).length"""
    )
    assert wide == 0


def test_dials_of_single_modules_are_folded_away_and_still_obey(deck, run):
    run.together = "chosen everywhere"
    tell(deck, run)
    assert deck.get_by_text("Each by itself (1 dial)").is_visible()
    assert slider(deck, "Learning rate").is_visible()
    assert not slider(deck, "Chosen of slot.gate").is_visible()
    deck.get_by_text("Each by itself (1 dial)").click()
    field(deck, "Chosen of slot.gate").fill("3")
    field(deck, "Chosen of slot.gate").press("Enter")
    assert asked(deck) == [{"do": "change", "name": "chosen of slot.gate", "value": 3}]
    run.together = ""
    tell(deck, run)
    assert slider(deck, "Chosen of slot.gate").is_visible()
    assert not deck.get_by_text("Each by itself").is_visible()


def test_everything_can_be_reached_with_the_tab_key_and_has_a_name(deck):
    unnamed = deck.evaluate(
        """() => [...document.querySelectorAll(".labkit-deck-root button, .labkit-deck-root input, .labkit-deck-hand")]
            .filter((one) => one.checkVisibility())
            .filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length))
            .map((one) => one.outerHTML)"""
    )
    assert unnamed == []
    deck.locator(".labkit-deck-root").focus()
    seen = []
    for _ in range(24):
        deck.keyboard.press("Tab")
        seen.append(deck.evaluate("document.activeElement.className"))
        if "field" in seen[-1]:
            assert deck.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for part in ("run", "count", "hand", "fork", "go", "slider", "field"):
        assert any(f"labkit-deck-{part}" in name for name in seen), part


# Curves


BANDED = [
    Curve("a, seed 0", [0, 10, 20], [0.1, 0.4, 0.7], 0, faint=True, of="a"),
    Curve("a", [0, 10, 20], [0.2, 0.5, 0.8], 0, low=[0.1, 0.4, 0.7], high=[0.3, 0.6, 0.9]),
    Curve("b", [10, 20], [0.25, 0.6], 1, fork=(10, 0.5), dash="dot"),
]
EVENTS = [Event(13, "main", "change", "learning rate: 0.1 → 1")]
LABELS = Labels(x="Step", y="Loss", tools=True)


@pytest.fixture
def curve(page, tmp_path):
    live = LiveCurve(LABELS)
    live.show(BANDED, events=EVENTS, cursor=10)
    values = {"state": live.state, "points": live.points, "seq": 1, "acked": 0, "smooth": 1, "clicked": ""}
    from labkit.widgets import live_curve

    (tmp_path / "curve.html").write_text(
        page_of(live_curve.SCRIPT, live_curve.STYLE, values, "Curve"), encoding="utf-8"
    )
    page.goto((tmp_path / "curve.html").as_uri())
    page.wait_for_function("labkitModel.get('acked') === 1")
    return page


def ink(page):
    """A number that tells one drawing from another."""
    return page.evaluate(
        """() => {
            const canvas = document.querySelector("canvas");
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            let sum = 0;
            for (let at = 0; at < data.length; at++) sum = (sum * 31 + data[at]) % 1000000007;
            return sum;
        }"""
    )


def test_single_seeds_are_lines_only_when_they_are_asked_for(curve):
    assert curve.get_by_text("Band: from the lowest to the highest seed.").is_visible()
    before = ink(curve)
    press(curve, "Single seeds")
    curve.wait_for_selector("[aria-pressed=true] >> text=Single seeds")
    assert ink(curve) != before
    press(curve, "Single seeds")
    curve.get_by_role("button", name="Single seeds", pressed=False).wait_for()
    assert ink(curve) == before
    clean(curve)


def test_the_keyboard_reads_events_and_bands_and_chooses_a_step(curve):
    curve.locator("canvas").focus()
    for _ in range(3):
        curve.keyboard.press("ArrowRight")
    curve.locator(".labkit-curve-readout", has_text="learning rate: 0.1 → 1").wait_for()
    curve.keyboard.press("Enter")
    assert json.loads(curve.evaluate("labkitModel.get('clicked')")) == {"x": 13, "count": 1}
    curve.keyboard.press("End")
    curve.locator(".labkit-curve-readout", has_text="a: 0.8, seeds 0.7 to 0.9").wait_for()


def test_a_click_says_the_step_and_hovering_an_event_its_sentence(curve):
    box = curve.locator("canvas").bounding_box()
    curve.mouse.click(box["x"] + box["width"] - 19, box["y"] + 150)
    assert json.loads(curve.evaluate("labkitModel.get('clicked')"))["x"] == 20
    curve.keyboard.press("Home")
    # at the end it stands on the other side of the line; it moves with the next frame
    curve.wait_for_function("() => document.querySelector('.labkit-curve-readout').style.left !== 'auto'")
    left = curve.locator(".labkit-curve-readout").bounding_box()["x"] - 14
    right = box["x"] + box["width"] - 18
    curve.mouse.move(left + (right - left) * 13 / 20 + 3, box["y"] + 120)
    curve.locator(".labkit-curve-readout", has_text="learning rate: 0.1 → 1").wait_for()


def test_a_logarithmic_axis_draws_what_is_above_zero(curve):
    before = ink(curve)
    press(curve, "Logarithmic")
    curve.get_by_role("button", name="Logarithmic", pressed=True).wait_for()
    assert ink(curve) != before
    for lines in (
        [Curve("zero", [0, 1, 2], [0, -1, 0])],
        [Curve("wide", [0, 1, 2], [1e-9, 0, 1e9])],
        [Curve("flat", [0, 1], [2, 2])],
    ):
        sent = packed(lines, LABELS, None, "", "")
        curve.evaluate(
            """([state, points]) => {
                labkitModel.set("state", state);
                labkitModel.set("points", new DataView(Uint8Array.from(points).buffer));
                labkitModel.set("seq", labkitModel.get("seq") + 1);
            }""",
            [sent["state"], list(sent["points"])],
        )
        curve.wait_for_function("labkitModel.get('acked') === labkitModel.get('seq')")
    clean(curve)


def test_smoothing_is_asked_of_python(curve):
    curve.get_by_label("Smooth over").select_option("25")
    assert curve.evaluate("labkitModel.get('smooth')") == 25
