"""What a recording costs: one pass of a transformer, plain, with hooks by hand, recorded, and recorded by others.

Six layers of width 128, eight inputs of 128 tokens, in evaluation without gradients; everybody keeps the hidden units
of the six feed-forward blocks where nothing else is said. The packages `torchlens` and `nnsight` are timed where they
are installed.
"""

import contextlib
import time
import warnings
from collections.abc import Callable
from importlib import import_module

import torch
from side_by_side import race, ratio, table
from torch import nn

from labkit.recording.anatomy import anatomy
from labkit.recording.kinds import Activations, Attention
from labkit.recording.record import record

ROUNDS = 15


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True)
    return nn.TransformerEncoder(layer, 6, enable_nested_tensor=False).eval()


def plain(model: nn.Module, x: torch.Tensor, fused: bool) -> Callable[[], object]:
    def run() -> None:
        torch.backends.mha.set_fastpath_enabled(fused)
        model(x)
        torch.backends.mha.set_fastpath_enabled(True)

    return run


def by_hand(model: nn.Module, x: torch.Tensor) -> Callable[[], object]:
    """What people write themselves: a hook on each block that keeps a copy."""

    def run() -> dict:
        kept = {}

        def hook(name: str):
            return lambda _module, inputs: kept.__setitem__(name, inputs[0].detach().clone())

        wanted = [(name, module) for name, module in model.named_modules() if name.endswith("linear2")]
        handles = [module.register_forward_pre_hook(hook(name)) for name, module in wanted]
        model(x)
        for handle in handles:
            handle.remove()
        assert len(kept) == 6
        return kept

    return run


def recorded(model: nn.Module, x: torch.Tensor, what) -> Callable[[], object]:
    def run():
        with record(model, what) as trace:
            model(x)
        return trace

    return run


def others(model: nn.Module, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    """The packages that are installed; a sentence for each that is not, or that fails on this model."""
    found: dict[str, Callable[[], object]] = {}
    makers = {
        "torchlens": lambda lens: {
            "torchlens record(relu)": lambda: lens.record(model, x, save=lens.func("relu")),
            "torchlens trace(relu)": lambda: lens.trace(model, x, save=lens.func("relu")),
            "torchlens trace": lambda: lens.trace(model, x),
        },
        "nnsight": lambda sight: {"nnsight 6 saves": _nnsight(sight.NNsight(model), x)},
    }
    for package, make in makers.items():
        try:
            contestants = {name: _unfused(run) for name, run in make(import_module(package)).items()}
        except ImportError as error:
            print(f"{package} is not timed: {error}.")
            continue
        for name, run in contestants.items():
            try:
                run()
                found[name] = run
            except Exception as error:
                torch.backends.mha.set_fastpath_enabled(True)
                print(f"{name} is not timed: {type(error).__name__}: {str(error).splitlines()[0]}")
    return found


def _unfused(run: Callable[[], object]) -> Callable[[], object]:
    """Torch's fused encoder layer calls no module inside it."""

    def unfused() -> None:
        torch.backends.mha.set_fastpath_enabled(False)
        run()
        torch.backends.mha.set_fastpath_enabled(True)

    return unfused


def _nnsight(wrapped, x: torch.Tensor) -> Callable[[], object]:
    kept: list[torch.Tensor] = []

    def run() -> None:
        kept.clear()
        with wrapped.trace(x):
            for layer in wrapped.layers:
                kept.append(layer.linear2.input.save())
        assert len(kept) == 6

    return run


def main() -> None:
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model, x = transformer(), torch.randn(8, 128, 128)
    with torch.no_grad():
        contestants = {
            "plain": plain(model, x, fused=False),
            "plain, fused as torch likes": plain(model, x, fused=True),
            "hooks by hand, 6 blocks": by_hand(model, x),
            "record(Activations), 6 blocks": recorded(model, x, Activations),
            f"record(model), all {len(list(model.modules()))} modules": recorded(model, x, None),
            "record(Attention), 6 blocks": recorded(model, x, Attention),
        }
        with contextlib.redirect_stderr(None):
            contestants |= others(model, x)
            seconds = race(contestants, ROUNDS)
    rows = []
    for name in contestants:
        middle, low, high = ratio(seconds, name, "plain")
        rows.append(
            [name, f"{1000 * sorted(seconds[name])[ROUNDS // 2]:.1f}", f"{middle:.2f} ({low:.2f} to {high:.2f})"]
        )
    table("One pass of the transformer, one thread", ["", "ms", "times plain: median (quartiles)"], rows)
    started = time.perf_counter()
    for _ in range(20):
        anatomy(model)
    print(f"\nanatomy(model): {50 * (time.perf_counter() - started):.1f} ms")


if __name__ == "__main__":
    main()
