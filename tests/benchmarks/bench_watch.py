"""What watching costs a training step, fused Adam included: a small transformer (4 layers of 128, 16 x 64 tokens) and
the MLP 784-1024-1024-10 with 256 inputs, on one thread.

Every contestant trains its own copy; in each round each takes a few steps, in shuffled order, timed by the thread's own
processor time. "as it comes" is `watch(model)` with its budget of 3 %, whose looks fall into some rounds and not into
others: there the mean counts, of the others the median too. "numpy, as trackers do" computes np.histogram of each layer
at each step. The plain copy is timed twice: the second one is the noise.
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from side_by_side import race, ratio, table
from torch import nn
from torch.nn import functional as F

from labkit.recording.watch import watch

STEPS, ROUNDS = 4, 100


def mlp() -> tuple[nn.Module, torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
    model = nn.Sequential(nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))
    labels = torch.randint(0, 10, (256,))
    return model, torch.randn(256, 784), lambda out: F.cross_entropy(out, labels)


class Block(nn.Module):
    """A pre-norm transformer block with its nonlinearity as a module."""

    def __init__(self, width: int):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.first(x)
        x = x + self.attention(seen, seen, seen, need_weights=False)[0]
        return x + self.mlp(self.second(x))


def transformer() -> tuple[nn.Module, torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
    return nn.Sequential(*(Block(128) for _ in range(4))), torch.randn(16, 64, 128), lambda out: out.square().mean()


def numpy_histograms(model: nn.Module) -> None:
    def keep(_module: nn.Module, _inputs: tuple, output: torch.Tensor) -> None:
        np.histogram(output.detach().numpy(), 64)

    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(keep)


WATCHES = {
    "as it comes": {},
    "every=1, exact sums": {"every": 1, "what": "units"},
    "every=1, histograms": {"every": 1, "what": "density"},
    "every=1, everything": {"every": 1},
    "installed, idle": {"every": 10**9},
}


def contestant(make, options: dict | None, numpy: bool = False):
    torch.manual_seed(0)
    model, x, loss = make()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    if numpy:
        numpy_histograms(model)
    watching = watch(model, optimizer=optimizer, **options) if options is not None else None
    if watching is not None:
        watching.__enter__()

    def run() -> None:
        if watching is not None:  # what the others did since its last step is no training of this one
            watching._mark = time.perf_counter()
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss(model(x)).backward()
            optimizer.step()

    return run, watching


def main(rounds: int = ROUNDS) -> None:
    for name, make in (("MLP 784-1024-1024-10, batch 256", mlp), ("transformer 4 x 128, 16 x 64 tokens", transformer)):
        made = {"plain": contestant(make, None), "plain again": contestant(make, None)}
        made |= {called: contestant(make, options) for called, options in WATCHES.items()}
        made["numpy, as trackers do"] = contestant(make, None, numpy=True)
        seconds = race({called: run for called, (run, _) in made.items()}, rounds)
        rows, plain = [], sorted(seconds["plain"])[rounds // 2] / STEPS
        for called, (_, watching) in made.items():
            middle, low, high = ratio(seconds, called, "plain")
            slower = [one / other - 1 for one, other in zip(seconds[called], seconds["plain"], strict=True)]
            slower = sorted(slower)[rounds // 50 : rounds - rounds // 50]
            mean, error = statistics.fmean(slower), statistics.stdev(slower) / len(slower) ** 0.5
            own = "-" if watching is None else f"{float(watching.overhead):.1%}"
            looks = "-" if watching is None else f"{watching.overhead.looks} of {watching.overhead.steps}"
            median = f"{middle - 1:+.1%} ({low - 1:+.1%} to {high - 1:+.1%})"
            rows.append([called, median, f"{mean:+.1%} ± {error:.1%}", own, looks])
        table(
            f"{name}: {1000 * plain:.1f} ms a step; slower than plain, over {rounds} rounds of {STEPS} steps",
            ["", "median (quartiles)", "mean ± standard error", "as the watch says", "looks"],
            rows,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
