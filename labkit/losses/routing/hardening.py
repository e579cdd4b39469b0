"""The price of undecided answers: the mean entropy of a tree's decisions, taken from a recording.

A tree that is trained softly and used hard must have made up its mind by the end. Adding h times this loss to the
task's makes every node answer closer to yes or no.

    L = mean over inputs and nodes of H(σ(s)),      H(c) = -c ln c - (1 - c) ln(1 - c)

Symbols: s a node's score, σ(s) the probability of going right, H entropy in nats (between 0 and ln 2).

Source: "Fast Feedforward Networks" (P120). The paper sums over nodes and inputs; the mean keeps h comparable between
depths and batch sizes.
"""

import torch
from torch import Tensor

from labkit.errors import LabError
from labkit.example import Example
from labkit.parts.relaxation import binary_entropy
from labkit.parts.tree import Branching, TreeGate
from labkit.recording.record import Trace, record


def hardening(trace: Trace) -> Tensor:
    """Mean decision entropy in nats over every tree in a recording made with `record(model, Branching, attached=True)`.

    Raises: LabError when the recording holds no decisions.
    Source: "Fast Feedforward Networks" (P120).
    """
    trees = trace.every(Branching)
    if not trees:
        raise LabError("hardening needs a recording of decisions: record(model, Branching, attached=True).")
    return torch.stack([binary_entropy(tree.scores).mean() for tree in trees]).mean()


def recording(seed: int) -> tuple[Trace]:
    """A tree's decisions on random inputs."""
    gate = TreeGate(4, depth=3)
    with record(gate, Branching, attached=True) as trace:
        gate(torch.randn(5, 4, generator=torch.Generator().manual_seed(seed)))
    return (trace,)


example = Example(lambda: hardening, inputs=recording)
