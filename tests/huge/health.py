"""As much data as anybody will give to the view `health`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    values = random.random((60, 3, 200, 1024), dtype=np.float32) < np.linspace(0, 0.2, 60)[:, None, None, None]
    coords = {"condition": ["dead", "saturated", "duplicate"], "layer": [f"layers.{at}" for at in range(200)]}
    data = xr.DataArray(values.astype(np.int8), dims=("step", "condition", "layer", "unit"), coords=coords)
    events = [
        {"step": at % 60, "where": f"layers.{at % 200}", "kind": "dead", "says": f"unit {at} answers nothing any more"}
        for at in range(5000)
    ]
    return {"data": data, "events": events}
