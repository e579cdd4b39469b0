"""Can a layer be read like a table of numbers and still be as good as one with an activation function? P070 on digits.

Handwritten digits, one layer from pixels to classes, so that its tensor is the whole network. The bilinear layer is
compared with the ordinary layer (ReLU, GELU) and with gated ones (GLU, SwiGLU) of as many parameters, with a layer whose
two maps in stay as they were drawn, and with a linear classifier. Then each class keeps only the strongest eigenvectors
of its quadratic form, against as many of them drawn at random, and as many principal directions of the images.

The paper's abstract gives no figures; Shazeer, "GLU Variants Improve Transformer" (2020), measured that bilinear layers do
better than standard ones, on language models. That few eigenvectors suffice is from Pearce and others, "Bilinear MLPs
enable weight-based mechanistic interpretability" (2025). Ten eigenvectors and the margin of one point were set before any
layer was cut.
"""

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import nn

from labkit.layers.feedforward.bilinear_feedforward import BilinearFeedforward
from labkit.layers.feedforward.gated_feedforward import GatedFeedforward
from labkit.parts.quadratic import directions_of, weighted_squares
from labkit.workbench.backbones.only_layer import OnlyLayer
from labkit.workbench.backprop import Backprop
from labkit.workbench.baselines import DenseFeedforward
from labkit.workbench.claim import Claim, Rule, last
from labkit.workbench.matching import matched
from labkit.workbench.probes import score
from labkit.workbench.study import Arm, Scale, Study
from labkit.workbench.tasks.classification import Classification

WIDTH, KEPT, ALL = 64, (1, 2, 3, 5, 10, 20, 50), 128
TEN, SIDE, ACROSS = 10, 28, 5
STRONGEST, RANDOM, PRINCIPAL = "strongest eigenvectors", "random eigenvectors", "principal directions of the images"


def bilinear(i: int, o: int) -> BilinearFeedforward:
    return BilinearFeedforward(i, o, width=WIDTH)


def frozen(i: int, o: int) -> BilinearFeedforward:
    """Random products of two random maps; only what is made of them is learnt."""
    layer = bilinear(i, o)
    layer.left.requires_grad_(False)
    layer.right.requires_grad_(False)
    return layer


def as_large(build: Callable[[int, int, int], nn.Module]) -> Callable[[int, int], nn.Module]:
    """The layer of the width at which it has as many parameters as the bilinear one."""
    return lambda i, o: matched(lambda width: build(i, o, width), to=bilinear(i, o))


def gated(activation: str) -> Callable[[int, int], nn.Module]:
    return as_large(lambda i, o, width: GatedFeedforward(i, o, width=width, activation=activation))


def trained(rate: float, decay: float = 0.0) -> Callable[[], Backprop]:
    """Learning rates 0.005, 0.01, 0.02 and 0.04 by weight decays 0, 0.1 and 0.5 (then 1 and 2 without the lowest rate) were
    tried alike for the bilinear layer, ReLU, GELU, GLU and SwiGLU, with two seeds of 500 steps; for the two controls 0.01 to
    1, without decay. All were judged by 2,000 training images held out for it, by seeds that the study does not use."""
    return lambda: Backprop(learning_rate=rate, weight_decay=decay)


BILINEAR, FROZEN = "bilinear", "random products"
ARMS = {
    BILINEAR: Arm(bilinear, trained(0.02, 0.5), "method", f"Two maps into {WIDTH} units, multiplied; no biases."),
    "ReLU": Arm(
        as_large(lambda i, o, width: DenseFeedforward(i, o, width=width)),
        trained(0.02, 0.1),
        "baseline",
        "The ordinary layer, matched by parameters: twice as many units, each with one map and a bias.",
    ),
    "GELU": Arm(
        as_large(lambda i, o, width: nn.Sequential(nn.Linear(i, width), nn.GELU(), nn.Linear(width, o))),
        trained(0.02, 0.1),
        "baseline",
        "The ordinary layer with GELU, matched by parameters.",
    ),
    "GLU": Arm(
        gated("sigmoid"), trained(0.02, 0.5), "baseline", "Gated by a sigmoid, matched by parameters; no biases."
    ),
    "SwiGLU": Arm(gated("silu"), trained(0.01), "baseline", "Gated by SiLU, matched by parameters; no biases."),
    FROZEN: Arm(frozen, trained(1.0), "control", "The bilinear layer, its two maps in as they were drawn."),
    "linear": Arm(lambda i, o: nn.Linear(i, o), trained(0.03), "control", "No hidden units: what pixels alone say."),
}


