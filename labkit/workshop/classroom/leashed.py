"""Runs a program that ends with whoever started it: `python -m labkit.workshop.classroom.leashed PROGRAM ...`.

The starter holds the other end of standard input. When it closes, also because the starter was killed, the program and
everything that it started is ended.
"""

import os
import signal
import subprocess
import sys
from threading import Thread


def main(command: list[str]) -> int:
    """Run the command until it ends by itself, or until standard input closes."""
    own = {} if os.name == "nt" else {"start_new_session": True}
    if hasattr(os, "nice"):
        os.nice(5)
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, **own)

    def hold() -> None:
        while os.read(0, 4096):
            pass
        end(program)

    Thread(target=hold, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is the starter's, which closes the leash
    signal.signal(signal.SIGTERM, lambda *_: end(program))
    return program.wait()


def end(program: subprocess.Popen) -> None:
    """Ask it and its children to end, and after three seconds insist."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(program.pid)], capture_output=True, check=False)
        return
    for ask, seconds in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
        try:
            os.killpg(program.pid, ask)
            program.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
