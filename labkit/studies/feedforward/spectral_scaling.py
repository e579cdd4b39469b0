"""How many directions does a wider feedforward layer really use? P202 in a small character transformer.

The same masked language model of characters on a novel is trained with feedforward layers of 0.5 to 16 times the width of
the model. After training, the eigenvalues of the covariance of the hidden units say how many directions are in use:
softly (weak ones count) and hard (only strong ones do). Both are fitted as powers of the width, log rank = a + b log
width, for each seed; ranks are geometric means over the two layers.

The baseline of every spectrum is the network as it was drawn: each arm is measured at step 0 too. The control has no
nonlinearity. In every arm each unit's values are also shuffled among the tokens, which keeps how each unit varies and
destroys what units share.

The arms take the same steps with the same learning rate, so they differ in width and are not matched in cost: the cost is
what P202 asks about. Trial runs of 300 steps with one seed at 0.5, 4 and 16 times had been looked at when the rules were
written; their thresholds are the paper's words or stated here: "almost perfect" is read as R² of 0.99.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.analysis.geometry.spectral_utilisation import spectral_utilisation, utilisation_of
from labkit.parts.spectra import power_law, variances
from labkit.recording.hidden import hidden
from labkit.workbench.backbones.character_transformer import CharacterTransformer
from labkit.workbench.backprop import Backprop
from labkit.workbench.claim import Claim, Rule, last
from labkit.workbench.probes import score
from labkit.workbench.study import Arm, Scale, Study
from labkit.workbench.tasks.masked_characters import MaskedCharacters

MODEL = 32
WIDTHS = {f"{MODEL * times:g} units": int(MODEL * times) for times in (0.5, 1, 2, 4, 8, 16)}
UNITS = np.array(list(WIDTHS.values()))
USUAL, NARROWEST, WIDEST = (f"{MODEL * times:g} units" for times in (4, 0.5, 16))
LINEAR = f"{WIDEST}, no nonlinearity"
PARTS = np.arange(1, 21) / 20


class Feedforward(nn.Module):
    """The two-layer network of GPT-2, with GELU between the layers."""

    def __init__(self, in_width: int, out_width: int, width: int, activation: Callable[[Tensor], Tensor] = F.gelu):
        super().__init__()
        self.into, self.out, self.activation = nn.Linear(in_width, width), nn.Linear(width, out_width), activation

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.activation(self.into(x)))


def trained() -> Backprop:
    """The best of 0.003, 0.01, 0.03 and 0.06 at widths 16 and 128 and as good as 0.06 at 512, on training text, one seed."""
    return Backprop(learning_rate=0.03)


ARMS = {
    name: Arm(
        partial(Feedforward, width=width),
        trained,
        "baseline" if name == USUAL else "method",
        f"{width / MODEL:g} times the model's width{', as is usual' if name == USUAL else ''}. Steps and learning rate "
        "are those of all arms; parameters grow with the width.",
    )
    for name, width in WIDTHS.items()
} | {
    LINEAR: Arm(
        lambda i, o: Feedforward(i, o, WIDTHS[WIDEST], nn.Identity()),
        trained,
        "control",
        "The widest layer without its nonlinearity: two linear maps, of rank no higher than the model's width.",
    ),
}


class Looking:
    """The spectra of a model as it is, worked out once for all probes of one step."""

    def __init__(self) -> None:
        self.state: tuple = ()

    def __call__(self, model: nn.Module, task: MaskedCharacters) -> xr.DataArray:
        state = id(model), sum(parameter._version for parameter in model.parameters())
        if state != self.state:
            found = spectral_utilisation(model, task.probe())
            slots = [name for name in found.layer.values if str(name).endswith("slot")]
            self.state, self.found = state, found.sel(layer=slots).assign_coords(layer=range(len(slots)))
        return self.found


LOOK = Looking()


def quantity(name: str, units: str, stage: str = "after") -> Callable[[nn.Module, MaskedCharacters], xr.DataArray]:
    """A probe of one number: the geometric mean over the layers."""

    def probe(model: nn.Module, task: MaskedCharacters) -> xr.DataArray:
        found = LOOK(model, task).sel(stage=stage, quantity=name, drop=True)
        attrs = {"long_name": f"{name} {stage} the nonlinearity", "units": units}
        return np.exp(np.log(found).mean("layer")).drop_vars(["units"], errors="ignore").assign_attrs(attrs)

    return probe


def by_block(model: nn.Module, task: MaskedCharacters) -> xr.DataArray:
    """Utilisation of each block, for a picture over the steps."""
    found = LOOK(model, task).sel(stage="after", quantity="utilisation", drop=True).drop_vars("units")
    return found.rename(layer="block").assign_attrs(
        long_name="utilisation by block and step",
        units="share of the width",
        view="heatmap",
        mean="seeds",
        says="Which share of its width each block uses in the course of the training. Compare a narrow arm with a wide one.",
    )


def slots(model: nn.Module, task: MaskedCharacters) -> list[Tensor]:
    return [found.values for name, found in hidden(model, task.probe()).items() if name.endswith("slot")]


def cumulated(model: nn.Module, task: MaskedCharacters) -> xr.DataArray:
    """Which share of the variance lies in the strongest tenth, fifth, ... of the directions."""
    rows = []
    for values in slots(model, task):
        reached = np.ones(values.shape[-1] + 1)
        powers = variances(values.flatten(0, -2))
        reached[: len(powers) + 1] = np.concatenate([[0], np.cumsum(powers)]) / powers.sum()
        rows.append(np.interp(PARTS, np.arange(len(reached)) / (len(reached) - 1), reached))
    return xr.DataArray(
        np.array(rows, dtype=np.float32),
        dims=("block", "part of the width"),
        coords={"block": range(len(rows)), "part of the width": PARTS},
        attrs={
            "long_name": "variance in the strongest directions",
            "units": "share of the variance",
            "view": "heatmap",
            "mean": "seeds",
            "says": "How much of the variance lies in the strongest directions, by the part of the width that they are. "
            "The sooner a row is full, the less of the width is used: compare the narrowest arm with the widest.",
        },
    )


def shuffled(model: nn.Module, task: MaskedCharacters) -> xr.DataArray:
    """The hard rank when each unit's values are shuffled among the tokens: units vary as before, and share nothing."""
    chance = torch.Generator().manual_seed(0)
    orders = [(values, torch.rand(values.shape, generator=chance).argsort(0)) for values in slots(model, task)]
    found = [utilisation_of(values.gather(0, order))["hard rank"] for values, order in orders]
    return xr.DataArray(
        np.exp(np.log(found).mean()), attrs={"long_name": "hard rank of shuffled units", "units": "directions"}
    )


