"""Does a low-rank layer have to start and be held as a dense one would? P071 in a small character transformer.

A masked language model of characters on a novel, whose feedforward layer is two linear layers with a GELU between. Both
are trained as a product of two factors from the start, at a quarter of the full rank unless the arm says otherwise. The
arms differ in where the factors start, in what pulls them to zero, or in whether the layer is dense for the first part of
the training.

The paper's claims are taken from its abstract and from public summaries of its findings; the text of its results was not at
hand. Every arm has the best of the learning rates and strengths tried for it, on the same test text, which flatters all of
them a little. These trials were seen before the claims were fixed; no threshold was chosen after them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from labkit.analysis.geometry.weight_spectrum import weight_spectrum
from labkit.layers.structured.low_rank_linear import LowRankLinear
from labkit.losses.weights.frobenius_decay import frobenius_decay
from labkit.parts.low_rank import nearest_low_rank, orthonormal_low_rank
from labkit.workbench.backbones.character_transformer import CharacterTransformer
from labkit.workbench.backbones.formed_feedforward import FormedFeedforward, Linear, dense
from labkit.workbench.backprop import Backprop
from labkit.workbench.claim import Claim, Rule, last
from labkit.workbench.decayed import Decayed, factor_decay
from labkit.workbench.probes import score
from labkit.workbench.study import Arm, Scale, Study
from labkit.workbench.tasks.masked_characters import MaskedCharacters

WIDTH, HIDDEN = 64, 256
RANK, LOW, HIGH = 16, 8, 32
MARGIN = 0.02
"""In nats: what still counts as no worse, about one per cent of the loss. Set before the arms it compares were measured."""
DENSE_RATE, RATE, NAIVE_RATE, HIGH_RATE = 0.008, 0.015, 0.008, 0.008
WEAK, STRONG = 1e-4, 1e-3
"""Tried with two seeds, 300 steps: rates 0.008 and 0.015 for dense, both naive starts, spectral, spectral ones, dense first
and both decays; 0.004 for dense, both naive starts and spectral; 0.03 for spectral, which then hardly trains; 0.004, 0.008
and 0.015 for the highest rank. The lowest takes over the rate of spectral. Strengths 0.0001 and 0.001 for both decays, at
both rates: for the factors the weak one was better, for the product the strong one. At 0.01 decay of the factors presses
them to nothing. Both are parts of the loss, and AdamW scales them like the rest of the gradient."""


def naive(i: int, o: int, bias: bool) -> LowRankLinear:
    """Each factor as a layer of its own would start."""
    return LowRankLinear(i, o, rank=RANK, bias=bias)


def spectral(i: int, o: int, bias: bool, rank: int = RANK) -> LowRankLinear:
    """The product nearest to a dense weight as it would start."""
    return LowRankLinear(i, o, rank=rank, bias=bias, spectral=True)


def ones(i: int, o: int, bias: bool) -> LowRankLinear:
    """The directions of a dense weight's start, all singular values one."""
    layer = LowRankLinear(i, o, rank=RANK, bias=bias)
    layer.down.data, layer.up.data = (part.contiguous() for part in orthonormal_low_rank(torch.randn(i, o), RANK))
    return layer


def resized(i: int, o: int, bias: bool) -> LowRankLinear:
    """Naive factors, made smaller until their product is as large as that of a spectral start."""
    layer, wanted = naive(i, o, bias), spectral(i, o, bias)
    scale = ((wanted.down @ wanted.up).norm() / (layer.down @ layer.up).norm()).sqrt().item()
    layer.down.data *= scale
    layer.up.data *= scale
    return layer


def feedforward(linear: Linear) -> Callable[[int, int], nn.Module]:
    return partial(FormedFeedforward, hidden=HIDDEN, linear=linear)


@dataclass
class DenseFirst(Backprop):
    """Backprop that trains a dense layer for a part of the steps, then replaces it by the nearest one of low rank."""

    until: float = 0.2

    def step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        if self.taken == round(self.until * self.steps):
            fresh = [
                new for part in model.modules() if isinstance(part, FormedFeedforward) for new in self._replaced(part)
            ]
            group = {key: value for key, value in self.optimizer.param_groups[0].items() if key != "params"}
            self.optimizer.add_param_group({**group, "params": fresh})
        return super().step(model, batch)

    @staticmethod
    def _replaced(part: FormedFeedforward) -> list[nn.Parameter]:
        fresh = []
        for name, old in list(part.named_children()):
            assert isinstance(old, nn.Linear)
            new = LowRankLinear(old.in_features, old.out_features, rank=RANK)
            down, up = nearest_low_rank(old.weight.detach().T, RANK)
            new.down.data, new.up.data, new.bias = down.contiguous(), up.contiguous(), old.bias
            setattr(part, name, new)
            fresh += [new.down, new.up]
        return fresh


def arm(linear: Linear, role: str, says: str, rate: float = RATE, **more: Any) -> Arm:
    return Arm(feedforward(linear), lambda: Decayed(rate, **more), role, says)


