"""Runs a compiled function on several cores at once: on torch's own threads where they can be reached, else on ours.

torch's matrix products run on the threads of an OpenMP library. A second library would bring a second set of threads that
fight with the first for the cores, and one that is started after a fork aborts the process. So the library that torch has
already loaded is asked (`GOMP_parallel`, which GNU's, LLVM's and Intel's OpenMP export on Linux). Elsewhere a few Python
threads do it, which costs some tens of microseconds a call: the compiled function does not hold the interpreter's lock.
"""

import ctypes
import queue
import threading
from collections.abc import Callable
from pathlib import Path

Run = Callable[[int, int, int], None]
"""(address of the function, address of its arguments, threads): returns when all of them have."""


def runner() -> Run:
    """The fastest way there is on this machine."""
    return _openmp() or _own()


def _openmp() -> Run | None:
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return None
    files = {line.split()[-1] for line in maps.splitlines() if line.count("/") and ".so" in line}
    loaded = sorted(
        (file for file in files if any(name in Path(file).name for name in ("libgomp", "libomp", "libiomp"))),
        key=lambda file: ("torch" not in file, file),
    )
    for file in loaded:
        try:
            parallel = ctypes.CDLL(file).GOMP_parallel
        except (OSError, AttributeError):
            continue
        parallel.argtypes, parallel.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
        return lambda function, arguments, threads: parallel(function, arguments, threads, 0)
    return None


def _own() -> Run:
    """Helpers that sleep until there is work; made when first needed, anew in a forked child."""
    helpers: list[queue.SimpleQueue] = []
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

    def help_(orders: queue.SimpleQueue) -> None:
        while True:
            function, arguments, done = orders.get()
            kind(function)(arguments)
            done.release()

    def run(function: int, arguments: int, threads: int) -> None:
        while len(helpers) < threads - 1:
            helpers.append(queue.SimpleQueue())
            threading.Thread(target=help_, args=(helpers[-1],), daemon=True, name="labkit-kernel").start()
        done = threading.Semaphore(0)
        for orders in helpers[: threads - 1]:
            orders.put((function, arguments, done))
        kind(function)(arguments)
        for _ in range(threads - 1):
            done.acquire()

    import os

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=helpers.clear)
    return run
