"""What a watch has seen over the steps of a training: rows in a bounded memory, read as one `xr.Dataset`.

A row is a window: everything that was looked at since the row before. When there are too many rows, neighbouring
windows are put together: counts are added, means and variances merged exactly, of a state (dead, duplicate, a gradient
norm) the later one stays. So a history of any length covers the whole training evenly, and no look is thrown away.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from labkit.recording.density import Density
from labkit.recording.moments import Moments

ROWS = 256
BYTES = 64 * 2**20


@dataclass(frozen=True)
class Event:
    """Something that happened to a part of the model: at which step, where, what kind, and in words."""

    step: int
    where: str
    kind: str
    says: str

    def __str__(self) -> str:
        return f"step {self.step:,}, {self.where}: {self.says}"


@dataclass(frozen=True)
class UnitRow:
    """The units of one layer over a window. Arrays (units,)."""

    count: int
    """Inputs (rows) that were looked at."""
    moments: Moments | None = None
    silent: np.ndarray | None = None
    """Inputs looked at since the unit was last active, or since the beginning where it never was."""
    dead: np.ndarray | None = None
    saturated: np.ndarray | None = None
    duplicate: np.ndarray | None = None
    density: Density | None = None

    def merged(self, later: "UnitRow") -> "UnitRow":
        """Both windows as one."""
        duplicate = self.duplicate if later.duplicate is None else later.duplicate
        return replace(
            later,
            count=self.count + later.count,
            moments=_put_together(self.moments, later.moments),
            density=_put_together(self.density, later.density),
            duplicate=duplicate,
        )

    @property
    def nbytes(self) -> int:
        kept = [self.silent, self.dead, self.saturated, self.duplicate]
        if self.moments is not None:
            kept += [self.moments.active, self.moments.mean, self.moments.variance]
        kept += [self.density.counts] if self.density is not None else []
        return sum(one.nbytes for one in kept if one is not None)


@dataclass(frozen=True)
class GateRow:
    """One router over a window."""

    inputs: int
    load: np.ndarray
    """(choices,) sum of the weights with which each was chosen."""
    chosen: np.ndarray
    """(choices,) how many inputs each got."""
    dead: np.ndarray
    margin: float
    """Mean of p1 - p2, the probabilities of the first and the second choice; NaN where they are not known."""
    first: np.ndarray | None = None
    """(tokens of the probe,) the first choice in evaluation at the end of the window."""

    def merged(self, later: "GateRow") -> "GateRow":
        """Both windows as one; the later one alone where the router was given other choices in between."""
        if len(self.load) != len(later.load):
            return later
        inputs = self.inputs + later.inputs
        known = [one for one in (self, later) if np.isfinite(one.margin)]
        margin = np.average([one.margin for one in known], weights=[one.inputs for one in known]) if known else np.nan
        return replace(
            later,
            inputs=inputs,
            load=self.load + later.load,
            chosen=self.chosen + later.chosen,
            margin=float(margin),
            first=self.first if later.first is None else later.first,
        )

    @property
    def nbytes(self) -> int:
        return (
            self.load.nbytes + self.chosen.nbytes + self.dead.nbytes + (0 if self.first is None else self.first.nbytes)
        )


@dataclass(frozen=True)
class Row:
    """Everything seen in one window, which ends with `step`."""

    step: int
    examples: int
    seconds: float
    units: Mapping[str, UnitRow] = field(default_factory=dict)
    gates: Mapping[str, GateRow] = field(default_factory=dict)
    gradients: Mapping[str, float] = field(default_factory=dict)
    """Norm of the gradient by parameter, at the last look."""
    updates: Mapping[str, float] = field(default_factory=dict)
    """Norm of the change in one step / norm of the parameter, at the last look."""
    windows: int = 1

    def merged(self, later: "Row") -> "Row":
        """Both windows as one."""
        return replace(
            later,
            units=_merged(self.units, later.units),
            gates=_merged(self.gates, later.gates),
            gradients={**self.gradients, **later.gradients},
            updates={**self.updates, **later.updates},
            windows=self.windows + later.windows,
        )

    @property
    def nbytes(self) -> int:
        return sum(one.nbytes for one in [*self.units.values(), *self.gates.values()]) + 200 * len(self.gradients)


def _put_together(one: Any, other: Any) -> Any:
    return one.merged(other) if one is not None and other is not None else one if other is None else other


def _merged(one: Mapping, other: Mapping) -> dict:
    return {
        name: one[name].merged(other[name]) if name in one and name in other else other.get(name, one.get(name))
        for name in {**one, **other}
    }


class History:
    """The rows and events of a watch. `data` is all of it as a Dataset; `history["mean"]` is one measurement without
    the layers (of flips: the steps, too) that have nothing of it.

    It may be read while the training goes on, from another thread too.
    """

    def __init__(self, rows: int = ROWS, nbytes: int = BYTES):
        self._rows: list[Row] = []
        self._most, self._room, self._bytes = max(4, rows), nbytes, 0
        self._events: list[Event] = []
        self._cache: tuple[tuple, xr.Dataset] | None = None
        self.facts: dict[str, object] = {}
        """What the recording is of: the model's class and its number of parameters."""
        self.choice = "choice"
        """What a choice is called: "expert", "leaf", "slot"."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """The kept windows in order."""
        return tuple(self._rows)

    @property
    def events(self) -> tuple[Event, ...]:
        """What happened, in the order of the steps."""
        return tuple(sorted(self._events, key=lambda event: event.step))

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps at which a row was kept."""
        return tuple(row.step for row in self._rows)

    @property
    def thinned(self) -> int:
        """How many windows the fullest row holds: 1 as long as nothing was put together."""
        return max((row.windows for row in self._rows), default=1)

    def keep(self, row: Row) -> bool:
        """Add a row; whether neighbours had to be put together to make room for the next."""
        self._rows = [*self._rows, row]
        too_many = len(self._rows) >= self._most
        self._bytes += row.nbytes
        too_large = len(self._rows) > 8 and self._bytes > self._room
        if too_many or too_large:
            first, rest = self._rows[0], self._rows[1:]  # how it began stays as it was
            pairs = [rest[at].merged(rest[at + 1]) for at in range(0, len(rest) - 1, 2)]
            self._rows = [first, *pairs, *(rest[-1:] if len(rest) % 2 else [])]
            self._bytes = sum(one.nbytes for one in self._rows)
        return too_many or too_large

    def happened(self, event: Event) -> None:
        """Add an event."""
        self._events = [*self._events, event]

    @property
    def data(self) -> xr.Dataset:
        """Everything along an axis `step`; the names and axes are those of `labkit.recording.history_arrays`."""
        from labkit.recording.history_arrays import dataset

        rows = self._rows
        key = (len(rows), rows[-1].step if rows else -1)
        if self._cache is None or self._cache[0] != key:
            self._cache = (key, dataset(rows, self.choice))
        found = self._cache[1].copy()
        found.attrs = {**found.attrs, **self.facts}
        return found

    def __getitem__(self, name: str) -> xr.DataArray:
        """One measurement by its name; "unit_health" has the three conditions of units in one array."""
        from labkit.recording.history_arrays import health

        data = self.data
        found = health(data) if name == "unit_health" else data[name]
        found = found.dropna("layer", how="all") if "layer" in found.dims else found
        return found.dropna("step", how="all") if name == "flips" else found

    def __len__(self) -> int:
        return len(self._rows)

    def __str__(self) -> str:
        if not self._rows:
            return "An empty history: nothing was kept."
        last, windows = self._rows[-1], self.thinned
        lines = [f"{len(self)} rows from step {self._rows[0].step:,} to {last.step:,}"]
        if windows > 1:
            lines[0] += f", thinned: neighbouring rows were put together, up to {windows} in one"
        units = sum(len(one.moments.mean) for one in last.units.values() if one.moments is not None)
        if last.units:
            lines.append(
                (f"{units:,} units in " if units else "")
                + f"{len(last.units)} layers: {', '.join(list(last.units)[:6])}"
                + _more(last.units)
            )
        if last.gates:
            lines.append(f"{len(last.gates)} routers: {', '.join(list(last.gates)[:6])}" + _more(last.gates))
        if last.gradients:
            lines.append(f"gradients and updates of {len(last.gradients)} parameters")
        events = self.events
        lines.append(f"{len(events)} events" + (":" if events else ""))
        return "\n".join([*lines, *(f"  {event}" for event in events[:12]), *(["  …"] if len(events) > 12 else [])])

    __repr__ = __str__


def _more(names: Mapping) -> str:
    return f" and {len(names) - 6} more" if len(names) > 6 else ""
