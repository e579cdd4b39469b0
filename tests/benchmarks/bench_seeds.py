"""What several seeds at once save: a study of five seeds on the embedded images, in worker processes and one after the
other, by the clock on the wall, start of the processes included.

An MLP 784-256-256-10 on digits and a small CNN (3 x 3 convolutions of 16 and 32 channels, a linear layer) on clothes,
500 steps of 128 images each, test accuracy measured 12 times. In each round both ways run once, in turn. The load beside
them is that of the machine before the round, in processes that want a core. Processor time is what the whole run took of
all cores, this process and its workers: divided by the number of cores it is what the crew would need on an idle machine
at least (its last seed trains alone where the seeds do not divide evenly).
"""

import os
import resource
import statistics
import sys
import time

import xarray as xr
from side_by_side import table
from torch import nn

from labkit.workbench.backbones.only_layer import OnlyLayer
from labkit.workbench.backprop import Backprop
from labkit.workbench.crew.crew import cores, work_off
from labkit.workbench.probes import score
from labkit.workbench.study import Arm, Scale, Study
from labkit.workbench.tasks.classification import Classification

STEPS, SEEDS, ROUNDS = 500, 5, 3


def mlp(in_width: int, out_width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(in_width, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, out_width))


def cnn(in_width: int, out_width: int) -> nn.Module:
    side = int(in_width**0.5)
    return nn.Sequential(
        nn.Unflatten(1, (1, side, side)),
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * (side // 4) ** 2, out_width)),
    )


def study(name: str, layer, images: str, steps: int) -> Study:
    return Study(
        name=name,
        paper="P120",
        title=name,
        question="How long do five seeds take?",
        task=lambda scale: Classification(images),
        backbone=OnlyLayer,
        arms={name: Arm(layer, lambda: Backprop(learning_rate=2e-3), "baseline", name)},
        scales={"lesson": Scale(steps, SEEDS)},
        claims=[],
        probes={"test_accuracy": score("accuracy")},
    )


def start_up(rounds: int) -> float:
    """Seconds until one worker has begun: the median."""
    seconds = []
    for _ in range(rounds):
        began, events = time.perf_counter(), work_off(lambda *_: None, [("nothing", 0)], workers=1)
        next(events)
        seconds.append(time.perf_counter() - began)
        events.close()
    return statistics.median(seconds)


def processor_time() -> float:
    """Seconds of processor time of this process and of the children that have ended."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(one)[:2]) for one in whose)


def main(rounds: int = ROUNDS, steps: int = STEPS) -> None:
    print(f"{cores()} cores; a worker begins after {start_up(rounds):.1f} s.")
    rows = []
    for one in (study("MLP", mlp, "mnist", steps), study("CNN", cnn, "fashion_mnist", steps)):
        seconds, busy, load, runs = {None: [], 1: []}, {None: [], 1: []}, [], {}
        for _ in range(rounds):
            load.append(os.getloadavg()[0])
            for jobs, taken in seconds.items():
                began, before = time.perf_counter(), processor_time()
                runs[jobs] = one.run("lesson", jobs=jobs).data
                taken.append(time.perf_counter() - began)
                busy[jobs].append(processor_time() - before)
        xr.testing.assert_identical(runs[None], runs[1])
        crew, alone = (statistics.median(taken) for taken in seconds.values())
        pairs = [other / first for first, other in zip(*seconds.values(), strict=True)]
        accuracy = float(runs[1].test_accuracy.isel(step=-1).mean())
        rows.append(
            [
                f"{one.name}, {SEEDS} seeds of {steps} steps",
                f"{crew:.1f} s ({min(seconds[None]):.1f} to {max(seconds[None]):.1f})",
                f"{alone:.1f} s ({min(seconds[1]):.1f} to {max(seconds[1]):.1f})",
                f"{statistics.median(pairs):.2f} times faster",
                f"{statistics.median(busy[None]):.1f} s and {statistics.median(busy[1]):.1f} s",
                f"{accuracy:.3f}",
                f"{min(load):.1f} to {max(load):.1f}",
            ]
        )
    header = [
        "",
        "crew (least to most)",
        "one after the other",
        "crew is",
        "processor time of both",
        "test accuracy",
        "load beside it",
    ]
    table(f"Wall time, median of {rounds} rounds; the results of both are the same to the bit", header, rows)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
