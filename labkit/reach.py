"""Which addresses and ports of this machine a server can use, and how a person gets to them."""

import os
import socket
import sys
from collections.abc import Mapping

from labkit.errors import LabError

HOST = "127.0.0.1"
TRIES = 50


def free_port(wanted: int, host: str = HOST) -> int:
    """The wanted port of an address of this machine, or the next one that no program listens on.

    Raises: LabError when there is none, or the address is not this machine's.
    """
    if not 0 < wanted < 65536:
        raise LabError(f"{wanted} is no port: choose a number from 1024 to 65535.")
    for port in range(wanted, min(wanted + TRIES, 65536)):
        if is_free(port, host):
            if port != wanted:
                print(f"Port {wanted} is taken; using {port}.", file=sys.stderr)
            return port
    where, other = ("", "") if host == HOST else (f" of {host}", ", or another address of this machine with --address")
    raise LabError(f"No port from {wanted} to {port}{where} can be used: name another one with --port{other}.")


def is_free(port: int, host: str = HOST) -> bool:
    """Whether a server can listen on this port of this address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name != "nt":  # there the option would let two programs share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def has_screen(environment: Mapping[str, str] | None = None, system: str = sys.platform) -> bool:
    """Whether a browser window would be seen by whoever types: not over SSH, and on Linux only with a display."""
    environment = os.environ if environment is None else environment
    if environment.get("SSH_CONNECTION") or environment.get("SSH_TTY"):
        return False
    if system.startswith("linux"):
        return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
    return True


def lan_address() -> str:
    """This machine's address in the local network. Raises: LabError where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 9))  # sends nothing: it asks which address would be used
            found = probe.getsockname()[0]
        except OSError:
            found = ""
    if not found or found.startswith(("127.", "0.")):
        raise LabError(
            "This machine has no address in a network: connect it, name one with --address, or try it out with --here."
        )
    return found


def say_how_to_reach(port: int, opens: bool) -> None:
    """Over SSH the address is another machine's: say how it becomes this one's."""
    if not opens and os.environ.get("SSH_CONNECTION"):
        print(f"From your own machine, first: ssh -N -L {port}:{HOST}:{port} {socket.gethostname()}", flush=True)
