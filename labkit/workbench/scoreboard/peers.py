"""Peers: how to make a small instance of the layers that people would otherwise install, and how to call each.

Each is made with the settings that its package calls normal, except for sizes; where it differs, the reason stands
there. Its import stands inside its function: what is not installed raises ImportError and is listed as absent.
Inputs are rows (batch, width) or sequences (batch, tokens, width), whichever the package documents.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from labkit.example import Example
from labkit.workbench.scoreboard import peer_references as slow

WIDTH = 8
"""A power of two for butterflies, and 16 bytes even in bfloat16, which grouped products ask for."""
SOFT_SLOTS = "each slot is an average over all tokens of the sequence, as its paper says"


@dataclass(frozen=True)
class Peer:
    """One layer of somebody else."""

    name: str
    package: str
    """The name under which it is installed."""
    example: Callable[[], Example]
    """Imports the package and says how to make a small instance, its inputs, its reference and what is exempt."""
    paper: str | None = None
    first_output: bool = False
    """Whether it returns several things of which the first is the answer."""


class FirstOutput(nn.Module):
    """A layer whose forward returns several things, as one that returns only the first."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.layer(*inputs)[0]


def rows(seed: int) -> tuple[Tensor]:
    return (torch.randn(32, WIDTH, generator=torch.Generator().manual_seed(seed)),)


def sequences(seed: int) -> tuple[Tensor]:
    return (torch.randn(4, 12, WIDTH, generator=torch.Generator().manual_seed(seed)),)


def loud_sequences(seed: int) -> tuple[Tensor]:
    """Its gate begins so even that only loud inputs are decided clearly, as those of a trained gate are."""
    return (sequences(seed)[0] * 5,)


def rows_in_the_grid(seed: int) -> tuple[Tensor]:
    """Splines are defined between -1 and 1."""
    return (torch.rand(32, WIDTH, generator=torch.Generator().manual_seed(seed)) * 1.8 - 0.9,)


def fast_feedforward() -> Example:
    FFF = import_module("fastfeedforward").FFF

    return Example(lambda: FFF(WIDTH, 2, 5, depth=3), rows, slow.fast_feedforward)


def mixture_of_experts() -> Example:
    MoE = import_module("mixture_of_experts").MoE

    return Example(lambda: MoE(WIDTH, num_experts=4, hidden_dim=8), sequences, slow.top_two_of_experts)


def hierarchical_mixture_of_experts() -> Example:
    HeirarchicalMoE = import_module("mixture_of_experts").HeirarchicalMoE

    return Example(lambda: HeirarchicalMoE(WIDTH, num_experts=(2, 2), hidden_dim=8), sequences)


def st_moe() -> Example:
    MoE = import_module("st_moe_pytorch").MoE

    straight = "its dispatch passes a straight-through estimate back, which is not the slope, on purpose"
    exempt = {"gradients are right": straight}
    return Example(lambda: MoE(dim=WIDTH, num_experts=4, expert_hidden_mult=2), loud_sequences, exempt=exempt)


def soft_moe() -> Example:
    SoftMoE = import_module("soft_moe_pytorch").SoftMoE

    def make() -> nn.Module:
        return SoftMoE(WIDTH, num_experts=2, num_slots=3, expert_mult=2)

    return Example(make, sequences, slow.soft_slots, {"the past does not see the future": SOFT_SLOTS})


def dynamic_soft_moe() -> Example:
    DynamicSlotsSoftMoE = import_module("soft_moe_pytorch").DynamicSlotsSoftMoE

    def make() -> nn.Module:
        return DynamicSlotsSoftMoE(WIDTH, num_experts=2, expert_mult=2)

    return Example(make, sequences, exempt={"the past does not see the future": SOFT_SLOTS})


def product_key_memory() -> Example:
    PKM = import_module("product_key_memory").PKM

    return Example(lambda: PKM(WIDTH, heads=2, num_keys=8, topk=4, dim_head=4), sequences, slow.product_key_memory)


