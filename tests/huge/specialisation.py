"""As much data as anybody will give to the view `specialisation`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    layers = [f"model.layers.{place}.mlp.gate" for place in range(96)]
    shares = random.gamma(0.2, size=(96, 256, 500)).astype(np.float32)
    shares /= shares.sum((1, 2), keepdims=True)
    classes = [f"a class with a long name {place}" for place in range(500)]
    by_class = xr.DataArray(shares, dims=("layer", "choice", "class"), coords={"layer": layers, "class": classes})
    bits = np.sort(random.random((96, 3)), 1)[:, [2, 0, 1]]
    against = ["labels", "shuffled", "shuffled high"]
    return {
        "by_class": by_class,
        "information": xr.DataArray(bits, dims=("layer", "against"), coords={"layer": layers, "against": against}),
    }
