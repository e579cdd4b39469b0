"""A training step of the soft tree against the dense layer of the same width, which does the same multiplications.

The goal is at most 1.5 times dense at depth 7, 768 -> 3072 -> 768, batch 256. Dense is timed twice, as torch comes
and with matrix products at "medium" precision (another library, on some machines faster); the faster one counts. The
package `fastfeedforward` is timed too where it is installed.
"""

from importlib import import_module

import torch
from side_by_side import race, ratio, table
from torch import nn

from labkit.layers.feedforward.fast_feedforward import FastFeedforward
from labkit.layers.feedforward.neuron_trees import NeuronTrees

CASES = [(3, 384, 768, 768), (5, 96, 768, 768), (7, 24, 768, 768), (9, 6, 768, 768), (5, 8, 784, 10)]
"""Depth, leaf width, input width, output width."""


def step(model: nn.Module, x: torch.Tensor, precision: str):
    def run() -> None:
        torch.set_float32_matmul_precision(precision)
        model.zero_grad(set_to_none=True)
        model(x).square().mean().backward()
        torch.set_float32_matmul_precision("highest")

    return run


def peer():
    try:
        return import_module("fastfeedforward").FFF
    except ImportError:
        return None


def main() -> None:
    torch.manual_seed(0)
    rows = []
    for depth, leaf, into, out in CASES:
        width, x = 2**depth * leaf, torch.randn(256, into)
        dense = nn.Sequential(nn.Linear(into, width), nn.ReLU(), nn.Linear(width, out))
        tree = FastFeedforward(into, out, depth=depth, leaf_width=leaf)
        neurons = NeuronTrees(into, out, depth=max(1, width.bit_length() - 1))
        contestants = {
            f"{name} {precision}": step(model, x, precision)
            for name, model in (("dense", dense), ("tree", tree), ("neurons", neurons))
            for precision in ("highest", "medium")
        }
        official = peer()
        if official and depth <= 5:
            contestants["package"] = step(official(into, leaf, out, depth), x, "highest")
        seconds = race(contestants, 15)
        best = {
            name: min((f"{name} {p}" for p in ("highest", "medium")), key=lambda key: sorted(seconds[key])[7])
            for name in ("dense", "tree", "neurons")
        }
        ratios = [ratio(seconds, best[name], best["dense"]) for name in ("tree", "neurons")]
        cells = [f"{middle:.2f} ({low:.2f} to {high:.2f})" for middle, low, high in ratios]
        dense_ms = 1000 * sorted(seconds[best["dense"]])[7]
        extra = f"{ratio(seconds, 'package', best['tree'])[0]:.1f}" if "package" in seconds else "-"
        rows.append([str(depth), str(leaf), f"{into}-{width}-{out}", f"{dense_ms:.1f}", *cells, extra])
    header = ["depth", "leaf", "widths", "dense ms", "tree / dense", "neuron tree / dense", "package / tree"]
    table("Training step, batch 256, one thread: median ratio (quartiles)", header, rows)


if __name__ == "__main__":
    main()
