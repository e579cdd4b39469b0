"""Finds every view by walking labkit/views: a module with an `example` has one public function with the keyword dark."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from types import ModuleType

import plotly.graph_objects as go

import labkit.views


def view_modules() -> dict[str, ModuleType]:
    """Name -> module, of all modules in labkit/views that have an `example`."""
    every = [
        importlib.import_module(f"labkit.views.{entry.name}") for entry in pkgutil.iter_modules(labkit.views.__path__)
    ]
    return {module.__name__.rsplit(".", 1)[-1]: module for module in every if hasattr(module, "example")}


def view_of(module: ModuleType) -> Callable:
    """The view of this module: its public function with the keyword `dark`."""
    views = [
        one
        for name, one in inspect.getmembers(module, inspect.isfunction)
        if one.__module__ == module.__name__
        and not name.startswith("_")
        and "dark" in inspect.signature(one).parameters
        and inspect.signature(one).parameters["dark"].kind is inspect.Parameter.KEYWORD_ONLY
    ]
    assert len(views) == 1, f"{module.__name__} must have one public function with the keyword dark"
    return views[0]


def draws_a_figure(module: ModuleType) -> bool:
    """Whether the view returns a plotly figure; the others return HTML."""
    return inspect.signature(view_of(module)).return_annotation is go.Figure
