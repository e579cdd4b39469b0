"""What it costs to begin: `import labkit` beside `import torch`, and the first call of each compiled kernel.

Every measurement is a fresh process. "cold" compiles into an empty folder, "cached" reads what that has left there.
Imports are timed by the processor time of the whole process, in shuffled turns, calls by that of the calling thread and
by the clock; compilers may be waited for without working, and on a busy machine the clock shows the others too.
What the first kernel of a process imports is part of its time; "by numba" says whether a cached one still needed it.
"""

import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from side_by_side import table

import labkit

FOLDER = Path(labkit.__file__).parent / "parts" / "kernels"
NAMED = re.compile(r'Kernel\("(\w+)", "(\w+)"\)')
IMPORTS = {
    "nothing": "pass",
    "torch": "import torch",
    "torch and labkit": "import torch, labkit",
    "torch and numba": "import torch, numba",
    "torch, labkit and its recorder": "import torch, labkit; labkit.record, labkit.watch",
}
FIRST = """
import json, sys, time
import torch
torch.set_num_threads(1)
from labkit.parts.kernels.compiling import address_of
taken = []
for name in sys.argv[2:]:
    start = time.thread_time(), time.perf_counter()
    address_of(sys.argv[1], name)
    taken.append([now - then for now, then in zip((time.thread_time(), time.perf_counter()), start)])
print(json.dumps([taken, "numba" in sys.modules]))
"""
"""A kernel is ready to be called when its address is known; the call itself takes microseconds."""


def processor_time(code: str) -> float:
    """Seconds of processor time of a process that runs this code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def imports(rounds: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for number in range(rounds + 1):
        for name in random.sample(list(IMPORTS), len(IMPORTS)):
            taken = processor_time(IMPORTS[name])
            if number:  # the first round fills the caches
                seconds[name].append(taken)
    rows = []
    for name, taken in seconds.items():
        beside = [one - other for one, other in zip(taken, seconds["torch"], strict=True)]
        rows.append([name, f"{statistics.median(taken):.2f} s", f"{statistics.median(beside):+.2f} s"])
    table(f"import, processor time, median of {rounds}", ["", "in all", "more than torch"], rows)


def kernels() -> dict[str, list[str]]:
    """The names of the kernels by module, as the fast paths ask for them."""
    found: dict[str, list[str]] = {}
    for path in sorted(FOLDER.glob("*.py")):
        for module, name in NAMED.findall(path.read_text("utf-8")):
            found.setdefault(module, []).append(name)
    return found


def first_call(module: str, names: list[str], folder: str) -> tuple[list[float], bool]:
    """Seconds of the slowest kernel, by the thread's processor time and by the clock, and whether numba was imported."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
    command = [sys.executable, "-W", "ignore", "-c", FIRST, module, *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    taken, numba = json.loads(done.stdout.splitlines()[-1])
    return max(taken), numba


def first_calls(rounds: int, chosen: list[str]) -> None:
    rows = []
    for module, names in kernels().items():
        if chosen and module not in chosen:
            continue
        with tempfile.TemporaryDirectory() as folder:
            cold, _ = first_call(module, names, folder)
            warm = [first_call(module, names, folder) for _ in range(rounds)]
            size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1000
        cached = [statistics.median(times) for times in zip(*(taken for taken, _ in warm), strict=True)]
        missed = [word for word, took, most in (("cold", cold[0], 6), ("cached", cached[0], 0.3)) if took > most]
        says = [f"{one:.2f} s" for one in (*cold, *cached)]
        by = "yes" if any(numba for _, numba in warm) else "no"
        rows.append([module, len(names), *says, by, f"{size:.0f} kB", " and ".join(missed) or "-"])
    header = ["", "kernels", "cold", "by clock", "cached", "by clock", "by numba", "cache", "above 6 / 0.3 s"]
    table(
        f"first call of the slowest kernel, processor time of the thread and clock; cached: median of {rounds}",
        header,
        rows,
    )


def main(given: Sequence[str] = ()) -> None:
    """Measure both. `given`: rounds, then the names of modules; all modules without."""
    words = list(given)
    rounds = int(words.pop(0)) if words and words[0].isdigit() else 5
    imports(rounds)
    first_calls(rounds, words)


if __name__ == "__main__":
    main(sys.argv[1:])
