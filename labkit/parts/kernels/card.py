"""The compiled path on a graphics card: Triton kernels, taken where compiled code is demanded.

They were checked in Triton's interpreter and compiled for cards, but nobody has timed them on one; so "auto" computes on a
card with plain torch, and `kernels("compiled")` takes them.
"""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from labkit.parts.kernels.engine import demanded

KINDS = (torch.float32, torch.float16, torch.bfloat16)
TRITON = importlib.util.find_spec("triton") is not None


def on_card(module: str, name: str, *tensors: Tensor, learns: bool = False) -> Callable[..., Any] | None:
    """The Triton function `name` of `kernels/cuda/module`, if it is demanded and may compute with these tensors.

    `learns` says whether it has gradients; without, it does not suit where they are wanted.
    """
    if not tensors[0].is_cuda or not demanded():
        return None
    wanted = torch.is_grad_enabled() and not learns and any(tensor.requires_grad for tensor in tensors)
    alike = all(tensor.is_cuda and tensor.dtype is tensors[0].dtype for tensor in tensors)
    if wanted or not TRITON or not alike or tensors[0].dtype not in KINDS or torch.compiler.is_compiling():
        return None
    return getattr(importlib.import_module(f"labkit.parts.kernels.cuda.{module}"), name)
