"""Routing from the `router_logits` that Hugging Face models return with `output_router_logits=True`.

`router_logits` is a tuple with one tensor for each sparse layer: (inputs · tokens, experts), for encoder-decoder models
(inputs, tokens, experts). They are the router's scores before the softmax; which experts were chosen and what they
weigh follows from the model's own rule, which the configuration names (`model_type`):

    normalised     softmax over all experts, the best k, divided by their sum: Mixtral, MiniMax, GPT-OSS, Granite, HunYuan
    as configured  the same, divided by their sum only if `norm_topk_prob`: Qwen2-MoE, Qwen3-MoE, OLMoE
    plain          softmax over all experts, the best k as they are: Jamba
    switch         the best expert with its probability, until it has served `expert_capacity` tokens of a sequence;
                   later tokens are dropped: Switch Transformers

GPT-OSS and Granite take the softmax over the chosen logits, which is the same number. Families that choose by a trained
bias or by groups which `router_logits` does not contain (DeepSeek-V3, GLM-4, ERNIE) cannot be read from them and are
refused; record such a model itself with `record(model, Routing)`.

Read in: transformers 5.23, the routers of the models named and `utils/output_capturing.py`. The tests compare each rule
with what the router of a small model of that family returns.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.errors import LabError
from labkit.parts.gate import Routing
from labkit.recording.recorded_routing import RecordedRouting, without_padding

NORMALISED = {"mixtral", "minimax", "gpt_oss", "granitemoe", "granitemoeshared", "granitemoehybrid", "hunyuan_v1_moe"}
AS_CONFIGURED = {"qwen2_moe", "qwen3_moe", "qwen3_next", "olmoe", "flex_olmo"}
PLAIN = {"jamba"}
SWITCH = {"switch_transformers"}
CHOSEN = ("num_experts_per_tok", "moe_topk", "moe_k", "top_k")
"""What configurations call the number of chosen experts."""
PLACES = {
    "gpt_oss": "mlp.router",
    "jamba": "feed_forward.router",
    "granitemoe": "block_sparse_moe.router",
    "granitemoeshared": "block_sparse_moe.router",
    "granitemoehybrid": "block_sparse_moe.router",
}
"""Where in a layer the router lies, where it is not `mlp.gate`."""
KEYS = ("router_logits", "encoder_router_logits", "decoder_router_logits")


def from_output(output: Any, config: Any = None, **options: Any) -> RecordedRouting:
    """The routing in what a Hugging Face model returned; `config` is `model.config`. Options as in `from_logits`.

    Raises: LabError when the output holds no router logits.
    """
    found = {key: _field(output, key) for key in KEYS}
    found = {key: logits for key, logits in found.items() if logits is not None and len(logits)}
    if not found:
        raise LabError("The output holds no router_logits: call the model with output_router_logits=True.")
    if len(found) == 1:
        return from_logits(next(iter(found.values())), config, **options)
    if options.get("mask") is not None:
        raise LabError(
            "Encoder and decoder see different tokens: read their router logits apart, each with its own mask."
        )
    parts = {
        key.removesuffix("_router_logits"): from_logits(logits, config, **options) for key, logits in found.items()
    }
    layers = {f"{side}.{name}": part[name] for side, part in parts.items() for name in part}
    says = tuple(dict.fromkeys(sentence for part in parts.values() for sentence in part.says))
    return RecordedRouting(layers, "Hugging Face", says, aligned=False)


def from_logits(
    logits: Sequence[Tensor] | Tensor | np.ndarray,
    config: Any = None,
    *,
    chosen: int | None = None,
    normalised: bool | None = None,
    names: Sequence[str] | None = None,
    mask: Tensor | None = None,
) -> RecordedRouting:
    """The routing that follows from `router_logits`, one tensor (tokens, experts) for each sparse layer.

    The rule comes from `config` (the model's, or its dictionary), or from `chosen` and `normalised`: the best `chosen` of
    the softmax, divided by their sum or not. `mask` is the attention mask (inputs, tokens); its padding is left out.
    Layers are named as a recording of the model itself names them, "model.layers.0.mlp.gate"; where the configuration
    does not tell which layers are sparse, "router.0", "router.1" ...; or `names`.

    Raises: LabError when logits and configuration do not fit, or when the family's choice does not follow from logits.
    """
    config = _text(config)
    tables = [_table(part, number) for number, part in enumerate(logits)]
    if not tables:
        raise LabError("router_logits is empty: the model has no sparse layer.")
    if names is None:
        names = _names(config, len(tables))
    elif len(names) != len(tables):
        raise LabError(f"There are router logits of {len(tables)} layers, but {len(names)} names.")
    chosen = chosen or _chosen(config)
    rule = _rule(config, normalised)
    routings = {}
    for name, table in zip(names, tables):
        _fits(name, table, config, chosen)
        routings[name] = rule(table, chosen)
    if mask is None:
        return RecordedRouting(routings, "Hugging Face")
    left = without_padding(routings, mask.bool(), "expert")
    return RecordedRouting(
        left.layers, "Hugging Face", left.says, positions=left.positions, extent=left.extent, aligned=left.aligned
    )


def _rule(config: Any, normalised: bool | None) -> Any:
    """(scores, chosen) -> Routing, as the model's family routes."""
    family = _field(config, "model_type")
    if normalised is None:
        if family in SWITCH:
            capacity = _field(config, "expert_capacity")
            return lambda scores, chosen: _until_full(scores, capacity)
        if family in AS_CONFIGURED:
            normalised = bool(_field(config, "norm_topk_prob"))
        elif family in NORMALISED | PLAIN:
            normalised = family in NORMALISED
        else:
            whose = f"models of type {family!r}" if family else "a model without a configuration"
            raise LabError(
                f"How {whose} choose does not follow from router_logits alone: say normalised=True or False if they take "
                "the best of a softmax, or record the model itself with record(model, Routing)."
            )
    return lambda scores, chosen: _best(scores, chosen, normalised)


def _best(scores: Tensor, chosen: int, normalised: bool) -> Routing:
    weights, index = scores.softmax(-1).topk(chosen, -1)
    if normalised:
        weights = weights / weights.sum(-1, keepdim=True)
    return Routing(index, weights, scores.shape[-1], scores)


def _until_full(scores: Tensor, capacity: int) -> Routing:
    if scores.dim() != 3:
        raise LabError("Switch router logits are (inputs, tokens, experts): the capacity counts for each sequence.")
    weights, best = scores.softmax(-1).max(-1)
    turn = torch.nn.functional.one_hot(best, scores.shape[-1]).cumsum(-2).gather(-1, best.unsqueeze(-1)).squeeze(-1)
    kept = turn <= capacity
    index = torch.where(kept, best, -1).unsqueeze(-1)
    return Routing(index, (weights * kept).unsqueeze(-1), scores.shape[-1], scores)


def _fits(name: str, table: Tensor, config: Any, chosen: int) -> None:
    stated = next((_field(config, key) for key in ("num_local_experts", "num_experts") if _field(config, key)), None)
    if isinstance(stated, int) and stated != table.shape[-1]:
        raise LabError(f"{name} has scores of {table.shape[-1]} experts, the configuration says {stated}.")
    if not 1 <= chosen <= table.shape[-1]:
        raise LabError(f"{name} has scores of {table.shape[-1]} experts, of which {chosen} cannot be chosen.")


def _table(part: Any, number: int) -> Tensor:
    table = torch.as_tensor(part)
    if table.dim() not in (2, 3) or not table.is_floating_point():
        raise LabError(
            f"router_logits[{number}] has shape {tuple(table.shape)} and type {table.dtype}; scores (tokens, experts) are "
            "needed."
        )
    return table.detach().float().cpu()


def _chosen(config: Any) -> int:
    found = next((_field(config, key) for key in CHOSEN if isinstance(_field(config, key), int)), None)
    if found is None and _field(config, "model_type") in SWITCH:
        return 1
    if found is None:
        raise LabError("How many experts a token gets is not known: give the model's config, or chosen=.")
    return found


def _names(config: Any, count: int) -> list[str]:
    """Names of the sparse layers where the configuration tells which they are."""
    total = _field(config, "num_hidden_layers") or 0
    every = _field(config, "decoder_sparse_step") or 1
    dense = set(_field(config, "mlp_only_layers") or ())
    sparse = [layer for layer in range(total) if layer not in dense and (layer + 1) % every == 0]
    period, offset = _field(config, "expert_layer_period"), _field(config, "expert_layer_offset")
    if isinstance(period, int) and isinstance(offset, int):
        sparse = [layer for layer in range(total) if layer % period == offset]
    if len(sparse) != count or _field(config, "is_encoder_decoder"):
        return [f"router.{number}" for number in range(count)]
    place = PLACES.get(_field(config, "model_type") or "", "mlp.gate")
    return [f"model.layers.{layer}.{place}" for layer in sparse]


def _text(config: Any) -> Any:
    """The part of a configuration that is about the text model, where it has parts."""
    inner = _field(config, "text_config")
    return inner if inner is not None else config


def _field(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
