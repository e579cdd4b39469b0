"""The second scoreboard: the layer contract on our layers and on the packages that people would otherwise install.

    measure() -> {"layers": [...], "absent": [...], "made": {...}}

A layer is {"name", "package", "version", "ours", "paper" where there is one, "checks"}; a check is "passed",
"exempt: why it says nothing about this layer" or the sentence of its failure. A package that is not installed, or does
not import, is listed under "absent" with the reason. Kept in assets/runs/contract.json.
"""

import contextlib
import importlib
import io
import os
import pkgutil
import platform
import re
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import labkit
from labkit.example import Example
from labkit.recording.provenance import surroundings
from labkit.workbench.scoreboard import saved as boards
from labkit.workbench.scoreboard.peers import PEERS, FirstOutput, Peer

BESIDE = ("numba", "triton")
"""Packages that no layer comes from and that decide how some are computed."""
ONLY_A_TENSOR = "returns only a tensor"


def measure(watch: Callable[[str, int, int], None] | None = None) -> dict[str, Any]:
    """Run the contract on every layer that the folders hold and on every peer that is installed; some minutes.

    `watch(name, number, of)` is told which layer comes next.
    """
    ours, layers, absent = list(our_examples()), [], []
    of = len(ours) + len(PEERS)
    for number, (name, paper, example) in enumerate(ours):
        if watch is not None:
            watch(name, number, of)
        layers.append(_row(name, "labkit", _version("labkit"), paper, _quietly(labkit.check, None, example)))
    for number, peer in enumerate(PEERS, len(ours)):
        if watch is not None:
            watch(peer.name, number, of)
        try:
            example = _quietly(peer.example)
        except Exception as error:  # not installed, or of a version that has no such layer: said, never an error
            absent.append({"name": peer.name, "package": peer.package, "why": _absence(peer, error)})
            continue
        layers.append(_row(peer.name, peer.package, _version(peer.package), peer.paper, judge(peer, example)))
    return {"layers": layers, "absent": absent, "made": _made({row["package"]: row["version"] for row in layers})}


def judge(peer: Peer, example: Example) -> dict[str, str]:
    """The contract's report on a peer. Where it returns more than a tensor, the other checks look at its first output."""
    if not peer.first_output:
        return _quietly(labkit.check, None, example)
    alone = Example(lambda: FirstOutput(example.make()), example.inputs, _of_first(example.reference), example.exempt)
    raw = _quietly(labkit.check, None, example, only=(ONLY_A_TENSOR,))
    return _quietly(labkit.check, None, alone) | raw


def save(result: dict[str, Any]) -> Path:
    """Write the result to where `saved` finds it. Raises: LabError where it cannot be written."""
    return boards.write(result, boards.CONTRACT)


def saved() -> dict[str, Any] | None:
    """The result that was saved last; None where there is none. Raises: LabError where the file is broken."""
    return boards.saved(boards.CONTRACT)


def failures(row: dict[str, Any]) -> dict[str, str]:
    """Of one layer: the checks that it fails, with the sentence of each."""
    return {
        check: says for check, says in row["checks"].items() if says != "passed" and not says.startswith("exempt: ")
    }


def our_examples() -> Iterator[tuple[str, str | None, Example]]:
    """Name, paper and example of each layer below labkit/layers."""
    package = importlib.import_module("labkit.layers")
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if info.ispkg:
            continue
        module = importlib.import_module(info.name)
        example = getattr(module, "example", None)
        if example is not None:
            paper = re.search(r"\bP\d{3}\b", module.__doc__ or "")
            name = "".join(word.capitalize() for word in info.name.rsplit(".", 1)[1].split("_"))
            yield name, paper and paper[0], example


def _row(name: str, package: str, version: str, paper: str | None, checks: dict[str, str]) -> dict[str, Any]:
    row = {"name": name, "package": package, "version": version, "ours": package == "labkit"}
    return row | ({"paper": paper} if paper else {}) | {"checks": checks}


def _of_first(reference: Callable[..., Any] | None) -> Callable[..., Any] | None:
    return None if reference is None else lambda wrapped, *inputs: reference(wrapped.layer, *inputs)


def _quietly(call: Callable[..., Any], *values: Any, **named: Any) -> Any:
    """What packages print and warn about while they are tried is not what is asked."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        with torch.random.fork_rng(devices=[]):
            return call(*values, **named)


def _version(package: str) -> str:
    """The installed version; nothing where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _absence(peer: Peer, error: Exception) -> str:
    version = _version(peer.package)
    if not version:
        return f"{peer.package} is not installed: pip install 'labkit[peers]'."
    return f"{peer.package} {version} is installed but does not give its layer: {error}."


def _made(packages: dict[str, str]) -> dict[str, Any]:
    facts = surroundings()
    return {
        "date": facts["recorded"],
        "commit": facts.get("commit", "unknown"),
        "versions": facts["versions"] | packages | {name: found for name in BESIDE if (found := _version(name))},
        "machine": _machine(),
    }


def _machine() -> str:
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"
