"""As much data as anybody will give to the view `weight_pattern`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    values = np.random.default_rng(0).random((2000, 6))
    names = [f"model.layers.{at}.self_attn.q_proj.weight" for at in range(2000)]
    patterns = ["zeros", "2:4", "4:8", "empty rows", "empty columns", "empty 16x16 blocks"]
    usable = ("parameter", ["smaller dense product, block-sparse kernel, unstructured (CSR) kernel"] * 2000)
    coords = {"parameter": names, "pattern": patterns, "usable": usable, "size": ("parameter", [10**7] * 2000)}
    return {"data": xr.DataArray(values, dims=("parameter", "pattern"), coords=coords)}
