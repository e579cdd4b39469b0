"""Two real visitors hold runs on one dashboard: each finds only their own, the queue moves, and Ctrl-C ends all of it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect

ROOT = Path(__file__).resolve().parents[2]
COOKIE = "labkit-visit-"
STEP = re.compile(r"step ([\d,]+) of")
LONG = 60_000

pytestmark = pytest.mark.browser


class Dashboard:
    """A dashboard of a test's own, in a process of its own."""

    def __init__(self, folder: Path, runs: int, grace: float):
        self.folder, self.log = folder, folder / "log"
        (folder / "assets").mkdir()
        os.symlink(ROOT / "assets" / "data", folder / "assets" / "data", target_is_directory=True)
        (folder / "temporary").mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # a server that is started in the background ignores Ctrl-C, as shells have it; this one is in front
        start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
        command = f"{start}; from labkit.dashboard.app import serve; serve({self.port}, False)"
        env = {**os.environ, "LABKIT_ASSETS": str(folder / "assets"), "LABKIT_HOME": str(folder / "home")}
        env |= {"LABKIT_RUNS": str(runs), "LABKIT_GRACE": str(grace), "TMPDIR": str(folder / "temporary")}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", command], cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT
            )
        self.address = f"http://127.0.0.1:{self.port}"
        for _ in range(300):
            assert self.process.poll() is None, f"the dashboard ended:\n{self.log.read_text()}"
            try:
                urllib.request.urlopen(f"{self.address}/papers", timeout=30).close()
            except (urllib.error.URLError, TimeoutError):
                time.sleep(0.2)
            else:
                return
        raise AssertionError(f"the dashboard does not answer:\n{self.log.read_text()}")

    @property
    def kept(self) -> list[Path]:
        """The folders of the runs that are held."""
        return list((self.folder / "temporary").glob("labkit-held-*"))

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def dashboards(tmp_path):
    """Starts dashboards; all are ended after the test."""
    started = []

    def start(runs=1, grace=60.0):
        started.append(Dashboard(tmp_path, runs, grace))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture
def visitors(browser):
    """Opens the Study page as one more visitor, in a browser of their own."""
    opened = []

    def come(dashboard):
        opened.append(browser.new_context(viewport={"width": 1280, "height": 1000}))
        return tab(opened[-1], dashboard)

    yield come
    for context in opened:
        context.close()


def tab(context, dashboard):
    """A page of a visitor, when it can be used."""
    page = context.new_page()
    page.errors = []
    page.on("console", lambda said: page.errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: page.errors.append(str(error.stack or error)))
    page.goto(f"{dashboard.address}/study?name=fast_feedforward", timeout=LONG)
    page.get_by_role("heading", name="Hold it").wait_for(timeout=LONG)
    return page


def train(page):
    page.get_by_role("button", name="Train it").click()


def running(page):
    """Wait until the run trains."""
    page.get_by_text("Running", exact=True).first.wait_for(timeout=LONG)
    return page


def paused(page) -> int:
    """Press Pause, and the step at which the run stands then."""
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_text("Paused", exact=True).first.wait_for(timeout=LONG)
    return step(page)


def step(page) -> int:
    return int(STEP.search(page.get_by_text(STEP).first.inner_text()).group(1).replace(",", ""))


def test_the_second_visitor_queues_and_starts_by_itself_when_the_first_stops(dashboards, visitors):
    dashboard = dashboards(runs=1)
    first, second = visitors(dashboard), visitors(dashboard)
    train(first)
    running(first)
    train(second)
    second.get_by_text("1 run is before yours; it starts by itself.").wait_for(timeout=LONG)
    second.get_by_role("button", name="Leave the queue").click()
    second.get_by_role("button", name="Leave the queue").wait_for(state="hidden", timeout=LONG)
    assert step(second) == 0
    second.get_by_role("button", name="Run", exact=True).click()
    second.get_by_text("1 run is before yours; it starts by itself.").wait_for(timeout=LONG)
    before = step(first)
    expect(first.get_by_text(STEP).first).not_to_contain_text(f"step {before:,} of", timeout=LONG)
    first.get_by_role("button", name="Stop", exact=True).click()
    running(second)
    expect(second.get_by_role("button", name="Leave the queue")).to_be_hidden()
    first.get_by_text("Stopped", exact=True).first.wait_for(timeout=LONG)
    assert first.errors == second.errors == []


def test_a_reload_and_a_second_tab_find_the_run_and_another_visitor_does_not(dashboards, visitors):
    dashboard = dashboards(runs=2)
    mine, yours = visitors(dashboard), visitors(dashboard)
    train(mine)
    train(yours)
    running(yours)
    at = paused(running(mine))
    mine.reload(timeout=LONG)
    mine.get_by_text("Paused", exact=True).first.wait_for(timeout=LONG)
    assert step(mine) == at
    again = tab(mine.context, dashboard)
    again.get_by_text("Paused", exact=True).first.wait_for(timeout=LONG)
    again.get_by_role("button", name="Step", exact=True).click()
    expect(mine.get_by_text(STEP).first).to_contain_text(f"step {at + 1:,} of", timeout=LONG)
    stranger = visitors(dashboard)
    assert stranger.get_by_role("button", name="Train it").is_visible()
    running(yours)
    tickets = {
        cookie["value"]: cookie
        for page in (mine, yours, stranger)
        for cookie in page.context.cookies()
        if cookie["name"] == f"{COOKIE}{dashboard.port}"
    }
    assert len(tickets) == 3
    assert all(cookie["httpOnly"] for cookie in tickets.values())
    assert not any(ticket in mine.content() for ticket in tickets)
    assert COOKIE not in mine.evaluate("document.cookie")
    assert mine.errors == again.errors == yours.errors == []


def test_whoever_leaves_frees_the_place_and_the_files_after_the_time_of_grace(dashboards, visitors):
    dashboard = dashboards(runs=1, grace=1.0)
    first, second = visitors(dashboard), visitors(dashboard)
    train(first)
    running(first)
    train(second)
    second.get_by_role("button", name="Leave the queue").wait_for(timeout=LONG)
    assert len(dashboard.kept) == 2
    first.context.close()
    running(second)
    end = time.monotonic() + 60
    while len(dashboard.kept) != 1 and time.monotonic() < end:
        time.sleep(0.1)
    assert len(dashboard.kept) == 1


def test_ctrl_c_ends_the_server_while_three_runs_train(dashboards, visitors):
    dashboard = dashboards(runs=3)
    pages = [visitors(dashboard) for _ in range(3)]
    for page in pages:
        train(page)
    for page in pages:
        running(page)
    dashboard.process.send_signal(signal.SIGINT)
    assert dashboard.process.wait(60) == 0
    said = dashboard.log.read_text()
    assert "Traceback" not in said, said
    assert "Error" not in said, said
    assert dashboard.kept == []
