"""The files behind the data sets: where they lie, whether they are whole, and how one is written whole or not at all."""

import hashlib
import json
import os
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

from labkit.errors import LabError


class Checksum(NamedTuple):
    """What a whole file looks like: its length in bytes and the sha256 of these bytes."""

    bytes: int
    sha256: str


def data_folder() -> Path:
    """The folder with the embedded data sets: `assets/data` of the checkout, or `data` in the folder LABKIT_ASSETS.

    Raises: LabError where there is no such folder.
    """
    assets = os.environ.get("LABKIT_ASSETS") or Path(__file__).parents[3] / "assets"
    folder = Path(assets).expanduser() / "data"
    if not folder.is_dir():
        raise LabError(
            f"the embedded data sets are not at {folder}; run labkit from its checkout, or set LABKIT_ASSETS to the "
            "checkout's folder `assets`"
        )
    return folder


def cache_folder() -> Path:
    """Where downloaded files are kept: LABKIT_CACHE, else `labkit` in XDG_CACHE_HOME, else `~/.cache/labkit`."""
    if chosen := os.environ.get("LABKIT_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "labkit"


def checksum(content: bytes) -> Checksum:
    """Length and sha256 of these bytes."""
    return Checksum(len(content), hashlib.sha256(content).hexdigest())


def expected(kind: str, name: str) -> Checksum:
    """What `assets/data/checksums.json` says of a file; `kind` is "embedded" or "full" (the unpacked public files).

    Raises: LabError where the list is missing, unreadable or does not hold the file.
    """
    path = data_folder() / "checksums.json"
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))[kind][name]
        return Checksum(entry["bytes"], entry["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as reason:
        raise LabError(
            f"{path} holds no checksum of {name} ({type(reason).__name__}: {reason}); restore the folder assets/data "
            "from the repository"
        ) from reason


def mismatch(content: bytes, whole: Checksum) -> str | None:
    """The half-sentence that says how these bytes differ from the whole file, or None where they do not."""
    found = checksum(content)
    if found == whole:
        return None
    return f"its sha256 should be {whole.sha256} ({whole.bytes:,} bytes) but is {found.sha256} ({found.bytes:,} bytes)"


def read_embedded(name: str) -> bytes:
    """The bytes of one embedded file, after its checksum was found right.

    Raises: LabError where the file is missing, unreadable, truncated or changed.
    """
    path = data_folder() / name
    remedy = f"restore it from the repository, for example with `git checkout -- assets/data/{name}`"
    try:
        content = path.read_bytes()
    except OSError as reason:
        raise LabError(f"{path} cannot be read ({reason.strerror or reason}); {remedy}") from reason
    if difference := mismatch(content, expected("embedded", name)):
        raise LabError(f"{path} is damaged: {difference}; {remedy}")
    return content


def unpacked(content: bytes, at_most: int) -> bytes:
    """What a gzip file holds, up to `at_most` bytes and one; bytes that are no gzip file come back as they are.

    A truncated or broken gzip file gives what could be read of it: the checksum that follows tells the rest.
    """
    if content[:2] != b"\x1f\x8b":
        return content
    reader, read = zlib.decompressobj(wbits=31), bytearray()
    try:
        for start in range(0, len(content), 65_536):
            read += reader.decompress(content[start : start + 65_536], at_most + 1 - len(read))
            if reader.eof or len(read) > at_most:
                break
    except zlib.error:
        pass
    return bytes(read)


def write_atomically(path: Path, content: bytes, remedy: str = "make room or get the right to write there") -> None:
    """Write a file whole or not at all: to a temporary file beside it, which then takes its name.

    Raises: LabError where the folder or the file cannot be written (no right, disk full); nothing is left behind.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
    except OSError as reason:
        raise LabError(f"{path} could not be written ({reason.strerror or reason}); {remedy}") from reason
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