def layer_of(model: nn.Module) -> BilinearFeedforward | None:
    return model.slot if isinstance(model.slot, BilinearFeedforward) else None


@torch.no_grad()
def difference(model: nn.Module, task: Classification) -> xr.DataArray | None:
    """How far the tensor's answer is from the layer's, as a part of the largest answer, over the test images."""
    layer = layer_of(model)
    if layer is None:
        return None
    x = task.test()[0]
    said = layer(x)
    through = torch.stack([((x @ form) * x).sum(-1) for form in layer.tensor()], -1)
    apart = (through - said).abs().max() / said.abs().max()
    return xr.DataArray(apart.item(), attrs={"long_name": "tensor against layer", "units": "of the largest answer"})


@torch.no_grad()
def kept(model: nn.Module, task: Classification) -> xr.DataArray | None:
    """Accuracy when every class keeps only so many directions of its quadratic form, chosen in three ways."""
    layer = layer_of(model)
    if layer is None:
        return None
    x, target = task.test()
    values, vectors = directions_of(layer.factors())
    chance = torch.Generator().manual_seed(0)
    order = torch.rand(values.shape, generator=chance).argsort(-1)
    drawn = values.gather(-1, order), vectors.gather(-2, order.unsqueeze(-1).expand_as(vectors))
    principal = torch.linalg.eigh(torch.cov(task.train_x.T))[1].flip(-1)
    middle = task.train_x.mean(0)
    rows = []
    for count in (*KEPT, ALL):
        near = middle + (x - middle) @ principal[:, :count] @ principal[:, :count].T
        said = [
            weighted_squares(x, value[:, :count], vector[:, :count]) for value, vector in ((values, vectors), drawn)
        ]
        rows.append([task.accuracy(one, target) for one in (*said, layer(near))])
    return xr.DataArray(
        np.array(rows).T,
        dims=("directions kept", "of each class"),
        coords={"directions kept": [STRONGEST, RANDOM, PRINCIPAL], "of each class": [*KEPT, ALL]},
        attrs={
            "long_name": "accuracy with few directions",
            "units": "fraction",
            "view": "heatmap",
            "mean": "seeds",
            "says": "Test accuracy when every class keeps only so many directions. If the upper row is strong from the "
            "left on, a class is a handful of directions; compare the arm with random products.",
        },
    )


def eigenvalues(model: nn.Module, task: Classification) -> xr.DataArray | None:
    """The strongest eigenvalues of every class, as a part of its strongest."""
    layer = layer_of(model)
    if layer is None:
        return None
    values = directions_of(layer.factors())[0][:, :30]
    return xr.DataArray(
        (values / values[:, :1].abs()).numpy(),
        dims=("class", "direction"),
        coords={"class": list(task.labels), "direction": np.arange(1, values.shape[1] + 1)},
        attrs={
            "long_name": "eigenvalues of each class",
            "units": "of the strongest",
            "view": "heatmap",
            "says": "Each class as a weighted sum of squares: positive directions speak for it, negative ones against it. "
            "The sooner a row fades, the fewer directions make up the class.",
        },
    )


def mosaic(layer: BilinearFeedforward) -> np.ndarray:
    """The strongest eigenvector for each class and the strongest against it, as images, each scaled to 1.

    Classes 0 to 4 in the upper two rows of tiles, 5 to 9 in the lower two; for a class above, against it below.
    Shapes: -> (4 · 28, 5 · 28).
    """
    values, vectors = directions_of(layer.factors())
    tiles = []
    for sign in (1, -1):
        best = (sign * values).argmax(-1)
        image = vectors[torch.arange(len(best)), best]
        tiles.append((image / image.abs().amax(-1, keepdim=True)).unflatten(-1, (SIDE, SIDE)))
    rows = [torch.cat(list(side[start : start + ACROSS]), 1) for start in (0, ACROSS) for side in tiles]
    return torch.cat(rows, 0).numpy()


def pictures(model: nn.Module, task: Classification) -> xr.DataArray | None:
    layer = layer_of(model)
    if layer is None or not layer.left.weight.requires_grad:
        return None
    shown = np.round(mosaic(layer), 1).astype(np.float32)
    return xr.DataArray(
        shown,
        dims=("row", "column"),
        coords={"row": range(len(shown)), "column": range(shown.shape[1])},
        attrs={
            "long_name": "strongest eigenvectors as images",
            "units": "of the strongest pixel",
            "view": "heatmap",
            "says": "One tile is the strongest direction of a class, read off the weights alone: classes 0 to 4 above, "
            "5 to 9 below; in each pair of rows, what speaks for the class and under it what speaks against it. Look for "
            "strokes; the sign of a whole tile means nothing.",
        },
    )


