"""The price of crowding: how unevenly a routing spreads its inputs, taken from a recording.

A router that finds one good choice early sends everything there, and the others never learn. This loss is 0 when
every choice gets the same share of soft probability over the batch and largest when one takes all.

    P_i = mean over the batch of the weight of choice i,      L = (1/E) Σ_i (E P_i - 1)²

Symbols: E choices, P_i their shares; L is the squared coefficient of variation of the shares.

Source: "Enhancing Fast Feed Forward Networks with Load Balancing and a Master Leaf Node" (P124). That the paper
balances the leaves' shares over the batch is stated there; this form of the penalty is reconstructed.
"""

import torch
from torch import Tensor

from labkit.errors import LabError
from labkit.example import Example
from labkit.parts.balance import imbalance, shares
from labkit.parts.gate import Routing
from labkit.parts.tree import TreeGate
from labkit.recording.record import Trace, record


def load_balance(trace: Trace) -> Tensor:
    """Mean imbalance of every routing in a recording made with `record(model, Routing, attached=True)`.

    Raises: LabError when the recording holds no routing.
    Source: "Enhancing Fast Feed Forward Networks with Load Balancing and a Master Leaf Node" (P124).
    """
    routings = trace.every(Routing)
    if not routings:
        raise LabError("load_balance needs a recording of routing: record(model, Routing, attached=True).")
    return torch.stack([imbalance(shares(routing)) for routing in routings]).mean()


def recording(seed: int) -> tuple[Trace]:
    """A tree's soft routing of random inputs."""
    gate = TreeGate(4, depth=3)
    with record(gate, Routing, attached=True) as trace:
        gate(torch.randn(5, 4, generator=torch.Generator().manual_seed(seed)))
    return (trace,)


example = Example(lambda: load_balance, inputs=recording)
