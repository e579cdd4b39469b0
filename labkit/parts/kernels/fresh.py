"""Fresh memory for a large result, in large pages where the system has them.

A system hands memory out page by page, when it is first touched. For the gradient of a table of half a gigabyte that is a
good part of the step; in pages of two megabytes, which Linux gives where it is asked to, it takes half as long.
"""

import ctypes
import sys
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

LEAST = 2**25
"""Bytes from which on memory is always fresh: smaller pieces come out of what the process has used before."""
PAGE, WANTED = 2**21, 14  # MADV_HUGEPAGE


def fresh(*shape: int) -> Tensor:
    """Memory for float32 of this shape, with nothing in it yet."""
    out = torch.empty(shape)
    if out.nbytes >= LEAST and (advise := _adviser()):
        first = -(-out.data_ptr() // PAGE) * PAGE
        pages = (out.data_ptr() + out.nbytes - first) // PAGE
        advise(first, pages * PAGE, WANTED)  # what it answers does not matter: it is a wish
    return out


@cache
def _adviser() -> Callable[[int, int, int], int] | None:
    if sys.platform != "linux":
        return None
    try:
        advise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return None
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return advise
