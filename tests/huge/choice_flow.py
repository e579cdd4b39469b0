"""As much data as anybody will give to the view `choice_flow`."""

from itertools import pairwise

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    flow = random.gamma(0.1, size=(95, 128, 128)).astype(np.float32)
    flow /= flow.sum((1, 2), keepdims=True)
    layers = [f"model.layers.{place}.mlp.gate" for place in range(96)]
    pairs = [f"{one} -> {two}" for one, two in pairwise(layers)]
    return {"flow": xr.DataArray(flow, dims=("between", "from", "to"), coords={"between": pairs})}
