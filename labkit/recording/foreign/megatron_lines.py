"""The lines of a Megatron-LM router trace, one by one and checked; the format is described in `megatron`."""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.errors import LabError
from labkit.recording.recorded_routing import check_choices

LONGEST = 1 << 28
"""Bytes of the longest line that is taken for a record: 5 million tokens of 8 experts."""
STEP = re.compile(rb'\s*\{\s*"step"\s*:\s*(\d+)\s*,')
NUMBERS = ("step", "layer", "num_tokens", "topk")
LOGITS = ("logit_offset", "logit_bytes")


@dataclass(frozen=True, eq=False)
class Line:
    """One record: which experts the tokens of one call of one layer chose."""

    file: Path
    number: int
    step: int
    rank: int
    layer: str
    experts: np.ndarray
    """(tokens, topk) int64"""
    logits: tuple[int, int, tuple[int, int]] | None
    """Offset, length in bytes and shape (tokens, experts) in the side file."""

    @property
    def place(self) -> str:
        return f"{self.file}, line {self.number}"

    @property
    def side_file(self) -> Path:
        return self.file.with_name(f"logits_rank{self.rank}.bin")

    def check(self, choices: int) -> None:
        """Raises: LabError at the first token that names an expert twice or one that is not there."""
        check_choices(self.experts, choices, lambda row: f"{self.place}: token {row}")

    def read_logits(self) -> Tensor:
        """The scores (tokens, experts) of this line, from bfloat16.

        Raises: LabError when the side file is too short.
        """
        assert self.logits is not None
        offset, length, shape = self.logits
        with self.side_file.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
        if len(data) < length:
            raise LabError(
                f"{self.place}: its logits stand at bytes {offset} to {offset + length} of {self.side_file.name}, which "
                f"has only {self.side_file.stat().st_size}."
            )
        return torch.frombuffer(bytearray(data), dtype=torch.bfloat16).view(shape).float()


def lines_of(file: Path, steps: Collection[int] | None = None) -> Iterator[Line]:
    """The records of one trace file as a stream; lines of other steps than these are passed over unread.

    Raises: LabError with file, line and reason.
    """
    try:
        with file.open("rb") as opened:
            number = 0
            while raw := opened.readline(LONGEST):
                number += 1
                if len(raw) == LONGEST:
                    raise LabError(f"{file}, line {number} is longer than {LONGEST >> 20} MB: this is no router trace.")
                begins = STEP.match(raw) if steps is not None else None
                if not raw.strip() or (begins and int(begins[1]) not in (steps or ())):
                    continue
                line = _parsed(file, number, raw)
                if steps is None or line.step in steps:
                    yield line
    except OSError as error:
        raise LabError(f"{file} cannot be read: {error.strerror or error}.") from error
    if not number:
        raise LabError(f"{file} is empty: the run wrote no routing, or is still in its first step.")


def _parsed(file: Path, number: int, raw: bytes) -> Line:
    place = f"{file}, line {number}"
    try:
        record = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise LabError(f"{place} is no text: byte {error.start} is not UTF-8.") from error
    except (json.JSONDecodeError, RecursionError) as error:
        torn = "" if raw.endswith(b"\n") else ", and the file ends in the middle of it"
        raise LabError(f"{place} is no whole JSON record ({getattr(error, 'msg', 'too deep')}){torn}.") from error
    if not isinstance(record, dict):
        raise LabError(f"{place} holds {type(record).__name__}, not a record with step, layer and top_indices.")
    step, layer, tokens, topk = (_number(record, name, place) for name in NUMBERS)
    rank = _number(record, "rank", place) if "rank" in record else 0
    block = record.get("block", "decoder")
    if block == "mtp":
        name = f"mtp.{_number(record, 'mtp_idx', place)}.layers.{layer}"
    elif isinstance(block, str):
        name = f"{block}.layers.{layer}"
    else:
        raise LabError(f"{place}: block is {block!r}, not a name.")
    experts = _experts(record, tokens, topk, place)
    return Line(file, number, step, rank, name, experts, _logits(record, tokens, place))


def _number(record: dict[str, Any], name: str, place: str) -> int:
    if name not in record:
        raise LabError(f"{place} lacks {name}.")
    value = record[name]
    if type(value) is not int or value < 0:
        raise LabError(f"{place}: {name} is {_short(value)}, not a whole number from 0 on.")
    return value


def _experts(record: dict[str, Any], tokens: int, topk: int, place: str) -> np.ndarray:
    rows = record.get("top_indices")
    if not isinstance(rows, list):
        raise LabError(f"{place} lacks top_indices." if rows is None else f"{place}: top_indices is no list.")
    if len(rows) != tokens:
        raise LabError(f"{place}: top_indices has {len(rows)} tokens, num_tokens says {tokens}.")
    for row, chosen in enumerate(rows):
        if not isinstance(chosen, list) or len(chosen) != topk:
            size = len(chosen) if isinstance(chosen, list) else _short(chosen)
            raise LabError(f"{place}: token {row} has {size} experts, topk says {topk}.")
        if not all(type(expert) is int for expert in chosen):
            wrong = next(expert for expert in chosen if type(expert) is not int)
            raise LabError(f"{place}: token {row} names expert {_short(wrong)}, which is no whole number.")
    try:
        return np.array(rows, dtype=np.int64).reshape(tokens, topk)
    except OverflowError as error:
        raise LabError(f"{place}: an expert's number is beyond all bounds.") from error


def _logits(record: dict[str, Any], tokens: int, place: str) -> tuple[int, int, tuple[int, int]] | None:
    if "logit_offset" not in record:
        return None
    offset, length = (_number(record, name, place) for name in LOGITS)
    shape = record.get("logit_shape")
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(size) is int and size >= 0 for size in shape):
        raise LabError(f"{place}: logit_shape is {_short(shape)}, not [tokens, experts].")
    if shape[0] != tokens or length != 2 * shape[0] * shape[1]:
        raise LabError(f"{place}: logits of shape {shape} in {length} bytes do not fit {tokens} tokens in bfloat16.")
    return offset, length, (shape[0], shape[1])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
