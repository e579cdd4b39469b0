"""A hard choice that can be learnt: what is used is the one best choice, what is learnt from is the soft mixture.

    forward:   z = one-hot of argmax_k (s_k + noise_k)
    backward:  the gradient of softmax((s + noise) / temperature), as if that had been used ("straight through")

Symbols: s the scores of the choices. With `noise_k = -ln(-ln u_k)`, u_k uniform in (0, 1) (Gumbel noise), choice k is drawn
with probability softmax(s)_k whatever the temperature, which only says how far the gradient reaches to the choices that
were not drawn.

Source: Jang, Gu and Poole, "Categorical Reparameterization with Gumbel-Softmax" (2017); Bengio, Léonard and Courville,
"Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation" (2013).
"""

import torch
from torch import Tensor


def gumbel_like(scores: Tensor) -> Tensor:
    """Gumbel noise of the same shape and type; finite also where the generator says 0."""
    chance = torch.rand_like(scores)
    tiny = torch.finfo(scores.dtype).tiny
    waiting = -torch.log(chance.clamp_min(tiny))
    return -torch.log(waiting.clamp_min(tiny))


def straight_through(scores: Tensor, temperature: float = 1.0) -> Tensor:
    """The best choice, exactly one-hot, with the gradient of the softmax. Shapes: scores (..., choices) -> the same."""
    soft = (scores / temperature).softmax(-1)
    best = torch.zeros_like(soft).scatter(-1, scores.argmax(-1, keepdim=True), 1.0)
    return best + (soft - soft.detach())  # the bracket is 0 to the bit, so that what comes out is one-hot to the bit


def drawn(scores: Tensor, temperature: float = 1.0) -> Tensor:
    """One choice drawn with probability softmax(scores), one-hot, with the gradient of the noisy softmax."""
    return straight_through(scores + gumbel_like(scores), temperature)
