"""How differently a model describes the tokens of one input, block by block: the isotropy of their states.

    isotropy = 1 - mean over pairs i ≠ j of  (h_i · h_j) / (|h_i| |h_j|)
             = 1 - (|Σ_i u_i|² - n) / (n (n - 1)),      u_i = h_i / |h_i|

where h_i are the states of the n tokens of one input after a block. It is 0 where all point into one direction, so that the
model can hardly tell them apart, 1 where they point into all directions alike, and at most 1 + 1 / (n - 1). The second form
needs no table of pairs.

Source: "Investigating the Role of Feed-Forward Networks in Transformers Using Parallel Attention and Feed-Forward Net
Design" (P204); that pairs are taken within one input is reconstructed.
"""

import re
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.example import Example
from labkit.recording.batches import inputs_of, places_of
from labkit.recording.observe import observe
from labkit.recording.record import NothingRecorded


def isotropy(model: nn.Module, batch: Any, *, blocks: str | None = None) -> xr.DataArray:
    """1 minus the mean cosine between the states of an input's tokens after every block, in evaluation: (layer).

    `blocks` is the name of the `nn.ModuleList` that holds the blocks; without it, the longest one is taken. Each block
    must return its states, (inputs, tokens, width), alone or first of several. The mean is over the inputs; padding is left
    out where the batch says what is padding.
    Raises: NothingRecorded when the model has no list of blocks, or none that returns states; LabError for a name that is
    not one of its lists.
    """
    name = _longest(model) if blocks is None else blocks
    lists = {own for own, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    if name not in lists:
        raise LabError(f"the model has no list of blocks named {name!r}; it has {', '.join(sorted(lists)) or 'none'}.")
    trace = observe(model, inputs_of(batch), None, f"{name}.*")
    real, found = places_of(batch), {}
    for place in trace:
        if re.fullmatch(re.escape(name) + r"\.\d+", place):
            states = trace.calls(place)[-1]
            states = states[0] if isinstance(states, tuple) else states
            if isinstance(states, Tensor) and states.dim() == 3 and states.shape[1] > 1:
                found[place] = isotropy_of(states, real)
    if not found:
        raise NothingRecorded(f"No block in {name} returns the states of several tokens, (inputs, tokens, width).")
    attrs = {"long_name": "isotropy (1 - mean cosine of tokens)", "units": ""}
    return xr.DataArray(
        torch.stack(list(found.values())).numpy(),
        dims="layer",
        coords={"layer": list(found)},
        name="isotropy",
        attrs=attrs,
    )


def isotropy_of(states: Tensor, real: Tensor | None = None) -> Tensor:
    """The same of states that are at hand, mean over the inputs with two tokens or more.

    Shapes: states (inputs, tokens, width), real (inputs, tokens) bool, False at padding -> ()
    """
    unit = nn.functional.normalize(states.float(), dim=-1, eps=torch.finfo(torch.float32).tiny).cpu()
    real = torch.ones(unit.shape[:2], dtype=torch.bool) if real is None else real.cpu()
    unit, count = unit * real.unsqueeze(-1), real.sum(1)
    lengths = unit.pow(2).sum((-1, -2))  # the number of tokens, without those whose state is 0
    pairs = unit.sum(1).pow(2).sum(-1) - lengths
    cosine = pairs / (count * (count - 1)).clamp_min(1)
    return 1 - cosine[count > 1].mean()


def _longest(model: nn.Module) -> str:
    lists = {name: len(module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    if not lists:
        raise NothingRecorded("The model holds no nn.ModuleList of blocks, so there is no row of states to compare.")
    return max(lists, key=lambda name: lists[name])


class _Mixing(nn.Module):
    """Two blocks over three tokens, for the tests."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


example = Example(_Mixing, inputs=lambda seed: (torch.randn(5, 3, 4), torch.arange(5) % 2))
