"""A folder that is written whole or not at all: it grows under another name, and what was there before makes way at the end."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labkit.errors import LabError

MARK = ".made-by-labkit"


@contextmanager
def whole(folder: Path, kind: str, *, keep: bool = False) -> Iterator[Path]:
    """Gives a folder to write into; when the block ends well it becomes `folder`, in place of an earlier one of this kind.

    With `keep`, what a stopped attempt left is still there; else it begins empty.
    Raises: LabError where `folder` holds something that labkit did not write.
    """
    folder = folder.resolve()
    require_ours(folder, kind)
    growing = folder.with_name(f".{folder.name}.part")
    if growing.exists() and not keep:
        shutil.rmtree(growing)
    growing.mkdir(parents=True, exist_ok=True)
    yield growing
    (growing / MARK).write_text(kind + "\n", encoding="utf-8")
    if folder.exists():
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
        os.replace(growing, folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(growing, folder)


def require_ours(folder: Path, kind: str) -> None:
    """Raise a LabError where writing here would take away what labkit did not write."""
    if folder.is_file():
        raise LabError(f"{folder} is a file: give the name of a folder that is not there yet.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    mark = folder / MARK
    if not mark.is_file() or mark.read_text(encoding="utf-8").strip() != kind:
        raise LabError(
            f"{folder} holds other things: give a folder that is not there yet, or one that this command made."
        )
