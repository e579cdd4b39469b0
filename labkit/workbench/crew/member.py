"""One worker process, seen from the parent: it is started, given trainings, listened to, and ended.

A thread of its own listens to each worker and puts what it says into the crew's inbox. When the process is gone, the
last word is ("gone", member): whoever reads the inbox hears of a killed worker as of anything else.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import Any, BinaryIO

from labkit.workbench.crew.pipe import receive, send

START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from labkit.workbench.crew.worker import main; main()"
"""Not `-m`: the worker looks for modules exactly where the parent does, and never runs the parent's script again."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")
GRACE = 0.5
"""Seconds that a worker has to end by itself."""


class Member:
    """A worker process. `number` is the training that it is at, or None."""

    def __init__(self, hello: dict[str, Any], inbox: "SimpleQueue[Any]"):
        self.number: int | None = None
        self.ready, self.leaving = False, False
        self.last_words: deque[str] = deque(maxlen=30)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | dict.fromkeys(THREADS, "1"),
            start_new_session=True,  # Ctrl-C and a kernel's interrupt go to the group of the parent
        )
        pipes: Any = self.process  # Popen's own types leave open whether there are pipes
        self._commands: BinaryIO = pipes.stdin
        self._errors = threading.Thread(target=self._forward, args=(pipes.stderr,), daemon=True)
        self._voice = threading.Thread(target=self._listen, args=(hello, pipes.stdout, inbox), daemon=True)
        self._end = threading.Thread(target=self._await_end, args=(inbox,), daemon=True)
        for thread in (self._errors, self._voice, self._end):
            thread.start()

    def give(self, number: int, arm: str, seed: int) -> None:
        """Let it train this one."""
        self.number = number
        self._send("job", number, arm, seed)

    def leave(self) -> None:
        """Let it end: there is nothing more for it to do."""
        self.leaving = True
        self._send("end")

    def stop(self) -> None:
        """Ask it to leave the training that it is at and to end."""
        self.leaving = True
        self._send("stop")

    def kill(self) -> None:
        """End the process, and with it those that its training has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()

    def wait(self, until: float) -> bool:
        """Wait until that time (`time.monotonic`); whether the process is gone."""
        self._end.join(max(0.0, until - time.monotonic()))
        return not self._end.is_alive()

    def close(self) -> None:
        """Close the pipes of a process that is gone; one that a stray process of its training still holds is left."""
        with contextlib.suppress(OSError, ValueError):
            self._commands.close()
        for thread, pipe in ((self._voice, self.process.stdout), (self._errors, self.process.stderr)):
            if not thread.is_alive() and pipe is not None:
                pipe.close()

    @property
    def fate(self) -> str:
        """How the process ended, in words."""
        code = self.process.returncode
        if code is not None and code < 0:
            name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
            memory = ", as the system does when memory runs out" * (name == "SIGKILL")
            return f"was killed ({name}{memory})"
        return f"ended with exit code {code}"

    @property
    def last_line(self) -> str:
        """The last line that it wrote on standard error, or nothing."""
        return next((line for line in reversed(self.last_words) if line), "")

    def _send(self, *message: Any) -> None:
        with contextlib.suppress(OSError, ValueError):  # it is gone: the inbox hears that
            send(self._commands, message)

    def _listen(self, hello: dict[str, Any], answers: BinaryIO, inbox: "SimpleQueue[Any]") -> None:
        with contextlib.suppress(EOFError, OSError, ValueError):
            send(self._commands, hello)
            while True:
                inbox.put((self, *receive(answers)))

    def _forward(self, errors: BinaryIO) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in errors:
                text = line.decode(errors="replace").rstrip()
                self.last_words.append(text)
                print(text, file=sys.stderr, flush=True)

    def _await_end(self, inbox: "SimpleQueue[Any]") -> None:
        """Wait for the process, not for its pipes: a process that it has forked may hold them open."""
        self.process.wait()
        self.kill()  # what its training has started
        self._voice.join(1)
        self._errors.join(0.2)
        inbox.put((self, "gone"))


def end(members: list[Member]) -> None:
    """End these processes, within about a second. Those that are at a training are asked first."""
    for member in members:
        if member.ready:
            member.stop()
        else:
            member.kill()
    until = time.monotonic() + GRACE
    for member in members:
        if not member.wait(until):
            member.kill()
    for member in members:
        member.wait(time.monotonic() + 5)
        member.close()
