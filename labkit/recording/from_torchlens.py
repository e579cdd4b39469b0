"""Opens what the package torchlens has traced: the outputs of modules, by the model's own names, as a `Trace`.

`from_torchlens(torchlens.trace(model, x))` stands for `record(model)`. The package is not imported here.
"""

from typing import Any

from torch import Tensor

from labkit.errors import LabError
from labkit.recording.trace import Trace, copied


def from_torchlens(traced: Any) -> Trace:
    """The module outputs that torchlens kept, call by call; modules whose outputs it did not keep are left out.

    Raises: LabError when this is not a trace of torchlens (2.36 was tried), or when it kept no module's output.
    """
    modules = getattr(traced, "modules", None)
    if modules is None or not hasattr(traced, "layer_list"):
        raise LabError(f"from_torchlens opens what torchlens.trace(model, x) returns, not a {type(traced).__name__}.")
    trace = Trace()
    for module in modules:
        for call in list(module.calls.values() if hasattr(module.calls, "values") else module.calls):
            kept = _kept(call)
            if kept:
                name = "" if module.address == "self" else module.address
                trace._add(name, kept[0] if len(kept) == 1 else tuple(kept))
    if not len(trace):
        raise LabError("This torchlens trace holds no output of a module: make it with torchlens.trace(model, x).")
    return trace


def _kept(call: Any) -> list[Tensor]:
    """The tensors of one call; torchlens raises where it did not keep them."""
    try:
        outs = call.outs
    except Exception:
        return []
    return [copied(part) for part in outs if isinstance(part, Tensor)] if isinstance(outs, list | tuple) else []
