"""Carries the journal over to MLflow: in the background, up to a thousand numbers a request, and each of them once.

The journal is what counts; MLflow may be slow, end and be started again, and then catches up. A number carries the time at
which the class got it, so one that is sent twice, because the first answer was lost, is one number in MLflow too.
"""

import logging
import os
import re
import time
from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

from labkit.workshop.classroom.journal import Journal, Message, Student
from labkit.workshop.classroom.messages import number
from labkit.workshop.classroom.tracking_server import QUIET, TrackingServer

BATCH = 1000
PART = 20_000
"""Messages that are read from the journal in one go."""
EVERY = 5.0
"""Seconds between two rounds where nothing hurries: a few large requests instead of many small ones."""
log = logging.getLogger(__name__)
Row = tuple[str, str, float, int, int]
"""Run, metric, value, step, time in ms."""


def metric_name(text: str) -> str:
    """A name that MLflow takes: letters, digits, spaces, hyphens, dots; never anything like a path."""
    plain = re.sub(r"[^\w \-.]", "_", text).strip(". ")[:200]
    return re.sub(r"\.{2,}", ".", plain) or "_"


def rows_of(message: Message, shown: str) -> Iterator[Row]:
    """What MLflow keeps of one message."""
    what, at = message.what, message.at
    if message.kind == "value":
        yield f"{shown}: {what['run']}", metric_name(what["name"]), number(what["value"]), what["step"], at
    elif message.kind == "check":
        yield f"{shown}: checks", metric_name(what["exercise"]), float(what["right"]), message.seq, at
    elif message.kind == "study":
        yield f"{shown}: study {what['name']}", metric_name(what["arm"]), number(what["value"]), what["seed"], at
    elif message.kind == "guess":
        run, question = f"{shown}: guesses", metric_name(what["question"])
        for place, (x, y) in enumerate(what["points"]):
            yield run, f"{question}.x", x, place, at
            yield run, f"{question}.y", y, place, at
        if what.get("area") is not None:
            yield run, f"{question}.area", number(what["area"]), message.seq, at


class Ledger:
    """The thread that carries. `behind` is how many messages MLflow does not have yet; `refused` how many it never took."""

    def __init__(self, journal: Journal, server: TrackingServer, every: float = EVERY):
        self._journal, self._server, self._every = journal, server, every
        self._stop, self._soon, self._client = Event(), Event(), None
        self._at, self.upto, self.refused = "", int(journal.fact("ledgered") or 0), 0
        self._experiment, self.trouble = "", ""
        self.ended = self._finished = False
        self._students: dict[int, Student] = {}
        self._thread = Thread(target=self._run, name="labkit-class-ledger", daemon=True)

    @property
    def era(self) -> str:
        """A class that was cleared begins a new era."""
        return self._journal.fact("era", lambda: "1")

    @property
    def behind(self) -> int:
        return max(0, self._journal.last() - self.upto)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                more = self._server.ready() and self.carry() >= PART
                self.trouble = self._server.trouble
            except Exception as error:  # whatever MLflow or its database answers: the journal keeps it until it works
                self.trouble = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
                log.debug("carrying to MLflow failed", exc_info=error)
                self._server.doubt()
                more = False
            if not more:
                self._soon.wait(self._every)
                self._soon.clear()

    def carry(self) -> int:
        """Carry the next part over; returns how many messages it was."""
        upto = self.upto
        part = self._journal.told(upto, PART)
        if not part:
            self._finish()
            return 0
        if any(one.student not in self._students for one in part):
            self._students = {one.number: one for one in self._journal.students().values()}
        by_run: dict[str, list[Row]] = {}
        owner: dict[str, Student] = {}
        for message in part:
            student = self._students[message.student]
            for row in rows_of(message, student.shown):
                by_run.setdefault(row[0], []).append(row)
                owner[row[0]] = student
        client = self._connected()
        era = self.era
        runs = self._journal.runs(era)
        for name, rows in by_run.items():
            if name not in runs:
                runs[name] = self._new_run(client, name, owner[name])
                self._journal.add_run(era, name, runs[name])
            for start in range(0, len(rows), BATCH):
                self._log(client, runs[name], rows[start : start + BATCH])
                if self._stop.is_set():
                    return 0
        if self.upto == upto and self.era == era:  # not cleared meanwhile
            self.upto = part[-1].place
            self._journal.note("ledgered", str(self.upto))
        return len(part)

    def _connected(self) -> Any:
        if self._client is None or self._at != self._server.address:
            os.environ.update(QUIET)
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
            os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY", ""), "127.0.0.1"]))
            import mlflow

            self._client, self._at = mlflow.MlflowClient(tracking_uri=self._server.address), self._server.address
        if not self._experiment:
            day = time.strftime("%Y-%m-%d", time.localtime(self._journal.begun))
            name = f"class {self._journal.code} {day}" + (f", part {self.era}" if self.era != "1" else "")
            found = self._client.get_experiment_by_name(name)
            self._experiment = found.experiment_id if found else self._client.create_experiment(name)
        return self._client

    def _new_run(self, client: Any, name: str, student: Student) -> str:
        tags = {"labkit.student": student.shown, "labkit.seat": str(student.number), "labkit.class": self._journal.code}
        return client.create_run(self._experiment, run_name=name, tags=tags).info.run_id

    def _log(self, client: Any, run: str, rows: list[Row]) -> None:
        """Log some rows; where MLflow finds one of them wrong, all but that one."""
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        try:
            client.log_batch(run, metrics=[Metric(key, value, at, step) for _, key, value, step, at in rows])
        except MlflowException as error:
            if error.error_code not in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST"):
                raise
            if len(rows) == 1:
                self.refused += 1
                log.warning("MLflow does not take %s: %s", rows[0], error)
                return
            self._log(client, run, rows[: len(rows) // 2])
            self._log(client, run, rows[len(rows) // 2 :])

    def _finish(self) -> None:
        """Once the class has ended and all is carried over, its runs are finished in MLflow too."""
        if not self.ended or self._finished:
            return
        client = self._connected()
        for run in self._journal.runs(self.era).values():
            client.set_terminated(run)
        self._finished = True

    def clear(self) -> None:
        """What was carried over is marked as deleted, and what comes goes into a new experiment."""
        before, self._experiment = self._experiment, ""
        self.upto = self._journal.last()
        self._journal.note("era", str(int(self.era) + 1))
        if before and self._client is not None:
            client = self._client
            Thread(target=_delete, args=(client, before), name="labkit-class-clear", daemon=True).start()

    def flush(self, seconds: float) -> bool:
        """Carry everything over, for at most so long; whether it is done."""
        end = time.monotonic() + seconds
        while self.behind and time.monotonic() < end:
            self._soon.set()
            time.sleep(0.1)
        return not self.behind

    def close(self, seconds: float = 10.0) -> None:
        """Carry over what is left, as far as there is time; the rest is carried when the class is started again."""
        if self._thread.is_alive() and self._client is not None and not self._server.trouble:
            self.flush(seconds)
        self._stop.set()
        self._soon.set()
        if self._thread.is_alive():
            self._thread.join(5)


def _delete(client: Any, experiment: str) -> None:
    try:
        client.delete_experiment(experiment)
    except Exception as error:  # MLflow may be down: what it holds is then deleted by hand
        log.warning("the cleared part of the class is still in MLflow: %s", error)
