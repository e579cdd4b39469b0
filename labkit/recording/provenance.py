"""Where a recording comes from: versions, date and commit; of a model its class and its number of parameters."""

import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import nn


def surroundings() -> dict[str, Any]:
    """Date, versions, machine and, where labkit runs from a checkout, its commit (a + where files were changed)."""
    versions = {"python": platform.python_version()}
    for name in ("labkit", "torch", "numpy", "xarray"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    facts: dict[str, Any] = {
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions,
        "machine": platform.processor() or platform.machine(),
    }
    commit = _commit()
    return facts | ({"commit": commit} if commit else {})


def about(model: nn.Module) -> dict[str, Any]:
    """The model's class and how many parameters it has."""
    kind = type(model)
    return {
        "model": f"{kind.__module__}.{kind.__qualname__}",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def plain(value: Any) -> Any:
    """The value as JSON can hold it: numbers and words as they are, folders of them likewise, all else by its text."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return plain(value.item())
    return str(value)


def _commit() -> str | None:
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, timeout=10).stdout.strip()

    try:
        commit = git("rev-parse", "--short=10", "HEAD")
        return commit + "+" * bool(commit and git("status", "--porcelain", "labkit")) or None
    except (OSError, subprocess.TimeoutExpired):
        return None
