"""Loads compiled kernels: says so when it takes long, and keeps them until the sources change.

numba keeps compiled code on disk and compiles anew when the file of a kernel changes, but not when a file changes that
the kernel imports: after an update an old kernel would go on computing. So the folder is named for all sources together.
Beside what numba keeps lie object files (`objects`), which are read back without numba.
"""

import hashlib
import importlib
import os
import shutil
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from labkit.parts.kernels import objects

SOURCES = Path(__file__).with_name("cpu")
_loading = threading.RLock()


def address_of(module: str, name: str) -> int:
    """Where the code of a kernel lies; compiles it where it was not compiled before on this machine."""
    with _loading, _progress(module):
        file = folder() / f"{module}.{name}.o"
        if address := objects.kept(file):
            return address
        with _kept_in(folder()):
            compiled = getattr(importlib.import_module(f"labkit.parts.kernels.cpu.{module}"), name).compiled
            address = compiled.address
        objects.keep(file, compiled)
        return address


@cache
def folder() -> Path:
    """Where compiled code is kept: beside the sources, or in the user's cache where that is not allowed."""
    told = os.environ.get("NUMBA_CACHE_DIR")
    places = [Path(told)] if told else [SOURCES / "__pycache__", Path.home() / ".cache" / "labkit" / "kernels"]
    for place in [*places, Path(tempfile.gettempdir()) / "labkit-kernels"]:
        own = place / f"kernels-{_stamp()}"
        with suppress(OSError):
            own.mkdir(parents=True, exist_ok=True)
            if not _ours(own):
                continue
            with tempfile.TemporaryFile(dir=own):
                pass
            for old in place.glob("kernels-*"):
                if old != own and time.time() - old.stat().st_mtime > 86400:
                    shutil.rmtree(old, ignore_errors=True)
            return own
    return Path(tempfile.mkdtemp(prefix="labkit-kernels-"))


def _ours(place: Path) -> bool:
    """Whether nobody else could have put code there: what is found in it is run."""
    if not hasattr(os, "getuid"):
        return True
    known = place.stat()
    return known.st_uid in (0, os.getuid()) and not known.st_mode & stat.S_IWOTH


def _stamp() -> str:
    read = hashlib.sha256(objects.processor().encode())
    for path in sorted(SOURCES.glob("*.py")):
        read.update(path.read_bytes())
    return read.hexdigest()[:12]


@contextmanager
def _kept_in(place: Path) -> Iterator[None]:
    """numba asks for the folder when a function is declared, so it is said while ours are."""
    from numba import config  # pyright: ignore[reportMissingImports]

    before, config.CACHE_DIR = config.CACHE_DIR, str(place)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        config.CACHE_DIR = before  # pyright: ignore[reportAttributeAccessIssue]


@contextmanager
def _progress(module: str) -> Iterator[None]:
    """Says when compiling takes more than a moment: on standard error, in a notebook, where that is red, below the cell."""
    start, said = time.perf_counter(), threading.Event()
    to = sys.stdout if hasattr(sys.stderr, "pub_thread") else sys.stderr

    def say() -> None:
        said.set()
        print(f"labkit compiles its fast path for {module} (once on this machine, some seconds) ...", file=to)

    timer = threading.Timer(2.0, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if said.is_set():
            print(f"... compiled in {time.perf_counter() - start:.1f} s.", file=to)
