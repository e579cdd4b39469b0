"""How much of each layer is active, token by token, at any threshold: the picture of activation sparsity.

    fraction_{tlr} = (1/n_l) #{u : |a_ru| > t}         for threshold t, layer l with n_l units, token r

At threshold 0 it counts what is not exactly 0, which for a ReLU network is what the papers call its sparsity; other
networks have next to no zeros, and the higher thresholds say how many activations are small.

Source: "The Lazy Neuron Phenomenon: On Emergence of Activation Sparsity in Transformers" (P466).
"""

from collections.abc import Mapping, Sequence

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example
from labkit.recording.hidden import CELLS, aligned, hidden, sampled
from labkit.recording.tables import layered

LEVELS, LOOKED_AT = 20, 2**16


def active_fraction(
    model: nn.Module,
    batch: tuple[Tensor, ...],
    *,
    thresholds: Sequence[float] | None = None,
    tokens: int = 512,
    text: Sequence[str] | Sequence[Sequence[str]] | None = None,
) -> xr.DataArray:
    """The share of units of each feed-forward block whose modulus exceeds each threshold, for each token.

    Without `thresholds`: 0 and 20 that divide the moduli of all layers into parts of equal size. More than `tokens`
    tokens are sampled evenly. `text` says what stands at each token: a row for each input, as long as the inputs, or
    one word for each token, sequence after sequence, padding left out.

    Shapes: batch (x, ...) -> (threshold, layer, token), 0 to 1. Coordinates (token): `sequence`, the input of the
    batch; `place` in it; `text` where given. Where the layers see different places, as in a convolutional network, a
    token is an input, its units averaged over their places (attrs `averaged`).
    Raises: NothingRecorded when the model has no block whose hidden units can be read; LabError where `text` has not one
    entry for each token, or where no layer sees all tokens.
    """
    values, which, left_out = aligned(hidden(model, batch))
    if not values:
        raise LabError(f"No block sees every token, so there is no common axis of tokens: {', '.join(left_out)}.")
    count = len(next(iter(values.values())))
    if text is not None and len(text) and not isinstance(text[0], str) and which is not None:
        text = [text[input][place] for input, place in zip(which.input.tolist(), which.place.tolist())]
    if text is not None and len(text) != count:
        raise LabError(f"The batch has {count} tokens and text names {len(text)}; give one word for each token.")
    kept = sampled(torch.arange(count), tokens)
    found = active_fraction_of({name: table[kept] for name, table in values.items()}, thresholds=thresholds)
    labels = {
        "token": kept.numpy(),
        "sequence": ("token", (kept if which is None else which.input[kept]).numpy()),
        "place": ("token", (torch.zeros_like(kept) if which is None else which.place[kept]).numpy()),
    }
    if text is not None:
        labels["text"] = ("token", [text[at] for at in kept.tolist()])
    return found.assign_coords(labels).assign_attrs(
        sampled=f"{len(kept):,} of {count:,} tokens",
        averaged="over the places of each input" if which is None else "",
        left_out=", ".join(left_out),
    )


def active_fraction_of(values: Mapping[str, Tensor], *, thresholds: Sequence[float] | None = None) -> xr.DataArray:
    """The same of activations that are at hand. Shapes: each (tokens, units) -> (threshold, layer, token)."""
    steps = levels_of(values) if thresholds is None else [float(level) for level in thresholds]
    rows = {}
    for name, table in values.items():
        parts = []
        for part in table.split(max(1, CELLS // max(1, table.shape[-1]))):
            size = part.float().abs()
            parts.append(torch.stack([(size > level).float().mean(-1) for level in steps]).cpu())
        rows[name] = torch.cat(parts, dim=1).numpy()
    found = layered(
        rows,
        ("threshold", "token"),
        name="active_fraction",
        long_name="share of active units",
        units="fraction",
        coords={"threshold": ("threshold", steps, {"long_name": "modulus above which a unit counts as active"})},
    )
    return found.transpose("threshold", "layer", "token")


def levels_of(values: Mapping[str, Tensor], count: int = LEVELS) -> list[float]:
    """0, and thresholds that divide the moduli above 0 into parts of equal size, each layer counting alike."""
    some = []
    for table in values.values():
        rows = sampled(table, max(1, LOOKED_AT // table.shape[-1])).float().abs().flatten()
        above = rows[rows > 0]
        if len(above):
            some.append(above.sort().values[torch.linspace(0, len(above) - 1, LOOKED_AT // 16).long()])
    if not some:
        return [0.0]
    shares = torch.quantile(torch.cat(some)[: 2**23], torch.arange(1, count + 1) / (count + 1))
    return sorted({0.0, *(float(f"{level:.3g}") for level in shares.tolist())})


example = Example(
    lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    inputs=lambda seed: (torch.randn(9, 4), torch.arange(9) % 3),
)
