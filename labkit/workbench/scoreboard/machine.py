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


def origin(made: Mapping[str, Any]) -> str:
    """Where a board comes from, in one sentence, of its part "made"."""
    known, threads = made["machine"], " and ".join(map(str, made["threads"]))
    versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    return (
        f"{known['processor']}, {known['cores']} core{'s' * (known['cores'] != 1)}, {known['vectors']}; threads: {threads}; "
        f"{versions}; code at {made['commit']}; {made['date'][:10]}; took {made['seconds']:.0f} s."
    )


def limits_in_words(ceilings: Mapping[str, Any]) -> list[str]:
    """What the machine can do at best, a sentence for each number of threads."""
    return [
        f"At best, {count} thread{'s' * (count != '1')}: {limit['matmul']['best'] / 1e9:.0f} billion operations a second in "
        f"float32, {limit['bandwidth'][0][1] / 1e9:.0f} GB/s from a cache and {limit['bandwidth'][-1][1] / 1e9:.0f} GB/s from "
        "memory."
        for count, limit in ceilings.items()
    ]
