"""Which way a computation goes: compiled for this processor, or the plain torch that it must equal.

A fast path has three files: `kernels/NAME.py` says what is computed and when it suits, `kernels/cpu/NAME.py` holds the
code that numba compiles, `kernels/cuda/NAME.py` the Triton code, if there is any. The plain torch stays where it was, in
the layer or part; it is what runs wherever the fast path does not suit, and what the tests compare it with.

    if suits(x, weight):
        return product(x, weight)          # an Operation
    return F.linear(x, weight)

`kernels("reference")` and `kernels("compiled")` force either; so does the environment variable LABKIT_KERNELS.
"""

import ctypes
import importlib.util
import os
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules import module as _everywhere

from labkit.parts.kernels.compiling import address_of
from labkit.parts.kernels.errors import KernelError
from labkit.parts.kernels.operation import Operation as Operation
from labkit.parts.kernels.threads import runner

WAYS = ("auto", "reference", "compiled")
PLAIN = (Tensor, nn.Parameter)
PLACES = 40
_FLOAT, _C = torch.float32, cast(Any, torch._C)
_level, _modes = _C._functorch.maybe_current_level, _C._len_torch_dispatch_stack
_learning, _autocast = torch.is_grad_enabled, _C._is_any_autocast_enabled
FOUND = importlib.util.find_spec("numba") is not None
_told = False


class _Way(threading.local):
    """Which way this thread wants; new threads start with what the environment says."""

    def __init__(self) -> None:
        self.name = os.environ.get("LABKIT_KERNELS", "auto")
        if self.name not in WAYS:
            raise KernelError(f"LABKIT_KERNELS is one of {', '.join(WAYS)}, not {self.name!r}.")


_way = _Way()


@contextmanager
def kernels(way: str) -> Iterator[None]:
    """Choose how this thread computes inside the block.

    "auto" takes the compiled path where it suits, "reference" always the plain torch, "compiled" raises `KernelError`
    with the reason where there is no compiled path for what is asked.
    """
    if way not in WAYS:
        raise KernelError(f"kernels takes one of {', '.join(WAYS)}, not {way!r}.")
    before, _way.name = _way.name, way
    try:
        yield
    finally:
        _way.name = before


def demanded() -> bool:
    """Whether this thread wants compiled code and nothing else."""
    return _way.name == "compiled"


def suits(*tensors: Tensor, worth: bool = True, learns: bool = True) -> bool:
    """Whether the compiled path may compute with these tensors, and is wanted.

    It takes float32 tensors of this machine's memory, as plain torch would see them: under autocast, `torch.func`,
    `torch.export` and dispatch modes the plain torch runs. `worth` is the caller's word on whether it pays for such
    shapes; it is ignored where the compiled path is demanded. `learns=False`: the compiled path has no gradients, so
    it does not suit where they are wanted.
    """
    if _way.name == "auto":
        return worth and _fit(tensors, learns) and (FOUND or installed())
    if _way.name == "reference":
        return False
    reason = "" if _fit(tensors, learns) else _hindrance(tensors)
    reason = reason or ("" if FOUND else "numba is not installed: pip install 'labkit[lab]'")
    if reason:
        raise KernelError(f"there is no compiled path here: {reason}.")
    return True


def _fit(tensors: tuple[Tensor, ...], learns: bool) -> bool:
    """Asked at every call, so it only says yes or no."""
    for tensor in tensors:
        if tensor.dtype is not _FLOAT or not tensor.is_cpu or type(tensor) not in PLAIN:
            return False
    if not learns and torch.is_grad_enabled():
        for tensor in tensors:
            if tensor.requires_grad:
                return False
    if torch.compiler.is_compiling():
        return not torch.compiler.is_exporting()
    if tensors[0].is_neg():  # a view whose numbers lie in memory with the other sign
        return False
    return _level() is None and not _modes() and not torch.is_autocast_enabled("cpu")


def quiet() -> bool:
    """Whether nothing looks on that compiled code would escape, no gradients are wanted, and compiled code is.

    Not to be asked while torch compiles.
    """
    return not (_learning() or _modes() or _autocast()) and _way.name != "reference" and _level() is None


def _hindrance(tensors: tuple[Tensor, ...]) -> str:
    """Why compiled code cannot take these tensors, in words."""
    for tensor in tensors:
        if tensor.dtype is not torch.float32:
            return f"it computes in float32, and this is {tensor.dtype}"
        if not tensor.is_cpu:
            return f"it computes on the processor, and this tensor is on {tensor.device}"
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return "it has no gradients, and they are wanted: compute under torch.no_grad()"
    if torch.is_autocast_enabled("cpu"):
        return "autocast chooses the types"
    if any(type(tensor) not in PLAIN for tensor in tensors):
        return "one of the tensors is of a kind of its own"
    if tensors[0].is_neg():
        return "its numbers lie in memory with the other sign: use resolve_neg()"
    return "torch.func, torch.export or a dispatch mode, such as one that counts operations, looks on"


def installed() -> bool:
    """Whether numba is here; says once where it is not."""
    global _told
    if not (FOUND or _told or torch.compiler.is_compiling()):
        _told = True
        warnings.warn(
            "numba is not installed, so layers run in plain torch, which is slower: pip install 'labkit[lab]'.",
            stacklevel=4,
        )
    return FOUND


class Kernel:
    """A compiled function, loaded when it is first called: `kernel(pieces, *numbers)`.

    The numbers are addresses (`Tensor.data_ptr()`) and sizes. It is called by one thread, or by several at once, which
    share the `pieces` of the work among them.
    """

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name
        self._call: Callable[[int], None] | None = None
        self._pack: Callable[..., None] | None = None
        self._address = 0

    def __reduce__(self):
        return Kernel, (self.module, self.name)

    def __call__(self, pieces: int, *numbers: int, threads: int = 1) -> None:
        call = self._call or self._load()
        mine = local.arguments
        if mine is None:
            mine = local.arguments = _Arguments()
        pack = self._pack or self._packing(len(numbers))
        pack(mine.buffer, 0, 0, pieces, *numbers)
        if threads > 1 and pieces > 1:
            run_on_threads()(self._address, mine.address, min(threads, pieces))
        else:
            call(mine.address)

    def _packing(self, numbers: int) -> Callable[..., None]:
        self._pack = struct.Struct(f"{numbers + 2}q").pack_into
        return self._pack

    def _load(self) -> Callable[[int], None]:
        self._address = address_of(self.module, self.name)
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_int64)(self._address)
        return self._call


class _Arguments:
    """Where a thread puts the arguments of the kernel that it calls."""

    def __init__(self) -> None:
        self.buffer = bytearray(8 * PLACES)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.buffer))


class _Local(threading.local):
    arguments: _Arguments | None = None


local = _Local()
run_on_threads = cache(runner)


def hooks_everywhere() -> bool:
    """Whether somebody listens to every module there is."""
    return bool(_everywhere._global_forward_hooks or _everywhere._global_forward_pre_hooks)


def heard(*modules: nn.Module) -> bool:
    """Whether anybody listens to one of these modules or to one inside it: then none of them may be passed over."""
    if hooks_everywhere():
        return True
    for module in modules:
        if module._forward_hooks or module._forward_pre_hooks:
            return True
        inside = module._modules
        if inside and heard(*inside.values()):  # pyright: ignore[reportArgumentType]
            return True
    return False


def threads_for(work: float) -> int:
    """How many threads so many multiplications are worth: torch's number, or one where waking them costs more."""
    return torch.get_num_threads() if work > 2e6 else 1
