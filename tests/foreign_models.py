"""Models as people have them: small ones of torch and transformers, built without weights, and home-made ones."""

import os
import warnings

import torch
from torch import nn
from torch.nn import functional as F

os.environ.setdefault("HF_HUB_OFFLINE", "1")

WIDTHS = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "vocab_size": 50,
}
TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
GROUPED = {**WIDTHS, **TOKENS, "num_key_value_heads": 2}


def hugging(name: str, *, attention: str = "sdpa", **settings) -> nn.Module:
    """A small model of transformers with random weights, in evaluation: hugging("LlamaForCausalLM")."""
    import transformers

    model_class = getattr(transformers, name)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = model_class.config_class(**{**_settings(name), **settings})
        config._attn_implementation = attention
        model = model_class(config).eval()
    with torch.no_grad():  # the default weights are so small that all attention is nearly even
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3)
    return model


def _settings(name: str) -> dict:
    if name.startswith("GPT2"):
        return {"n_embd": 16, "n_layer": 2, "n_head": 4, "vocab_size": 50, **TOKENS}
    if name.startswith("DistilBert"):
        return {"dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 32, "vocab_size": 50}
    if name.startswith("Bert"):
        return {**WIDTHS, "hidden_act": "gelu"}
    if name.startswith("ConvNext"):
        return {}
    if name.startswith("Mixtral"):
        return {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}
    if name.startswith("Switch"):
        sizes = {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4}
        sparse = {"num_experts": 4, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1, "vocab_size": 50}
        return {**sizes, **sparse, "expert_capacity": 3}
    if "Moe" in name or name.startswith("Olmoe"):
        experts = {"num_experts": 4, "num_experts_per_tok": 2}
        if name.startswith("Olmoe"):
            return {**GROUPED, **experts}
        return {**GROUPED, **experts, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8, "head_dim": 4}
    return GROUPED


def tokens(inputs: int = 2, length: int = 7) -> torch.Tensor:
    return torch.randint(3, 50, (inputs, length), generator=torch.Generator().manual_seed(1))


class Residual(nn.Module):
    """A block of a ResNet as torchvision writes it: one in-place ReLU for two convolutions."""

    def __init__(self, into: int, out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = (
            nn.Sequential(nn.Conv2d(into, out, 1, bias=False), nn.BatchNorm2d(out)) if into != out else None
        )

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += shortcut
        return self.relu(out)


class ResNetLike(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(Residual(8, 8), Residual(8, 8))
        self.layer2 = nn.Sequential(Residual(8, 12))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        x = self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x)))))
        return self.fc(self.avgpool(x).flatten(1))


class NormAct(nn.BatchNorm2d):
    """A norm that holds its nonlinearity, as timm's `BatchNormAct2d`."""

    def __init__(self, width: int):
        super().__init__(width)
        self.drop = nn.Identity()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act(self.drop(super().forward(x)))


class InvertedResidual(nn.Module):
    """A block of a MobileNet as timm writes it: widen, look around channel by channel, narrow without nonlinearity."""

    def __init__(self, width: int):
        super().__init__()
        self.conv_pw = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn1 = NormAct(4 * width)
        self.conv_dw = nn.Conv2d(4 * width, 4 * width, 3, padding=1, groups=4 * width, bias=False)
        self.bn2 = NormAct(4 * width)
        self.conv_pwl = nn.Conv2d(4 * width, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)

    def forward(self, x):
        return x + self.bn3(self.conv_pwl(self.bn2(self.conv_dw(self.bn1(self.conv_pw(x))))))


class MobileNetLike(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.bn1 = NormAct(6)
        self.blocks = nn.Sequential(InvertedResidual(6), InvertedResidual(6))
        self.classifier = nn.Linear(6, 5)

    def forward(self, x):
        return self.classifier(self.blocks(self.bn1(self.conv_stem(x))).mean((-1, -2)))


class FunctionalCnn(nn.Module):
    """As in many a first lesson: nonlinearities are functions, two convolutions and two linear layers."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 6, 3, padding=1)
        self.dropout = nn.Dropout(0.25)
        self.fc1 = nn.Linear(6 * 4 * 4, 10)
        self.fc2 = nn.Linear(10, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)
        return self.fc2(F.relu(self.fc1(self.dropout(x.flatten(1)))))


class FunctionalMlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(6, 8), nn.Linear(8, 7), nn.Linear(7, 3)

    def forward(self, x):
        return self.fc3(torch.tanh(self.fc2(F.relu(self.fc1(x)))))


class HomeMadeExperts(nn.Module):
    """A mixture as people write it in an afternoon. How many are chosen is a number in the code, or an attribute."""

    def __init__(self, width: int = 6, experts: int = 5, *, says: bool = True, soft: bool = False):
        super().__init__()
        self.gate = nn.Linear(width, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, width)) for _ in range(experts)
        )
        self.soft = soft
        if says:
            self.top_k = 2

    def forward(self, x):
        scores = self.gate(x)
        if self.soft:
            shares = scores.softmax(-1)
            return sum(shares[..., place, None] * expert(x) for place, expert in enumerate(self.experts))
        weights, index = scores.topk(2)
        weights, out = weights.softmax(-1), torch.zeros_like(x)
        for place, expert in enumerate(self.experts):
            row, rank = (index == place).nonzero(as_tuple=True)
            if len(row):
                out = out.index_add(0, row, weights[row, rank, None] * expert(x[row]))
        return out


class Head(nn.Module):
    """One head of a hand-written language model: weights without an axis of heads."""

    def __init__(self, width: int, size: int):
        super().__init__()
        self.key, self.query, self.value = (nn.Linear(width, size, bias=False) for _ in range(3))
        self.register_buffer("tril", torch.tril(torch.ones(16, 16)))

    def forward(self, x):
        length = x.shape[1]
        scores = self.query(x) @ self.key(x).transpose(-2, -1) * self.key(x).shape[-1] ** -0.5
        scores = scores.masked_fill(self.tril[:length, :length] == 0, float("-inf"))
        return F.softmax(scores, dim=-1) @ self.value(x)


class FusedSelfAttention(nn.Module):
    """Self-attention as many write it today: one matrix for all three, torch's fused function, causal."""

    def __init__(self, width: int = 8, heads: int = 2):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for part in self.qkv(x).chunk(3, -1)
        )
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.proj(out.transpose(-2, -3).flatten(-2))
