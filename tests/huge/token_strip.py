"""As much data as anybody will give to the view `token_strip`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    index = random.random((48, 4096, 128), np.float32).argpartition(8, -1)[..., :8]
    dims = ("layer", "token", "rank")
    weight = random.dirichlet(np.full(8, 0.5), (48, 4096))
    layers = [f"model.layers.{place}.block_sparse_moe.gate" for place in range(48)]
    texts = [f"Ġ{random.choice(['the', 'incomprehensible', 'of', 'fox', 'jumped'])}" for _ in range(4096)]
    coords = {"layer": layers, "weight": (dims, weight), "text": ("token", texts)}
    return {"choices": xr.DataArray(index, dims=dims, coords=coords, attrs={"choice": "expert"})}
