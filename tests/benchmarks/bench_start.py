"""What it costs to begin: `import labkit` beside `import torch`, and the first call of each compiled kernel.

Every measurement is a fresh process. "cold" compiles into an empty folder, "cached" reads what that has left there.
Imports are timed by the processor time of the whole process, in shuffled turns, calls by that of the calling thread and
by the clock; compilers may be waited for without working, and on a busy machine the clock shows the others too.
numba's own import is part of a first call and stands beside it.
"""

import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from side_by_side import table

import labkit

FOLDER = Path(labkit.__file__).parent / "parts" / "kernels" / "cpu"
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
def clocks():
    return time.thread_time(), time.perf_counter()
def since(start):
    return [now - then for now, then in zip(clocks(), start)]
start = clocks()
import numba
numba_took, start = since(start), clocks()
import importlib
module = importlib.import_module("labkit.parts.kernels.cpu." + sys.argv[1])
took, kernels = since(start), []
for name, one in list(vars(module).items()):
    if hasattr(type(one), "address"):
        start = clocks()
        one.address
        kernels.append(since(start))
print(json.dumps([numba_took, took, kernels]))
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


def first_call(module: str, folder: str) -> tuple[list[float], int]:
    """Seconds of all and of numba's import, by the thread's processor time and by the clock; and the number of kernels.

    Kernels that are made when they are first asked for count as the slowest of them: a first call asks for one.
    """
    environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
    command = [sys.executable, "-W", "ignore", "-c", FIRST, module]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    numba, took, kernels = json.loads(done.stdout)
    slowest = max(kernels, default=[0.0, 0.0])
    return [numba[0] + took[0] + slowest[0], numba[1] + took[1] + slowest[1], numba[0]], len(kernels)


def first_calls(rounds: int, chosen: list[str]) -> None:
    rows = []
    for module in chosen or sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__"):
        with tempfile.TemporaryDirectory() as folder:
            cold, kernels = first_call(module, folder)
            if not kernels:
                continue
            warm = [first_call(module, folder)[0] for _ in range(rounds)]
            size = sum(path.stat().st_size for path in Path(folder).rglob("*.nb?")) / 1000
        cached = [statistics.median(times) for times in zip(*warm, strict=True)]
        missed = [word for word, took, most in (("cold", cold[0], 6), ("cached", cached[0], 0.3)) if took > most]
        says = [f"{one:.2f} s" for one in (*cold[:2], *cached)]
        rows.append([module, kernels, *says, f"{size:.0f} kB", " and ".join(missed) or "-"])
    header = ["", "kernels", "cold", "by clock", "cached", "by clock", "of it numba", "cache", "above 6 / 0.3 s"]
    table(f"first call of a kernel, processor time of the thread and clock; cached: median of {rounds}", header, rows)


if __name__ == "__main__":
    given = sys.argv[1:]
    rounds = int(given.pop(0)) if given and given[0].isdigit() else 5
    imports(rounds)
    first_calls(rounds, given)
