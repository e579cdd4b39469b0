"""Activation checkpointing runs modules a second time in backward(): how to tell, and which first run it repeats."""

import sys
from types import FrameType
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointFunction

_FORWARD, _BACKWARD = CheckpointFunction.forward.__code__, CheckpointFunction.backward.__code__


def in_backward() -> bool:
    """Whether autograd is at work: a module that runs now computes again what was computed before."""
    return torch._C._current_graph_task_id() != -1


def forward_pass() -> Any:
    """The reentrant checkpoint (use_reentrant=True) whose first run this is; None outside of one."""
    return _inside(_FORWARD)


def recomputed_pass() -> Any:
    """The reentrant checkpoint that is computed again; the same object as in its first run."""
    return _inside(_BACKWARD)


def _inside(code: Any) -> Any:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code is code:
            return frame.f_locals["ctx"]
        frame = frame.f_back
    return None
