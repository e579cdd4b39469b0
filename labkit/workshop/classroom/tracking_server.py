"""The MLflow tracking server of a class: started on this machine only, watched, and started again when it ends.

Its store is an SQLite file in the folder of the class, or an existing database by URL.
"""

import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from urllib.parse import urlsplit

from labkit.errors import LabError

HOST = "127.0.0.1"
DRIVERS = ("postgresql", "mysql")
PACKAGES = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""Module that speaks with a database -> the package that brings it, where that has another name."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Nothing leaves this machine, and no helper processes that a class does not need."""
PATIENCE = 20.0
"""Seconds between two starts where it ends again at once."""


def checked_store(store: str | None, folder: Path) -> str:
    """The URL of the database. Raises: LabError where MLflow cannot use it, or a package is missing."""
    if store is None:
        return f"sqlite:///{(folder / 'mlflow.db').resolve()}"
    try:
        scheme = urlsplit(store).scheme.split("+")[0]
    except ValueError:
        scheme = ""
    if scheme == "postgres":
        raise LabError("The URL of a PostgreSQL database begins with postgresql://, not with postgres://.")
    if scheme not in ("sqlite", *DRIVERS):
        raise LabError(
            f"--store takes the URL of a database, such as postgresql://user@host/name, and not {masked(store)!r}."
        )
    if scheme in DRIVERS:
        _require_driver(store, scheme)
    return store


def _require_driver(store: str, scheme: str) -> None:
    """Raises: LabError where the package is missing that speaks with this database; which one it is, SQLAlchemy knows."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        make_url(store).get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        package = PACKAGES.get(str(error.name), str(error.name))
        raise LabError(f"A {scheme} database needs the package {package}: pip install '{package}'") from error
    except (SQLAlchemyError, ValueError) as error:
        raise LabError(f"--store is no URL of a database that MLflow knows: {masked(store)}.") from error


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def masked(text: str) -> str:
    """The text without the passwords in its URLs."""
    return re.sub(r"(://[^:/@\s]+):[^@\s]*@", r"\1:***@", text)


class TrackingServer:
    """The server process. `address` is where it listens; `trouble` says why it does not run, empty while it does."""

    def __init__(self, store: str, folder: Path):
        self._store, self._folder = store, folder
        self._process: subprocess.Popen | None = None
        self._lock, self._ready, self._started, self._closed = Lock(), False, -PATIENCE, False
        self.address, self.trouble, self.starts = "", "", 0

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it without waiting until it answers."""
        with self._lock:
            if self._closed:
                return
            port = _unused_port()
            self.address, self._ready = f"http://{HOST}:{port}", False
            self._started, self.starts = monotonic(), self.starts + 1
            log = self._folder / "mlflow.log"
            command = [sys.executable, "-m", "labkit.workshop.classroom.leashed", sys.executable, "-m", "mlflow"]
            command += ["server", "--host", HOST, "--port", str(port), "--workers", "1", "--no-serve-artifacts"]
            command += ["--uvicorn-opts", "--log-level warning"]
            command += ["--default-artifact-root", str((self._folder / "artifacts").resolve())]
            command += ["--allowed-hosts", f"{HOST}:{port}"]
            # the address of the database may hold a password: not in the list of processes
            env = {**os.environ, **QUIET, "MLFLOW_BACKEND_STORE_URI": self._store}
            with log.open("wb") as out:
                os.chmod(log, 0o600)
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, env=env, cwd=self._folder
                )

    def ready(self) -> bool:
        """Whether it answers; starts it again where it has ended."""
        if self._closed:
            return False
        process = self._process
        if process is None or process.poll() is not None:
            self.trouble = f"MLflow has ended ({self._last_words()}) and is started again." if process else ""
            if process is None or self._ready or monotonic() - self._started > PATIENCE:
                self.start()
            return False
        if not self._ready:
            self._ready = self._answers()
            self.trouble = "" if self._ready else self.trouble
        return self._ready

    def doubt(self) -> None:
        """It did not do what it was asked: ask whether it still answers before the next time."""
        self._ready = self._ready and self._answers()

    def wait(self, seconds: float) -> None:
        """Wait until it answers. Raises: LabError where it ends, or takes longer."""
        end = monotonic() + seconds
        while monotonic() < end:
            if self._process is not None and self._process.poll() is not None:
                break
            if self._answers():
                self._ready = True
                return
            sleep(0.2)
        raise LabError(f"MLflow cannot use the store {masked(self._store)}: {self._last_words()}")

    def _answers(self) -> bool:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{self.address}/health", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def _last_words(self) -> str:
        """The reason it gave in its log, in a line."""
        try:
            text = (self._folder / "mlflow.log").read_text("utf-8", "replace")
        except OSError:
            text = ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        causes = [line for line in lines if re.search(r"FATAL|denied|does not exist|refused|in use|timed out", line)]
        told = [
            line for line in lines if re.search(r"error|exception", line, re.IGNORECASE) and "sqlalche.me" not in line
        ]
        return masked((causes or told or lines or ["it said nothing"])[-1])[:240]

    def close(self) -> None:
        """End it."""
        with self._lock:
            self._closed = True
            process = self._process
        if process is None or process.poll() is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
