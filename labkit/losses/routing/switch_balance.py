"""The usual price of crowding in a mixture of experts, for each layer by itself: how often times how probably.

A router that sends most tokens to one expert pays; one that shares them evenly pays the least.

    L_l = (E / K) Σ_i F_i P_i,      L = mean over layers of L_l

Symbols: E choices, K chosen for each token, F_i how often i was chosen divided by the number of tokens (no gradient goes
through it), P_i the mean over the tokens of the probability of i, a softmax of the scores. L_l is 1 when even and E when
one choice takes everything with certainty; it can dip a little below 1 where F and P disagree.

Source: the load-balancing loss of sparse layers, "A Review of Sparse Expert Models in Deep Learning" (P369). Dividing by
K is ours: so that 1 is even whatever K.
"""

import torch
from torch import Tensor

from labkit.errors import LabError
from labkit.example import Example
from labkit.parts.balance import crowding
from labkit.parts.gate import Routing
from labkit.parts.tree import TreeGate
from labkit.recording.record import Trace, record


def switch_balance(trace: Trace) -> Tensor:
    """Mean over layers of frequency times probability, 1 when even: of `record(model, Routing, attached=True)`.

    Raises: LabError when the recording holds no routing.
    Source: "A Review of Sparse Expert Models in Deep Learning" (P369).
    """
    routings = trace.every(Routing)
    if not routings:
        raise LabError("switch_balance needs a recording of routing: record(model, Routing, attached=True).")
    return torch.stack([crowding([routing]) for routing in routings]).mean()


def recording(seed: int) -> tuple[Trace]:
    """A tree's soft routing of random inputs."""
    gate = TreeGate(4, depth=3)
    with record(gate, Routing, attached=True) as trace:
        gate(torch.randn(5, 4, generator=torch.Generator().manual_seed(seed)))
    return (trace,)


example = Example(lambda: switch_balance, inputs=recording)
