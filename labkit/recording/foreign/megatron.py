"""Routing that Megatron-LM recorded: `router_trace_rank*.jsonl`, with its side file of router logits.

`--moe-routing-trace-path DIRECTORY` makes Megatron-LM write one file `router_trace_rank{rank}.jsonl` for each rank, in
it one line for each step and layer:

    {"step": 0, "stage": "pre_dispatch", "block": "decoder", "layer": 3, "rank": 0, "num_tokens": 2, "topk": 2,
     "top_indices": [[12, 45], [3, 12]]}

Lines of multi-token prediction heads have `"block": "mtp"` and `mtp_idx`. In training a layer may have several lines in
one step (one for each microbatch). With `--moe-routing-trace-capture-logits` a line also has `logit_offset`,
`logit_bytes` and `logit_shape` (tokens, experts): where in `logits_rank{rank}.bin` the scores stand, as bfloat16.
Hidden states (`hs_*`, `hidden_states_rank{rank}.bin`) are not needed here and are not read.

What the lines do not tell: the number of experts (unless logits were recorded), the weights, what was dropped later
(`pre_dispatch`), and, without logits, which of a token's experts was preferred: in training the numbers stand in
ascending order. With logits the experts are put in order of their logits and weighted by a softmax over the chosen
ones, Megatron's default, or by normalised sigmoids where `score_function="sigmoid"`.

Read in: NVIDIA/Megatron-LM, megatron/core/transformer/moe/router_trace.py, its unit test and tools/moe_routing/, at the
commit of 22 August 2026; files written by that code were read with this module.
"""

import heapq
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.recording.foreign.megatron_lines import Line, lines_of
from labkit.recording.recorded_routing import RecordedRouting, evenly_weighted

PATTERN = "router_trace_rank*.jsonl"


def read_trace(
    path: str | Path,
    *,
    steps: int | Collection[int] | None = None,
    choices: int | None = None,
    score_function: str = "softmax",
) -> RecordedRouting:
    """The routing in one trace file, or in all ranks' files of a directory; all steps one after the other, or only some.

    Layers are named "decoder.layers.3", those of prediction heads "mtp.0.layers.1". `choices` is the number of experts;
    by default what the logits say, or else the largest number that occurs plus 1.

    Raises: LabError with file, line and reason when a line is malformed; when there is no trace, or not of these steps.
    """
    wanted = {steps} if isinstance(steps, int) else steps
    lines = [line for file in trace_files(path) for line in lines_of(file, wanted)]
    if not lines:
        raise LabError(f"{path} holds no routing" + ("." if wanted is None else f" of step {_listed(wanted)}."))
    return _recording(lines, choices, score_function)


def read_steps(
    path: str | Path, *, choices: int | None = None, score_function: str = "softmax"
) -> Iterator[tuple[int, RecordedRouting]]:
    """The routing step by step, all ranks together, without ever holding more than one step.

    Raises: LabError as `read_trace`, and where the steps of a file do not ascend.
    """
    sources = [groupby(_ascending(file), key=lambda line: line.step) for file in trace_files(path)]
    parts = heapq.merge(
        *(((step, list(lines)) for step, lines in source) for source in sources), key=lambda part: part[0]
    )
    for step, ranks in groupby(parts, key=lambda part: part[0]):
        yield step, _recording([line for _, lines in ranks for line in lines], choices, score_function)


def trace_files(path: str | Path) -> list[Path]:
    """The trace itself, or the traces of a directory in the order of their ranks.

    Raises: LabError when there is none.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    found = sorted(path.glob(PATTERN), key=lambda file: (len(file.name), file.name))
    if not found:
        raise LabError(f"{path} is a directory without {PATTERN}: give a trace file or a directory of traces.")
    return found


def _ascending(file: Path) -> Iterator[Line]:
    last = None
    for line in lines_of(file):
        if last is not None and line.step < last:
            raise LabError(f"{line.place}: step {line.step} comes after step {last}; read the file with read_trace.")
        last = line.step
        yield line


def _recording(lines: Sequence[Line], choices: int | None, score_function: str) -> RecordedRouting:
    if score_function not in ("softmax", "sigmoid"):
        raise LabError(f"Megatron scores experts by softmax or sigmoid, not {score_function!r}.")
    layers: dict[str, list[Line]] = {}
    for line in lines:
        layers.setdefault(line.layer, []).append(line)
    says = ["Megatron records choices before dispatch: tokens that were dropped later are not marked."]
    scores = _scores(layers, says)
    stated = {table.shape[1] for table in scores.values()}
    if choices is None:
        largest = max(int(line.experts.max(initial=0)) for line in lines) + 1
        choices = max(stated, default=largest)
        if not stated:
            says.append(f"The number of experts is not recorded: {choices} is the largest number that occurs, plus 1.")
    if stated - {choices}:
        raise LabError(f"The logits are of {sorted(stated)} experts, not of {choices}.")
    for line in lines:
        line.check(choices)
    routings, known = {}, len(scores) == len(layers)
    for name in sorted(layers, key=_order):
        index = torch.cat([torch.from_numpy(line.experts) for line in layers[name]])
        routings[name] = (
            _weighted(index, choices, scores[name], score_function) if known else evenly_weighted(index, choices)
        )
    if known:
        says.append(f"Weights are taken as the {score_function} of the chosen experts' logits; the trace does not say.")
    else:
        says.append("Weights and order of preference are not recorded: each of the chosen experts is given 1/k.")
    seen = {tuple((line.rank, line.step, len(line.experts)) for line in each) for each in layers.values()}
    return RecordedRouting(routings, "Megatron", tuple(says), weighted=known, ordered=known, aligned=len(seen) == 1)


def _scores(layers: dict[str, list[Line]], says: list[str]) -> dict[str, Tensor]:
    """The logits of every layer, where all lines of the trace have them and the side files are there."""
    every = [line for lines in layers.values() for line in lines]
    if not all(line.logits for line in every):
        return {}
    absent = sorted({line.side_file.name for line in every if not line.side_file.exists()})
    if absent:
        says.append(f"The logits are not read: {', '.join(absent)} is not beside the trace.")
        return {}
    return {name: torch.cat([line.read_logits() for line in lines]) for name, lines in layers.items()}


def _weighted(index: Tensor, choices: int, scores: Tensor, score_function: str) -> Routing:
    chosen, order = scores.gather(1, index).sort(dim=1, descending=True, stable=True)
    weights = (
        chosen.softmax(1) if score_function == "softmax" else torch.nn.functional.normalize(chosen.sigmoid(), 1, 1)
    )
    return Routing(index.gather(1, order), weights, choices, scores)


def _order(name: str) -> tuple:
    """Decoder before prediction heads, and layer 2 before layer 10."""
    return tuple((part.isdigit(), int(part) if part.isdigit() else part) for part in name.split("."))


def _listed(steps: Iterable[int]) -> str:
    some = sorted(steps)[:5]
    return ", ".join(map(str, some))
