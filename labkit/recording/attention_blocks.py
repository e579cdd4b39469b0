"""Finds attention in any model: `nn.MultiheadAttention`, and modules that hold query, key and value projections.

The module that computes the weights is meant: BERT's `attention.self`, Llama's `self_attn`, GPT-2's `attn`.
"""

import re
from collections.abc import Iterator

from torch import nn

from labkit.recording.block import Block
from labkit.recording.materials import children, named, projection

QUERY = re.compile(r"^(q|query|q_lin|q_proj|to_q|wq|w_q|Wq|q_a_proj|q_b_proj|linear_q|query_proj|to_queries|queries)$")
KEY = re.compile(
    r"^(k|key|k_lin|k_proj|to_k|wk|w_k|Wk|kv|to_kv|kv_proj|kv_a_proj_with_mqa|linear_k|key_proj|to_keys|keys)$"
)
TOGETHER = re.compile(r"^(c_attn|qkv|query_key_value|Wqkv|qkv_proj|in_proj|to_qkv|in_proj_qkv|attn_qkv|W_pack)$")
HEADS = ("num_heads", "num_attention_heads", "n_head", "n_heads", "heads", "nhead", "head_count")


def attention_blocks(model: nn.Module) -> list[Block]:
    """Every attention of the model, outermost first where one holds another."""
    found, known = [], dict(named(model))
    for name, module in known.items():
        if isinstance(module, nn.MultiheadAttention):
            found.append(Block(name, "attention", module, module.num_heads, _SAYS, parts=((name, module),)))
        elif _projects(module):
            parts = [(name, module)]
            holder = name.rpartition(".")[0]
            beside = known[holder] if holder else None
            if beside is not None and "attention" in type(beside).__name__.lower():
                parts = [(holder, beside)]
            found.append(Block(name, "attention", module, heads(module), _SAYS, parts=tuple(parts)))
    return found


_SAYS = "how much each query looks at each key"


def _projects(module: nn.Module) -> bool:
    """Whether queries and keys are made right here."""
    names = {child.short for child in children(module, "") if projection(child.module)}
    own = type(module).__name__.lower()
    queries, keys = any(map(QUERY.match, names)), any(map(KEY.match, names))
    together = [name for name in names if TOGETHER.match(name)]
    if together and ("in_proj" not in together or "att" in own):
        return True
    return queries and keys


def heads(module: nn.Module) -> int | None:
    """How many heads an attention says that it has, itself or in its configuration."""
    return next(numbers((module, getattr(module, "config", None)), HEADS), None)


def numbers(holders: tuple[object, ...], names: tuple[str, ...]) -> Iterator[int]:
    """The whole numbers that these objects hold under these names, in the order of the objects."""
    for holder in holders:
        for name in names:
            value = getattr(holder, name, None)
            if isinstance(value, int) and not isinstance(value, bool):
                yield value