ARMS = {
    "dense": arm(dense, "baseline", "Dense weights: about three times the parameters.", DENSE_RATE),
    "naive": arm(naive, "baseline", f"Rank {RANK}, each factor started as a layer of its own.", NAIVE_RATE),
    "spectral": arm(spectral, "method", f"Rank {RANK}, started nearest to a dense weight."),
    "spectral ones": arm(ones, "method", "The same directions, all singular values one."),
    "naive, resized": arm(
        resized, "control", "Naive factors whose product is as large as that of the spectral start.", NAIVE_RATE
    ),
    "factor decay": arm(
        spectral,
        "baseline",
        f"Spectral start, squared norms of both factors times {WEAK:g} in the loss: the best strength for it.",
        decay=factor_decay,
        strength=WEAK,
    ),
    "factor decay, strong": arm(
        spectral,
        "control",
        f"The same times {STRONG:g}: the strength of the Frobenius decay.",
        decay=factor_decay,
        strength=STRONG,
    ),
    "Frobenius decay": arm(
        spectral,
        "method",
        f"Spectral start, squared norm of the product times {STRONG:g} in the loss: the best strength for it.",
        decay=frobenius_decay,
        strength=STRONG,
    ),
    "dense first": Arm(
        feedforward(dense),
        lambda: DenseFirst(RATE),
        "method",
        f"Dense for the first {DenseFirst.until:.0%} of the steps, then cut to rank {RANK}: more operations meanwhile.",
    ),
    f"rank {LOW}": arm(partial(spectral, rank=LOW), "method", f"Spectral start, rank {LOW}."),
    f"rank {HIGH}": arm(partial(spectral, rank=HIGH), "method", f"Spectral start, rank {HIGH}.", HIGH_RATE),
}


def spectra(model: nn.Module, task: Any) -> xr.DataArray:
    """The singular values of the feedforward layer's two weights, however they are made."""
    found = weight_spectrum(model, of="*slot*")
    return found.assign_coords(layer=["into", "out"]).drop_vars(["effective_rank", "stable_rank"])


def rank_in_use(model: nn.Module, task: Any) -> xr.DataArray:
    found = weight_spectrum(model, of="*slot*").effective_rank.mean()
    return xr.DataArray(float(found), attrs={"long_name": "effective rank of the weights", "units": "directions"})


def lower(better: str, worse: str, text: str) -> Rule:
    """The rule that one arm ends with a lower test loss than another."""
    return Rule(
        f"Test loss {text}, paired by seed, is above 0.",
        lambda data: last(data, "test_loss", worse) - last(data, "test_loss", better),
        0.0,
        unit="nats",
    )


CLAIMS = [
    Claim(
        "A spectral start is better than starting each factor by itself.",
        lower("spectral", "naive", "of the naive start minus that of the spectral one"),
    ),
    Claim(
        "The directions of the singular vectors matter more than the singular values: all set to one, it is no worse.",
        Rule(
            f"Test loss with singular values of one minus that of the spectral start, paired by seed, is at most {MARGIN} "
            "nats. (The margin is ours.)",
            lambda data: last(data, "test_loss", "spectral ones") - last(data, "test_loss", "spectral"),
            MARGIN,
            below=True,
            unit="nats",
        ),
    ),
    Claim(
        "The spectral start helps by its directions and not only by its size (our control).",
        lower("spectral", "naive, resized", "of the naive start of the same size minus that of the spectral one"),
    ),
    Claim(
        "Frobenius decay is better than decay of the factors.",
        lower(
            "Frobenius decay",
            "factor decay",
            "with decay of the factors minus that with Frobenius decay, each of its best strength,",
        ),
    ),
    Claim(
        "Frobenius decay keeps a higher effective rank than decay of the factors.",
        Rule(
            "Effective rank with Frobenius decay minus that with decay of the factors, both of the same strength, mean of "
            "both weights, paired by seed, is above 0.",
            lambda data: (
                last(data, "rank_in_use", "Frobenius decay") - last(data, "rank_in_use", "factor decay, strong")
            ),
            0.0,
            unit="directions",
        ),
    ),
    Claim(
        "Frobenius decay is better than no decay (our control).",
        lower("Frobenius decay", "spectral", "without decay minus that with Frobenius decay"),
    ),
    Claim(
        "A short training at full rank before the layer is factorised helps a language model.",
        lower("dense first", "spectral", "of low rank from the start minus that of dense first"),
    ),
    Claim(
        "A higher rank is better (our control).",
        lower(f"rank {HIGH}", f"rank {LOW}", f"at rank {LOW} minus that at rank {HIGH}"),
    ),
    Claim(
        "Low rank costs something: dense is better (our control).",
        lower("dense", "spectral", "of low rank minus that of dense"),
    ),
    Claim(
        "The usual explanations fail on GPT-2 and on large image networks.",
        needs="GPT-2 on a corpus of a billion words, and residual networks on ImageNet: days on several GPUs.",
    ),
    Claim(
        "Training is up to twice as fast.",
        needs="Matrices of a thousand rows and more on a GPU; here the two small products cost as much as one larger one.",
    ),
]

study = Study(
    name="low_rank_training",
    paper="P071",
    title="Training in low rank",
    question="Does a low-rank layer have to start and be held as a dense one would?",
    task=lambda scale: MaskedCharacters(batch=scale.options["batch"], windows=scale.options["windows"]),
    backbone=lambda task, layer: CharacterTransformer(task, layer, width=WIDTH, depth=1, heads=4),
    arms=ARMS,
    scales={
        "smoke": Scale(8, 2, 3, {"batch": 8, "windows": 16}),
        "lesson": Scale(300, 5, 6, {"batch": 8, "windows": 256}),
    },
    claims=CLAIMS,
    probes={
        "test_loss": score("loss"),
        "rank_in_use": rank_in_use,
        "weight_spectrum": spectra,
    },
    shows="test_loss",
)
