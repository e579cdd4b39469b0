"""The price of what is carried on: the mean size of the values that a cut sends. Behind a ReLU many of them become 0.

    L = mean over cuts of  Σ |y| / (inputs · values of an input before it was compressed)

Symbols: y what is sent. An input that the gate weighs by nearly 0 costs nearly nothing, whatever its code is.

Source: the sparsity of "Gated Compression Layers for Efficient Always-On Models" (P060). That activations are compressed by a
penalty beside the task is stated in summaries; the sum of absolute values is the usual form, and reconstructed.
"""

import torch
from torch import Tensor

from labkit.errors import LabError
from labkit.example import Example
from labkit.parts.transmission import Sender, Transmitted
from labkit.recording.record import Trace, record


def sent_values(trace: Trace) -> Tensor:
    """Mean absolute value of what was sent, of a recording made with `record(model, Transmitted, attached=True)`.

    Raises: LabError when nothing was sent in the recording.
    Source: "Gated Compression Layers for Efficient Always-On Models" (P060).
    """
    sent = trace.every(Transmitted)
    if not sent:
        raise LabError("sent_values needs a recording of what is sent: record(model, Transmitted, attached=True).")
    inputs = [one.values.shape[:-2].numel() for one in sent]
    sizes = [one.values.abs().sum() / max(1, count * one.before) for one, count in zip(sent, inputs, strict=True)]
    return torch.stack(sizes).mean()


def recording(seed: int) -> tuple[Trace]:
    """Random codes of five inputs, weighed and sent."""
    sender, draws = Sender(), torch.Generator().manual_seed(seed)
    weight = torch.rand(5, generator=draws, requires_grad=True)
    with record(sender, Transmitted, attached=True) as trace:
        sender(torch.rand(5, 3, 4, generator=draws), weight, 24)
    return (trace,)


example = Example(lambda: sent_values, inputs=recording)
