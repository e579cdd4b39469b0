"""As much data as anybody will give to the view `curves`."""

import numpy as np
import xarray as xr

STEPS = 1_000_000


def huge() -> dict:
    random = np.random.default_rng(0)
    walk = random.normal(size=(1, 32, STEPS)).astype(np.float32).cumsum(-1)
    arms = [f"an arm with a long name, and more words to it, number {place}" for place in range(8)]
    steps = np.arange(STEPS)
    data = xr.DataArray(
        np.broadcast_to(walk, (8, 32, STEPS)),
        dims=("arm", "seed", "step"),
        coords={
            "arm": arms,
            "examples": ("step", 64 * steps),
            "seconds": (("arm", "step"), np.outer(random.uniform(1, 3, 8), steps).astype(np.float32)),
            "flops": ("step", 3.2e9 * steps),
        },
    )
    events = [
        {
            "step": int(step),
            "says": f"event {place}: " + "a long explanation " * 9,
            "kind": "kind",
            "where": f"layers.{place}",
        }
        for place, step in enumerate(np.sort(random.integers(0, STEPS, 200)))
    ]
    references = [
        {"says": f"a paper with quite a long title, number {place}", "value": 300.0 * place} for place in range(6)
    ]
    return {"data": data, "events": events, "reference": references}
