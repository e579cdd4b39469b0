"""The whole run in one strip: a measurement of one row for each step, kept in bounded memory, thinner as the run grows.

A strip has at most `columns` columns of `w` steps each; when the run gets longer, w grows (1, 2, 5, 10, 20, ...), and of the
measurements that fall into one column the last is kept. So the axis of steps is even, the whole run is visible, and the
memory does not grow. A step that is measured again, because the training was rewound, cuts away what came after it.
Each branch has its own strip, which begins with its parent's up to the step where it leaves it.
"""

from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from labkit.errors import LabError

COLUMNS = 200
WIDTHS = tuple(one * 10**power for power in range(12) for one in (1, 2, 5))


@dataclass
class _Kept:
    """The measurements of one branch, step ascending."""

    steps: list[int] = field(default_factory=list)
    rows: list[np.ndarray] = field(default_factory=list)
    width: int = 1


class Strip:
    """What a measurement was at every stretch of the steps of a run, branch by branch.

    strip = Strip(); strip.add(step, measured); picture.show_strip(strip.array())
    """

    def __init__(self, columns: int = COLUMNS):
        if columns < 2:
            raise LabError(f"A strip has at least 2 columns, not {columns}.")
        self.columns = columns
        self._like: xr.DataArray | None = None
        self._branches: dict[str, _Kept] = {}

    def add(self, step: int, measured: xr.DataArray, branch: str = "main") -> None:
        """Keep what was measured at a step. What this branch has at this step and later is replaced.

        Shapes: measured of one axis, or of two of which one has a single entry. Another number of entries begins anew.
        Raises: LabError for two longer axes.
        """
        row = one_row(measured)
        if self._like is None or self._like.dims != row.dims or self._like.shape != row.shape:
            self._branches.clear()
        self._like = row
        kept = self._branches.setdefault(branch, _Kept())
        while kept.steps and kept.steps[-1] >= step:
            kept.steps.pop()
            kept.rows.pop()
        kept.steps.append(int(step))
        kept.rows.append(np.array(row.values, np.float32))
        self._thin(kept)

    def fork(self, branch: str, parent: str, step: int) -> None:
        """A new branch has its parent's past, up to and with the step at which it leaves it."""
        past = self._branches.get(parent, _Kept())
        count = sum(one <= step for one in past.steps)
        self._branches[branch] = _Kept(past.steps[:count], past.rows[:count], past.width)

    @property
    def branches(self) -> tuple[str, ...]:
        return tuple(self._branches)

    def array(self, branch: str = "main") -> xr.DataArray:
        """What is kept of a branch. Shapes: -> (step, entries of the measurement), steps evenly apart.

        A column in which nothing was measured shows the measurement before it. Empty where nothing was added.
        """
        kept = self._branches.get(branch, _Kept())
        if self._like is None or not kept.steps:
            return xr.DataArray(np.zeros((0, 1), np.float32), dims=("step", "entry"))
        width = kept.width
        bins = np.array(kept.steps) // width
        wanted = np.arange(bins[0], bins[-1] + 1)
        held = np.searchsorted(bins, wanted, side="right") - 1
        coords = {name: one for name, one in self._like.coords.items() if one.dims != ()}
        scalars = {name: one for name, one in self._like.coords.items() if one.dims == ()}
        return xr.DataArray(
            np.stack(kept.rows)[held],
            dims=("step", *self._like.dims),
            coords={"step": ("step", wanted * width, {"long_name": "training step"}), **coords, **scalars},
            name=self._like.name,
            attrs={**self._like.attrs, "steps_a_column": width},
        )

    def _thin(self, kept: _Kept) -> None:
        steps = kept.steps
        while steps[-1] // kept.width - steps[0] // kept.width >= self.columns:
            kept.width = next(width for width in WIDTHS if width > kept.width)
        if len(steps) > 1 and (len(steps) > self.columns or steps[-1] // kept.width == steps[-2] // kept.width):
            bins = np.array(steps) // kept.width
            last = np.flatnonzero(np.append(np.diff(bins) > 0, True))
            kept.steps, kept.rows = [steps[at] for at in last], [kept.rows[at] for at in last]


def one_row(measured: xr.DataArray) -> xr.DataArray:
    """A measurement as one row: an axis of a single entry becomes a coordinate. Raises: LabError for two longer axes."""
    found = measured
    if found.ndim == 2:
        single = [dim for dim in found.dims if found.sizes[dim] == 1]
        if not single:
            sizes = ", ".join(f"{dim}: {size}" for dim, size in found.sizes.items())
            dim = str(found.dims[0])
            raise LabError(f"A strip shows one row for each step, and got ({sizes}); choose one, as .isel({dim}=0).")
        found = found.isel({single[0]: 0})
    if found.ndim != 1:
        raise LabError(f"A strip shows one row for each step, and got an array of {found.ndim} axes.")
    return found
