"""The answer for a single input, where finding out about every parameter anew takes longer than computing.

What was found out is kept: the addresses of the parameters and the sizes. It holds as long as the parameters lie where
they lay; `None` means that it does not, or that somebody looks on, and then everything is asked again.
"""

import torch
from torch import Tensor, nn

from labkit.parts.kernels.engine import Kernel, quiet

_address = Tensor.data_ptr


class OneInput:
    """Calls a kernel whose arguments are the input, then numbers that stay, then the output and its width."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.kept: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    def __reduce__(self):
        return OneInput, (self.kernel,)  # a copy has parameters of its own

    def remember(self, parameters: tuple[Tensor, ...], numbers: tuple[int | Tensor, ...]) -> None:
        """These parameters were found fit, and these are the numbers between input and output; a tensor is its address."""
        if all(parameter.is_contiguous() for parameter in parameters):
            plain = tuple(_address(one) if isinstance(one, Tensor) else one for one in numbers)
            self.kept = tuple(map(_address, parameters)), plain

    def __call__(self, x: Tensor, parameters: tuple[Tensor, ...], out_width: int) -> Tensor | None:
        kept = self.kept
        if kept is None or x.dtype is not torch.float32 or type(x) is not Tensor or not x.is_cpu or not quiet():
            return None
        if parameters[0].dtype is not torch.float32 or tuple(map(_address, parameters)) != kept[0]:
            return None
        if not x.is_contiguous() or x.is_neg():
            return None
        out = torch.empty_like(x) if x.shape[-1] == out_width else x.new_empty(*x.shape[:-1], out_width)
        self.kernel(1, x.data_ptr(), *kept[1], out.data_ptr(), out_width)
        return out


def parameters_of(module: nn.Module, *names: str) -> tuple[Tensor, ...]:
    """Parameters by name: from where modules keep them, which saves most of the time of asking the module."""
    kept = module._parameters
    try:
        return tuple([kept[name] for name in names])  # pyright: ignore[reportReturnType]
    except KeyError:  # a parametrisation computes it
        return tuple([getattr(module, name) for name in names])