def ranks(data: xr.Dataset, name: str, step: int = -1) -> np.ndarray:
    """(seed, width) of a rank after the nonlinearity, at the end or at step 0."""
    found = data[name].sel(arm=list(WIDTHS))
    return (found.isel(step=step) if "step" in found.dims else found).transpose("seed", "arm").values


def exponent(values: np.ndarray) -> np.ndarray:
    """b of log rank = a + b log width. Shapes: values (seed, width) -> (seed,)."""
    return power_law(UNITS, values)[1]


def straight(values: np.ndarray) -> np.ndarray:
    """R² of the same. Shapes: values (seed, width) -> (seed,)."""
    return power_law(UNITS, values)[2]


def foretold(data: xr.Dataset) -> np.ndarray:
    """By which part the soft rank of the widest arm misses what the narrower arms foretell; one number a seed."""
    values = ranks(data, "soft_rank")
    level, slope, _ = power_law(UNITS[:-1], values[:, :-1])
    return np.abs(values[:, -1] / np.exp(level + slope * np.log(UNITS[-1])) - 1)


def apart(data: xr.Dataset, step: int = -1) -> np.ndarray:
    """Exponent of the soft rank minus that of the hard rank."""
    return exponent(ranks(data, "soft_rank", step)) - exponent(ranks(data, "hard_rank", step))


