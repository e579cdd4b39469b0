"""A small language model of the kind of Llama, trained by its author on Lewis Carroll's books.

Four blocks, each adding to the running sum x (width 128) what its two halves say:

    x <- x + attention(norm(x)),   x <- x + down(silu(gate(norm(x))) * up(norm(x)))

norm divides by the root of the mean square and scales; silu(z) = z / (1 + exp(-z)). Attention has 4 heads of 32 that
share 2 heads of keys and values, sees only what came before, and turns the pair of numbers (2i, 2i + 1) of every query
and key by the angle m * 10000^(-2i/32) at position m. One table of vectors for the 1,024 pieces of text serves for
reading and for predicting. 852,608 parameters, at most 128 places.

The code here is ours; the weights (fp16) and the vocabulary are the files of glassllm 0.1.0, byte for byte.
"""

import json

import torch
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.recording.batches import IGNORED
from labkit.recording.kinds import Attention
from labkit.workbench.datasets.corpus import austen
from labkit.workbench.pretrained.byte_pair import BytePairs
from labkit.workbench.pretrained.files import read_text, read_weights
from labkit.workbench.pretrained.pretrained import Pretrained

WIDTH, DEPTH, HEADS, SHARED, HIDDEN, PIECES, PLACES = 128, 4, 4, 2, 341, 1024, 128
BASE, EPSILON = 10_000.0, 1e-6
LENGTH, CARROLL, AUSTEN = 96, 4, 12
RENAMED = {
    "E": "embed.weight",
    "gamma": "weight",
    "attn.W_Q": "attention.q_proj.weight",
    "attn.W_K": "attention.k_proj.weight",
    "attn.W_V": "attention.v_proj.weight",
    "attn.W_O": "attention.o_proj.weight",
    "ffn.W1": "mlp.gate_proj.weight",
    "ffn.W3": "mlp.up_proj.weight",
    "ffn.W2": "mlp.down_proj.weight",
}
"""What the package calls its numbers, and what they are called here. Its matrices stand the other way round."""


class SwiGLU(nn.Module):
    """down(silu(gate x) * up x), with the names that Llama's block has."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)
        self.act_fn = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class Look(nn.Module):
    """How much each query looks at each key before it and at its own; a module of its own, so that it can be recorded."""

    def forward(self, query: Tensor, key: Tensor) -> Attention:
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        return Attention(scores.masked_fill(later, float("-inf")).softmax(-1))


class CausalAttention(nn.Module):
    """Attention to the past; neighbouring query heads share a head of keys and values."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, width: int, heads: int, shared: int):
        super().__init__()
        self.heads, self.shared, size = heads, shared, width // heads
        self.q_proj = nn.Linear(width, heads * size, bias=False)
        self.k_proj = nn.Linear(width, shared * size, bias=False)
        self.v_proj = nn.Linear(width, shared * size, bias=False)
        self.o_proj = nn.Linear(heads * size, width, bias=False)
        self.look = Look()
        speed = BASE ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
        angle = torch.outer(torch.arange(PLACES, dtype=torch.float64), speed)
        self.register_buffer("cosine", angle.cos().float(), persistent=False)
        self.register_buffer("sine", angle.sin().float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        query = self.turned(self.q_proj(x).unflatten(-1, (self.heads, -1)).transpose(-2, -3))
        key = self.turned(self.k_proj(x).unflatten(-1, (self.shared, -1)).transpose(-2, -3))
        value = self.v_proj(x).unflatten(-1, (self.shared, -1)).transpose(-2, -3)
        key, value = (part.repeat_interleave(self.heads // self.shared, -3) for part in (key, value))
        return self.o_proj((self.look(query, key).weights @ value).transpose(-2, -3).flatten(-2))

    def turned(self, x: Tensor) -> Tensor:
        """Every pair (2i, 2i + 1) turned by the angle of its position."""
        even, odd = x[..., 0::2], x[..., 1::2]
        cosine, sine = self.cosine[: x.shape[-2]], self.sine[: x.shape[-2]]
        return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).flatten(-2)


class Block(nn.Module):
    """Attention, then the gated layer; each reads the normalised sum and adds to it."""

    def __init__(self, width: int, heads: int, shared: int, hidden: int):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(width, eps=EPSILON), nn.RMSNorm(width, eps=EPSILON)
        self.attention = CausalAttention(width, heads, shared)
        self.mlp = SwiGLU(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class LanguageModel(nn.Module):
    """Reads pieces of text and says at each place which piece may follow.

    Shapes: (..., places) integers below 1,024, at most 128 places -> (..., places, 1024) scores (logits)
    Raises: LabError where there are more places.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(PIECES, WIDTH)
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS, SHARED, HIDDEN) for _ in range(DEPTH))
        self.norm_f = nn.RMSNorm(WIDTH, eps=EPSILON)

    def forward(self, pieces: Tensor) -> Tensor:
        if pieces.shape[-1] > PLACES:
            raise LabError(
                f"this language model reads at most {PLACES} pieces at a time, and got {tuple(pieces.shape)}; cut the "
                "text into shorter parts"
            )
        x = self.embed(pieces)
        for block in self.blocks:
            x = block(x)
        return self.norm_f(x) @ self.embed.weight.T


def language_model() -> LanguageModel:
    """The model with its learned numbers, in evaluation."""
    found = {}
    for name, value in read_weights("alice.npz").items():
        for theirs, ours in RENAMED.items():
            name = name.replace(theirs, ours) if theirs != "E" or name == "E" else name
        found[name] = value.T.contiguous() if "_proj" in name else value
    model = LanguageModel()
    model.load_state_dict(found)
    return model.eval()


def vocabulary() -> BytePairs:
    """The pieces of text that the model knows."""
    known = json.loads(read_text("alice.tokenizer.json"))
    return BytePairs(known["alphabet"], [(left, right) for left, right in known["merges"]])


def load() -> Pretrained:
    """The model, four windows of the book that it was trained on, and twelve of Jane Austen, whom it has never read.

    Raises: LabError where a file is missing or damaged.
    """
    pairs = vocabulary()
    novels = austen().valid_text[: 40 * LENGTH * AUSTEN]
    # The model knows typographic quotation marks only.
    for straight, curly in (('"', "”"), (" ”", " “"), ("\n”", "\n“"), ("--", "—")):
        novels = novels.replace(straight, curly)
    numbers = pairs.encode(read_text("alice.txt"))[: CARROLL * LENGTH]
    numbers += pairs.encode(novels)[: AUSTEN * LENGTH]
    inputs = torch.tensor(numbers).reshape(-1, LENGTH)
    return Pretrained(
        name="Alice",
        model=language_model(),
        inputs=inputs,
        says="A SwiGLU language model with 853 thousand parameters: says which piece of text may follow. It was trained "
        f"on Lewis Carroll; the inputs are {CARROLL} windows of Alice in Wonderland, which it has read, and {AUSTEN} of "
        "Sense and Sensibility, which it has not.",
        source="glassllm 0.1.0 (Oséias Dias de Farias), the English model; texts: Lewis Carroll, Jane Austen",
        licence="MIT; the texts are in the public domain",
        targets=torch.cat([inputs[:, 1:], torch.full_like(inputs[:, :1], IGNORED)], 1),
        encode=lambda text: torch.tensor([pairs.encode(text)]),
        texts=tuple(tuple(pairs.pieces(row)) for row in inputs.tolist()),
        labels=torch.tensor([0] * CARROLL + [1] * AUSTEN),
        classes=("Lewis Carroll", "Jane Austen"),
    )
