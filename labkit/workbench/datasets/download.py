"""The whole public data sets: from a folder of your own, from the cache, or from their public home, always checked.

A file is accepted by the sha256 of its *unpacked* content, because the same data is in circulation packed in more
than one way. A file with another checksum is an error wherever it lies; a damaged file in the cache is not replaced
silently: the error says to delete it.
"""

import os
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from labkit.errors import LabError
from labkit.workbench.datasets.files import Checksum, cache_folder, expected, mismatch, unpacked, write_atomically

# Seconds without a sign of life from the other side before a download is given up.
TIMEOUT = 20.0


def own_folder() -> Path | None:
    """The folder LABKIT_DATA with original files, or None where it is not set.

    Raises: LabError where it is set to something that is no folder.
    """
    chosen = os.environ.get("LABKIT_DATA")
    if not chosen:
        return None
    folder = Path(chosen).expanduser()
    if not folder.is_dir():
        raise LabError(f"LABKIT_DATA is {chosen}, which is no folder; set it to the folder with the original files")
    return folder


def whole_file(name: str, file: str, homes: Sequence[str]) -> bytes:
    """The unpacked content of one public file of the set `name`, for example `train-images-idx3-ubyte`.

    It is looked for, packed (`.gz`) or not, in LABKIT_DATA/name, in LABKIT_DATA, in the cache and, at last, at the
    public `homes` in their order; what is downloaded is kept in the cache.
    Raises: LabError where a file that is found is damaged, or where none is found and no home can be reached.
    """
    whole = expected("full", f"{name}/{file}")
    own = own_folder()
    if own is not None:
        remedy = f"put the original file there, or keep each set in its own folder, as {own / name}"
        for path in (own / name / file, own / name / f"{file}.gz", own / file, own / f"{file}.gz"):
            if path.is_file():
                return _read(path, whole, remedy)
    cached = cache_folder() / name / f"{file}.gz"
    if cached.is_file():
        return _read(cached, whole, "delete it and load again")
    return _fetch(name, file, homes, whole, cached)


def _read(path: Path, whole: Checksum, remedy: str) -> bytes:
    try:
        content = unpacked(path.read_bytes(), whole.bytes)
    except OSError as reason:
        raise LabError(f"{path} cannot be read ({reason.strerror or reason}); {remedy}") from reason
    if difference := mismatch(content, whole):
        raise LabError(f"{path} is damaged: unpacked, {difference}; {remedy}")
    return content


def _fetch(name: str, file: str, homes: Sequence[str], whole: Checksum, path: Path) -> bytes:
    failures = []
    for home in homes:
        url = f"{home}{file}.gz"
        try:
            # The limit keeps a server that never ends from filling the memory.
            with urlopen(url, timeout=TIMEOUT) as response:
                packed = response.read(whole.bytes + 1_000_000)
        except (OSError, HTTPException) as reason:
            failures.append(f"{url} could not be reached ({_short(reason)})")
            continue
        content = unpacked(packed, whole.bytes)
        if difference := mismatch(content, whole):
            failures.append(f"{url} sent a damaged file: unpacked, {difference}")
            continue
        write_atomically(path, packed, "make room there, or set LABKIT_CACHE to another folder")
        return content
    raise LabError(
        f"the whole of {name} is not on this machine, and {'; '.join(failures)}: connect to the network and load "
        f"again, set LABKIT_DATA to a folder with the original files, or load {name!r} without full=True, which needs "
        "no network"
    )


def _short(reason: Exception) -> str:
    if isinstance(reason, HTTPError):
        return f"answer {reason.code} {reason.reason}"
    if isinstance(reason, URLError):
        return str(reason.reason)
    return str(reason) or type(reason).__name__