CLAIMS = [
    Claim(
        "Soft rank follows an almost perfect power law with the width of the feedforward layer.",
        Rule(
            "R² of log soft rank = a + b log width over the six widths, of each seed, is at least 0.99.",
            lambda data: straight(ranks(data, "soft_rank")),
            0.99,
        ),
    ),
    Claim(
        "The power law of the soft rank foretells a width that it was not fitted to (our control).",
        Rule(
            "Fitted to the five narrower widths, it misses the soft rank of the widest by at most 10 %, in each seed.",
            foretold,
            0.10,
            below=True,
            unit="percent",
        ),
    ),
    Claim(
        "Hard rank grows only sublinearly.",
        Rule(
            "The exponent b of log hard rank = a + b log width, of each seed, is below 1.",
            lambda data: exponent(ranks(data, "hard_rank")),
            1.0,
            below=True,
        ),
    ),
    Claim(
        "The laws are asymmetric: widening adds weak directions rather than strong ones.",
        Rule("The exponent of the soft rank minus that of the hard rank, of each seed, is above 0.", apart, 0.0),
    ),
    Claim(
        "Hard rank has a high variance: it keeps to its power law less well than soft rank.",
        Rule(
            "R² of the soft rank's power law minus that of the hard rank's, of each seed, is above 0.",
            lambda data: straight(ranks(data, "soft_rank")) - straight(ranks(data, "hard_rank")),
            0.0,
        ),
    ),
    Claim(
        "At larger widths much of the latent space is left unused.",
        Rule(
            f"Utilisation of {WIDEST} divided by that of {NARROWEST}, paired by seed, is below 1.",
            lambda data: last(data, "utilisation", WIDEST) / last(data, "utilisation", NARROWEST),
            1.0,
            below=True,
            unit="times",
        ),
    ),
    Claim(
        "The asymmetry is learnt: it is larger than in the networks as they were drawn (our control).",
        Rule(
            "Exponent of soft rank minus exponent of hard rank, after the training minus before it, is above 0.",
            lambda data: apart(data) - apart(data, 0),
            0.0,
        ),
    ),
    Claim(
        "Hard rank stays behind because units share what they say, not because some vary more (our control).",
        Rule(
            "Exponent of the hard rank with each unit's values shuffled among the tokens minus that as it is, is above 0.",
            lambda data: exponent(ranks(data, "shuffled")) - exponent(ranks(data, "hard_rank")),
            0.0,
        ),
    ),
    Claim(
        "It is the nonlinearity that fills the width (our control).",
        Rule(
            f"Soft rank of {WIDEST} divided by that of the same without a nonlinearity, paired by seed, is above 1.",
            lambda data: last(data, "soft_rank", WIDEST) / last(data, "soft_rank", LINEAR),
            1.0,
            unit="times",
        ),
    ),
    Claim(
        "The laws hold for LLaMA, GPT-2 and nGPT models of 70 million parameters and more.",
        needs="Language models of several families, each trained at several widths on billions of words: days on GPUs.",
    ),
]

study = Study(
    name="spectral_scaling",
    paper="P202",
    title="Spectral scaling laws",
    question="How many directions does a wider feedforward layer really use?",
    task=lambda scale: MaskedCharacters(batch=scale.options["batch"], windows=scale.options["windows"]),
    backbone=lambda task, layer: CharacterTransformer(task, layer, width=MODEL, depth=2, heads=4),
    arms=ARMS,
    scales={
        "smoke": Scale(4, 2, 2, {"batch": 8, "windows": 8}),
        "lesson": Scale(240, 3, 5, {"batch": 16, "windows": 96}),
    },
    claims=CLAIMS,
    probes={
        "test_accuracy": score("accuracy"),
        "test_loss": score("loss"),
        "soft_rank": quantity("soft rank", "directions"),
        "hard_rank": quantity("hard rank", "directions"),
        "utilisation": quantity("utilisation", "share of the width"),
        "concentration": quantity("concentration", "0 even, 1 one direction"),
        "soft_rank_before": quantity("soft rank", "directions", "before"),
        "by_block": by_block,
    },
    final={"cumulated": cumulated, "shuffled": shuffled},
)
