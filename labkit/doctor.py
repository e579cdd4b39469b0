"""`labkit doctor`: looks at this machine and this checkout, without any network, and says what to do about problems."""

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from labkit import reach, serve
from labkit.errors import LabError

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "numpy", "xarray", "jupyterlab", "ipywidgets", "anywidget", "plotly", "panel", "mlflow")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ENOUGH = 1.0
"""Free disk, in GB, below which runs and downloads soon fail."""
AGAIN = "delete the folder .venv and run ./lab, which installs everything anew"


class Finding(NamedTuple):
    """One thing that was looked at; `remedy` says what to do and is empty where all is well."""

    what: str
    found: str
    remedy: str = ""


def examine() -> int:
    """Print a line for everything that was looked at; 0 where all is well, else 1."""
    problems = 0
    for finding in findings():
        print(f"{'problem' if finding.remedy else 'ok':8} {finding.what:12} {finding.found}", flush=True)
        if finding.remedy:
            problems += 1
            print(f"{'':21} -> {finding.remedy}", flush=True)
    words = "Everything is well." if not problems else f"{problems} problem{'s' * (problems > 1)}: see the arrows."
    print(f"\n{words}")
    return 1 if problems else 0


def findings() -> Iterator[Finding]:
    """Everything that is looked at, one after the other; what fails in an unforeseen way is a finding, too."""
    for look in (
        python,
        packages,
        threads,
        compiled,
        disk,
        ports,
        screen,
        browser,
        catalogue,
        datasets,
        recorded_runs,
        writing,
    ):
        try:
            yield from look()
        except Exception as error:  # whatever a damaged installation raises belongs into the report
            yield Finding(look.__name__.replace("_", " "), f"{type(error).__name__}: {error}", AGAIN)


def python() -> Iterator[Finding]:
    yield Finding("Python", f"{platform.python_version()} at {sys.executable}, {platform.platform(terse=True)}")


def packages() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            has = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding(name, "is not installed", AGAIN)
            continue
        tested = pins().get(name, has)
        differs = "" if has.split("+")[0] == tested else f" (labkit is tested with {tested})"
        yield Finding(name, has + differs)


def pins() -> dict[str, str]:
    """The tested versions, from constraints.txt; empty where labkit was installed without it."""
    path = ROOT / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {name.lower(): version for name, _, version in (line.partition("==") for line in lines) if version}


def threads() -> Iterator[Finding]:
    import torch

    device = f"GPU {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "no GPU, none is needed"
    yield Finding("processor", f"{os.cpu_count()} cores, PyTorch uses {torch.get_num_threads()} threads; {device}")


def compiled() -> Iterator[Finding]:
    """Whether layers can be compiled for this processor, tried on one; that also leaves the code in numba's cache."""
    import torch

    from labkit.layers.feedforward.fast_feedforward import FastFeedforward
    from labkit.parts.kernels.engine import FOUND, kernels

    if not FOUND:
        yield Finding("compiled", "numba is not installed: layers run in plain torch, slower", AGAIN)
        return
    layer, x = FastFeedforward(40, 40, depth=3, leaf_width=4).eval(), torch.randn(50, 40)
    start = time.perf_counter()
    with torch.no_grad(), kernels("compiled"):
        fast = layer(x)
    seconds = time.perf_counter() - start
    with torch.no_grad(), kernels("reference"):
        wrong = float((fast - layer(x)).abs().max())
    remedy = "" if wrong < 1e-4 else "set LABKIT_KERNELS=reference and report it: compiled code is wrong here"
    yield Finding("compiled", f"layers are, first call {seconds:.1f} s, error {wrong:.0e} against plain torch", remedy)


def disk() -> Iterator[Finding]:
    free = shutil.disk_usage(ROOT).free / 1e9
    yield Finding("disk", f"{free:.1f} GB free", f"free some: {ENOUGH:g} GB should be" * (free < ENOUGH))


def ports() -> Iterator[Finding]:
    for what, port in (("JupyterLab", serve.NOTEBOOK_PORT), ("dashboard", serve.DASHBOARD_PORT)):
        taken = "" if reach.is_free(port) else "taken by another program; the next free one will do"
        yield Finding(f"port {port}", f"for {what}: {taken or 'free'}")


def screen() -> Iterator[Finding]:
    opens = "a browser opens by itself" if reach.has_screen() else "none here; ./lab prints an address to open"
    yield Finding("screen", opens)


def browser() -> Iterator[Finding]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    yield Finding("browser", f"for ./lab test: {path or 'none on the PATH; ./lab test installs one'}")


def catalogue() -> Iterator[Finding]:
    from labkit.catalogue.papers import papers

    yield Finding("catalogue", f"{len(papers())} papers")


def datasets() -> Iterator[Finding]:
    import json

    from labkit.workbench.datasets.files import data_folder, read_embedded

    try:
        names = json.loads((data_folder() / "checksums.json").read_text(encoding="utf-8"))["embedded"]
        size = sum(len(read_embedded(name)) for name in names)
        yield Finding("data sets", f"{len(names)} files, {size / 1e6:.1f} MB, every checksum is right")
    except LabError as error:
        yield Finding("data sets", str(error), "restore the folder assets/data from the repository")


def recorded_runs() -> Iterator[Finding]:
    from labkit.workbench import run

    broken = [error for path in run.recorded_runs().values() if (error := refusal(run.open_run, path))]
    for error in broken:
        yield Finding("run", error, "restore it from the repository, or record it again with ./lab study NAME --save")
    if not broken:
        count = len(run.recorded_runs())
        yield Finding("runs", f"{count} recorded, every checksum is right" if count else "none recorded yet")


def refusal(action: Callable, *arguments: object) -> str:
    """The sentence with which an action refuses, or nothing."""
    try:
        action(*arguments)
    except LabError as error:
        return str(error)
    return ""


def writing() -> Iterator[Finding]:
    """Whether runs can be saved here."""
    try:
        with tempfile.TemporaryDirectory(dir=ROOT, prefix=".labkit-doctor-"):
            yield Finding("writing", f"{ROOT} can be written to")
    except OSError as error:
        yield Finding("writing", f"{ROOT}: {error.strerror}", "get the right to write there, or copy labkit elsewhere")
