"""Routing that vLLM recorded: the `routed_experts` arrays that it returns with each request.

vLLM run with `enable_return_routed_experts` returns for each request an array of expert numbers (tokens, layers, k),
one row for each token that went through the network: all of the prompt and all but the last of the answer. Three forms
of it are read:

- the array itself, int16 or int32 (uint8 and uint16 in some versions), as `CompletionOutput.routed_experts`, or the
  request's output object that holds it, with `prompt_routed_experts` where the version returns the prompt separately;
- a `.npy` file of it (`numpy.save`);
- the JSON answer of the server, in which each of the `choices` holds the array as base64 of a `.npy` file, or, in
  version 0.21, as nested lists.

It holds no weights and no scores, and not the number of experts. Places that vLLM did not fill are 0 throughout (its
buffer starts as zeros; the dense layers of a mixed model stay so in versions that keep a row for every layer) or -1
(prompt tokens that came from the prefix cache, version 0.21). A token cannot choose one expert twice, so with k above 1
these are told from real choices and left out, and the recording says so; with k = 1 a 0 can be both and is kept.

Read in: the vLLM repository, docs/training/routed_experts_replay.md (shapes, int16, -1), fused_moe/
routed_experts_capturer.py (int32, zeros, a row for every layer), outputs.py, and its server test of returned routed
experts (base64 of a `.npy`; prompt + answer - 1 rows).
"""

import base64
import binascii
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labkit.errors import LabError
from labkit.recording.recorded_routing import RecordedRouting, check_choices, evenly_weighted

EVEN = "vLLM records no weights: each of the chosen experts is given 1/k."


def read_array(path: str | Path, *, choices: int | None = None, names: Sequence[str] | None = None) -> RecordedRouting:
    """The routing in a `.npy` file of `routed_experts`; the file is mapped, not loaded as a whole.

    Raises: LabError with the file and the reason when it is no such array.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise LabError(f"{path} is no whole .npy file: {error}.") from error
    return from_array(found, choices=choices, names=names, source=str(path))


def read_answer(
    path: str | Path, *, completion: int = 0, choices: int | None = None, names: Sequence[str] | None = None
) -> RecordedRouting:
    """The routing in a JSON answer of vLLM's server that was saved to a file.

    Raises: LabError with file, line and reason.
    """
    try:
        answer = json.loads(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise LabError(f"{path} is no text: byte {error.start} is not UTF-8.") from error
    except json.JSONDecodeError as error:
        raise LabError(f"{path}, line {error.lineno}: no JSON from column {error.colno} on ({error.msg}).") from error
    return from_answer(answer, completion=completion, choices=choices, names=names, source=str(path))


def from_answer(
    answer: Any,
    *,
    completion: int = 0,
    choices: int | None = None,
    names: Sequence[str] | None = None,
    source: str = "the answer",
) -> RecordedRouting:
    """The routing of one completion in a parsed JSON answer, or in vLLM's own output object.

    Where the prompt's routing is given apart from the answer's, the tokens of the prompt come first.
    Raises: LabError when there is none.
    """
    many = _part(answer, "choices", "outputs")
    if many is None:
        one = answer
    elif not isinstance(many, Sequence) or not 0 <= completion < len(many):
        raise LabError(f"{source} has no completion {completion}.")
    else:
        one = many[completion]
    found = [_part(answer, "prompt_routed_experts") if one is not answer else None, _part(one, "routed_experts")]
    parts = [_array(part, source) for part in found if part is not None]
    if not parts:
        raise LabError(f"{source} holds no routed_experts: run vLLM with --enable-return-routed-experts.")
    if len({part.shape[1:] for part in parts}) > 1:
        raise LabError(f"{source}: the prompt's routing {parts[0].shape} does not fit the answer's {parts[1].shape}.")
    return from_array(np.concatenate(parts), choices=choices, names=names, source=source)


def from_array(
    array: np.ndarray | torch.Tensor,
    *,
    choices: int | None = None,
    names: Sequence[str] | None = None,
    source: str = "routed_experts",
) -> RecordedRouting:
    """The routing in an array (tokens, layers, k) of expert numbers.

    `choices` is the number of experts, by default the largest number that occurs plus 1; `names` are the layers' names,
    by default "layers.0", "layers.1" ...

    Raises: LabError when the array has another form, when a number is out of range, or when a token names one expert
    twice.
    """
    array = _array(array, source)
    tokens, layers = array.shape[:2]
    if names is not None and len(names) != layers:
        raise LabError(f"{source} has {layers} layers, but {len(names)} names were given.")
    missing = np.stack([_missing(np.asarray(array[:, layer])) for layer in range(layers)], axis=1)
    kept = np.flatnonzero(~missing.all(0))
    if not len(kept):
        raise LabError(f"{source} holds no routing: every entry is 0 or -1.")
    says = [EVEN]
    if len(kept) < layers:
        says.append(f"{layers - len(kept)} of {layers} layers hold only zeros (they do not choose) and are left out.")
    gone = missing[:, kept].all(1)
    torn = missing[:, kept].any(1) & ~gone
    if torn.any():
        token = int(torn.argmax())
        layer = int(kept[missing[token, kept].argmax()])
        raise LabError(f"{source}: token {token} has no choice in layer {layer}, but has one in other layers.")
    if gone.any():
        says.append(f"{int(gone.sum())} of {tokens} tokens were not recorded (read from a cache) and are left out.")
    rows = np.flatnonzero(~gone)
    index = {int(layer): np.asarray(array[rows, layer]).astype(np.int64) for layer in kept}
    if choices is None:
        choices = max(int(table.max()) for table in index.values()) + 1
        says.append(f"The number of experts is not recorded: {choices} is the largest number that occurs, plus 1.")
    found = {}
    for layer, table in index.items():
        check_choices(table, choices, lambda row, layer=layer: f"{source}: token {rows[row]}, layer {layer}")
        name = names[layer] if names is not None else f"layers.{layer}"
        found[name] = evenly_weighted(torch.from_numpy(table), choices)
    positions = rows.tolist() if gone.any() else None
    return RecordedRouting(found, "vLLM", tuple(says), weighted=False, positions=positions)


def _missing(table: np.ndarray) -> np.ndarray:
    """Rows (tokens,) of one layer that vLLM did not fill."""
    empty = (table == -1).all(1)
    return empty | (table == 0).all(1) if table.shape[1] > 1 else empty


def _array(value: Any, source: str) -> np.ndarray:
    """Whatever form the array comes in, as an integer array (tokens, layers, k)."""
    if isinstance(value, str):
        try:
            value = np.load(io.BytesIO(base64.b64decode(value, validate=True)), allow_pickle=False)
        except (binascii.Error, ValueError, EOFError) as error:
            raise LabError(f"{source}: routed_experts is no base64 of a .npy file ({error}).") from error
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if not isinstance(value, np.ndarray):
        try:
            value = np.array(value)
        except ValueError as error:
            raise LabError(f"{source}: routed_experts is ragged: tokens differ in layers or in k.") from error
    if value.ndim != 3 or not np.issubdtype(value.dtype, np.integer):
        raise LabError(
            f"{source} holds {value.dtype} of shape {value.shape}; routed_experts are whole numbers (tokens, layers, k)."
        )
    if not value.size:
        raise LabError(f"{source} is empty: its shape (tokens, layers, k) is {value.shape}.")
    return value


def _part(holder: Any, *names: str) -> Any:
    """The first of these that a Mapping or an object has, or None."""
    for name in names:
        found = holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
        if found is not None:
            return found
    return None
