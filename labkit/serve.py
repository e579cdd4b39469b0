"""Starts the two servers, JupyterLab and the dashboard, on this machine only: nobody else's browser reaches them."""

import os
import secrets
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from labkit.errors import LabError

ROOT = Path(__file__).resolve().parents[1]
FIRST_NOTEBOOK = "notebooks/00_start_here.ipynb"
HOST = "127.0.0.1"
NOTEBOOK_PORT, DASHBOARD_PORT = 8888, 5006
TRIES = 50


def notebooks(port: int = NOTEBOOK_PORT, open_browser: bool = True) -> None:
    """Run JupyterLab on the first notebook until Ctrl-C.

    Raises: LabError when no port is free, or where labkit was installed without its notebooks.
    """
    from jupyterlab.labapp import LabApp

    if not (ROOT / FIRST_NOTEBOOK).exists():
        raise LabError(f"{ROOT / FIRST_NOTEBOOK} is missing: run labkit from a complete checkout.")
    port, token, opens = free_port(port), secrets.token_urlsafe(24), open_browser and has_screen()
    server = LabApp.initialize_server(jupyter_options(port, token, opens))
    # the server has bound its port by now: it may have moved on if another program was quicker
    page = f"http://{HOST}:{server.port}/lab/tree/{FIRST_NOTEBOOK}?token={token}"
    say_address("JupyterLab", page, server.port, opens)
    server.start()


def jupyter_options(port: int, token: str, open_browser: bool) -> list[str]:
    """JupyterLab's options. The token stays inside this process, where no list of processes shows it."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return [
        f"--ServerApp.ip={HOST}",
        f"--ServerApp.port={port}",
        f"--ServerApp.root_dir={ROOT}",
        f"--ServerApp.open_browser={open_browser}",
        f"--ServerApp.allow_root={root}",
        "--ServerApp.answer_yes=True",
        f"--IdentityProvider.token={token}",
        f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK}",
        "--LabApp.extension_manager=readonly",
        "--Application.log_level=ERROR",
    ]


def dashboard(port: int = DASHBOARD_PORT, open_browser: bool = True, model: str | None = None) -> None:
    """Run the dashboard until Ctrl-C; `model`, as "file.py:function", is offered on the page Look inside.

    Raises: LabError when no port is free.
    """
    from labkit.dashboard.app import serve

    port, opens = free_port(port), open_browser and has_screen()
    say_how_to_reach(port, opens)
    serve(port, opens, HOST, model=model)


def free_port(wanted: int) -> int:
    """The wanted port, or the next one that no program listens on. Raises: LabError when there is none."""
    if not 0 < wanted < 65536:
        raise LabError(f"{wanted} is no port: choose a number from 1024 to 65535.")
    for port in range(wanted, min(wanted + TRIES, 65536)):
        if is_free(port):
            if port != wanted:
                print(f"Port {wanted} is taken; using {port}.", file=sys.stderr)
            return port
    raise LabError(f"No port from {wanted} to {port} can be used: name another one with --port.")


def is_free(port: int) -> bool:
    """Whether a server can listen on this port of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name != "nt":  # there the option would let two programs share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
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


def say_address(what: str, page: str, port: int, opens: bool) -> None:
    """Print where the server is, before it takes over the terminal."""
    does = "opens in the browser; if it does not, open this address" if opens else "is ready; open this address"
    print(f"{what} {does}:\n\n    {page}\n\nCtrl-C ends it.", flush=True)
    say_how_to_reach(port, opens)


def say_how_to_reach(port: int, opens: bool) -> None:
    """Over SSH the address is another machine's: say how it becomes this one's."""
    if not opens and os.environ.get("SSH_CONNECTION"):
        print(f"From your own machine, first: ssh -N -L {port}:{HOST}:{port} {socket.gethostname()}", flush=True)
