"""Runs in MLflow: written in batches by a background thread, read back for comparison. Any tracking store by URI.

Without a URI the store is an SQLite file at $LABKIT_HOME/runs.db, by default .labkit/runs.db of the checkout.
"""

import logging
import math
import os
import sqlite3
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from labkit.errors import LabError
from labkit.workbench.run import Run

EXPERIMENT = "labkit"
BATCH = 1000
_writer = ThreadPoolExecutor(1, thread_name_prefix="labkit-tracking")


def default_uri() -> str:
    """The address of the store that is used when none is named."""
    home = os.environ.get("LABKIT_HOME")
    folder = Path(home) if home else Path(__file__).parents[2] / ".labkit"
    return f"sqlite:///{folder / 'runs.db'}"


def begun() -> bool:
    """Whether anything was ever logged to the store that is used when none is named. Makes no store."""
    path = Path(default_uri().removeprefix("sqlite:///"))
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(path)) as store:
            return store.execute("SELECT 1 FROM runs LIMIT 1").fetchone() is not None
    except sqlite3.Error:  # not a store, or one of another age: opening it will say what is wrong
        return True


@cache
def _client(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing leaves this machine; read when it is imported
    try:
        import mlflow
    except ImportError as error:
        raise LabError("Tracking needs MLflow, which the lab extra installs: pip install 'labkit[lab]'.") from error
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    try:
        client = mlflow.MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except Exception as error:  # every backend fails in its own way; the user needs the address and the reason
        reason = str(error).strip().splitlines()[-1][:200]
        raise LabError(f"The tracking store {uri} cannot be opened: {reason}") from error
    return client


def log(run: Run, uri: str | None = None) -> Future:
    """Log each arm and seed as an MLflow run, in the background. The future's result is the list of run ids."""
    return _writer.submit(_log, run, uri or default_uri())


def _log(run: Run, uri: str) -> list[str]:
    from mlflow.entities import Metric, Param, RunTag

    client = _client(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    number = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)
    now, ids = int(time.time() * 1000), []
    for arm in map(str, run.data.arm.values):
        for seed in map(int, run.data.seed.values):
            row = run.data.sel(arm=arm, seed=seed)
            made = client.create_run(number, run_name=f"{run.study}: {arm}, seed {seed}")
            params = {"study": run.study, "paper": run.paper, "scale": run.scale, "arm": arm, "seed": seed}
            params |= {"steps": int(run.data.step.values[-1]), "commit": run.provenance["commit"]}
            metrics = [Metric(name, value, now, step) for name, step, value in _curves(row)]
            client.log_batch(
                made.info.run_id,
                params=[Param(key, str(value)) for key, value in params.items()],
                tags=[RunTag("labkit.verdicts", ", ".join(claim["verdict"] for claim in run.claims))],
            )
            for start in range(0, len(metrics), BATCH):
                client.log_batch(made.info.run_id, metrics=metrics[start : start + BATCH])
            client.set_terminated(made.info.run_id)
            ids.append(made.info.run_id)
    return ids


def _curves(row: xr.Dataset):
    """(name, step, value) of everything that is one number a step; a mode becomes part of the name."""
    for name, values in row.data_vars.items():
        if "step" not in values.dims or set(values.dims) - {"step", "mode"}:
            continue
        modes = values.mode.values if "mode" in values.dims else [None]
        for mode in modes:
            curve = values if mode is None else values.sel(mode=mode)
            label = str(name) if mode is None else f"{name}_{mode}"
            for step, value in zip(row.step.values, curve.values):
                if math.isfinite(value):
                    yield label, int(step), float(value)


def runs(uri: str | None = None, limit: int = 1000) -> Any:
    """A pandas table of the newest runs: run_id, name, started, status, experiment, params.* and metrics.*."""
    import pandas as pd

    client = _client(uri or default_uri())
    experiments = {one.experiment_id: one.name for one in client.search_experiments()}
    found = client.search_runs(list(experiments), max_results=limit, order_by=["attributes.start_time DESC"])
    rows = [
        {
            "run_id": one.info.run_id,
            "name": one.info.run_name,
            "started": pd.to_datetime(one.info.start_time, unit="ms"),
            "status": one.info.status,
            "experiment": experiments[one.info.experiment_id],
            **{f"params.{key}": value for key, value in one.data.params.items()},
            **{f"metrics.{key}": value for key, value in one.data.metrics.items()},
        }
        for one in found
    ]
    return pd.DataFrame(rows, columns=None if rows else ["run_id", "name", "started", "status", "experiment"])


def history(run_id: str, metric: str, uri: str | None = None) -> xr.DataArray:
    """One metric of one run along its steps: (step)."""
    points = _client(uri or default_uri()).get_metric_history(run_id, metric)
    if not points:
        raise LabError(f"The run {run_id} has no metric {metric!r}.")
    points = sorted(points, key=lambda point: (point.step, point.timestamp))
    return xr.DataArray(
        np.array([point.value for point in points]),
        dims="step",
        coords={"step": [point.step for point in points]},
        name=metric,
        attrs={"long_name": metric.replace("_", " "), "units": "fraction" if "accuracy" in metric else ""},
    )
