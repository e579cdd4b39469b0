"""labkit: an interactive visual lab for neural-network layers.

The names that a notebook needs are here and load when they are first used; everything else is imported from
where it lives: `from labkit.layers.feedforward.fast_feedforward import FastFeedforward`.
"""

import importlib
from typing import Any

_HOME = {
    "record": "labkit.recording.record",
    "anatomy": "labkit.recording.anatomy",
    "watch": "labkit.recording.watch",
    "open_routing": "labkit.recording.foreign.open_routing",
    "Activations": "labkit.recording.kinds",
    "Attention": "labkit.recording.kinds",
    "Routing": "labkit.parts.gate",
    "Branching": "labkit.parts.tree",
    "FastFeedforward": "labkit.layers.feedforward.fast_feedforward",
    "check": "labkit.contract.check",
    "kernels": "labkit.parts.kernels.engine",
    "Example": "labkit.example",
    "load": "labkit.workbench.datasets.load",
    "pretrained": "labkit.workbench.pretrained.load",
    "fit": "labkit.workbench.fit",
    "pace": "labkit.workbench.pace",
    "study": "labkit.workbench.find",
    "swap": "labkit.workbench.swap",
    "race": "labkit.workbench.race",
    "seeds": "labkit.widgets.several_seeds",
    "open_run": "labkit.workbench.run",
    "show": "labkit.views.show",
    "LiveRun": "labkit.workbench.hold.live_run",
    "LiveView": "labkit.widgets.live_view",
    "ModelView": "labkit.widgets.model_view",
    "HistoryView": "labkit.widgets.recorded_views",
    "RoutingView": "labkit.widgets.recorded_views",
    "StudyView": "labkit.widgets.study_view",
    "TreeExplorer": "labkit.widgets.tree_explorer",
    "RunItHere": "labkit.widgets.run_it_here",
    "predict": "labkit.widgets.predict",
    "present": "labkit.widgets.presenter",
    "follow": "labkit.widgets.presenter",
    "join": "labkit.workshop.seat",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"labkit has no {name!r}; it offers {', '.join(_HOME)}.")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
