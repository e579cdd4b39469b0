"""Models that others trained, carved into experts without training, and what they still answer.

Half of a model's inputs, drawn anew for each seed, is what experts and routers are fitted on; the other half is measured.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from labkit.parts.carved import choose
from labkit.parts.carved_gates import Router
from labkit.recording.batches import answer, evaluating, judged, part_of, scores_of, size_of
from labkit.transforms.split.moefication import moefication
from labkit.workbench.pretrained.load import pretrained

MODELS = {"digits CNN": (32, "ReLU"), "t-cell receptors": (32, "ReLU"), "Alice": (31, "SwiGLU")}
"""Pretrained models, into how many experts each of their layers is divided, and what their units compute."""
OTHER_ROUTERS: tuple[Router, ...] = ("network", "fixed")
SHARES = (0.125, 0.25, 0.5, 0.75)


def label(model: str, router: Router) -> str:
    """Short, since it stands beside a row of a picture."""
    return f"{model} ({MODELS[model][1]})" + ", fixed" * (router == "fixed")


def likeness(models: Sequence[str], seeds: int) -> xr.DataArray:
    """How like the whole model's answers are, router chosen and fixed experts: (model, seed, used)."""
    rows, labels = [], []
    for name in models:
        for router in OTHER_ROUTERS:
            rows.append(np.stack([_carved_other(name, router, seed)[0] for seed in range(seeds)]))
            labels.append(label(name, router))
    return xr.DataArray(
        np.stack(rows),
        dims=("model", "seed", "used"),
        coords={
            "model": labels,
            "seed": list(range(seeds)),
            "used": ("used", list(SHARES), {"long_name": "share of the units that run"}),
        },
        attrs={
            "long_name": "pretrained models: answers like the whole model's",
            "units": "cosine",
            "view": "heatmap",
            "mean": "seeds",
            "says": "Models that nobody trained for this. A column says how many of the units run, the colour is the cosine "
            "between what the divided and the whole model answer: 1 is the same answer. Fixed rows always run the same experts.",
        },
    )


def _halves(known, seed: int) -> tuple:
    """What routers are fitted on, and what is measured: two halves of the inputs, drawn anew for each seed."""
    size = size_of(known.batch)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    return part_of(known.batch, order[: size // 2]), part_of(known.batch, order[size // 2 :])


@lru_cache(maxsize=64)
def _carved_other(name: str, router: Router, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Likeness of the answers to the whole model's, and the share of its accuracy that is kept (NaN without classes)."""
    known = pretrained(name)
    fitted, measured = _halves(known, seed)
    carved = moefication(known.model, fitted, experts=MODELS[name][0], split="co-activation", router=router, seed=seed)
    alike, right = [], []
    with evaluating(known.model):
        whole = answer(known.model, measured)
    with evaluating(carved):
        for share in SHARES:
            choose(carved, share)
            said = answer(carved, measured)
            alike.append(float(torch.cosine_similarity(_rows(said), _rows(whole)).mean()))
            right.append(judged(said, measured, known.loss)[1] / judged(whole, measured, known.loss)[1])
    return np.array(alike), np.array(right)


def _rows(output: object) -> Tensor:
    return scores_of(output).flatten(0, -2)


def accuracy_kept(name: str, seeds: int) -> xr.DataArray:
    """The share of a classifier's accuracy that is kept, on inputs that the router was not fitted on: (seed, used)."""
    table = [_carved_other(name, "network", seed)[1] for seed in range(seeds)]
    return xr.DataArray(
        np.array(table),
        dims=("seed", "used"),
        coords={"seed": list(range(seeds)), "used": list(SHARES)},
        attrs={"long_name": f"{name}: accuracy kept", "units": "share"},
    )
