"""Headless Chromium for the browser tests: one browser a session, a fresh page a test, a screenshot of every failure.

A `page` collects what went wrong: `page.errors` (errors in the console and uncaught exceptions) and `page.outside`
(requests to any machine but this one). Nothing is tried twice.
"""

import os
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from lab_server import lab  # noqa: F401 (a fixture)

FAILURES = Path(__file__).parent / "failures"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ("chromium", "chromium-browser", "google-chrome")
HERE = {"127.0.0.1", "localhost", "::1"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.failed_here = report.failed
    return report


@pytest.fixture(scope="session")
def browser():
    """The browser that `./lab test` found (LABKIT_BROWSER), else Chromium from the PATH, else Playwright's own."""
    from playwright.sync_api import sync_playwright

    given = os.environ.get("LABKIT_BROWSER")
    found = next(filter(None, map(shutil.which, NAMES)), None) if given is None else given or None
    with sync_playwright() as play:
        launched = play.chromium.launch(executable_path=found, headless=True, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def context(browser):
    """A fresh visitor: no cookies, an ordinary laptop's window, the light theme."""
    opened = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield opened
    opened.close()


@pytest.fixture
def page(context, request):
    """A fresh page that notes `errors` and requests `outside`."""
    opened = context.new_page()
    opened.errors, opened.outside = [], []
    opened.on("console", lambda said: opened.errors.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.on("request", lambda asked: opened.outside.append(asked.url) if is_outside(asked.url) else None)
    yield opened
    if getattr(request.node, "failed_here", False):
        FAILURES.mkdir(exist_ok=True)
        opened.screenshot(path=FAILURES / f"{re.sub(r'[^a-z0-9]+', '_', request.node.name.lower())}.png")


def is_outside(address: str) -> bool:
    """Whether an address leaves this machine; files, data and blobs do not."""
    parts = urlsplit(address)
    return parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in HERE
