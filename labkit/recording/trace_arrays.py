"""A recorded trace as a tree of named arrays, and back: one group for each call of each module.

The group of a call is "<module>/<call>" ("encoder.layers.0/0"). Its variables are the fields of what was returned
("index", "weights", ...; a plain tensor is "value"), so calls of different shapes need no common one. The types around
the tensors, numbers, words and None go into a plain description, from which the values are built again. Types that
netCDF does not know are stored in the next larger one, without loss, and named in the attribute `torch_dtype`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from labkit.parts.gate import Routing
from labkit.parts.tree import Branching
from labkit.recording.kinds import Activations, Attention

KINDS = {kind.__name__: kind for kind in (Routing, Branching, Activations, Attention)}
LAST_AXES = {
    ("Activations", "values"): ("unit",),
    ("Attention", "weights"): ("head", "query", "key"),
    ("Routing", "index"): ("rank",),
    ("Routing", "weights"): ("rank",),
    ("Routing", "scores"): ("choice",),
    ("Branching", "scores"): ("node",),
    ("Branching", "node"): ("node",),
}
WORDS = {"Activations": "activation", "Attention": "attention weight", "Routing": "routing", "Branching": "decision"}
LARGER = {torch.bfloat16: torch.float32, torch.float16: torch.float32}


def disassembled(value: Any) -> tuple[dict[str, xr.DataArray], Any]:
    """The tensors of one recorded value by name, and what is around them in plain words for JSON."""
    arrays: dict[str, xr.DataArray] = {}

    def part(one: Any, path: str, kind: str) -> Any:
        if isinstance(one, Tensor):
            name = path or "value"
            array = array_of(one, kind, name)
            for other in arrays.values():  # an axis of the same name and another length is another axis
                clash = {
                    axis: f"{name}_{axis}"
                    for axis in array.dims
                    if other.sizes.get(axis, array.sizes[axis]) != array.sizes[axis]
                }
                array = array.rename(clash)
            arrays[name] = array
            return {"tensor": name}
        if isinstance(one, tuple) and hasattr(one, "_fields"):
            fields: tuple[str, ...] = getattr(one, "_fields")  # noqa: B009 - only named tuples have it
            entries = {key: part(getattr(one, key), _joined(path, key), type(one).__name__) for key in fields}
            return {"named": type(one).__name__, "fields": entries}
        if isinstance(one, Mapping):
            return {"mapping": {str(key): part(entry, _joined(path, str(key)), kind) for key, entry in one.items()}}
        if isinstance(one, tuple | list):
            entries = [part(entry, _joined(path, str(at)), kind) for at, entry in enumerate(one)]
            return {"list" if isinstance(one, list) else "tuple": entries}
        if one is None or isinstance(one, bool | int | float | str):
            return {"plain": one}
        return {"left out": type(one).__name__}

    return arrays, part(value, "", "")


def assembled(arrays: Mapping[str, xr.DataArray], plan: Any) -> Any:
    """The value again; what had a type that is not known here is a dict, what was left out is None."""
    match plan:
        case {"tensor": name}:
            return tensor_of(arrays[name])
        case {"named": kind, "fields": fields}:
            entries = {key: assembled(arrays, entry) for key, entry in fields.items()}
            return KINDS[kind](**entries) if kind in KINDS else entries
        case {"mapping": entries}:
            return {key: assembled(arrays, entry) for key, entry in entries.items()}
        case {"list": entries}:
            return [assembled(arrays, entry) for entry in entries]
        case {"tuple": entries}:
            return tuple(assembled(arrays, entry) for entry in entries)
        case {"plain": value}:
            return value
    return None


def left_out(plan: Any) -> list[str]:
    """The types that could not be stored."""
    if isinstance(plan, dict):
        if "left out" in plan:
            return [plan["left out"]]
        return [kind for entry in plan.values() for kind in left_out(entry)]
    return [kind for entry in plan for kind in left_out(entry)] if isinstance(plan, list) else []


def array_of(values: Tensor, kind: str, name: str) -> xr.DataArray:
    """A tensor with named axes; its own type is kept in `torch_dtype`."""
    whole = values.detach()
    whole = whole.to_dense() if whole.layout != torch.strided else whole
    whole = (whole.dequantize() if whole.is_quantized else whole).cpu().resolve_conj().resolve_neg()
    if whole.is_complex():
        whole = torch.view_as_real(whole)
        last: tuple[str, ...] = ("part",)
    else:
        last = LAST_AXES.get((kind, name), ())
    stored = whole.to(LARGER[whole.dtype]) if whole.dtype in LARGER else whole
    last = last[max(0, len(last) - stored.ndim) :]
    leading = stored.ndim - len(last)
    axes = [f"{name}_{at}" if not kind or last == () else f"axis_{at}" for at in range(leading)]
    units = "index" if name in ("index", "node") else ""
    return xr.DataArray(
        stored.contiguous().numpy().view(np.int8 if stored.dtype == torch.bool else stored.numpy().dtype),
        dims=(*axes, *last),
        name=name,
        attrs={
            "torch_dtype": str(values.dtype).removeprefix("torch."),
            "long_name": f"{WORDS[kind]}: {name}" if kind in WORDS else name,
            "units": units,
        },
    )


def tensor_of(array: xr.DataArray) -> Tensor:
    """The tensor again, in the type that it had."""
    values = torch.from_numpy(np.array(array.values, order="C"))
    dtype = getattr(torch, array.attrs["torch_dtype"])
    if dtype.is_complex:
        return torch.view_as_complex(values.contiguous()).to(dtype)
    return values.to(dtype)


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
