"""One call for any measurement: the axes choose the picture."""

import importlib
from collections.abc import Callable

import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.curves import curves
from labkit.views.hardening import hardening
from labkit.views.heatmap import heatmap
from labkit.views.images import sides
from labkit.views.latency import latency
from labkit.views.tree import tree
from labkit.views.usage import usage
from labkit.views.wording import named

SIDES = {"n", "rows", "columns"}
BY_AXES = {
    ("layer", "unit"): "unit_map",
    ("condition", "layer", "unit"): "health",
    ("layer", "threshold", "token"): "active_fraction",
    ("component", "layer"): "spectrum",
    ("layer", "other"): "similarity",
    ("other", "unit"): "coactivation",
    ("parameter", "pattern"): "weight_pattern",
    ("layer", "rank", "token"): "token_strip",
    ("choice", "layer"): "choice_load",
    ("choice", "class", "layer"): "specialisation",
    ("between", "from", "to"): "choice_flow",
    ("choice", "quantity"): "forced_choice",
    ("layer", "quantity"): "balance",
}
"""The axes of a measurement, without `step`, and the view that draws them."""
BY_NAME = {
    "lifetime_sparsity": "lifetime",
    "choice_margin": "certainty",
    "choice_flips": "flips",
    "flips": "flips",
    "dropped_tokens": "dropped",
}
"""Measurements whose axes are those of others, too."""
PLAIN = ("slot_usage", "information_by_choice")
"""Measurements that look like others by their axes, and are shown as plain heat maps."""
WORKS = (
    "curves (step; arm, seed), tree (node and choice; step), usage (choice, class), hardening (step, mode and step, "
    "bin), latency (width, repeat; arm), sides (n, rows, columns, twice), every measurement of labkit.analysis, or a heat "
    "map of two axes and step"
)


def show(data: xr.DataArray, other: xr.DataArray | None = None, *, dark: bool = False) -> go.Figure:
    """The picture that suits the axes: a step is a curve or a slider, a seed a band, two other axes a heat map.

    Shapes:
        data: one measurement, or with `other` two that belong together: entropy by `node` and load by `choice`;
            accuracy by `mode` and margins by `bin`; two sets of images
    Raises:
        LabError: no view draws these axes; the message says which axes would work.
    """
    given = [data] if other is None else [data, other]
    for one in given:
        if not isinstance(one, xr.DataArray):
            hint = "; take one variable of it, for example run.data['test_accuracy']" * isinstance(one, xr.Dataset)
            raise LabError(f"show needs DataArrays, and got {type(one).__name__}{hint}.")
    axes = [{str(dim) for dim in one.dims if one.sizes[dim] != 1 or one.ndim <= 2} for one in given]
    return _single(data, axes[0], dark) if other is None else _pair(data, other, axes, dark)


def _single(data: xr.DataArray, axes: set[str], dark: bool) -> go.Figure:
    rest = axes - {"width", "repeat"}
    if {"width", "repeat"} <= axes and len(rest) <= 1 and "batch" not in rest:
        compare = rest.pop() if rest else "arm"
        arms = [named(arm, compare) for arm in data[compare].values.tolist()] if compare in data.dims else []
        return latency(data, compare, baseline="dense" if "dense" in arms else None, dark=dark)
    known = _known(data)
    if known is not None:
        return known(data, dark=dark)
    if axes == {"choice", "class"}:
        return usage(data, dark=dark)
    if "step" in axes and axes <= {"step", "arm", "seed"}:
        return curves(data, dark=dark)
    if axes == {"step", "mode"} or axes == {"step", "mode", "seed"}:
        return curves(data, compare="mode", dark=dark)
    table = axes - {"step"}
    if len(table) == 2 and not axes & {"seed", "repeat"}:
        return heatmap(data, dark=dark)
    if len(table) == 1 and axes & {"step"} and not axes & {"seed", "repeat"}:
        return heatmap(data.transpose(..., "step"), dark=dark)
    raise LabError(_refusal([data]))


def _known(data: xr.DataArray) -> Callable[..., go.Figure] | None:
    """The view made for this measurement, told by its name or by its axes; None where it is nothing special."""
    axes = tuple(sorted(str(dim) for dim in data.dims if dim != "step"))
    if "layer" in axes and "centre" in data.coords:
        name = "distribution"
    elif str(data.name) in PLAIN:
        name = None
    else:
        name = BY_NAME.get(str(data.name)) if "layer" in axes else None
        name = name or BY_AXES.get(axes)
    return None if name is None else getattr(importlib.import_module(f"labkit.views.{name}"), name)


def _pair(first: xr.DataArray, second: xr.DataArray, axes: list[set[str]], dark: bool) -> go.Figure:
    if axes[0] == axes[1] == SIDES or set(first.dims) == set(second.dims) == SIDES:
        return sides(first, second, dark=dark)
    for one, other, mine, theirs in ((first, second, *axes), (second, first, *axes[::-1])):
        if "node" in mine and "choice" in theirs:
            return tree(one, other, dark=dark)
        if "mode" in mine and "bin" in theirs:
            return hardening(one, other, dark=dark)
    raise LabError(_refusal([first, second]))


def _refusal(data: list[xr.DataArray]) -> str:
    found = " and ".join(f"({', '.join(map(str, one.dims))})" for one in data)
    spare = [str(dim) for one in data for dim in one.dims if dim in ("arm", "seed", "layer", "mode", "repeat")]
    hint = f"; choose one {spare[0]} first with data.sel, or average over it with data.mean" if spare else ""
    return f"show has no picture for the axes {found}{hint}. It knows {WORKS}."


def example(seed: int = 0) -> dict:
    """Mean entropy of the decisions of a tree by step, over three trainings."""
    from labkit.views.specimen import grown

    runs = [grown(seed + run) for run in range(3)]
    values = [run.entropy.mean(1) for run in runs]
    attrs = {"long_name": "mean entropy of the decisions", "units": "bits"}
    coords = {"step": runs[0].steps, "seed": list(range(3))}
    return {"data": xr.DataArray(values, dims=("seed", "step"), coords=coords, attrs=attrs)}
