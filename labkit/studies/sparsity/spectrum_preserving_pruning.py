"""Is pruning a way to keep the spectrum of the weights? P069 on two small networks and pictures of clothes.

A network is trained, pruned at once, and trained on under its mask. All ways begin with bitwise the same trained network,
keep exactly as many weights and are fine-tuned on the same batches. While it trains 5 % of the weights stay; at the end the
trained network is taken out again and pruned to six densities, to see the accuracy at once, and at three after fine-tuning.

What is pruned: every weight matrix, kernels as matrices. All ways but two share the density out over the layers in the same
manner, small layers denser; "alike" gives all layers the same, "of all layers" takes the largest of all.

The spectral error of a network is ||W - W_s||_2 / ||W||_2, averaged over its layers. A rank correlation within one density
asks whether it predicts which way loses less; over all densities it would mostly see that more pruning costs more.

"Means kept" is our control for the shortest explanation: small weights are many and may agree with each other, and then
thresholding shifts what a unit hears on average. That can be mended in the biases, without any sampling.

Everything was chosen with seeds 100 to 102 on 4000 images held out of the training data, never on the test images: the rate
0.01 of the first training of 0.001, 0.003, 0.01 and 0.03 (best for both networks); for fine-tuning, for the sampled and for the
largest alike, 0.03 of 0.001 to 0.1 in the dense layers and 0.1 of 0.001 to 0.3 in the convolutions, the best there of both
ways; for sampling the power of 1 and 2, and the number of candidates of 1.25, 1.5, 2, 3 and 5 times the places and all
weights, by the mean over both networks. How the density is shared out was compared for magnitude and for sampling: by degree
was best for both. That sampling is ahead in the dense layers and not in the convolutions was seen there before the rules were
written. The margin of half a point and the thresholds of the correlations are ours; the latter were set before any correlation
was computed.

Source: "Neural Network Pruning as Spectrum Preserving Process" (P069), whose abstract claims better results and names no figures.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr
from scipy.stats import spearmanr
from torch import nn

from labkit.transforms.prune.sparsify_weights import sparsify_weights
from labkit.workbench.claim import Claim, Rule
from labkit.workbench.probes import score
from labkit.workbench.prune_and_tune import (
    ROWS,
    Prunable,
    PruneAndTune,
    accuracies,
    counted,
    errors,
    keep_means,
    layers,
    shuffle_values,
    singular_values,
    spectra,
)
from labkit.workbench.study import Arm, Scale, Study
from labkit.workbench.tasks.classification import Classification

DENSITIES, TUNED, SHOWN = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01), (0.1, 0.05, 0.02), 0.05
RATE, CANDIDATES, UNTIL = 0.01, 5.0, 0.8
COMPONENTS, MARGIN = 24, 0.005
SAMPLED, UNBIASED, LARGEST, RESCALED = "sampled", "sampled from all", "largest", "largest, rescaled"
GLOBAL, ALIKE, MEANS = "largest of all layers", "largest, layers alike", "largest, means kept"
SHUFFLED, RANDOM = "largest, shuffled", "random"
DENSE, CONVOLUTIONS = "dense layers", "convolutions"
TUNING_RATE = {DENSE: 0.03, CONVOLUTIONS: 0.1}

WAYS: Mapping[str, tuple[Literal["method", "baseline", "control"], Mapping[str, Any], str]] = {
    SAMPLED: (
        "method",
        {"candidates": CANDIDATES},
        f"Drawn by magnitude among {CANDIDATES:g} times as many candidates, each divided by its chance.",
    ),
    UNBIASED: ("method", {}, "The same among all weights: right on average."),
    LARGEST: ("baseline", {"by": "magnitude"}, "Thresholding: the largest weights of each layer."),
    RESCALED: ("baseline", {"by": "rescaled"}, "The largest, scaled up until their squares add up as before."),
    GLOBAL: ("baseline", {"by": "magnitude", "layout": "global"}, "The largest of all layers together."),
    ALIKE: ("control", {"by": "magnitude", "layout": "uniform"}, "The largest, all layers equally dense."),
    MEANS: ("control", {"by": "magnitude"}, "The largest; the biases make up for what units hear less on average."),
    SHUFFLED: ("control", {"by": "magnitude"}, "The places of the largest, their values shuffled within each layer."),
    RANDOM: ("control", {"by": "random"}, "Any weights."),
}
COMPARED = {DENSE: tuple(WAYS), CONVOLUTIONS: (SAMPLED, LARGEST, RANDOM)}


def pruning(name: str) -> Callable[[nn.Module, float, int, Classification], nn.Module]:
    """A way of pruning, as a function of model, density, seed and task."""
    settings: dict[str, Any] = {"layout": "erdos_renyi"} | dict(WAYS[name][1])

    def way(model: nn.Module, density: float, seed: int, task: Classification) -> nn.Module:
        found = sparsify_weights(model, density=density, seed=seed, **settings)
        if name == SHUFFLED:
            shuffle_values(found, seed)
        if name == MEANS:
            keep_means(model, found, task.train_x[:ROWS])  # type: ignore[arg-type]
        return found

    return way


def network(kind: str, name: str) -> Callable[[int, int], nn.Module]:
    """784-200-80-10 with rectifiers, or two convolutions of stride 2 and a layer to the classes."""

    def build(in_width: int, out_width: int) -> Prunable:
        if kind == DENSE:
            parts = [nn.Linear(in_width, 200), nn.ReLU(), nn.Linear(200, 80), nn.ReLU(), nn.Linear(80, out_width)]
            return Prunable(*parts, way=pruning(name), named=name)
        side = round(in_width**0.5)
        first, second = (nn.Conv2d(i, o, 5, stride=2, padding=2) for i, o in ((1, 8), (8, 16)))
        last = nn.Linear(16 * (side // 4) ** 2, out_width)
        parts = [nn.Unflatten(1, (1, side, side)), first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), last]
        return Prunable(*parts, way=pruning(name), named=name)

    return build


def named(name: str, kind: str) -> str:
    return name if kind == DENSE else f"{name} ({kind})"


ARMS = {
    named(name, kind): Arm(
        network(kind, name),
        lambda kind=kind: PruneAndTune(SHOWN, RATE, TUNING_RATE[kind], UNTIL),
        WAYS[name][0],
        f"{WAYS[name][2]} {kind.capitalize()}; as many weights and steps as the others.",
    )
    for kind, names in COMPARED.items()
    for name in names
}


def growth(model: nn.Module, task: Classification) -> xr.DataArray | None:
    """The singular values while it trains: (layer, component), of the arms in which the figure is shown."""
    if not isinstance(model, Prunable) or model.named != SAMPLED:
        return None
    values = singular_values(model, COMPONENTS)
    return xr.DataArray(
        values,
        dims=("layer", "component"),
        coords={"layer": layers(len(values)), "component": counted(COMPONENTS)},
        attrs={
            "long_name": "singular values in the training",
            "units": "",
            "view": "heatmap",
            "mean": "seeds",
            "says": "Training grows a few strong directions out of a flat beginning: that is the spectrum there is to keep. "
            "The break near the end is the pruning.",
        },
    )


def kept(data: xr.Dataset, name: str, kind: str = DENSE, when: str = "as pruned") -> np.ndarray:
    """Test accuracy, mean over the densities that were measured, one number a seed."""
    found = data.accuracies.sel(arm=named(name, kind), when=when).sel(gone=data.gone > 0)
    return found.mean("gone", skipna=True).transpose("seed").values


def ahead(of: str, kind: str = DENSE, when: str = "as pruned", name: str = SAMPLED, least: float = 0.0) -> Rule:
    margin = "above 0" if least == 0 else f"above {100 * least:g} points"
    many = len(DENSITIES) if when == "as pruned" else len(TUNED)
    return Rule(
        f"Test accuracy {when}, {kind}, mean over {many} densities: that of '{name}' minus that of '{of}', paired by seed, "
        f"is {margin}.",
        lambda data: kept(data, name, kind, when) - kept(data, of, kind, when),
        least,
        unit="points",
    )


def prediction(data: xr.Dataset, norm: str = "spectral", within: bool = True) -> np.ndarray:
    """Spearman's correlation of the error with the drop in accuracy over the ways (dense layers): one number a seed.

    `within` each density, then averaged; else over all ways and densities at once. "Means kept" and "shuffled" are left out:
    the one changes biases as well, which no error of weights can see, the other is no way of pruning.
    """
    ways = [name for name in COMPARED[DENSE] if name not in (MEANS, SHUFFLED)]
    table = data.accuracies.sel(arm=ways, when="as pruned")
    moved = data.errors.sel(arm=ways, norm=norm)
    drop = (table.sel(gone=0) - table.sel(gone=data.gone > 0)).transpose("seed", "gone", "arm").values
    moved = moved.sel(gone=data.gone > 0).transpose("seed", "gone", "arm").values
    if not within:
        return np.array([rank_correlation(one.ravel(), other.ravel()) for one, other in zip(moved, drop, strict=True)])
    found = [[rank_correlation(*pair) for pair in zip(*seed, strict=True)] for seed in zip(moved, drop, strict=True)]
    return np.nanmean(np.array(found), 1)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.asarray(spearmanr(one, other))[0])


def gentler(data: xr.Dataset, kind: str) -> np.ndarray:
    """By how much the spectral error of sampling is smaller than that of thresholding, mean over the densities."""
    found = data.errors.sel(norm="spectral").mean("gone")
    return (found.sel(arm=named(LARGEST, kind)) - found.sel(arm=named(SAMPLED, kind))).transpose("seed").values


RANKS = "Spearman's rank correlation of spectral error and drop in accuracy as pruned (dense layers)"
CLAIMS = [
    Claim("Sparsification made for neural networks prunes better than the baselines.", ahead(LARGEST, least=MARGIN)),
    Claim("... also than thresholding with rescaled weights.", ahead(RESCALED, least=MARGIN)),
    Claim("... also in convolutions.", ahead(LARGEST, CONVOLUTIONS, least=MARGIN)),
    Claim("... also after fine-tuning.", ahead(LARGEST, when="fine-tuned", least=MARGIN)),
    Claim("... and in convolutions after fine-tuning.", ahead(LARGEST, CONVOLUTIONS, "fine-tuned", least=MARGIN)),
    Claim(
        "Pruning is a process that preserves the spectrum: the error says what it costs.",
        Rule(f"{RANKS}, over all ways and densities, is above 0.8.", lambda data: prediction(data, within=False), 0.8),
    ),
    Claim(
        "... also among ways that keep equally many weights (our control).",
        Rule(f"{RANKS}, within each density, mean of the densities, is above 0.5.", prediction, 0.5),
    ),
    Claim(
        "It is the spectrum: the spectral error ranks the ways better than the Frobenius error (our control).",
        Rule(
            "The rank correlation within densities with the spectral error minus that with the Frobenius error is above 0.",
            lambda data: prediction(data) - prediction(data, "Frobenius"),
            0.0,
        ),
    ),
    Claim(
        "Sampling keeps the spectrum better than thresholding (our control).",
        Rule(
            "Spectral error of 'largest' minus that of 'sampled', dense layers, mean over the densities, is above 0.",
            lambda data: gentler(data, DENSE),
            0.0,
        ),
    ),
    Claim("It is more than the mean input that thresholding forgets (our control).", ahead(MEANS)),
    Claim("Cutting off small candidates helps: all weights as candidates are worse (our control).", ahead(UNBIASED)),
    Claim("Which value is where matters, not only the places (our control).", ahead(SHUFFLED, name=LARGEST)),
    Claim("The largest weights are better than any (our control).", ahead(RANDOM, name=LARGEST)),
    Claim(
        "The same density for all layers is worse than more for small ones (our control).", ahead(ALIKE, name=LARGEST)
    ),
    Claim(
        "It holds for networks as they are pruned in practice.",
        needs="Deep convolutional networks of millions of weights, trained out on larger pictures: hours on a GPU, for each "
        "way, density and seed.",
    ),
]

study = Study(
    name="spectrum_preserving_pruning",
    paper="P069",
    title="What pruning keeps",
    question="Is pruning good when it keeps the spectrum of the weights?",
    task=lambda scale: Classification(
        "fashion_mnist", batch=100, rows=scale.options["rows"], test_rows=scale.options["test_rows"]
    ),
    backbone=lambda task, layer: layer(task.in_width, task.out_width),
    arms=ARMS,
    scales={
        "smoke": Scale(15, 2, options={"rows": 500, "test_rows": 200}, at=(0, 6, 12, 15)),
        "lesson": Scale(
            350, 3, options={"rows": None, "test_rows": None}, at=(0, 10, 35, 70, 140, 210, 279, 280, 290, 315, 350)
        ),
    },
    claims=CLAIMS,
    probes={"test_accuracy": score("accuracy"), "test_loss": score("loss"), "growth": growth},
    final={
        "accuracies": accuracies(DENSITIES, TUNED),
        "errors": errors(DENSITIES),
        "spectra": spectra(DENSITIES, COMPONENTS),
    },
)