def at_ten(data: xr.Dataset, arm: str, chosen: str) -> np.ndarray:
    return data.kept.sel({"arm": arm, "directions kept": chosen, "of each class": TEN}).transpose("seed").values


def whole(data: xr.Dataset, arm: str) -> np.ndarray:
    return last(data, "test_accuracy", arm)


def better(than: str, margin: float = 0.0) -> Rule:
    beyond = f"-{100 * margin:g} points" if margin else "0"
    return Rule(
        f"Test accuracy of bilinear minus that of {than}, paired by seed, is above {beyond}.",
        lambda data: whole(data, BILINEAR) - whole(data, than),
        -margin,
        unit="points",
    )


CLAIMS = [
    Claim("Bilinear layers perform better than standard layers (ReLU).", better("ReLU")),
    Claim("Bilinear layers perform better than standard layers (GELU).", better("GELU")),
    Claim(
        "The layer can be written with linear operations and a third-order tensor.",
        Rule(
            "Largest difference between layer and tensor over the test images, divided by the layer's largest answer, "
            "after the training, is at most 0.00001.",
            lambda data: data.difference.sel(arm=BILINEAR).transpose("seed").values,
            1e-5,
            below=True,
        ),
    ),
    Claim("It gives away no more than one point to a gate with a squashing function (SwiGLU).", better("SwiGLU", 0.01)),
    Claim(
        "Few directions make up a class (Pearce and others, 2025): keeping ten of each costs a point at most (our margin).",
        Rule(
            "Test accuracy of bilinear minus that with the ten strongest of each class's 128 eigenvectors, paired by "
            "seed, is at most 1 point.",
            lambda data: whole(data, BILINEAR) - at_ten(data, BILINEAR, STRONGEST),
            0.01,
            below=True,
            unit="points",
        ),
    ),
    Claim(
        "It matters which ten: as many drawn at random do worse (our control).",
        Rule(
            "Accuracy with the ten strongest eigenvectors minus that with ten random ones, paired by seed, is above 0.",
            lambda data: at_ten(data, BILINEAR, STRONGEST) - at_ten(data, BILINEAR, RANDOM),
            0.0,
            unit="points",
        ),
    ),
    Claim(
        "The weights know more than the data's spread: ten principal directions of the images do worse (our control).",
        Rule(
            "Accuracy with the ten strongest eigenvectors minus that of the layer on images reduced to their ten strongest "
            "principal directions, paired by seed, is above 0.",
            lambda data: at_ten(data, BILINEAR, STRONGEST) - at_ten(data, BILINEAR, PRINCIPAL),
            0.0,
            unit="points",
        ),
    ),
    Claim(
        "That a class is few directions is learnt: forms made of random products lose more by the same cut (our control).",
        Rule(
            "Points lost by keeping the ten strongest eigenvectors, of random products minus of bilinear, paired by seed, "
            "is above 0.",
            lambda data: (
                (whole(data, FROZEN) - at_ten(data, FROZEN, STRONGEST))
                - (whole(data, BILINEAR) - at_ten(data, BILINEAR, STRONGEST))
            ),
            0.0,
            unit="points",
        ),
    ),
    Claim("The maps into the units are learnt: random products do worse (our control).", better(FROZEN)),
    Claim(
        "Bilinear layers do better than standard ones in language models, where nothing around them is linear.",
        needs="Transformers pretrained on a large text corpus, with each layer tuned: days on a GPU.",
    ),
]

study = Study(
    name="bilinear_feedforward",
    paper="P070",
    title="Bilinear layers",
    question="Can a layer be read like a tensor and be as good as one with an activation function?",
    task=lambda scale: Classification("mnist", rows=scale.options["rows"], test_rows=scale.options["test_rows"]),
    backbone=OnlyLayer,
    arms=ARMS,
    scales={
        "smoke": Scale(30, 2, 3, {"rows": 1000, "test_rows": 200}),
        "lesson": Scale(500, 8, 8, {"rows": None, "test_rows": None}),
    },
    claims=CLAIMS,
    probes={
        "test_accuracy": score("accuracy"),
        "train_accuracy": score("accuracy", "train"),
        "test_loss": score("loss"),
    },
    final={"difference": difference, "kept": kept, "eigenvalues": eigenvalues, "pictures": pictures},
)
