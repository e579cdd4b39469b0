"""The machine in words, without its name: what a measurement must say for others to judge it."""

import os
import platform
from collections.abc import Mapping
from typing import Any

from labkit.workbench.study import _machine as processor


def machine() -> dict[str, Any]:
    """`processor` (its name, and the system), `cores` that this process may use, `vectors` (the widest it computes with)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"processor": processor(), "cores": cores, "vectors": vectors(), "python": platform.python_version()}


def vectors() -> str:
    """The widest vector registers, as torch names them: AVX512, AVX2, NO AVX, or what else it says."""
    import torch

    return torch.backends.cpu.get_cpu_capability()


class Load:
    """Who else used the machine's processors since this was made, on Linux."""

    def __init__(self) -> None:
        self.before, self.mine = _busy(), sum(os.times()[:4])

    def since(self) -> dict[str, float]:
        """Shares of all processor time: of `others` on this system, and `stolen` by the host of a virtual machine."""
        after, mine = _busy(), sum(os.times()[:4]) - self.mine
        if not (after and self.before):
            return {}
        passed, idle, stolen = (late - early for late, early in zip(after, self.before, strict=True))
        shares = {"others": passed - idle - stolen - mine, "stolen": stolen}
        return {name: round(min(1.0, max(0.0, part / max(passed, 1e-9))), 3) for name, part in shares.items()}


def _busy() -> tuple[float, float, float] | None:
    """Processor seconds since the system was started: all, idle and stolen ones; None where it does not say."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(one) / os.sysconf("SC_CLK_TCK") for one in file.readline().split()[1:9]]
        return sum(ticks), ticks[3] + ticks[4], ticks[7]
    except (OSError, ValueError, IndexError):
        return None


def load_in_words(load: Mapping[str, float]) -> str:
    """What else the machine did meanwhile, as part of a sentence; nothing where it is not known."""
    if not load:
        return ""
    stolen = f", and its host kept back {load['stolen']:.0%}" if load["stolen"] >= 0.005 else ""
    return f"other programs used {load['others']:.0%} of the processors meanwhile{stolen}; "


def origin(made: Mapping[str, Any]) -> str:
    """Where a board comes from, in one sentence, of its part "made"."""
    known, threads = made["machine"], " and ".join(map(str, made["threads"]))
    versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    return (
        f"{known['processor']}, {known['cores']} core{'s' * (known['cores'] != 1)}, {known['vectors']}; threads: {threads}; "
        f"{load_in_words(made.get('load', {}))}{versions}; "
        f"code at {made['commit']}; {made['date'][:10]}; took {made['seconds']:.0f} s."
    )


def limits_in_words(ceilings: Mapping[str, Any]) -> list[str]:
    """What the machine can do at best, a sentence for each number of threads."""
    return [
        f"At best, {count} thread{'s' * (count != '1')}: {limit['matmul']['best'] / 1e9:.0f} billion operations a second in "
        f"float32, {limit['bandwidth'][0][1] / 1e9:.0f} GB/s from a cache and {limit['bandwidth'][-1][1] / 1e9:.0f} GB/s from "
        "memory."
        for count, limit in ceilings.items()
    ]
