"""Starts the two servers, JupyterLab and the dashboard, on this machine only: nobody else's browser reaches them."""

import os
import secrets
from pathlib import Path

from labkit.errors import LabError
from labkit.reach import HOST, free_port, has_screen, say_how_to_reach

ROOT = Path(__file__).resolve().parents[1]
FIRST_NOTEBOOK = "notebooks/00_start_here.ipynb"
NOTEBOOK_PORT, DASHBOARD_PORT = 8888, 5006


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


def say_address(what: str, page: str, port: int, opens: bool) -> None:
    """Print where the server is, before it takes over the terminal."""
    does = "opens in the browser; if it does not, open this address" if opens else "is ready; open this address"
    print(f"{what} {does}:\n\n    {page}\n\nCtrl-C ends it.", flush=True)
    say_how_to_reach(port, opens)
