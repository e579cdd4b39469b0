"""The Speed page in a real browser: it opens on what is saved, fits a telephone, measures, draws and can be stopped."""

import os
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
PROGRAM = """
import sys, time
import torch
from labkit.dashboard import app, racing
from labkit.workbench.scoreboard import board, ceilings, crossover, saved
from labkit.workbench.scoreboard.case import Case, Goal, Work
from labkit.views.contract_board import example

ceilings.PRODUCTS, ceilings.WORKING_SETS = (64,), (2**14, 2**18)

def contestants(setting):
    a = torch.randn(setting["batch"], 64)
    def wait():
        time.sleep(0.3)
    return {"ours": lambda: a + 1, "dense": lambda: [a + 1 for _ in range(9)]} | ({"slow": wait} if setting["batch"] > 9 else {})

case = Case(
    "sums", "Sums against sums", "One sum, or nine.", tuple({"batch": size} for size in (1, 8, 64)), contestants,
    work=lambda setting: Work(64 * setting["batch"], 256 * setting["batch"]),
    goals=(Goal("At least twice as fast as nine sums", "dense", at_least=2),), quick=({"batch": 8}, {"batch": 64}),
)
racing.cases = lambda: {"sums": case}

def build(size):
    return (lambda x: x + 1), (lambda x: [x + 1 for _ in range(3)])

crossover.GRIDS = (crossover.Grid("tiny", "One sum against three", "Sums.", "width", "numbers", (8, 64), build, batches=(1, 4),
    inputs=lambda batch, size: torch.ones(batch, size)),)
saved.write(board.measure([case], quick=True))
saved.write({"layers": example(0)["layers"]}, "contract")
app.serve(int(sys.argv[1]), False)
"""
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a dashboard of its own, with a scoreboard of one small case."""
    folder = tmp_path_factory.mktemp("speed")
    for name in ("data", "models"):
        os.symlink(ROOT / "assets" / name, folder / name, target_is_directory=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "LABKIT_ASSETS": str(folder), "LABKIT_HOME": str(folder / "home")}
    with (folder / "log").open("w") as log:
        call = [sys.executable, "-c", PROGRAM, str(port)]
        process = subprocess.Popen(call, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}/speed"
    try:
        for _ in range(300):
            assert process.poll() is None, f"the dashboard ended:\n{(folder / 'log').read_text()}"
            try:
                urllib.request.urlopen(address, timeout=30).close()
                break
            except (urllib.error.URLError, TimeoutError):
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def visit(page, address):
    page.goto(address)
    page.get_by_role("heading", level=1).wait_for(timeout=60_000)
    page.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=30_000)


def test_the_page_opens_on_what_is_saved_without_the_network(page, server):
    visit(page, server)
    page.get_by_text("1 goals: 1 met").or_(page.get_by_text("1 goals: 1 missed")).wait_for()
    page.get_by_text("floor: what the hardware").first.wait_for()
    page.get_by_text("Who keeps the contract").first.wait_for(timeout=20_000)
    page.get_by_text("failures in words").click()
    page.get_by_text("the gradient of weight is None").first.wait_for()
    assert page.outside == []
    assert page.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_a_telephone(page, server, theme):
    page.set_viewport_size({"width": 420, "height": 900})
    visit(page, f"{server}?theme={theme}")
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    assert page.errors == []


def test_a_race_runs_and_stops_and_a_crossover_is_drawn(page, server):
    visit(page, server)
    run, stop = page.get_by_role("button", name="Measure here"), page.get_by_role("button", name="Stop")
    assert stop.is_disabled()
    run.click()
    page.get_by_text("Sums against sums: batch 64").wait_for(timeout=60_000)
    assert run.is_disabled()
    stop.click()
    page.get_by_text("Stopped. Nothing was saved").wait_for(timeout=60_000)
    page.get_by_label("What").select_option(label="Where methods start to lose: under a minute")
    run.click()
    page.get_by_text("Finished: the page shows").wait_for(timeout=90_000)
    page.locator(".js-plotly-plot .gtitle").get_by_text("One sum against three").wait_for(timeout=20_000)
    expect(page.get_by_text("Your run, a moment ago")).to_have_count(1)
    assert page.errors == []
