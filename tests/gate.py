"""What `./lab test` runs, in labkit's environment: format, lint, types, then pytest. With options only pytest, with these.

All checks run even where one fails. The tests run in two processes, a file in one of them: more would only wait for each
other on a machine of two cores. Browser tests get a browser: one on the PATH, else Debian's package, else
Playwright's own; the variable LABKIT_BROWSER tells them its path and is empty for Playwright's own.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FONTS = ("fonts-dejavu-core", "fonts-liberation")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHECKS = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["pyright", "--pythonpath", sys.executable],
    "tests": ["pytest", "--numprocesses", "2", "--dist", "loadfile"],
}
SURROUNDINGS = {
    "MPLBACKEND": "Agg",
    "PYTHONUTF8": "1",
    "JUPYTER_PLATFORM_DIRS": "1",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
    "OPENBLAS_NUM_THREADS": "1",  # numpy's threads in two processes would only wait for each other
}


def main(options: list[str]) -> int:
    """Run the checks and return the exit code: 0 where all passed."""
    try:
        browser = find_browser()
    except NoBrowser as trouble:
        print(f"lab: {trouble}", file=sys.stderr)
        return 2
    surroundings = {**os.environ, **SURROUNDINGS, "LABKIT_BROWSER": browser}
    if options:
        return run(["pytest", *options], surroundings)
    failed = []
    for name, module in CHECKS.items():
        print(f"\n== {name}: {' '.join(module)}", flush=True)
        began = time.monotonic()
        if run(module, surroundings):
            failed.append(name)
        if name != "tests":
            print(
                f"== {name} {'FAILED' if name in failed else 'passed'} in {time.monotonic() - began:.1f} s", flush=True
            )
    if set(failed) - {"tests"}:
        print(f"lab: not passed: {', '.join(failed)}; the reasons stand above.", file=sys.stderr)
    return 1 if failed else 0


def run(module: list[str], surroundings: dict[str, str]) -> int:
    """The exit code of a Python module of the environment; Ctrl-C is left for the module to answer."""
    process = subprocess.Popen([sys.executable, "-m", *module], cwd=ROOT, env=surroundings)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


class NoBrowser(Exception):
    """There is no browser and none can be had."""


def find_browser() -> str:
    """The path of a browser, installed where there was none; "" for Playwright's own."""
    if found := browser_on_path():
        return found
    if (apt := shutil.which("apt-get")) and (rights := root_rights()) is not None:
        print("Installing a browser for the tests: Debian's chromium.", file=sys.stderr, flush=True)
        for step in (["update"], ["install", "--yes", "--no-install-recommends", "chromium", *FONTS]):
            subprocess.run([*rights, apt, *step], stdin=subprocess.DEVNULL, capture_output=True)
        if found := browser_on_path():
            return found
    print("Getting Playwright's own browser for the tests.", file=sys.stderr, flush=True)
    if subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"]).returncode == 0:
        return ""
    raise NoBrowser("the tests need a browser and none could be installed: install Chromium or Chrome and start again.")


def browser_on_path() -> str | None:
    """The first browser that starts: some systems put a mere notice in the browser's place."""
    for path in filter(None, map(shutil.which, BROWSERS)):
        if subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0:
            return path
    return None


def root_rights() -> list[str] | None:
    """What to put before a command that root must run; None where that needs a password or cannot be."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0:
        return [sudo, "-n"]
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
