"""A cut in a network: a gate stops inputs that hold nothing wanted, and what passes is sent on as a thin, sparse code.

An always-on device listens all day and hears mostly nothing. A cheap front part runs always. At the cut a gate asks "can this
still be something?". If not, everything behind the cut is skipped. If so, only a code of few channels, most of whose values
are 0, has to be carried to the dearer part.

    g = σ(w · x + b)                          the gate, one number for an input
    z = max(0, C x + c)                       the code, at each place
    training:     y = g z
    evaluation:   y = g z  if g >= t, else 0: the input is stopped

Symbols: x the activations of one input, some channels at some places; w, b the gate's weights, one for each activation; C, c
the compressor, which maps the channels of a place to fewer; t the threshold, 0.5 until it is set; σ the sigmoid.

`forward` computes all rows and sets stopped ones to 0. `passed` computes the code of those rows only that pass, so that whoever
calls it can leave out all that follows for the others. The gate is a routing with two choices, 0 for stop and 1 for go on.
It is taught to stop by `labkit.losses.routing.early_stopping`, the code to be sparse by `labkit.losses.routing.sent_values`.

Source: "Gated Compression Layers for Efficient Always-On Models" (P060), reconstructed from its abstract and summaries: that a
gate and a compressor stand at a cut, that stopped inputs skip the rest and that both are trained with the task is stated there.
The forms of gate and compressor, and that passing inputs are weighed by g, are ours.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.example import Example
from labkit.parts.gate import Routing, everything
from labkit.parts.shapes import shaped
from labkit.parts.transmission import Sender

STOP, GO = 0, 1


class StoppingGate(nn.Module):
    """Says of each input how likely it is wanted. (..., in_width) -> Routing, choice 0 to stop and choice 1 to go on.

    In training both take part with 1 - g and g; in evaluation it goes on where g is at least `threshold`.
    """

    relaxed = True

    def __init__(self, in_width: int):
        super().__init__()
        self.score = nn.Linear(in_width, 1)
        self.threshold: Tensor
        self.register_buffer("threshold", torch.tensor(0.5))

    def forward(self, x: Tensor) -> Routing:
        score = self.score(x)
        scores = F.pad(score, (1, 0))
        go = torch.sigmoid(score)
        if self.training:
            return everything(torch.cat((1 - go, go), -1), scores)
        # written so that what is no number goes on, and is seen
        stopped = go < self.threshold
        index = (~stopped).long()
        return Routing(index, torch.where(stopped, 1 - go, go), 2, scores)


class GatedCompression(nn.Module):
    """Stops what is not wanted, and sends the rest on as a code of `out_width` channels.

    Shapes: x (*batch, in_width, places) -> (*batch, out_width, places), all 0 for an input that is stopped.
    Raises: ShapeError for an input of another shape or type; ValueError where the code is wider than what comes in.
    Source: "Gated Compression Layers for Efficient Always-On Models" (P060).
    """

    def __init__(self, in_width: int, out_width: int, *, places: int):
        super().__init__()
        if not 1 <= out_width <= in_width:
            raise ValueError(f"A code of {out_width} channels does not compress {in_width} channels.")
        self.in_width, self.out_width, self.places = in_width, out_width, places
        self.gate = StoppingGate(in_width * places)
        self.compress = nn.Linear(in_width, out_width)
        self.send = Sender()

    @shaped
    def forward(
        self, x: Float[Tensor, "*batch {self.in_width} {self.places}"]
    ) -> Float[Tensor, "*batch {self.out_width} {self.places}"]:
        routing = self.gate(x.flatten(-2))
        sent = self.send(self.code(x), going(routing), self.in_width * self.places).values
        return sent.masked_fill(~goes_on(routing)[..., None, None], 0)

    def code(self, x: Tensor) -> Tensor:
        """The sparse code, before the gate weighs it."""
        return F.relu(self.compress.weight @ x + self.compress.bias[:, None])

    def passed(self, x: Tensor) -> tuple[Routing, Tensor, Tensor]:
        """In evaluation: the routing of all rows, which rows go on, and what is sent for those alone.

        Shapes: x (rows, in_width, places) -> Routing of (rows,), (passing,) integers, (passing, out_width, places).
        """
        routing = self.gate(x.flatten(-2))
        rows = goes_on(routing).nonzero()[:, 0]
        if not len(rows):  # nothing is sent, and nothing computed
            return routing, rows, x.new_empty(0, self.out_width, self.places)
        likely = going(routing)
        if len(rows) < len(x):
            x, likely = x[rows], likely[rows]
        return routing, rows, self.send(self.code(x), likely, self.in_width * self.places).values


def goes_on(routing: Routing) -> Tensor:
    """Which inputs are not stopped: all, where both choices take part. Shapes: -> (...) of True and False."""
    on = routing.index[..., 0] == GO
    return torch.ones_like(on) if routing.soft else on


def going(routing: Routing) -> Tensor:
    """How likely each input is wanted: g, whatever was decided. Shapes: -> (...)."""
    if routing.soft:
        return routing.weights[..., GO]
    weight = routing.weights[..., 0]
    return torch.where(routing.index[..., 0] == GO, weight, 1 - weight)


def slowly(layer: GatedCompression, x: Tensor) -> Tensor:
    """One input and one place at a time."""
    rows = []
    for row in x:
        go = torch.sigmoid(layer.gate.score.weight[0] @ row.flatten() + layer.gate.score.bias[0])
        code = [F.relu(layer.compress.weight @ row[:, place] + layer.compress.bias) for place in range(layer.places)]
        stopped = not layer.training and bool(go < layer.gate.threshold)
        rows.append(torch.stack(code, -1) * (0 * go if stopped else go))
    return torch.stack(rows)


example = Example(lambda: GatedCompression(4, 3, places=5), reference=slowly)
