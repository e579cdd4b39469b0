"""A small transformer that reads one sequence and writes another, with three kinds of slots where attention usually is.

    encoder.*.attend     every source token hears of every other           slot: encoder.*.attend.layer
    decoder.*.attend     what is being written hears of what was written   slot: decoder.*.attend.layer
    decoder.*.cross      what is being written hears of the source         slot: decoder.*.cross.layer

A slot is filled by a function of length and width. Beside attention there are students here that read flattened sequences:
`whole` (encoder), `prefixes` (decoder: for each place what was written up to it, zeros after) and `beside` (cross: the whole
source and the one token that asks). The last two give one token each time and share their weights over the places.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.layers.attention.sequence_feedforward import SequenceFeedforward

Maker = Callable[[int, int], nn.Module]
"""(length, width) -> the module of a slot."""
HEADS = 4


class Attention(nn.Module):
    """Multi-head attention of x to `memory`, or to itself; with `causal`, to nothing that comes later.

    x (rows, tokens, width), memory (rows, other tokens, width) -> (rows, tokens, width).
    """

    def __init__(self, width: int, *, causal: bool = False):
        super().__init__()
        self.causal = causal
        self.query, self.look, self.gather = (
            nn.Linear(width, width),
            nn.Linear(width, 2 * width),
            nn.Linear(width, width),
        )

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        query = self.query(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        found = self.look(x if memory is None else memory).unflatten(-1, (2, HEADS, -1))
        key, value = found.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.gather(seen.transpose(1, 2).flatten(-2))


class Prefixes(nn.Module):
    """For each place, a network reads the tokens up to it and zeros after. (rows, length, width) -> the same."""

    upto: Tensor

    def __init__(self, length: int, width: int, hidden: int):
        super().__init__()
        self.network = SequenceFeedforward(length, width, hidden=hidden, out_length=1)
        self.register_buffer("upto", torch.ones(length, length).tril()[..., None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x[:, None] * self.upto).squeeze(-2)


class Beside(nn.Module):
    """For each place, a network reads the whole memory and the token of that place. (rows, length, width) -> the same."""

    def __init__(self, length: int, width: int, hidden: int):
        super().__init__()
        self.network = SequenceFeedforward(length + 1, width, hidden=hidden, out_length=1)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        known = memory[:, None].expand(-1, x.shape[1], -1, -1)
        return self.network(torch.cat((known, x[:, :, None]), 2)).squeeze(-2)


def attention(length: int, width: int) -> nn.Module:
    """Attention to a whole sequence: the usual module of the encoder, and of the decoder for the source."""
    return Attention(width)


def causal_attention(length: int, width: int) -> nn.Module:
    return Attention(width, causal=True)


def whole(hidden: int) -> Maker:
    """A student of the encoder's attention, or of anything that turns a sequence into one of the same length."""
    return lambda length, width: SequenceFeedforward(length, width, hidden=hidden)


def prefixes(hidden: int) -> Maker:
    """A student of the decoder's attention to what it has written."""
    return lambda length, width: Prefixes(length, width, hidden)


def beside(hidden: int) -> Maker:
    """A student of the decoder's attention to the source."""
    return lambda length, width: Beside(length, width, hidden)


class Nothing(nn.Module):
    """Says nothing to anyone: attention taken out. Its residual connection stays."""

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        return torch.zeros_like(x)


class Sublayer(nn.Module):
    """What a layer says of the normalised input, added to the input. Other arguments are handed on as they are."""

    def __init__(self, width: int, layer: nn.Module):
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(width), layer

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        return x + self.layer(self.norm(x), *more)


def feedforward(width: int) -> nn.Module:
    return Sublayer(width, nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)))


class EncoderBlock(nn.Module):
    def __init__(self, width: int, attend: nn.Module):
        super().__init__()
        self.attend, self.feed = Sublayer(width, attend), feedforward(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.feed(self.attend(x))


class DecoderBlock(nn.Module):
    def __init__(self, width: int, attend: nn.Module, cross: nn.Module):
        super().__init__()
        self.attend, self.cross, self.feed = Sublayer(width, attend), Sublayer(width, cross), feedforward(width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        return self.feed(self.cross(self.attend(x), memory))


@dataclass(frozen=True)
class Slots:
    """What stands in the places of attention from the first step on."""

    encoder: Maker = attention
    decoder: Maker = causal_attention
    cross: Maker = attention

    def __call__(self, length: int, width: int) -> nn.Module:
        return self.encoder(length, width)


class EncoderDecoder(nn.Module):
    """Reads (rows, 2, length): a source and what was written before each place. Gives (rows, length, symbols) scores.

    That is teacher forcing: every place is given the right symbols before it. `write` lets the network go on from what it
    wrote itself.
    """

    def __init__(
        self,
        task,
        *,
        encoder: Maker = attention,
        decoder: Maker = causal_attention,
        cross: Maker = attention,
        width: int = 32,
        depth: int = 2,
        decoder_depth: int = 1,
    ):
        super().__init__()
        self.length, self.width = task.length, width
        self.embed = nn.Embedding(task.signs, width)
        self.source_place = nn.Parameter(torch.randn(task.length, width) * 0.1)
        self.written_place = nn.Parameter(torch.randn(task.length, width) * 0.1)
        self.encoder = nn.ModuleList([EncoderBlock(width, encoder(task.length, width)) for _ in range(depth)])
        self.read = nn.LayerNorm(width)
        self.decoder = nn.ModuleList(
            [DecoderBlock(width, decoder(task.length, width), cross(task.length, width)) for _ in range(decoder_depth)]
        )
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, task.symbols)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoded(self.encoded(x[:, 0]), x[:, 1])

    def encoded(self, source: Tensor) -> Tensor:
        hidden = self.embed(source) + self.source_place
        for block in self.encoder:
            hidden = block(hidden)
        return self.read(hidden)

    def decoded(self, memory: Tensor, written: Tensor) -> Tensor:
        hidden = self.embed(written) + self.written_place
        for block in self.decoder:
            hidden = block(hidden, memory)
        return self.out(self.norm(hidden))

    @torch.no_grad()
    def write(self, x: Tensor) -> Tensor:
        """The most likely symbol at each place, given those that it wrote before. Inputs as above -> (rows, length).

        Of the written part only the first sign is read, which says what is asked for.
        """
        memory = self.encoded(x[:, 0])
        written = x[:, 1, :1].repeat(1, self.length + 1)  # slots see nothing that comes later, so it may be anything
        for place in range(self.length):
            written[:, place + 1] = self.decoded(memory, written[:, :-1])[:, place].argmax(-1)
        return written[:, 1:]


def writing(model: nn.Module, task) -> xr.DataArray:
    """The share of symbols that are right where the network goes on from what it wrote: (asked, place)."""
    x, target = task.test()
    training = model.training
    right = (model.eval().write(x) == target).float()  # type: ignore[operator]
    model.train(training)
    rows = [right[x[:, 1, 0] == task.symbols + sign].mean(0) for sign in (0, 1)]
    says = "Row: what is asked for. Column: the place that is written. A mistake stays, and later places have to live with it."
    return xr.DataArray(
        torch.stack(rows).numpy(),
        coords={"asked": ["backwards", "in order"], "place": np.arange(1, task.length + 1)},
        dims=("asked", "place"),
        attrs={"long_name": "written rightly", "units": "fraction", "view": "heatmap", "mean": "seeds", "says": says},
    )
