"""As much data as anybody will give to the view `dropped`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    gone = random.random((64, 8192)) < np.linspace(0, 0.4, 8192)
    layers = [f"model.layers.{place}.mlp.gate" for place in range(64)]
    texts = [f"▁{random.choice(['the', 'incomprehensible', 'of', 'fox', 'jumped'])}" for _ in range(8192)]
    coords = {"layer": layers, "text": ("token", texts), "sequence": ("token", np.arange(8192) // 512)}
    return {"data": xr.DataArray(gone * 1.0, dims=("layer", "token"), coords=coords)}
