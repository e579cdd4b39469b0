"""The balance loss as frameworks compute it: from the tokens of all layers thrown together. It can be fooled.

    L = (E / K) Σ_i F_i P_i      with F and P over the tokens of all layers at once

Symbols: E choices, K chosen for each token, F_i how often i was chosen divided by the number of tokens (no gradient goes
through it), P_i the mean probability of i. L is 1 when even. Each layer may starve some of its experts: as long as
another layer feeds those of the same numbers, L says that all is even, and its gradient asks for nothing. Compare
`switch_balance`, the same for each layer by itself.

Source: `load_balancing_loss_func` of Hugging Face transformers 5.23 pools like this (without the 1 / K); the loss itself
is that of "A Review of Sparse Expert Models in Deep Learning" (P369).
"""

import torch
from torch import Tensor

from labkit.errors import LabError
from labkit.example import Example
from labkit.parts.balance import crowding
from labkit.parts.gate import Routing
from labkit.parts.tree import TreeGate
from labkit.recording.record import Trace, record


def pooled_balance(trace: Trace) -> Tensor:
    """Frequency times probability over the tokens of all layers, 1 when even: of `record(model, Routing, attached=True)`.

    Raises: LabError when the recording holds no routing, or layers that choose among different numbers.
    Source: "A Review of Sparse Expert Models in Deep Learning" (P369).
    """
    routings = trace.every(Routing)
    if not routings:
        raise LabError("pooled_balance needs a recording of routing: record(model, Routing, attached=True).")
    if len({(routing.choices, routing.index.shape[-1]) for routing in routings}) > 1:
        raise LabError("pooled_balance needs layers that choose equally many of equally many; switch_balance does not.")
    return crowding(routings)


def recording(seed: int) -> tuple[Trace]:
    """Two calls of a tree's soft routing of random inputs."""
    gate, draws = TreeGate(4, depth=3), torch.Generator().manual_seed(seed)
    with record(gate, Routing, attached=True) as trace:
        for _ in range(2):
            gate(torch.randn(5, 4, generator=draws))
    return (trace,)


example = Example(lambda: pooled_balance, inputs=recording)
