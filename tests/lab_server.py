"""A JupyterLab of a test's own, on a copy of the notebooks, and what a test asks of its page."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETTINGS = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
NO_NEWS = '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}'
READY = "() => { const w = window.jupyterapp?.shell?.currentWidget; return !!(w?.sessionContext && w.content?.model); }"
CONNECTED = """async () => {
    const notebook = jupyterapp.shell.currentWidget;
    await notebook.context.ready;
    await notebook.sessionContext.ready;
    await notebook.sessionContext.session.kernel.info;
}"""
RUN_ALL = "() => jupyterapp.commands.execute('notebook:run-all-cells')"
ERRORS = """() => [...jupyterapp.shell.currentWidget.content.model.cells].flatMap(cell => cell.type !== 'code' ? [] :
    [...Array(cell.outputs.length).keys()].map(place => cell.outputs.get(place).toJSON())
        .filter(output => output.output_type === 'error').map(output => `${cell.id}: ${output.ename}: ${output.evalue}`))"""
KERNEL_SAYS = """async (code) => {
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const future = kernel.requestExecute({ code, store_history: false });
    let said = '';
    future.onIOPub = (message) => { said += message.content.text ?? message.content.evalue ?? ''; };
    await future.done;
    return said.trim();
}"""
"""Runs code in the notebook's kernel and says what it prints."""
SHUT_DOWN = "() => jupyterapp.serviceManager.sessions.shutdownAll()"


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab of its own, on a copy of the notebooks; nothing in the checkout changes."""
    work = tmp_path / "work"
    shutil.copytree(ROOT / "notebooks", work / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    surroundings = {**os.environ, "LABKIT_SCALE": "smoke", "LABKIT_HOME": str(tmp_path / "home")}
    surroundings |= {f"JUPYTER_{name}": str(tmp_path / name.lower()) for name in SETTINGS}
    surroundings |= {f"JUPYTERLAB_{name}_DIR": str(tmp_path / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    surroundings |= {"IPYTHONDIR": str(tmp_path / "ipython"), "JUPYTER_PLATFORM_DIRS": "1"}
    (tmp_path / "config_dir" / "labconfig").mkdir(parents=True)
    (tmp_path / "config_dir" / "labconfig" / "default_setting_overrides.json").write_text(NO_NEWS)
    port, log = free_port(), tmp_path / "jupyterlab.log"
    options = ["--no-browser", "--expose-app-in-browser", "--IdentityProvider.token=", "--ip=127.0.0.1"]
    options += ["--allow-root", f"--port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={work}"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], cwd=work, env=surroundings, stdout=output, stderr=output
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/api/status", server, log)
        yield address
    finally:
        stop(server)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(address: str, server: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, f"JupyterLab ended before it was ready:\n{log.read_text()[-3000:]}"
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"JupyterLab was not ready after {seconds} s:\n{log.read_text()[-3000:]}")


def stop(server: subprocess.Popen) -> None:
    """Ask, insist, then end it: JupyterLab with extensions may ignore the first two."""
    for ask in (lambda: server.send_signal(signal.SIGINT), server.terminate, server.kill):
        if server.poll() is None:
            ask()
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                continue
