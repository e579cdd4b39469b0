"""As much data as anybody will give to the view `painted_text`."""

import numpy as np
import xarray as xr


def huge() -> dict:
    random = np.random.default_rng(0)
    text = [("<unk>", " the", "\n", "Ω")[at % 4] for at in range(100_000)]
    values = random.normal(size=(32, 100_000)).astype(np.float32)
    return {"values": xr.DataArray(values, dims=("unit", "token"), coords={"text": ("token", text)})}
