"""What makes a function a kernel: it gets the address of its arguments, and is compiled when its own is asked for."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from numba import cfunc, types

from labkit.parts.kernels.cpu.lanes import FAST


class Lazy:
    """A kernel that is compiled, or read from numba's cache, when its address is first asked for."""

    def __init__(self, function: Callable[[int], None], options: dict[str, Any]):
        self.function, self.options = function, options

    @cached_property
    def compiled(self) -> Any:
        return cfunc(types.void(types.int64), cache=True, error_model="numpy", **self.options)(self.function)

    @property
    def address(self) -> int:
        return self.compiled.address


def kernel(function: Callable[[int], None]) -> Lazy:
    """Makes a function of the address of its arguments a kernel. The order of its sums is as written."""
    return Lazy(function, {})


def fast_kernel(function: Callable[[int], None]) -> Lazy:
    """Likewise, but the compiler may choose the order of sums."""
    return Lazy(function, {"fastmath": FAST})
