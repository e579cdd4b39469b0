"""Which process a run belongs to, and whether that process still lives.

A number alone is not enough, because numbers of processes are used again: the start of the process belongs to it, where
the system tells it (/proc), and the machine with its boot, because a folder may be shared by several machines.
"""

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SILENT = 24 * 3600.0
"""Seconds after which a run of another machine, whose processes cannot be seen from here, is taken as ended."""


def identity() -> dict[str, Any]:
    """This process: number, start (ticks since the boot, None where it is not known), machine and boot."""
    return {"pid": os.getpid(), "started": _started(os.getpid()), "machine": platform.node(), "boot": _boot()}


def lives(process: Mapping[str, Any] | None, folder: Path | None = None) -> bool:
    """Whether the process of that identity still runs.

    Of a process on another machine nobody can know: it lives as long as its folder was written in the last day.
    """
    if not process or not isinstance(process.get("pid"), int):
        return False
    if process.get("machine") != platform.node():
        return folder is not None and time.time() - changed(folder) < SILENT
    if process.get("boot") != _boot():
        return False
    started = _started(process["pid"])
    if started is not None or process.get("started") is not None:
        return started == process.get("started")
    return exists(process["pid"])


def exists(pid: int) -> bool:
    """Whether any process has this number on this machine."""
    if pid <= 0:
        return False
    if os.name == "nt":  # there the call below would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is there, and belongs to somebody else
        return True
    return True


def changed(folder: Path) -> float:
    """When a folder or a file in it was last written, in seconds since 1970; 0 where it cannot be read."""
    latest = 0.0
    try:
        latest = folder.stat().st_mtime
        for entry in os.scandir(folder):
            latest = max(latest, entry.stat().st_mtime)
    except OSError:  # it is being taken away in this moment
        return latest
    return latest


def _started(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    after_the_name = text.rpartition(")")[2].split()
    return None if after_the_name[0] in "ZX" else int(after_the_name[19])


def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
