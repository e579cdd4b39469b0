"""Measurements on ensembles of units, as probes of a study: how sparse, how large, whose, and what they answer to.

All are taken on the test images, shown with their right label where a network reads labels (`backbones.labelled_layers`).
"""

from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.parts.ensembles import Rule, class_means, jaccard, members
from labkit.parts.hoyer import hoyer
from labkit.workbench.backbones.labelled_layers import CONDITIONS, responses

DRAWN = 50
"""Units of a layer at most that a picture shows: every fourth of 200."""

_found: WeakKeyDictionary = WeakKeyDictionary()
"""The ensembles of a model as long as its weights stay as they are: several measurements look at the same ones."""


def ensembles(model: nn.Module, task, part: str = "all", by: Rule = "distribution") -> list[Tensor]:
    """Those of every layer, on all test images, half of them, or with their labels dealt out at random. (classes, units) each."""
    state = (id(task), sum(weight._version for weight in model.parameters()))
    if _found.get(model, (None,))[0] != state:
        _found[model] = (state, {})
    kept = _found[model][1]
    if (part, by) not in kept:
        x, target = task.test()
        half = len(x) // 2
        rows = {"first half": slice(half), "second half": slice(half, None)}.get(part, slice(None))
        label = target[rows]
        if part == "labels shuffled":
            label = target[torch.randperm(len(target), generator=torch.Generator().manual_seed(7))]
        said = responses(model, x[rows], target[rows])
        kept[part, by] = [members(one, label, task.out_width, by) for one in said]
    return kept[part, by]


def sparseness(place: int) -> Callable[[nn.Module, object], xr.DataArray]:
    """A probe of Hoyer's sparseness in one layer, the mean over the test images at which it is not silent."""

    def probe(model: nn.Module, task) -> xr.DataArray:
        value = hoyer(responses(model, *task.test())[place]).nanmean().item()
        return xr.DataArray(value, attrs={"long_name": f"sparseness of layer {place + 1} (Hoyer)", "units": ""})

    return probe


def ensemble_size(by: Rule = "distribution") -> Callable[[nn.Module, object], xr.DataArray]:
    """A probe of the share of a layer's units in each class's ensemble: (depth, class)."""

    def probe(model: nn.Module, task) -> xr.DataArray:
        shares = [one.float().mean(-1).numpy() for one in ensembles(model, task, by=by)]
        return _table(
            shares,
            task,
            f"size of the ensembles, by {by}",
            "share of the layer's units",
            "How many units answer to a class in a way that stands out. Compare the arms: near 1 there is no ensemble, the "
            "whole layer answers.",
        )

    return probe


def activity(model: nn.Module, task) -> xr.DataArray:
    """What units say to classes, over the strongest of their layer: (layer, class, unit), units in order of their class."""
    x, target = task.test()
    tables = [class_means(one, target, task.out_width).nan_to_num().numpy() for one in responses(model, x, target)]
    return ordered_activity(tables, list(task.labels))


