"""Finds every mechanism by walking its kind's folder: nothing is registered."""

import importlib
import pkgutil
from types import ModuleType

import labkit


def modules(kind: str) -> list[ModuleType]:
    """All modules below labkit/<kind>/ that offer an `example`."""
    package = importlib.import_module(f"labkit.{kind}")
    found = []
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not info.ispkg:
            module = importlib.import_module(info.name)
            if hasattr(module, "example"):
                found.append(module)
    return found


def short(module: ModuleType) -> str:
    return module.__name__.removeprefix(f"{labkit.__name__}.")
