"""Runs side by side: the same table for tracked and for recorded runs, curves on one axis, and what differs."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from labkit.errors import LabError
from labkit.workbench import tracking
from labkit.workbench.run import open_run, recorded_runs

PARAMETER, METRIC = "params.", "metrics."


@dataclass(frozen=True)
class Shelf:
    """Runs from one place. `table` has run_id, name, started, status, params.* and metrics.* (last values)."""

    table: pd.DataFrame
    history: Callable[[str, str], xr.DataArray]
    """(run_id, metric) -> values (step)."""

    def metrics(self, ids: list[str]) -> list[str]:
        """The metrics that at least one of these runs has, by name; accuracies first."""
        chosen = self.table[self.table.run_id.isin(ids)]
        names = [name.removeprefix(METRIC) for name in chosen.dropna(axis=1, how="all") if name.startswith(METRIC)]
        return sorted(names, key=lambda name: ("accuracy" not in name, not name.startswith("test"), name))

    def name(self, run_id: str) -> str:
        """The run's name; with the start of its id where several have the same one."""
        row = self.table[self.table.run_id == run_id].iloc[0]
        same = (self.table.name == row["name"]).sum() > 1
        return f"{row['name']} ({str(run_id)[:6]})" if same else str(row["name"])

    def curves(self, ids: list[str], metric: str, merged: bool = False) -> xr.DataArray:
        """One metric of several runs: (arm, step), with NaN where a run has no value at a step.

        `merged` puts runs that differ in their parameter `seed` only under one arm: (arm, seed, step).
        Raises: LabError when none of them has the metric.
        """
        found: dict[tuple[str, int], xr.DataArray] = {}
        for run_id in ids:
            try:
                values = self.history(run_id, metric)
            except LabError:
                continue
            arm = self.family(run_id) if merged else self.name(run_id)
            place = sum(known == arm for known, _ in found)
            found[arm, place] = values.isel(step=~values.get_index("step").duplicated(keep="last"))
        if not found:
            raise LabError(f"None of the chosen runs has {metric.replace('_', ' ')}; choose another quantity.")
        labels = pd.MultiIndex.from_tuples(found, names=["arm", "seed"])
        joined = xr.concat(
            found.values(), pd.RangeIndex(len(found), name="run"), join="outer", combine_attrs="override"
        )
        table = joined.assign_coords(xr.Coordinates.from_pandas_multiindex(labels, "run")).unstack("run")
        arms = list(dict.fromkeys(arm for arm, _ in found))
        kept = table.sel(arm=arms).transpose("arm", "seed", "step")
        return (kept if merged else kept.isel(seed=0, drop=True)).assign_attrs(next(iter(found.values())).attrs)

    def family(self, run_id: str) -> str:
        """What a run has in common with those that differ in the seed only: its parameters, else its name."""
        row = self.table[self.table.run_id == run_id].iloc[0]
        names = [name for name in row.index if name.startswith(PARAMETER) and name != f"{PARAMETER}seed"]
        known = {name: str(row[name]) for name in names if not pd.isna(row[name])}
        told = [known[f"{PARAMETER}{name}"] for name in ("study", "arm", "scale") if f"{PARAMETER}{name}" in known]
        if len(told) == 3:
            return f"{told[0].replace('_', ' ')}: {told[1]} ({told[2]})"
        return ", ".join(f"{name.removeprefix(PARAMETER)} {value}" for name, value in known.items()) or str(row["name"])

    def points(self, ids: list[str]) -> pd.DataFrame:
        """Every value of every metric of these runs, one a line: run_id, name, metric, step, value."""
        lines = []
        for run_id in ids:
            for metric in self.metrics([run_id]):
                values = self.history(run_id, metric)
                facts = {"run_id": run_id, "name": self.name(run_id), "metric": metric}
                lines.append(pd.DataFrame({**facts, "step": values.step.values, "value": values.values}))
        columns = ["run_id", "name", "metric", "step", "value"]
        return pd.concat(lines, ignore_index=True) if lines else pd.DataFrame(columns=columns)


def tracked(uri: str | None) -> Shelf:
    """The runs of a tracking store. Raises: LabError where the store cannot be opened."""
    return Shelf(tracking.runs(uri), lambda run_id, metric: tracking.history(run_id, metric, uri))


def recorded() -> Shelf:
    """The recorded runs that the lab ships, each arm and seed a row of its own."""
    rows, values = [], {}
    for study in recorded_runs():
        run = open_run(study)
        for arm in map(str, run.data.arm.values):
            for seed in map(int, run.data.seed.values):
                name = f"{study}: {arm}, seed {seed}"
                curves = _curves(run.data.sel(arm=arm, seed=seed))
                values.update({(name, metric): curve for metric, curve in curves.items()})
                rows.append(
                    {
                        "run_id": name,
                        "name": name,
                        "started": pd.to_datetime(run.provenance.get("started")),
                        "status": "RECORDED",
                        "params.study": study,
                        "params.scale": run.scale,
                        "params.arm": arm,
                        "params.seed": str(seed),
                        **{f"metrics.{metric}": float(curve[-1]) for metric, curve in curves.items()},
                    }
                )
    table = pd.DataFrame(rows, columns=None if rows else ["run_id", "name", "started", "status"])
    return Shelf(table, lambda run_id, metric: _kept(values, run_id, metric))


def _kept(values: dict, run_id: str, metric: str) -> xr.DataArray:
    if (run_id, metric) not in values:
        raise LabError(f"The run {run_id} has no {metric}.")
    return values[run_id, metric]


def _curves(row: xr.Dataset) -> dict[str, xr.DataArray]:
    """Everything that is one number a step; a mode becomes part of the name."""
    found = {}
    for name, values in row.data_vars.items():
        if "step" not in values.dims or set(values.dims) - {"step", "mode"}:
            continue
        parts = {str(name): values}
        if "mode" in values.dims:
            parts = {f"{name}_{mode}": values.sel(mode=mode, drop=True) for mode in values.mode.values}
        found |= {label: part.dropna("step") for label, part in parts.items() if np.isfinite(part).any()}
    return found


def differences(shelf: Shelf, ids: list[str]) -> str:
    """Parameters that differ and last values of the metrics, one column a run, as an HTML table."""
    chosen = shelf.table.set_index("run_id").loc[ids]
    settings = [name for name in chosen if name.startswith(PARAMETER) and chosen[name].astype(str).nunique() > 1]
    results = [f"{METRIC}{name}" for name in shelf.metrics(ids)]
    head = "".join(f'<th scope="col">{escape(shelf.name(run_id))}</th>' for run_id in ids)
    body = [_line(name.removeprefix(PARAMETER), chosen[name], _text) for name in settings]
    body += [_line(name.removeprefix(METRIC), chosen[name], _number) for name in results]
    groups = f'<tr><th scope="col">Last value, and settings that differ</th>{head}</tr>'
    return f'<div class="scroll" tabindex="0"><table class="plain">{groups}{"".join(body)}</table></div>'


def _line(name: str, values: pd.Series, spell: Callable[[Any], str]) -> str:
    cells = "".join(f'<td class="number">{spell(value)}</td>' for value in values)
    return f'<tr><th scope="row">{escape(name.replace("_", " "))}</th>{cells}</tr>'


def _text(value: Any) -> str:
    return "–" if pd.isna(value) else escape(str(value))


def _number(value: Any) -> str:
    return "–" if pd.isna(value) else f"{value:.4g}"
