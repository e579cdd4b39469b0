"""One worker of a crew: a process of one thread that trains what it is told to, one training after the other.

It is started with a plain command, not forked and not through multiprocessing: torch's threads do not survive a fork,
and multiprocessing would import the user's script again. Commands come through standard input, answers go through
standard output; what a training prints is sent along and printed by the parent.

It ends when the parent does, however that dies: the pipe of commands closes, or the process has another parent. Ctrl-C
is for the parent alone.

Messages in: ("job", number, arm, seed), ("stop",), ("end",). Messages out: ("ready",), ("told", [(number, step,
values), ...]), ("said", text), ("done", number, pickled result), ("failed", number, pickled error, sentence, traceback),
("lost", number, sentence), ("stopped", number).
"""

import os
import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, BinaryIO

from labkit.workbench.crew.pipe import receive, send

PERIOD = 0.05
"""Seconds that progress is collected for before it is sent: a fast loop sends twenty messages a second, not thousands."""


class Voice:
    """What a worker says, in order: progress in bundles, everything else at once."""

    def __init__(self, pipe: BinaryIO):
        self._pipe, self._lock, self._told = pipe, threading.Lock(), []

    def tell(self, number: int, step: int, values: dict[str, float]) -> None:
        with self._lock:
            self._told.append((number, step, values))

    def say(self, *message: Any) -> None:
        with self._lock:
            self._send_told()
            send(self._pipe, message)

    def flush(self) -> None:
        with self._lock:
            self._send_told()

    def _send_told(self) -> None:
        if self._told:
            told, self._told = self._told, []
            send(self._pipe, ("told", told))


class Print:
    """Stands in for standard output: hands whole lines to the parent."""

    encoding = "utf-8"

    def __init__(self, voice: Voice):
        self._voice, self._line = voice, ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        if lines:
            self._voice.say("said", "\n".join(lines) + "\n")
        return len(text)

    def flush(self) -> None:
        if self._line:
            line, self._line = self._line, ""
            self._voice.say("said", line)

    def isatty(self) -> bool:
        return False


def main() -> None:
    """Serve until the parent says "end" or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    commands, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    voice, stop, orders = Voice(answers), threading.Event(), SimpleQueue()
    parent = os.getppid()
    hello = receive(commands)
    for serve in (lambda: listen(commands, orders, stop), lambda: watch_over(voice, parent)):
        threading.Thread(target=serve, daemon=True).start()
    sys.stdout = Print(voice)  # type: ignore[assignment]
    train = settle(hello)
    voice.say("ready")
    while (order := orders.get()) is not None:
        work(train, order, voice, stop)
        sys.stdout.flush()


def listen(commands: BinaryIO, orders: "SimpleQueue[Any]", stop: threading.Event) -> None:
    """Hear the parent; its silence is the end, at once, whatever is being trained."""
    try:
        while True:
            kind, *what = receive(commands)
            if kind == "job":
                orders.put(what)
            elif kind == "stop":
                stop.set()
                orders.put(None)
            else:
                orders.put(None)
                return
    except (EOFError, OSError):
        vanish()


def watch_over(voice: Voice, parent: int) -> None:
    """Send what was told, and notice a parent whose pipe lives on in another process that it forked."""
    wait = threading.Event().wait
    try:
        while not wait(PERIOD):
            voice.flush()
            if os.getppid() != parent:
                vanish()
    except OSError:
        vanish()


def vanish() -> None:
    """End this process and those that its training has started, such as loaders of data."""
    if hasattr(os, "killpg") and os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def settle(hello: dict[str, Any]) -> Callable[..., Any]:
    """Make this process compute as the parent does, on one thread, and unpack what it has to train."""
    import faulthandler

    import torch

    from labkit.workbench.arithmetic import compute_plainly

    faulthandler.enable()
    compute_plainly()
    torch.set_default_dtype(hello["dtype"])
    torch.set_float32_matmul_precision(hello["precision"])
    torch.use_deterministic_algorithms(hello["deterministic"], warn_only=hello["warn_only"])
    import cloudpickle

    return cloudpickle.loads(hello["train"])


def work(train: Callable[..., Any], order: Any, voice: Voice, stop: threading.Event) -> None:
    """One training, and word of how it ended."""
    import cloudpickle
    import torch

    from labkit.workbench.fit import Stopped

    number, arm, seed = order

    def tell(step: int, values: dict[str, float]) -> None:
        if stop.is_set():
            raise Stopped(f"Stopped at step {step}; nothing was saved.")
        voice.tell(number, step, values)

    fix_chance(seed)
    try:
        result = cloudpickle.dumps(train(arm, seed, tell, stop))
    except Stopped:
        voice.say("stopped", number)
    except Exception as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            voice.say("lost", number, "it ran out of memory")
        else:
            voice.say("failed", number, packed(error), f"{type(error).__name__}: {error}", traceback.format_exc())
    except BaseException as error:
        voice.say("failed", number, None, f"its training ended Python ({type(error).__name__}: {error})", "")
    else:
        voice.say("done", number, result)


def fix_chance(seed: int) -> None:
    """The random numbers of Python, numpy and torch begin at the seed, whatever was trained here before."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def packed(error: Exception) -> bytes | None:
    """An error as the parent can raise it again; None where it cannot travel."""
    import cloudpickle

    try:
        pickle = cloudpickle.dumps(error)
        cloudpickle.loads(pickle)
    except Exception:  # whatever a foreign error's own pickling raises, its words are sent instead
        return None
    return pickle
