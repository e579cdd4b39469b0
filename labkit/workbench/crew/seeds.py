"""The same training on several seeds at once, for a model of one's own: one data set with an axis `seed` comes out.

    def train(seed, tell):
        model = build()                      # torch, numpy and Python begin at the seed
        for step in range(1, 501):
            loss = ...
            tell(step, loss=loss)            # arrives while it runs
        return xr.Dataset({"test_accuracy": accuracy})

Each seed has a process of its own with one thread. A process that dies loses its seed only.
"""

from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import Any, Protocol

import torch
import xarray as xr

from labkit.errors import LabError
from labkit.workbench.arithmetic import plainly
from labkit.workbench.crew.several import several
from labkit.workbench.crew.worker import fix_chance
from labkit.workbench.fit import Stopped
from labkit.workbench.progress import Progress

Row = xr.Dataset | xr.DataArray | Mapping[str, Any] | float | None


class Tell(Protocol):
    """`tell(step, loss=0.3, accuracy=0.9)`: where this training is."""

    def __call__(self, step: int, /, **values: float) -> None: ...


Training = Callable[[int, Tell], Row]


class Seeds:
    """A training to be run on several seeds; call it with `(watch, stop)`, or give it to `RunItHere` or `Live`.

    `train` is a function (seed, tell), or several of them by name, which are compared: then the data set has an axis
    `arm` too. `seeds` is their number, or a sequence of them. `steps` is how many steps each training tells of, for
    the progress. `shows` is the told quantity that is drawn, the first one where nothing is said. `jobs` is how many
    train at once; 1 trains here, one after the other, with the same result.

    A training returns a data set, an array, a number or numbers by name. One that returns None gives what it told,
    along an axis `step`.

    The result says in `attrs["lost"]` which trainings were lost with their process.
    """

    def __init__(
        self,
        train: Training | Mapping[str, Training],
        seeds: int | Sequence[int] = 5,
        *,
        jobs: int | None = None,
        steps: int = 0,
        shows: str | None = None,
    ):
        self.compares = isinstance(train, Mapping)
        name = getattr(train, "__name__", "training").replace("<lambda>", "training")
        self.arms: dict[str, Training] = dict(train) if isinstance(train, Mapping) else {name: train}
        self.seeds = list(range(seeds)) if isinstance(seeds, int) else [int(seed) for seed in seeds]
        self.jobs, self.steps, self.shows = jobs, steps, shows
        if not self.arms or not all(callable(one) for one in self.arms.values()):
            raise LabError("A training is a function train(seed, tell), or several of them by name.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise LabError("Give the number of seeds, or each seed once.")

    def __call__(self, watch: Callable[[Progress], None] | None = None, stop: Event | None = None) -> xr.Dataset:
        """Train on all seeds.

        Raises: fit.Stopped when `stop` is set; whatever a training raises; LabError when no training of an arm is left.
        """
        todo, arms = [(arm, seed) for seed in self.seeds for arm in self.arms], self.arms

        def train(arm: str, seed: int, tell, stop: Event | None) -> xr.Dataset:
            return one_row(arms[arm], seed, tell)

        if self.jobs == 1:
            rows, lost = self._here(todo, train, watch, stop), {}
        else:
            rows, lost = several(train, todo, steps=self.steps, workers=self.jobs, watch=watch, stop=stop)
        return self._joined(todo, rows, list(lost.values()))

    def _here(self, todo, train, watch, stop: Event | None) -> list[xr.Dataset]:
        rows = []
        with plainly():
            for number, (arm, seed) in enumerate(todo):

                def tell(step: int, values: dict[str, float], arm=arm, seed=seed, number=number) -> None:
                    if stop is not None and stop.is_set():
                        raise Stopped(f"Stopped at step {step}; nothing was saved.")
                    if watch is not None:
                        part = min(step / self.steps, 1.0) if self.steps else 0.0
                        watch(Progress(arm, seed, step, self.steps, (number + part) / len(todo), values))

                fix_chance(seed)
                rows.append(train(arm, seed, tell, stop))
        return rows

    def _joined(self, todo: list[tuple[str, int]], rows: Sequence[xr.Dataset | None], lost: list[str]) -> xr.Dataset:
        how: dict[str, Any] = {"join": "outer", "combine_attrs": "override", "data_vars": "all", "coords": "minimal"}
        by_arm = []
        for arm in self.arms:
            kept = [
                row.expand_dims(seed=[seed]) for (of, seed), row in zip(todo, rows) if of == arm and row is not None
            ]
            if not kept:
                raise LabError(f"No seed of {arm} came to its end. {' '.join(lost)}")
            by_arm.append(xr.concat(kept, "seed", **how))
        if self.compares:
            labelled = [one.expand_dims(arm=[arm]) for arm, one in zip(self.arms, by_arm)]
            data = xr.concat(labelled, "arm", compat="override", **how)
        else:
            data = by_arm[0]
        return data.assign_attrs(lost=lost) if lost else data


def one_row(train: Training, seed: int, tell: Callable[[int, dict[str, float]], None]) -> xr.Dataset:
    """One training, and what it returned as a data set."""
    told: dict[int, dict[str, float]] = {}

    def hear(step: int, /, **values: float) -> None:
        numbers = {
            name: float(value.detach() if isinstance(value, torch.Tensor) else value) for name, value in values.items()
        }
        told.setdefault(int(step), {}).update(numbers)
        tell(int(step), numbers)

    row = train(seed, hear)
    if isinstance(row, xr.Dataset):
        return row
    if isinstance(row, xr.DataArray):
        return row.to_dataset(name=row.name or "value")
    if isinstance(row, Mapping):
        return xr.Dataset(dict(row))
    if row is not None:
        return xr.Dataset({"value": float(row)})
    names = list(dict.fromkeys(name for values in told.values() for name in values))
    steps = sorted(told)
    return xr.Dataset(
        {name: ("step", [told[step].get(name, float("nan")) for step in steps]) for name in names}, {"step": steps}
    )
