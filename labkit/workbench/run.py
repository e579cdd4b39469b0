"""A run of a study as it is kept: measurements in netCDF, claims and provenance in JSON beside it. No pickle.

The JSON carries the netCDF file's sha256, so a broken pair is noticed; both are written to temporary files first and
renamed, so a full disk or a killed process leaves the old run as it was.
"""

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from labkit.errors import LabError

LARGEST = 300_000
"""Bytes that a recorded run may take."""


@dataclass(frozen=True)
class Run:
    """What a study measured, what that decides, and where it comes from."""

    study: str
    paper: str
    scale: str
    data: xr.Dataset
    claims: list[dict[str, Any]]
    provenance: dict[str, Any]

    def timings(self) -> xr.DataArray | None:
        """The study's latencies (arm, batch, width, repeat) in seconds, or None. Their arms are not those that trained."""
        return self.data["latency"].rename(timed="arm") if "latency" in self.data else None

    def save(self, folder: Path | str | None = None) -> Path:
        """Write `<study>.nc` and `<study>.json` to a folder (default: assets/runs) and return the path of the first.

        Raises: LabError when the files cannot be written or would be larger than a recorded run may be.
        """
        folder = Path(folder) if folder is not None else runs_folder()
        target = folder / f"{self.study}.nc"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as scratch:
                draft, notes = Path(scratch) / "run.nc", Path(scratch) / "run.json"
                packed(self.data).to_netcdf(draft, engine="h5netcdf", encoding=_encoding(self.data))
                size = draft.stat().st_size
                if size > LARGEST:
                    raise LabError(
                        f"The run of {self.study} takes {size:,} bytes; a recorded run has {LARGEST:,} at most."
                    )
                facts = {
                    "study": self.study,
                    "paper": self.paper,
                    "scale": self.scale,
                    "sha256": _digest(draft),
                    "claims": self.claims,
                    "provenance": self.provenance,
                }
                notes.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
                os.replace(draft, target)
                os.replace(notes, target.with_suffix(".json"))
        except OSError as error:
            raise LabError(
                f"The run of {self.study} could not be saved in {folder}: {error.strerror or error}."
            ) from error
        return target


def runs_folder() -> Path:
    """Where recorded runs lie: assets/runs of the checkout, or $LABKIT_ASSETS/runs."""
    assets = os.environ.get("LABKIT_ASSETS")
    return (Path(assets) if assets else Path(__file__).parents[2] / "assets") / "runs"


def recorded_runs() -> dict[str, Path]:
    """The recorded runs by study name."""
    return {path.stem: path for path in sorted(runs_folder().glob("*.nc"))}


def open_run(source: Path | str) -> Run:
    """Open a recorded run by study name or path, in a fraction of a second.

    Raises: LabError when there is none, or when its files are broken, naming expected and found checksum.
    """
    known = recorded_runs()
    path = known.get(str(source), Path(source))
    if not path.exists():
        names = ", ".join(known) or "none yet"
        raise LabError(
            f"No run of {str(source)!r} is recorded (recorded: {names}); make one with ./lab study NAME --save."
        )
    facts = _read_notes(path.with_suffix(".json"))
    found = _digest(path)
    if facts["sha256"] != found:
        raise LabError(
            f"The recorded run {path.name} is broken: its checksum should be {facts['sha256'][:12]}… "
            f"but is {found[:12]}…; restore the file or run ./lab study {path.stem} --save."
        )
    with xr.open_dataset(path, engine="h5netcdf") as data:
        return Run(facts["study"], facts["paper"], facts["scale"], data.load(), facts["claims"], facts["provenance"])


def _read_notes(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in ("study", "paper", "scale", "sha256", "claims", "provenance") if key not in facts]
    except OSError as error:
        raise LabError(f"The recorded run lacks its notes {path.name}: {error.strerror}.") from error
    except ValueError as error:
        raise LabError(f"The notes of a recorded run, {path.name}, are not readable JSON: {error}.") from error
    if missing:
        raise LabError(f"The notes of a recorded run, {path.name}, lack {', '.join(missing)}.")
    return facts


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def packed(data: xr.Dataset) -> xr.Dataset:
    """The measurements as they are kept: 11 bits of mantissa, a relative error below 0.05 %. Noise is no precision.

    Claims are decided on these, so that whoever opens the run comes to the same verdicts.
    """
    kept = data.copy()
    for name, values in data.data_vars.items():
        if values.dtype.kind == "f":
            kept[name] = values.copy(data=_rounded(values.values.astype(np.float32)))
    return kept


def _rounded(values: np.ndarray) -> np.ndarray:
    whole = values.view(np.uint32)
    kept = (whole + np.uint32(1 << 11)) & np.uint32(0xFFFFF000)
    return np.where(np.isfinite(values), kept.view(np.float32), values)


def _encoding(data: xr.Dataset) -> dict:
    return {name: {"zlib": True, "complevel": 9, "shuffle": True} for name, one in data.data_vars.items() if one.ndim}