def peer() -> Example:
    PEER = import_module("PEER_pytorch").PEER

    def make() -> nn.Module:
        # softmax over the chosen, as the paper has it; by default the package takes one expert a head without it
        layer = PEER(WIDTH, heads=2, num_experts=64, num_experts_per_head=4, dim_key=4, non_competing_scores=False)
        nn.init.normal_(layer.keys)  # at 0.02 all scores are alike and no fault would show
        return layer

    return Example(make, sequences, slow.single_neuron_experts)


def kan_layer() -> Example:
    KANLayer = import_module("kan.KANLayer").KANLayer

    return Example(lambda: KANLayer(WIDTH, 5, num=3, k=3), rows_in_the_grid, slow.splines)


def butterfly() -> Example:
    Butterfly = import_module("torch_structured").Butterfly

    return Example(lambda: Butterfly(WIDTH, WIDTH), rows, slow.butterfly)


def monarch() -> Example:
    MonarchLinear = import_module("torch_structured.monarch.monarch_linear").MonarchLinear

    return Example(lambda: MonarchLinear(WIDTH, WIDTH, nblocks=2), rows, slow.monarch)


SIZES: Mapping[str, Any] = {
    "vocab_size": 8,
    "hidden_size": WIDTH,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "num_experts_per_tok": 2,
    "initializer_range": 0.5,  # at 0.02 the answers are so small that no fault would show
}
"""Of a language model of one block, whose expert layer is taken out: so it is set up as a user meets it."""


def mixtral() -> Example:
    from transformers import MixtralConfig, MixtralModel

    config = MixtralConfig(**SIZES, intermediate_size=8, num_local_experts=4)
    return Example(lambda: MixtralModel(config).layers[0].mlp, sequences, slow.gated_experts)


def qwen3_moe() -> Example:
    from transformers import Qwen3MoeConfig, Qwen3MoeModel

    config = Qwen3MoeConfig(**SIZES, intermediate_size=8, moe_intermediate_size=8, num_experts=4)
    return Example(lambda: Qwen3MoeModel(config).layers[0].mlp, sequences, slow.gated_experts)


def olmoe() -> Example:
    from transformers import OlmoeConfig, OlmoeModel

    config = OlmoeConfig(**SIZES, intermediate_size=8, num_experts=4)
    return Example(lambda: OlmoeModel(config).layers[0].mlp, sequences, slow.gated_experts)


def gpt_oss() -> Example:
    from transformers import GptOssConfig, GptOssModel

    config = GptOssConfig(**SIZES, intermediate_size=8, num_local_experts=4)
    return Example(lambda: GptOssModel(config).layers[0].mlp, sequences, slow.clamped_experts)


def linear() -> Example:
    return Example(lambda: nn.Linear(WIDTH, 5), rows, lambda layer, x: x @ layer.weight.T + layer.bias)


PEERS: tuple[Peer, ...] = (
    Peer("Linear, as a control", "torch", linear),
    Peer("FFF", "fastfeedforward", fast_feedforward, "P120"),
    Peer("MoE", "mixture-of-experts", mixture_of_experts, first_output=True),
    Peer("HeirarchicalMoE", "mixture-of-experts", hierarchical_mixture_of_experts, first_output=True),
    Peer("MoE", "st-moe-pytorch", st_moe, first_output=True),
    Peer("SoftMoE", "soft-moe-pytorch", soft_moe),
    Peer("DynamicSlotsSoftMoE", "soft-moe-pytorch", dynamic_soft_moe),
    Peer("PKM", "product-key-memory", product_key_memory, "P098"),
    Peer("PEER", "PEER-pytorch", peer),
    Peer("KANLayer", "pykan", kan_layer, first_output=True),
    Peer("Butterfly", "torch-structured", butterfly),
    Peer("MonarchLinear", "torch-structured", monarch),
    Peer("MixtralSparseMoeBlock", "transformers", mixtral),
    Peer("Qwen3MoeSparseMoeBlock", "transformers", qwen3_moe),
    Peer("OlmoeSparseMoeBlock", "transformers", olmoe),
    Peer("GptOssMLP", "transformers", gpt_oss, first_output=True),
)
