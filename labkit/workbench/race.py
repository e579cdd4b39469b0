"""A fair race: layers take the same places of the same network at the same cost, and train on the same data and seeds.

    run = race(["dense", "fast feedforward tree"], on="characters", match="parameters")

Every layer is matched to the dense one, whose size is the ground's. Each takes the learning rate that is best for it, out of
the same few, on a seed that does not race. What comes out is a run like that of a study: losses over the steps, and what
each arm cost in parameters, in operations and in seconds of training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import xarray as xr
from torch import nn

from labkit.errors import LabError
from labkit.workbench.arithmetic import plainly
from labkit.workbench.backprop import Backprop
from labkit.workbench.claim import Claim, Rule, last
from labkit.workbench.contenders import BASELINE, CONTENDERS, Contender
from labkit.workbench.crew.several import several
from labkit.workbench.crew.worker import fix_chance
from labkit.workbench.fit import Stopped, fit
from labkit.workbench.grounds import GROUNDS, ground
from labkit.workbench.hold.randomness import Randomness
from labkit.workbench.probes import score
from labkit.workbench.progress import Progress
from labkit.workbench.run import Run, open_run, runs_folder
from labkit.workbench.study import Arm, Scale, Study
from labkit.workbench.swap import Match, swap

RATES = (0.003, 0.01, 0.03)
TUNING_SEED = 1000
"""Far from the seeds that race."""


@dataclass(frozen=True)
class Entry:
    """A contender on a ground: the size at which it costs what the dense layer costs, and both costs of one place."""

    size: int
    before: float
    after: float


def contenders(names: Sequence[str], also: Mapping[str, Contender] | None = None) -> dict[str, Contender]:
    """The contenders of these names, the dense layer first. Raises: LabError for a name that nobody has."""
    known = {**CONTENDERS, **(also or {})}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise LabError(f"Nobody races as {', '.join(map(repr, unknown))}; there is {', '.join(known)}.")
    chosen = [name for name in dict.fromkeys(names) if name != BASELINE]
    if not chosen:
        raise LabError("A race needs a layer beside the dense one.")
    return {name: known[name] for name in (BASELINE, *chosen)}


def entries(racing: Mapping[str, Contender], on: str, match: Match) -> dict[str, Entry]:
    """The size of each contender on a ground. Raises: LabError naming the one that has no fair size."""
    where = ground(on)

    def find() -> dict[str, Entry]:
        found, task = {BASELINE: Entry(where.width, 1.0, 1.0)}, where.task()
        model = where.backbone(task, lambda i, o: CONTENDERS[BASELINE].build(i, o, where.width))
        for name, contender in racing.items():
            if name != BASELINE:
                try:
                    swapped = swap(model, where.places, contender.build, match=match, example=task.test()[0][:64])
                except LabError as error:
                    raise LabError(f"{name} cannot race here: {error}") from error
                place = swapped.places[0]
                swapped.back()
                found[name] = Entry(place.size or 0, place.before or 0.0, place.after or 0.0)
        return found

    with plainly():
        return Randomness(0).call(find)


def race_study(
    names: Sequence[str],
    *,
    on: str = "characters",
    match: Match = "parameters",
    seeds: int = 3,
    steps: int | None = None,
    rates: Mapping[str, float] | None = None,
    also: Mapping[str, Contender] | None = None,
) -> Study:
    """The race as a study: its arms are matched now, and what came out is decided by a rule for each contender.

    `rates` are the learning rates by name (0.01 where there is none); `also` are contenders of one's own.
    Raises: LabError for names that nobody has, and where a contender has no size at which it costs what dense costs.
    """
    where, racing = ground(on), contenders(names, also)
    sized = entries(racing, on, match)
    arms = {}
    for name, contender in racing.items():
        rate = (rates or {}).get(name, 0.01)
        matched = f"Size {sized[name].size:,}, learning rate {rate:g}."
        if name != BASELINE:
            ratio = sized[name].after / sized[name].before
            matched += f" It costs {ratio:.2f} times what dense costs ({match.replace('_', ' ')})."
        arms[name] = Arm(
            partial(_layer, contender, sized[name].size),
            partial(Backprop, learning_rate=rate, penalties=contender.penalties),
            "baseline" if name == BASELINE else "method",
            f"{contender.says} {matched}",
        )
    claims = [_claim(name) for name in racing if name != BASELINE]
    return Study(
        name=on,
        paper="",
        title=f"A race on {on}",
        question="Which layer learns most at the same cost?",
        task=lambda scale: where.task(),
        backbone=where.backbone,
        arms=arms,
        scales={"lesson": Scale(steps or where.steps, seeds, 8)},
        claims=claims,
        probes={"test_loss": score("loss"), "test_accuracy": score("accuracy")},
        shows="test_loss",
    )


def _layer(contender: Contender, size: int, i: int, o: int) -> nn.Module:
    return contender.build(i, o, size)


def _claim(name: str) -> Claim:
    rule = Rule(
        f"Test loss of dense minus that of {name} at the end, paired by seed, is above 0.",
        lambda data: last(data, "test_loss", BASELINE) - last(data, "test_loss", name),
        0.0,
        unit="nats",
    )
    return Claim(f"{name[:1].upper()}{name[1:]} learns more than the dense layer at the same cost.", rule)


def tuned(
    names: Sequence[str],
    *,
    on: str = "characters",
    match: Match = "parameters",
    steps: int | None = None,
    rates: Sequence[float] = RATES,
    also: Mapping[str, Contender] | None = None,
    watch: Callable[[Progress], None] | None = None,
    stop: Event | None = None,
    jobs: int | None = 1,
) -> dict[str, float]:
    """The learning rate at which each contender has the lowest training loss on a seed that does not race.

    The training loss is the mean of the last quarter: no test data take part. A rate at which training fails is out.
    Raises: fit.Stopped when `stop` is set; LabError where a contender cannot be trained at any of the rates.
    """
    racing, where = contenders(names, also), ground(on)
    sized, length = entries(racing, on, match), steps or where.steps
    todo = {f"{name}, rate {rate:g}": (name, rate) for name in racing for rate in rates}

    def train(label: str, seed: int, tell, stop: Event | None) -> float:
        name, rate = todo[label]
        with plainly():
            fix_chance(seed)
            task = where.task()
            model = where.backbone(task, partial(_layer, racing[name], sized[name].size))
            trainer = Backprop(learning_rate=rate, penalties=racing[name].penalties)
            ends = (length * 3 // 4, length)
            try:
                found = fit(model, task, trainer, steps=length, seed=seed, measure_at=ends, watch=tell, stop=stop)
            except Stopped:
                raise
            except LabError:  # the loss was no longer a number
                return float("inf")
            return float(found.training_loss.isel(step=-1))

    work = [(label, TUNING_SEED) for label in todo]
    if jobs == 1:
        tells = (_teller(watch, label, seed, length, number, len(work)) for number, (label, seed) in enumerate(work))
        losses = [train(label, seed, tell, stop) for (label, seed), tell in zip(work, tells)]
    else:
        losses, _ = several(train, work, steps=length, workers=jobs, watch=watch, stop=stop)
    found: dict[str, dict[float, float]] = {}
    for (name, rate), loss in zip(todo.values(), losses):
        if loss is not None and loss < float("inf"):
            found.setdefault(name, {})[rate] = loss
    failed = [name for name in racing if name not in found]
    if failed:
        tried = ", ".join(f"{rate:g}" for rate in rates)
        raise LabError(f"{' and '.join(failed)} cannot be trained at any of the rates {tried}.")
    return {name: min(by_rate, key=lambda rate: by_rate[rate]) for name, by_rate in found.items()}


def race(
    names: Sequence[str],
    *,
    on: str = "characters",
    match: Match = "parameters",
    seeds: int = 3,
    steps: int | None = None,
    tune: bool = True,
    also: Mapping[str, Contender] | None = None,
    watch: Callable[[Progress], None] | None = None,
    stop: Event | None = None,
    jobs: int | None = 1,
) -> Run:
    """Race the layers of these names against the dense one, over seeds; `also` are contenders of one's own, by name.

    With `tune` each first takes the best of three learning rates, which trains each three times more; without it all
    train at 0.01. `jobs` as in `Study.run`. `views.race` draws what came out.
    Raises: LabError for unknown names or a contender without a fair size; fit.Stopped when `stop` is set.
    """
    share = len(RATES) / (len(RATES) + seeds) if tune else 0.0

    def part(start: float, length: float, stage: str) -> Callable[[Progress], None]:
        def tell(one: Progress) -> None:
            if watch is not None:
                watch(replace(one, done=start + length * one.done, stage=stage))

        return tell

    same: dict[str, Any] = {"on": on, "match": match, "steps": steps, "also": also}
    rates = tuned(names, **same, watch=part(0.0, share, "Learning rates"), stop=stop, jobs=jobs) if tune else {}
    found = race_study(names, **same, seeds=seeds, rates=rates)
    run = found.run("lesson", watch=part(share, 1 - share, "Race"), stop=stop, jobs=jobs)
    facts = {"on": on, "match": match, "arms": {name: arm.says for name, arm in found.arms.items()}, "rates": rates}
    return replace(run, provenance=run.provenance | {"race": facts})


def races_folder() -> Path:
    """Where recorded races lie: assets/races beside the recorded runs."""
    return runs_folder().parent / "races"


def recorded_races() -> list[str]:
    """The grounds on which a race is recorded."""
    return [name for name in GROUNDS if (races_folder() / f"{name}.nc").exists()]


def open_race(on: str) -> Run:
    """The recorded race on a ground. Raises: LabError where there is none, or where its files are broken."""
    ground(on)
    return open_run(races_folder() / f"{on}.nc")


def costs(data: xr.Dataset) -> xr.DataArray:
    """What each training of a race or a study cost, (cost, arm, seed), as `views.race` wants it."""
    seconds = data.training_seconds.isel(step=-1, drop=True)
    named = {"parameters": data.parameters, "operations an input": data.flops, "seconds of training": seconds}
    parts = [one.transpose("arm", "seed").reset_coords(drop=True) for one in named.values()]
    table = xr.concat(parts, xr.IndexVariable("cost", list(named)), coords="minimal", compat="override")
    return table.assign_attrs(long_name="cost", units="").rename("cost of training")


def _teller(watch, arm: str, seed: int, steps: int, number: int, of: int):
    if watch is None:
        return None

    def tell(step: int, values: dict[str, float]) -> None:
        watch(Progress(arm, seed, step, steps, (number + step / steps) / of, {}))

    return tell