def ordered_activity(tables: list[np.ndarray], labels: list[str]) -> xr.DataArray:
    """Mean activations of layers of equal width as a picture. Shapes: each (classes, units) -> (layer, class, unit)."""
    drawn = []
    for one in tables:
        few = one[:, :: -(-one.shape[1] // DRAWN)]
        few = few[:, _by_class(few)]
        drawn.append(np.round(few / max(few.max(), 1e-9), 2))
    return xr.DataArray(
        np.stack(drawn).astype(np.float32),
        dims=("layer", "class", "unit"),
        coords={"layer": depths(len(drawn)), "class": labels, "unit": range(drawn[0].shape[1])},
        attrs={
            "long_name": "what units say to classes",
            "units": "share of the strongest",
            "view": "heatmap",
            "says": "A row is a class, a column a unit, in order of the class it likes best. Ensembles are stairs on an empty "
            "ground; where nearly everything is filled, all units answer to all classes.",
        },
    )


def _by_class(means: np.ndarray) -> np.ndarray:
    """Units in order of their best class, strong ones first, silent ones last. Shapes: (classes, units) -> (units,)."""
    best = np.where(means.max(0) > 0, means.argmax(0), len(means))
    return np.lexsort((-means.max(0), best))


def overlap(model: nn.Module, task) -> xr.DataArray:
    """How much the ensembles of two classes share: (layer, class, other); NaN where both are empty."""
    found = np.stack([jaccard(one).numpy() for one in ensembles(model, task)]).round(3)
    names = list(task.labels)
    return xr.DataArray(
        found.astype(np.float32),
        dims=("layer", "class", "other"),
        coords={"layer": depths(len(found)), "class": names, "other": names},
        attrs={
            "long_name": "overlap of two ensembles",
            "units": "shared units over all of both",
            "view": "heatmap",
            "mean": "seeds",
            "says": "Full pairs should be pairs that look alike: compare with the picture of how alike the classes are.",
        },
    )


def overlap_by_chance(model: nn.Module, task) -> xr.DataArray:
    """The mean overlap in each layer where the images are dealt to the classes at random: (depth)."""
    found = [between(jaccard(one).numpy()) for one in ensembles(model, task, "labels shuffled")]
    return _beside(found, "overlap of ensembles, labels shuffled")


def between(found: np.ndarray) -> float:
    """The mean over the pairs of different classes; a pair of empty ensembles counts as 0. (classes, classes) -> one number."""
    return float(np.nan_to_num(found[~np.eye(len(found), dtype=bool)]).mean())


def likeness(task) -> xr.DataArray:
    """How alike the classes look: the correlation of their mean test images. (class, other)."""
    x, target = task.test()
    names = list(task.labels)
    return xr.DataArray(
        torch.corrcoef(class_means(x, target, task.out_width)).numpy(),
        dims=("class", "other"),
        coords={"class": names, "other": names},
        attrs={
            "long_name": "how alike the classes look",
            "units": "correlation of mean images",
            "view": "heatmap",
            "says": "No network is involved here: only the pixels. Is this the pattern of the overlaps?",
        },
    )


def agreement(model: nn.Module, task) -> xr.DataArray:
    """Rank correlation, over the pairs of classes, of the ensembles' overlap and the classes' likeness: (depth)."""
    pixels, above = likeness(task).values, np.triu_indices(task.out_width, 1)
    tables = [np.nan_to_num(jaccard(one).numpy()) for one in ensembles(model, task)]
    found = [rank_correlation(one[above], pixels[above]) for one in tables]
    return _beside(found, "do alike classes share units?", "rank correlation")


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's, 0 where one of both does not vary. Shapes: (values,) twice."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    first, second = (
        np.searchsorted(np.sort(values), values, "left") + np.searchsorted(np.sort(values), values, "right")
        for values in (one, other)
    )
    return float(np.corrcoef(first, second)[0, 1])


def answers_to(model: nn.Module, task) -> xr.DataArray:
    """How loud ensembles are under each condition, against the image with its right label: (condition, depth)."""
    x, target = task.test()
    loud = []
    for name in CONDITIONS:
        means = [class_means(one, target, task.out_width) for one in responses(model, x, target, name)]
        loud.append([float((table * own).nansum()) for table, own in zip(means, ensembles(model, task))])
    whole = np.array(loud[0])
    return xr.DataArray(
        np.where(whole > 0, np.array(loud) / np.where(whole > 0, whole, 1), 0).astype(np.float32),
        dims=("condition", "depth"),
        coords={"condition": list(CONDITIONS), "depth": depths(len(whole))},
        attrs={
            "long_name": "what ensembles answer to",
            "units": "share of the answer to the image with its right label",
            "view": "heatmap",
            "mean": "seeds",
            "says": "Is it the picture or the label in its corner? 1 is the answer to both; the last row has no digit.",
        },
    )


def read_without_label(model: nn.Module, task) -> xr.DataArray:
    """Share of test images without a label whose class's ensemble is loudest: (depth).

    Ensembles are taken from the first half of the test images with labels, and read on the other half without; each unit
    is measured against its mean on the first half.
    """
    x, target = task.test()
    half = len(x) // 2
    silent = responses(model, x[half:], target[half:], "no label")
    shares = []
    for own, first, later in zip(
        ensembles(model, task, "first half"), responses(model, x[:half], target[:half]), silent
    ):
        weight = own.float() / own.sum(-1, keepdim=True).clamp_min(1)
        score = (later / first.mean(0).clamp_min(1e-6)) @ weight.T
        shares.append((score.argmax(-1) == target[half:]).float().mean().item())
    return _beside(shares, "classes read from the loudest ensemble, no label shown", "fraction")


def own_ensemble(model: nn.Module, task) -> xr.DataArray:
    """Whether a class has an ensemble of its own: (depth, class), above 0 where it has.

    The overlap of the ensembles found on two halves of its images, minus the largest overlap of one with that of another
    class on the other half.
    """
    shares = []
    for twice in zip(ensembles(model, task, "first half"), ensembles(model, task, "second half")):
        table = jaccard(torch.cat(twice))[: task.out_width, task.out_width :].nan_to_num(0.0)
        strangers = table.masked_fill(torch.eye(task.out_width, dtype=torch.bool), -torch.inf).max(-1).values
        shares.append((table.diagonal() - strangers).numpy())
    return _table(
        shares,
        task,
        "an ensemble of its own",
        "overlap with itself minus with the nearest other",
        "Above 0: other images of the class find the same units, more than those of any other class do.",
    )


def depths(count: int) -> list[str]:
    return [f"layer {place + 1}" for place in range(count)]


def _table(rows: list[np.ndarray], task, name: str, units: str, says: str) -> xr.DataArray:
    return xr.DataArray(
        np.stack(rows).astype(np.float32),
        dims=("depth", "class"),
        coords={"depth": depths(len(rows)), "class": list(task.labels)},
        attrs={"long_name": name, "units": units, "view": "heatmap", "mean": "seeds", "says": says},
    )


def _beside(values: list[float], name: str, units: str = "") -> xr.DataArray:
    numbers = np.asarray(values, dtype=np.float32)
    return xr.DataArray(
        numbers, dims="depth", coords={"depth": depths(len(numbers))}, attrs={"long_name": name, "units": units}
    )
