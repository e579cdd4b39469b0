"""States of a training as files: how large one is, written beside its place and renamed, read without pickle's dangers.

A file is what `torch.save` writes, {"branch", "step", "marked", "state"}, and `torch.load(path, weights_only=True)` reads
it. Its name is `<branch>-<step>-<order>[-marked].pt`, where the branch is a number that `branches.json` beside it names.
What was renamed is whole, also when the process is killed; after a power cut it may be torn, which a reader notices.
"""

import json
import os
import sys
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
NESTS = (dict, OrderedDict, list, tuple, set)
BLOCK = 4096
"""Bytes in which a disk gives its room."""


@dataclass(frozen=True)
class Size:
    """What a state takes."""

    nbytes: int
    """In memory: each storage of tensors once, however many views it has, and the objects around."""
    file: int
    """In a file, about."""
    obstacle: str | None
    """Why it can be kept in memory only; None where a file can hold it."""


class TooLarge(Exception):
    """The file would take more than it may."""


def measured(state: Any) -> Size:
    """The size of nested dicts, lists and tensors, and whether a file can hold them."""
    seen: set[tuple[str, int]] = set()
    data, around, tensors, obstacle = 0, 0, 0, None
    waiting = [state]
    while waiting:
        one = waiting.pop()
        kind = type(one)
        if isinstance(one, Tensor):
            tensors += 1
            try:
                storage = one.untyped_storage()
                key, nbytes = ("storage", storage.data_ptr()), storage.nbytes()
            except RuntimeError:  # a sparse tensor has several
                parts = [one._indices(), one._values()] if one.layout is torch.sparse_coo else [one.values()] * 3
                key, nbytes = ("tensor", id(one)), sum(part.nbytes for part in parts)
            if key not in seen:
                seen.add(key)
                data += nbytes
        elif isinstance(one, dict | list | tuple | set | frozenset):
            if ("nest", id(one)) in seen:
                continue
            seen.add(("nest", id(one)))
            around += sys.getsizeof(one)
            waiting.extend(one.keys() if isinstance(one, dict) else one)
            waiting.extend(one.values() if isinstance(one, dict) else ())
            obstacle = obstacle if kind in NESTS or kind is torch.Size else kind.__name__
        else:
            around += int(getattr(one, "nbytes", 0)) + sys.getsizeof(one)
            obstacle = obstacle if kind in PLAIN else kind.__name__
    return Size(data + around, data + 2 * around + 512 * tensors + BLOCK, obstacle)


def save(path: Path, content: dict[str, Any], most: int) -> int:
    """Write a file beside its place and rename it; returns the bytes that it takes on the disk.

    Raises: TooLarge when that would be more than `most`; OSError when the disk does not take it.
    """
    draft = path.with_name(f"{path.name}.part")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    sink: Any = _Sink(file, most)
    try:
        try:
            torch.save(content, sink)
        finally:
            os.close(file)
        if sink.trouble is not None:
            raise sink.trouble
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return on_disk(sink.count)


def load(path: Path) -> Any:
    """The state of a file, on the processor. Raises: whatever torch says of a file that is gone or torn."""
    return torch.load(path, map_location="cpu", weights_only=True)["state"]


def on_disk(count: int) -> int:
    """Bytes that a file of so many takes, in whole blocks."""
    return -(-count // BLOCK) * BLOCK


@dataclass(frozen=True)
class Found:
    """A file of an earlier time."""

    branch: str
    step: int
    order: int
    marked: bool
    path: Path
    nbytes: int


def scan(folder: Path) -> list[Found]:
    """The states in a folder in the order in which they were kept; nothing where it cannot be read."""
    names, found = names_in(folder), []
    try:
        paths = list(folder.glob("*.pt"))
    except OSError:
        return []
    for path in paths:
        parts = path.stem.split("-")
        if len(parts) < 3 or not all(part.isdigit() for part in parts[:3]):
            continue
        number, step, order = map(int, parts[:3])
        try:
            nbytes = on_disk(path.stat().st_size)
        except OSError:
            continue
        found.append(Found(names.get(number, f"branch {number}"), step, order, parts[3:] == ["marked"], path, nbytes))
    return sorted(found, key=lambda one: one.order)


def clear(folder: Path) -> None:
    """Remove what was half written when an earlier process ended."""
    for draft in folder.glob("*.part"):
        with suppress(OSError):
            draft.unlink()


def names_in(folder: Path) -> dict[int, str]:
    """The branches of a folder by their number."""
    try:
        return {int(number): str(name) for number, name in json.loads((folder / "branches.json").read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def number_of(branch: str, names: dict[int, str], folder: Path) -> int:
    """The number of a branch; a new one is written down before it is used. Raises: OSError."""
    number = next((number for number, name in names.items() if name == branch), max(names, default=-1) + 1)
    if number in names and (folder / "branches.json").exists():
        return number
    draft = folder / "branches.json.part"
    draft.write_text(json.dumps({**names, number: branch}))
    os.replace(draft, folder / "branches.json")
    names[number] = branch
    return number


class _Sink:
    """Where torch writes to: counts, stops at a limit, and keeps an error instead of throwing it through torch's C++."""

    def __init__(self, file: int, most: int):
        self._file, self._most = file, most
        self.count, self.trouble = 0, None

    def write(self, data: Any) -> int:
        size = len(data)
        if self.trouble is None and on_disk(self.count + size) > self._most:
            self.trouble = TooLarge()
        rest = memoryview(data).cast("B") if self.trouble is None else memoryview(b"")
        while len(rest):
            try:
                written = os.write(self._file, rest)
            except OSError as error:
                self.trouble = error
                break
            rest = rest[written:]
        self.count += size
        return size

    def flush(self) -> None:
        """Nothing is held back."""
