"""With the network off everything still works: a process whose sockets reach this machine only does what a user does."""

import subprocess
import sys

CLOSED = """
import socket
real = socket.socket.connect
def connect(self, address):
    if self.family == socket.AF_UNIX or str(address[0]).startswith(("127.", "::1", "localhost")):
        return real(self, address)
    raise OSError(101, f"Network is unreachable: {address}")
socket.socket.connect = connect
def lookup(host, *rest, **more):
    if host in (None, "localhost", "127.0.0.1", "::1"):
        return found(host, *rest, **more)
    raise socket.gaierror(-3, f"no name service: {host}")
found, socket.getaddrinfo = socket.getaddrinfo, lookup
"""


def run_closed(code: str) -> str:
    out = subprocess.run([sys.executable, "-c", CLOSED + code], capture_output=True, text=True, timeout=300)
    assert out.returncode == 0, out.stderr[-3000:]
    return out.stdout


def test_the_network_is_really_closed():
    out = run_closed(
        "import urllib.request\n"
        "try:\n    urllib.request.urlopen('http://example.org', timeout=3)\nexcept OSError as e:\n    print('closed', e)"
    )
    assert out.startswith("closed")


def test_every_data_set_loads():
    out = run_closed(
        "from labkit.workbench.datasets.load import load, names\nfor name in names():\n    load(name)\nprint(len(names()))"
    )
    assert int(out) >= 6


def test_a_study_runs_and_its_pictures_are_drawn():
    out = run_closed(
        "import labkit\n"
        "run = labkit.study('fast_feedforward').run('smoke')\n"
        "figure = labkit.show(run.data.training_loss)\n"
        "print(len(figure.to_json()), run.claims[0]['verdict'])\n"
    )
    assert int(out.split()[0]) > 1000


def test_recorded_runs_open():
    out = run_closed("from labkit.workbench.run import *\nprint([open_run(name).study for name in recorded_runs()])")
    assert "fast_feedforward" in out


def test_the_dashboard_is_built():
    run_closed("import labkit.dashboard.app as app\nassert app.create() is not None")


def test_the_widgets_are_built():
    run_closed("import labkit\nassert labkit.StudyView('fast_feedforward').run is not None")
