"""How much each query looks at each key, in models that never keep these weights: computed beside the model's own pass.

    weights = softmax(scale · q kᵀ + mask)        rows without any permitted key are 0

Symbols: q queries and k keys of one head; scale is 1/√width where nothing else is given. What the model computes and
its random numbers stay untouched; dropout is left out. Half precision is computed in float32 and given back as it was.
"""

import inspect
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_PRODUCT = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
_MULTIHEAD = inspect.signature(F.multi_head_attention_forward)


def product_weights(args: tuple, kwargs: dict[str, Any]) -> Tensor:
    """The weights behind a call of `scaled_dot_product_attention`, given its arguments.

    Shapes: query (..., heads, queries, width), key (..., heads, keys, width) -> (..., heads, queries, keys).
    """
    given = {**dict(zip(_PRODUCT, args)), **kwargs}
    query, key, mask = given["query"], given["key"], given.get("attn_mask")
    scale = given.get("scale")
    if given.get("enable_gqa") and key.ndim > 2:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    with torch.autocast(query.device.type, enabled=False):
        wide = torch.float64 if query.dtype == torch.float64 else torch.float32
        scores = query.to(wide) @ key.to(wide).transpose(-1, -2)
        scores = scores * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if given.get("is_causal"):
            past = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~past, -math.inf)
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask.to(wide)
        return without_nan(torch.softmax(scores, -1)).to(query.dtype)


def multihead_weights(args: tuple, kwargs: dict[str, Any]) -> Tensor:
    """The weights behind a call of `multi_head_attention_forward`, each head by itself, before dropout.

    Shapes: -> (inputs, heads, queries, keys), or (heads, queries, keys) for a single input.
    """
    call = _MULTIHEAD.bind(*args, **kwargs)
    call.arguments |= {"need_weights": True, "average_attn_weights": False, "training": False}
    weights = F.multi_head_attention_forward(*call.args, **call.kwargs)[1]
    assert weights is not None
    return without_nan(weights)


def without_nan(weights: Tensor) -> Tensor:
    """A row whose keys are all masked has no weights: zeros, as the fast kernels give."""
    return weights.nan_to_num(0.0) if weights.isnan().any() else weights


def unpacked(weights: Tensor, module: Any) -> Tensor:
    """While generating, transformers packs the heads that share a key into the axis of queries: undone here."""
    groups = getattr(module, "num_key_value_groups", 1)
    heads = getattr(getattr(module, "config", None), "num_attention_heads", None)
    packed = weights.ndim == 4 and heads == weights.shape[1] * groups and weights.shape[2] == groups
    if groups > 1 and packed:
        return weights.flatten(1, 2).unsqueeze(2)
    return weights
