"""Recordings as files: numbers in netCDF, events and provenance in JSON beside them. Never pickle, opened lazily.

`save` takes a trace, a history, a DataArray, a Dataset or a DataTree. `open_recording` reads the notes at once and each
array when it is touched. The JSON carries the netCDF file's size and SHA-256, so a broken pair is noticed: the size at
every opening, the checksum of files up to `CHECKED` bytes; of larger ones each piece is checked as it is read (the
Fletcher checksum of HDF5), and `recording.verify()` checks the whole. Both files are written elsewhere first and then
renamed, so a full disk or a killed process leaves an older recording as it was.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from labkit.errors import LabError
from labkit.recording.history import Event, History
from labkit.recording.packing import packed
from labkit.recording.provenance import plain, surroundings
from labkit.recording.record import Trace
from labkit.recording.trace_arrays import assembled, disassembled, left_out

FORMAT = "labkit recording 1"
CHECKED = 64 * 2**20
"""Bytes up to which the checksum of a whole file is compared when it is opened."""


@dataclass(frozen=True)
class Recording:
    """A recording from a file. Use it in a `with` block, or `close()` it, to let the file go."""

    data: xr.Dataset | xr.DataTree
    """The arrays; each is read from the file when it is touched. A trace is a tree: module, then call."""
    events: tuple[Event, ...]
    provenance: dict[str, Any]
    path: Path
    _notes: dict[str, Any] = field(repr=False)

    @property
    def array(self) -> xr.DataArray:
        """The one array of a recording that was saved from a DataArray.

        Raises: LabError when it was saved from something else.
        """
        if self._notes["kind"] != "DataArray" or not isinstance(self.data, xr.Dataset):
            raise LabError(f"{self.path.name} holds a {self._notes['kind']}, not one array: read its data.")
        found = self.data[self._notes["name"]]
        return found.rename(self._notes["renamed"])

    @property
    def trace(self) -> Trace:
        """A saved trace as it was recorded, read whole: tensors in their types, `Routing` as `Routing`.

        Raises: LabError when it was saved from something else.
        """
        if self._notes["kind"] != "Trace" or not isinstance(self.data, xr.DataTree):
            raise LabError(f"{self.path.name} holds a {self._notes['kind']}, not a trace: read its data.")
        trace = Trace()
        trace.notes.update(self._notes["how it was read"])
        for part, calls in (("trace", trace), ("gradients", trace.gradients)):
            for at, (name, plans) in enumerate(self._notes[part].items()):
                for call, plan in enumerate(plans):
                    group = self.data[_group(part, at, name)][str(call)]
                    calls._add(name, assembled({str(key): one for key, one in group.data_vars.items()}, plan))
        return trace

    def verify(self) -> None:
        """Compare the whole file with its checksum. Raises: LabError when it differs."""
        _same_checksum(self.path, self._notes)

    def close(self) -> None:
        """Let the file go; arrays that were not touched cannot be read any more."""
        self.data.close()

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def save(
    recording: Trace | History | xr.DataArray | xr.Dataset | xr.DataTree,
    path: Path | str,
    provenance: Mapping[str, Any] | None = None,
    *,
    pack: str | None = None,
) -> Path:
    """Write a recording to `path` (.nc) and its notes beside it (.json); returns the path of the first.

    `provenance` is added to what is known anyway: versions, date, labkit's commit, and of a history the model's class
    and number of parameters. `pack` ("uint8", "uint16") stores real numbers in so many bits; each variable's attribute
    `error_bound` then says the largest error that this makes in it.

    Raises: LabError when it cannot be stored (and why), or the files cannot be written.
    """
    _needed()
    target = Path(path)
    target = target if target.suffix == ".nc" else target.with_name(target.name + ".nc")
    data, notes, events = _parts(recording)
    facts = {**surroundings(), **(plain(recording.facts) if isinstance(recording, History) else {})}
    notes = {
        "format": FORMAT,
        **notes,
        "events": [vars(event) for event in events],
        "provenance": {**facts, **plain(dict(provenance or {}))},
    }
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".saving-") as scratch:
            draft, beside = Path(scratch) / "data.nc", Path(scratch) / "notes.json"
            _written(data, draft, pack)
            notes |= {"bytes": draft.stat().st_size, "sha256": _digest(draft)}
            beside.write_text(json.dumps(notes, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            os.replace(draft, target)
            os.replace(beside, target.with_suffix(".json"))
    except OSError as error:
        raise LabError(f"The recording could not be saved as {target}: {error.strerror or error}.") from error
    except (TypeError, ValueError, NotImplementedError) as error:
        raise LabError(f"The recording cannot be stored in netCDF: {str(error).splitlines()[0]}") from error
    return target


def open_recording(path: Path | str) -> Recording:
    """Open a saved recording; its arrays are read when they are touched.

    Raises: LabError when the files are missing, damaged or no recording, in one sentence.
    """
    _needed()
    target = Path(path)
    target = target if target.suffix == ".nc" else target.with_name(target.name + ".nc")
    if not target.is_file():
        raise LabError(f"There is no recording {target}; labkit.recording.saving.save makes one.")
    notes = _notes(target)
    size = target.stat().st_size
    if size != notes["bytes"]:
        raise LabError(
            f"The recording {target.name} is damaged: it has {size:,} bytes and should have {notes['bytes']:,}."
        )
    if size <= CHECKED:
        _same_checksum(target, notes)
    reader = xr.open_datatree if notes["kind"] in ("Trace", "DataTree") else xr.open_dataset
    try:
        data = reader(target, engine="h5netcdf")
    except (OSError, ValueError, KeyError) as error:
        raise LabError(
            f"The recording {target.name} is no readable netCDF file: {str(error).splitlines()[0]}."
        ) from error
    events = tuple(Event(**event) for event in notes["events"])
    return Recording(data, events, notes["provenance"], target, notes)


def _parts(recording: Any) -> tuple[xr.Dataset | xr.DataTree, dict[str, Any], tuple[Event, ...]]:
    """Arrays, notes and events of whatever is to be saved."""
    match recording:
        case History():
            return recording.data, {"kind": "History"}, recording.events
        case xr.DataArray():
            name = str(recording.name or "data")
            name = name if name not in recording.coords else f"{name}_values"
            notes = {"kind": "DataArray", "name": name, "renamed": recording.name and str(recording.name)}
            return recording.to_dataset(name=name), notes, ()
        case xr.Dataset():
            return recording, {"kind": "Dataset"}, ()
        case xr.DataTree():
            return recording, {"kind": "DataTree"}, ()
        case Trace():
            return _tree(recording)
    raise LabError(f"save stores a Trace, History, DataArray, Dataset or DataTree, not a {type(recording).__name__}.")


def _tree(trace: Trace) -> tuple[xr.DataTree, dict[str, Any], tuple[Event, ...]]:
    groups: dict[str, xr.Dataset] = {"/": xr.Dataset()}
    plans: dict[str, dict[str, list[Any]]] = {"trace": {}, "gradients": {}}
    for part, calls in (("trace", trace), ("gradients", trace.gradients)):
        for at, name in enumerate(calls):
            plans[part][name] = []
            for call, value in enumerate(calls.calls(name)):
                arrays, plan = disassembled(value)
                groups[f"/{_group(part, at, name)}/{call}"] = xr.Dataset(arrays, attrs={"module": name})
                plans[part][name].append(plan)
    lost = sorted(
        {kind for part in plans.values() for each in part.values() for plan in each for kind in left_out(plan)}
    )
    notes = {"kind": "Trace", **plans, "left out": lost, "how it was read": trace.notes}
    return xr.DataTree.from_dict(groups), notes, ()


def _group(part: str, at: int, name: str) -> str:
    """The group of a module: its own name where a file can have it."""
    own = name if name and "/" not in name else f"{name.replace('/', '_')}#{at}"
    return own if part == "trace" else f"gradients of {own}"


def _written(data: xr.Dataset | xr.DataTree, path: Path, pack: str | None) -> None:
    if isinstance(data, xr.DataTree):
        data = data.map_over_datasets(lambda one: _ready(one, pack))
        encoding = {node.path: _encoding(node.to_dataset(inherit=False)) for node in data.subtree}
        data.to_netcdf(path, engine="h5netcdf", encoding=encoding)
    else:
        data = _ready(data, pack)
        data.to_netcdf(path, engine="h5netcdf", encoding=_encoding(data))


def _ready(data: xr.Dataset, pack: str | None) -> xr.Dataset:
    """With a unit for each variable, attributes that netCDF can hold, and numbers packed where that is wanted."""
    for name, index in data.indexes.items():
        if index.nlevels > 1:
            raise LabError(
                f"The axis {name} has several labels a place, which netCDF has not: use data.reset_index({name!r})."
            )
    data = data.copy()
    data.attrs = {key: _attribute(value) for key, value in data.attrs.items()}
    for name in data.variables:
        one = data[name]
        units = {"units": ""} if name in data.data_vars else {}
        attrs = {key: _attribute(value) for key, value in {**units, **one.attrs}.items()}
        if one.dtype == object:
            one = one.copy(data=_strings(str(name), one))
        smaller = packed(one, pack) if pack is not None and name in data.data_vars else None
        one = one if smaller is None else smaller
        data[name] = one.assign_attrs({**attrs, **one.attrs} if smaller is not None else attrs)
        data[name].encoding = {}
    return data


def _strings(name: str, one: xr.DataArray) -> Any:
    if all(isinstance(entry, str) for entry in one.values.flat):
        return one.values.astype(str)
    odd = next(type(entry).__name__ for entry in one.values.flat if not isinstance(entry, str))
    raise LabError(
        f"The variable {name} holds Python objects ({odd}), which no open format can store: make it numbers or words."
    )


def _attribute(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    fits = getattr(value, "dtype", None) is not None or isinstance(value, str | int | float)
    return value if fits else json.dumps(plain(value), ensure_ascii=False)


def _encoding(data: xr.Dataset) -> dict[Any, dict[str, Any]]:
    numbers = {"zlib": True, "complevel": 4, "shuffle": True, "fletcher32": True}
    return {
        name: dict(numbers)
        for name, one in data.variables.items()
        if one.ndim and one.size and one.dtype.kind in "fiub"
    }


def _notes(target: Path) -> dict[str, Any]:
    path = target.with_suffix(".json")
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabError(f"The recording {target.name} lacks its notes {path.name} ({error.strerror}).") from error
    except ValueError as error:
        raise LabError(f"The notes of a recording, {path.name}, are not readable JSON: {error}.") from error
    if not isinstance(notes, dict) or notes.get("format") != FORMAT:
        found = notes.get("format", "no format") if isinstance(notes, dict) else "no notes at all"
        raise LabError(f"{target.name} is no recording of this version: {path.name} says {found!r} and not {FORMAT!r}.")
    missing = [key for key in ("kind", "events", "provenance", "bytes", "sha256") if key not in notes]
    if missing:
        raise LabError(f"The notes of a recording, {path.name}, lack {', '.join(missing)}.")
    return notes


def _same_checksum(target: Path, notes: Mapping[str, Any]) -> None:
    found = _digest(target)
    if found != notes["sha256"]:
        raise LabError(
            f"The recording {target.name} is damaged: its checksum should be {notes['sha256'][:12]}… but is {found[:12]}…."
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _needed() -> None:
    try:
        import h5netcdf  # noqa: F401 - asked for here, so that its absence is said in one sentence
    except ImportError as error:
        raise LabError(
            "Saved recordings need h5netcdf and h5py: install them with pip install 'labkit[lab]'."
        ) from error
