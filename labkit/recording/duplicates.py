"""Units of a layer that say again what an earlier one says: by the correlation of their values over some rows."""

import torch
from torch import Tensor

BLOCK = 256
"""Units that are compared with all earlier ones at once."""


def duplicates(values: Tensor, *, alike: float = 0.98, often: int = 8, threshold: float = 0.0) -> Tensor:
    """Which units say again what an earlier unit of the layer says: correlation of modulus `alike` or more.

    Units that were active in fewer than `often` rows, or that never changed, are no duplicates of anything: so few
    rows cannot tell. Rows with values that are no numbers are left out.

    Shapes: values (rows, units) -> (units,) of bool
    """
    with torch.autocast(values.device.type, enabled=False):
        return _duplicates(values.float(), alike, often, threshold)


def _duplicates(values: Tensor, alike: float, often: int, threshold: float) -> Tensor:
    values = values[values.isfinite().all(1)]
    found = torch.zeros(values.shape[1], dtype=torch.bool, device=values.device)
    if len(values) < often:
        return found
    centred = values - values.mean(0)
    norm = centred.norm(dim=0)
    able = ((values.abs() > threshold).sum(0) >= often) & (norm > 1e-5 * values.norm(dim=0).clamp_min(1e-30))
    place = able.nonzero().squeeze(1)
    unit = (centred[:, place] / norm[place]).T.contiguous()
    for start in range(0, len(place), BLOCK):
        block = unit[start : start + BLOCK]
        earlier = unit[: start + len(block)]
        alike_earlier = (block @ earlier.T).abs_().tril_(start - 1).amax(1) >= alike
        found[place[start : start + len(block)]] = alike_earlier
    return found
