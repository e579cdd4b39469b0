"""Routings whose numbers are known, for the tests of the measurements."""

import numpy as np
import torch

from labkit.parts.gate import Routing


def drawn(tokens: int, choices: int, chosen: int, seed: int = 0, dropped: float = 0.0) -> Routing:
    """Softmax top-k routing of random scores, with a share of places dropped."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(tokens, choices, generator=generator)
    weights, index = scores.softmax(-1).topk(chosen, -1)
    gone = torch.rand(index.shape, generator=generator) < dropped
    return Routing(index.masked_fill(gone, -1), weights.masked_fill(gone, 0), choices, scores)


def sent(where: list[int] | np.ndarray | torch.Tensor, choices: int) -> Routing:
    """Every token to one choice with weight 1, without scores."""
    index = torch.as_tensor(np.asarray(where)).unsqueeze(-1)
    return Routing(index, torch.ones(index.shape), choices)
