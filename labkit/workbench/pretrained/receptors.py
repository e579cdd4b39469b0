"""A small transformer that turns T-cell receptors into vectors, so that receptors for the same target lie together.

A T cell recognises its target with six loops of amino acids: CDR1, CDR2 and CDR3 of its alpha and of its beta chain.
Each amino acid is one token, after a first token that stands for the whole receptor. A token is one-hot: which of 20
amino acids (or mask, or start: 22 numbers), how far along its loop from 0 to 1 (1 number), which of the 6 loops (6
numbers). The 29 numbers are mapped to width 64 and go through three `nn.TransformerEncoderLayer`s, 8 heads, ReLU over
256 hidden units. The answer is the vector of the first token, at length 1; the closer two receptors, the likelier they
share a target. 153,108 parameters.

The code is ours; the weights are those of sceptr 1.2.0, variant SCEPTR.
Source: Contrastive learning of T cell receptor representations (Nagano and others, Cell Systems 2025).
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.workbench.pretrained.files import read_text, read_weights
from labkit.workbench.pretrained.pretrained import Pretrained, neighbours_loss

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
START, FIRST = 2, 3  # the numbers of the token for the whole receptor, and of the first amino acid; 0 is padding
TOKENS, LOOPS = 22, 6
WIDTH, DEPTH, HEADS = 64, 3, 8
START_TEXT = "[receptor]"


class Receptor(NamedTuple):
    """The six loops as letters, one for each amino acid; "" where a loop or a whole chain is not known."""

    cdr1a: str = ""
    cdr2a: str = ""
    cdr3a: str = ""
    cdr1b: str = ""
    cdr2b: str = ""
    cdr3b: str = ""


class ReceptorTransformer(nn.Module):
    """Receptors as tokens -> vectors of length 1.

    Shapes: tokens (n, places, 4) and attention_mask (n, places) integers as `encode` makes them -> (n, 64)
    """

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(TOKENS + 1 + LOOPS, WIDTH, bias=False)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False)
        self.guess = nn.Linear(WIDTH, len(AMINO_ACIDS))

    def forward(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        return F.normalize(self.places(tokens, attention_mask)[:, 0], dim=-1)

    def places(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        """The vector of each token: -> (n, places, 64)."""
        kind, place, length, loop = tokens.unbind(-1)
        # A loop of a single amino acid has it in the middle; the start token and padding are nowhere.
        along = torch.where(length > 1, (place - 1) / (length - 1).clamp(min=1), 0.5) * (place > 0)
        one_hot = [F.one_hot(kind, TOKENS + 1)[..., 1:], along[..., None], F.one_hot(loop, LOOPS + 1)[..., 1:]]
        x = self.project(torch.cat([part.to(self.project.weight.dtype) for part in one_hot], -1))
        return self.encoder(x, src_key_padding_mask=attention_mask == 0)

    def amino_acids(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        """Scores for the amino acid at each place, as in its training on masked tokens: -> (n, places, 20)."""
        return self.guess(self.places(tokens, attention_mask))


def encode(receptors: Iterable[Receptor]) -> dict[str, Tensor]:
    """Receptors as the model reads them, padded with zeros at the end.

    Shapes: tokens (n, places, 4) int64: which, its place in the loop from 1, length of the loop, its number from 1;
        attention_mask (n, places) int64, 0 at padding
    Raises: LabError naming the letter that is no amino acid, or the receptor without any loop.
    """
    rows = []
    for place, receptor in enumerate(receptors):
        row = [(START, 0, 0, 0)]
        for loop, letters in enumerate(receptor, 1):
            for at, letter in enumerate(letters, 1):
                if letter not in AMINO_ACIDS:
                    raise LabError(
                        f"receptor {place} has {letter!r} at position {at} of {Receptor._fields[loop - 1]}, which is no "
                        f"amino acid; the letters are {AMINO_ACIDS}"
                    )
                row.append((FIRST + AMINO_ACIDS.index(letter), at, len(letters), loop))
        if len(row) == 1:
            raise LabError(f"receptor {place} has no loop; give it at least one, for example cdr3b='CASSLGETQYF'")
        rows.append(torch.tensor(row))
    if not rows:
        raise LabError("there is no receptor to encode; give a list of one or more")
    tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return {"tokens": tokens, "attention_mask": (tokens[..., 0] > 0).long()}


def texts(tokens: Tensor) -> tuple[tuple[str, ...], ...]:
    """What stands at each place: an amino acid, the start token, or "" for padding."""
    names = ["", "[mask]", START_TEXT, *AMINO_ACIDS]
    return tuple(tuple(names[kind] for kind in row) for row in tokens[..., 0].tolist())


def load() -> Pretrained:
    """The model, and beta chains of human T cells with the piece of virus that each was seen to recognise.

    Raises: LabError where a file is missing or damaged.
    """
    model = ReceptorTransformer()
    model.load_state_dict(read_weights("receptors.npz"))
    rows = [line.split(",") for line in read_text("receptors.csv").splitlines()[1:]]
    inputs = encode(Receptor(cdr1b=cdr1, cdr2b=cdr2, cdr3b=cdr3) for _, cdr1, cdr2, cdr3, _ in rows)
    classes = tuple(sorted({target for *_, target in rows}))
    labels = torch.tensor([classes.index(target) for *_, target in rows])
    return Pretrained(
        name="t-cell receptors",
        model=model.eval(),
        inputs=inputs,
        says="A ReLU transformer with 153 thousand parameters: turns T-cell receptors into vectors. The inputs are "
        f"{len(rows)} beta chains of human T cells, labelled with the piece of the coronavirus that they recognised.",
        source="sceptr 1.2.0 (Yuta Nagano), variant SCEPTR; receptors: ImmuneCODE MIRA (Nolan and others, 2020) by way "
        "of tcrdist3 0.3",
        licence="MIT; the receptors CC BY 4.0",
        encode=encode,
        texts=texts(inputs["tokens"]),
        targets=labels[:, None],
        loss=neighbours_loss,
        labels=labels,
        classes=classes,
    )
