"""One door for routing that other programs recorded: a file, a directory, an array or a model's output.

    routings = open_routing("traces/")                                   Megatron-LM router traces
    routings = open_routing("request.npy", choices=128)                  vLLM routed_experts
    routings = open_routing(output, config=model.config)                 Hugging Face router_logits

What comes back is a mapping name -> `Routing`, and every measurement of routings has a form that starts from it:
`load_of(routings)`, `balance_of(routings)`, `flow_of(routings)` ... No model is needed.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.recording.foreign import huggingface, megatron, vllm
from labkit.recording.recorded_routing import RecordedRouting

TAKES = (
    "a Megatron router_trace (.jsonl or its directory), vLLM's routed_experts (array, .npy, or its answer as .json), or a "
    "Hugging Face output with router_logits"
)


def open_routing(source: Any, **options: Any) -> Mapping[str, Routing]:
    """Routing from what another program recorded; its kind is recognised by its content.

    Options are those of the reader: for Megatron `steps`, `choices`, `score_function`; for vLLM `choices`, `names`, for
    its answers also `completion`; for Hugging Face `config`, `chosen`, `normalised`, `names`, `mask`. A `.npy` file of
    real numbers (layers, tokens, experts) is taken for router logits that were saved with `numpy.save`.

    Raises: LabError with file, place and reason when the source is missing, unknown or malformed.
    """
    if isinstance(source, str | Path):
        reader = _reader_of(Path(source).expanduser())
        source = Path(source).expanduser()
    else:
        reader = _reader_for(source)
    known = inspect.signature(reader).parameters
    takes = set(known) | (set(inspect.signature(huggingface.from_logits).parameters) if "options" in known else set())
    for name in options:
        if name not in takes:
            offered = ", ".join(sorted(takes - {"path", "source", "options", "array", "answer", "output", "logits"}))
            raise LabError(f"This recording takes no option {name!r}; it takes: {offered}.")
    return reader(source, **options)


def _reader_of(path: Path) -> Callable[..., Mapping[str, Routing]]:
    """Who reads this file, by how it begins."""
    if path.is_dir():
        return megatron.read_trace
    try:
        with path.open("rb") as opened:
            begin = opened.read(1 << 16)
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not begin:
        raise LabError(f"{path} is empty.")
    if begin.startswith(b"\x93NUMPY"):
        return _read_numbers
    text = begin.lstrip()
    if text.startswith((b"{", b"[")):
        trace = path.suffix == ".jsonl" or b'"top_indices"' in begin or b'"num_tokens"' in begin
        return megatron.read_trace if trace else vllm.read_answer
    if path.suffix == ".jsonl":
        return megatron.read_trace
    raise LabError(f"{path} begins with {begin[:12]!r} and is no recording of routing; what is read is {TAKES}.")


def _read_numbers(
    path: Path,
    *,
    choices: int | None = None,
    names: list[str] | None = None,
    config: Any = None,
    chosen: int | None = None,
    normalised: bool | None = None,
    mask: torch.Tensor | None = None,
) -> RecordedRouting:
    """A `.npy` file: whole numbers are chosen experts, real ones are router logits."""
    try:
        kind = np.load(path, mmap_mode="r", allow_pickle=False).dtype
    except (ValueError, EOFError, OSError) as error:
        raise LabError(f"{path} is no whole .npy file: {error}.") from error
    if not np.issubdtype(kind, np.floating):
        return vllm.read_array(path, choices=choices, names=names)
    table = np.load(path, allow_pickle=False)
    if table.ndim != 3:
        raise LabError(f"{path} holds {kind} of shape {table.shape}; router logits are (layers, tokens, experts).")
    return huggingface.from_logits(table, config, chosen=chosen, normalised=normalised, names=names, mask=mask)


def _reader_for(source: Any) -> Callable[..., Mapping[str, Routing]]:
    """Who reads this object."""
    if isinstance(source, Mapping) and source and all(_routings(value) for value in source.values()):
        return lambda source: source
    if isinstance(source, np.ndarray | torch.Tensor):
        whole = torch.as_tensor(source).dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
        whole = whole or (isinstance(source, np.ndarray) and np.issubdtype(source.dtype, np.integer))
        return vllm.from_array if whole else huggingface.from_logits
    if (
        isinstance(source, tuple | list)
        and source
        and all(isinstance(part, torch.Tensor | np.ndarray) for part in source)
    ):
        return huggingface.from_logits
    has = source.get if isinstance(source, Mapping) else lambda name: getattr(source, name, None)
    if any(has(key) is not None for key in huggingface.KEYS):
        return huggingface.from_output
    if any(has(key) is not None for key in ("choices", "outputs", "routed_experts", "prompt_routed_experts")):
        return vllm.from_answer
    raise LabError(f"{type(source).__name__} is no recording of routing; what is read is {TAKES}.")


def _routings(value: Any) -> bool:
    return isinstance(value, Routing) or (
        isinstance(value, list) and bool(value) and all(isinstance(call, Routing) for call in value)
    )
