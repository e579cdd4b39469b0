"""Teaches gates to stop early: each gate is asked whether the input is wanted, as if it were the end of the network.

    L = mean over gates of  ½ mean over wanted inputs of ln(1 + e^{-s})  +  ½ mean over the others of ln(1 + e^{s})

Symbols: s the score of a gate, the log-odds that the input is wanted. Both kinds of input count alike, however rare the wanted
ones are: where one input in twenty is wanted, a gate that stops everything would otherwise be nearly right. A gate that knows
nothing has the loss ln 2, one that is certain and right 0.

Source: the loss of the gates in "Gated Compression Layers for Efficient Always-On Models" (P060). That the gates are trained on
whether an input is wanted is stated there; the balance of the two halves is ours.
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.errors import LabError
from labkit.example import Example
from labkit.parts.gate import Routing, everything
from labkit.recording.record import Trace, record


def early_stopping(trace: Trace, wanted: Tensor) -> Tensor:
    """Balanced cross-entropy in nats between what each gate of a recording says and whether the inputs are wanted.

    The recording is made with `record(model, Routing, attached=True)`; gates have two choices, 0 to stop and 1 to go on.
    Shapes: wanted (rows,), 1 for an input that is wanted, else 0 -> ().
    Raises: LabError when the recording holds no routing of two choices with scores.
    Source: "Gated Compression Layers for Efficient Always-On Models" (P060).
    """
    gates = [one for one in trace.every(Routing) if one.choices == 2 and one.scores is not None]
    if not gates:
        raise LabError("early_stopping needs a recording of routing: record(model, Routing, attached=True).")
    return torch.stack([_disagreement(gate, wanted.to(gate.weights)) for gate in gates]).mean()


def _disagreement(gate: Routing, wanted: Tensor) -> Tensor:
    assert gate.scores is not None
    odds = gate.scores[..., 1] - gate.scores[..., 0]
    return balanced(F.binary_cross_entropy_with_logits(odds, wanted, reduction="none"), wanted)


def balanced(cost: Tensor, wanted: Tensor) -> Tensor:
    """The mean cost of wanted inputs and that of the others, half each; a kind that is not there counts nothing."""
    halves = [(cost * kind).sum() / kind.sum().clamp_min(1) for kind in (wanted, 1 - wanted)]
    return (halves[0] + halves[1]) / 2


class _OneGate(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.score = torch.nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Routing:
        scores = self.score(x)
        return everything(scores.softmax(-1), scores)


def recording(seed: int) -> tuple[Trace]:
    """A gate's answers to random inputs."""
    gate = _OneGate()
    with record(gate, Routing, attached=True) as trace:
        gate(torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)))
    return (trace,)


example = Example(lambda: partial(early_stopping, wanted=torch.tensor([1, 0, 0, 0, 1, 0])), inputs=recording)
