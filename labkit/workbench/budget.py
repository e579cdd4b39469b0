"""What a layer costs: parameters, multiplications, and measured time."""

import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in model.parameters())


def flops(model: nn.Module, x: Tensor, *, training: bool = False) -> int:
    """Floating-point operations of the matrix products in one forward pass, counted while it runs.

    In evaluation a conditional layer is charged for what it really computes; a multiplication and an addition are two
    operations. Element-wise work is not counted.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(x)
    finally:
        for module, mode in modes:
            module.training = mode
    return counter.get_total_flops()


def latency(models: Mapping[str, nn.Module], x: Tensor, *, repeats: int = 30) -> xr.DataArray:
    """Seconds a forward pass, measured side by side: each repeat times every model once, in shuffled order.

    Shapes: -> (arm, repeat). The models are evaluated as they are (call `.eval()` first), on one thread, after warming.
    It is the processor's time for that thread, so that whatever else the machine does is not counted.
    """
    order = np.random.default_rng(0)
    names = list(models)
    seconds = np.empty((len(names), repeats))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            for name in names * 2:
                models[name](x)
            for repeat in range(repeats):
                for place in order.permutation(len(names)):
                    start = time.thread_time()
                    models[names[place]](x)
                    seconds[place, repeat] = time.thread_time() - start
    finally:
        torch.set_num_threads(threads)
    return xr.DataArray(
        seconds,
        dims=("arm", "repeat"),
        coords={"arm": names, "repeat": np.arange(repeats)},
        name="latency",
        attrs={"long_name": "time of a forward pass", "units": "s"},
    )


def latency_by_width(
    arms: Mapping[str, object], widths: Sequence[int], in_width: int, batches: Sequence[int], repeats: int
) -> xr.DataArray:
    """Latency (arm, batch, width, repeat) of layers in_width -> in_width; `arms` maps a name to a maker by width."""
    by_width = []
    for width in widths:
        models = {name: make(width).eval() for name, make in arms.items()}  # type: ignore[operator]
        rows = [latency(models, torch.randn(batch, in_width), repeats=repeats) for batch in batches]
        by_width.append(xr.concat(rows, xr.IndexVariable("batch", list(batches))))
    whole = xr.concat(by_width, xr.IndexVariable("width", list(widths)))
    return whole.transpose("arm", "batch", "width", "repeat")
