"""As much data as anybody will give to the view `unit_page`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    array = xr.DataArray
    values = random.normal(size=20_000)
    order = np.argsort(-values)[:200]
    effect = array(random.normal(size=(2, 14_336)), dims=("quantity", "unit"), coords={"quantity": ["loss", "output"]})
    return {
        "strongest": array(values[order], dims="rank", coords={"input": ("rank", order), "unit": 7, "layer": "mlp"}),
        "images": array(
            np.broadcast_to(random.random((1, 224, 224)), (20_000, 224, 224)), dims=("input", "rows", "columns")
        ),
        "density": array(values, dims="input"),
        "effect": effect,
    }
