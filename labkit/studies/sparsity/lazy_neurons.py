"""Does training make a network lazy, and why? P466 on pictures of clothes.

Half of the units of a new ReLU network are active for an input. The paper finds a few percent after training, in every
Transformer it looks at, more so in wide and deep ones, and with random labels and random inputs too. Here: networks of one
hidden layer (784-width-10) and small vision transformers (width 32, hidden width 128, 16 patches), 500 steps of 64 images,
and a measurement of what the paper says is the cause: at birth the loss pushes active units down on average.

Laziness depends on the learning rate as much as on the width. So each width has the rate at which it learns most, and there are
controls that give all widths the same rate. Rates were chosen on 2,000 training images that were held out, seed 100, 400
steps, of 0.001, 0.002, 0.005, 0.01 and 0.02: 0.01 for width 64, 0.005 for 256, 0.002 for 1024 (0.005 is as good within
noise). The vision transformers were tried at 0.005, 0.01 and 0.02; 0.01 was within noise of the best for 1, 2 and 4 blocks.
The shares of active units were seen in those runs; the rules have no threshold but 0.

Active means above 0, which for a ReLU is the paper's count of non-zeros and for tanh says that the unit's input is positive.
It is counted on test images, and for the network that learns from noise on new noise.

Source: "The Lazy Neuron Phenomenon: On Emergence of Activation Sparsity in Transformers" (P466).
"""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.analysis.sparsity.active_push import active_push
from labkit.recording.hidden import hidden
from labkit.workbench.backbones.only_layer import OnlyLayer
from labkit.workbench.backbones.vision_transformer import VisionTransformer
from labkit.workbench.baselines import DenseFeedforward
from labkit.workbench.claim import Claim, Rule
from labkit.workbench.other_rows import OtherRows, random_inputs, random_labels
from labkit.workbench.probes import score
from labkit.workbench.study import Arm, Scale, Study
from labkit.workbench.tasks.standardised_images import StandardisedImages

BEST = {64: 0.01, 256: 0.005, 1024: 0.002}
SAME, BLOCKS_RATE = 0.005, 0.01
USUAL, NARROW, WIDE = "width 256", "width 64", "width 1024"
NARROW_SAME, WIDE_SAME = "width 64, rate of 256", "width 1024, rate of 256"
LABELS, INPUTS, UNPUSHED, SMOOTH = "random labels", "random inputs", "no push at birth", "tanh"
FROZEN, SHALLOW, DEEP = "hidden layer untrained", "transformer, 1 block", "transformer, 4 blocks"
OFTEN = ["never", *(f"{low}-{low + 10} %" for low in range(0, 100, 10))]


class Remembering(DenseFeedforward):
    """A dense layer that keeps its first weights, so that what was foretold at birth can be compared with what came."""

    def __init__(self, in_width: int, out_width: int, *, width: int, kind: str = ""):
        super().__init__(in_width, out_width, width=width)
        self.kind = kind
        if kind == UNPUSHED:
            nn.init.zeros_(self.out.weight)
        if kind == FROZEN:
            self.into.requires_grad_(False)
        for name, weight in list(self.named_parameters()):
            self.register_buffer("first_" + name.replace(".", "_"), weight.detach().clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind != SMOOTH:
            return super().forward(x)
        return self.out(torch.tanh(self.into(x)))


def width(size: int, kind: str = "") -> Callable[[int, int], nn.Module]:
    return lambda i, o: Remembering(i, o, width=size, kind=kind)


def blocks(depth: int) -> Callable[[int, int], nn.Module]:
    """A whole vision transformer in the slot; its blocks have dense layers of 128 ReLU units."""

    def made(i: int, o: int) -> nn.Module:
        task = SimpleNamespace(in_width=i, out_width=o)
        return VisionTransformer(task, lambda a, b: DenseFeedforward(a, b, width=128), width=32, depth=depth)

    return made


def trained(rate: float, **other) -> Callable[[], OtherRows]:
    return lambda: OtherRows(rate, **other)


USED = f"Rate {SAME:g}, as the network of width 256."
ARMS = {
    USUAL: Arm(
        width(256),
        trained(BEST[256]),
        "method",
        f"One hidden layer of 256 ReLU units, at its best rate, {BEST[256]:g}.",
    ),
    NARROW: Arm(width(64), trained(BEST[64]), "method", f"64 units, at their best rate, {BEST[64]:g}."),
    WIDE: Arm(width(1024), trained(BEST[1024]), "method", f"1,024 units, at their best rate, {BEST[1024]:g}."),
    SHALLOW: Arm(blocks(1), trained(BLOCKS_RATE), "method", f"Vision transformer of one block, rate {BLOCKS_RATE:g}."),
    DEEP: Arm(blocks(4), trained(BLOCKS_RATE), "method", f"Vision transformer of four blocks, rate {BLOCKS_RATE:g}."),
    LABELS: Arm(
        width(256, LABELS), trained(SAME, change=random_labels), "method", f"Learns random labels by heart. {USED}"
    ),
    INPUTS: Arm(
        width(256, INPUTS), trained(SAME, change=random_inputs), "method", f"Learns Gaussian noise by heart. {USED}"
    ),
    NARROW_SAME: Arm(width(64), trained(SAME), "control", f"64 units. {USED}"),
    WIDE_SAME: Arm(width(1024), trained(SAME), "control", f"1,024 units. {USED}"),
    UNPUSHED: Arm(
        width(256, UNPUSHED), trained(SAME), "control", f"Outgoing weights begin at 0: the loss does not push. {USED}"
    ),
    SMOOTH: Arm(width(256, SMOOTH), trained(SAME), "control", f"tanh in place of ReLU. {USED}"),
    FROZEN: Arm(
        width(256, FROZEN), trained(SAME), "baseline", f"Only the outgoing weights learn; as many parameters. {USED}"
    ),
}


def looked_at(model: nn.Module, task) -> tuple[Tensor, Tensor]:
    """What activity is counted on: test images, or new noise for the network that learns from noise."""
    x, labels = task.probe()
    if getattr(model.slot, "kind", "") == INPUTS:
        x, labels = random_inputs(x, labels, task.out_width, torch.Generator().manual_seed(1))
    return x, labels


def active(model: nn.Module, task) -> xr.DataArray:
    """Share of the units above 0, the mean over inputs, patches and layers."""
    shares = [(found.values > 0).float().mean().item() for found in hidden(model, looked_at(model, task)).values()]
    return xr.DataArray(np.mean(shares), attrs={"long_name": "active units", "units": "fraction"})


def awake(model: nn.Module, task) -> xr.DataArray:
    """The same among the units that are active for at least one input."""
    often = [(found.values > 0).float().mean(0) for found in hidden(model, looked_at(model, task)).values()]
    shares = [one[one > 0].mean().item() for one in often if bool((one > 0).any())]
    attrs = {"long_name": "active units, among those that are ever active", "units": "fraction"}
    return xr.DataArray(np.mean(shares) if shares else np.nan, attrs=attrs)


def push(model: nn.Module, task) -> xr.DataArray:
    """The mean push of the loss on active units, over the units of the last layer."""
    found = active_push(model, looked_at(model, task)).isel(layer=-1).mean()
    return xr.DataArray(
        found.item(), attrs={"long_name": "push of the loss on active units", "units": "nats per activation"}
    )


def foretold(model: nn.Module, task) -> xr.DataArray | None:
    """Rank correlation over the units: push at birth, summed over the images, against the fall of activity since.

    None for networks that do not learn these labels with a ReLU, or that are not pushed at birth.
    """
    layer = model.slot
    if not isinstance(layer, Remembering) or layer.kind:
        return None
    x, labels = looked_at(model, task)
    first = F.linear(x, layer.first_into_weight, layer.first_into_bias).relu()
    scores = F.linear(first, layer.first_out_weight, layer.first_out_bias)
    slope = (scores.softmax(-1) - F.one_hot(labels, scores.shape[-1])) @ layer.first_out_weight
    pushed = (slope * (first > 0)).mean(0)
    fall = (first > 0).float().mean(0) - (layer.into(x) > 0).float().mean(0)
    ranks = torch.stack([pushed.argsort().argsort(), fall.argsort().argsort()]).float()
    value = torch.corrcoef(ranks)[0, 1].item() if bool(fall.any()) else np.nan
    return xr.DataArray(value, attrs={"long_name": "push at birth against fall since (rank correlation)", "units": ""})


def how_often(model: nn.Module, task) -> xr.DataArray:
    """How many units are active how often: for no input, for up to a tenth of them, and so on."""
    rows = []
    for found in hidden(model, looked_at(model, task)).values():
        often = (found.values > 0).float().mean(0)
        bins = torch.where(often > 0, 1 + (often * 10).long().clamp(max=9), 0)
        rows.append(torch.bincount(bins, minlength=len(OFTEN)) / len(often))
    says = (
        "Each row is a step, each column how often a unit is active. Units move to the left as the network grows lazy."
    )
    return xr.DataArray(
        torch.stack(rows).mean(0).numpy(),
        dims=("often",),
        coords={"often": ("often", OFTEN, {"long_name": "active for this share of the inputs"})},
        attrs={
            "long_name": "units by how often they are active",
            "units": "share of the units",
            "view": "heatmap",
            "says": says,
        }
        | {"mean": "seeds"},
    )


def at(data: xr.Dataset, name: str, arm: str, step: int = -1) -> np.ndarray:
    return data[name].sel(arm=arm).isel(step=step).transpose("seed").values


def fall(arm: str) -> Rule:
    return Rule(
        f"Share of active units of {arm} at the end minus that at birth, paired by seed, is below 0.",
        lambda data: at(data, "active", arm) - at(data, "active", arm, 0),
        0.0,
        below=True,
        unit="points",
    )


def lazier(arm: str, than: str) -> Rule:
    return Rule(
        f"Share of active units of {arm} minus that of {than} at the end, paired by seed, is below 0.",
        lambda data: at(data, "active", arm) - at(data, "active", than),
        0.0,
        below=True,
        unit="points",
    )


CLAIMS = [
    Claim("Activations become sparse by training: in a network of one hidden layer,", fall(USUAL)),
    Claim("... in Transformers,", fall(DEEP)),
    Claim("... with random labels,", fall(LABELS)),
    Claim("... and with random inputs.", fall(INPUTS)),
    Claim("Wider networks are sparser (each width at its best learning rate).", lazier(WIDE, NARROW)),
    Claim("... and at one learning rate for all (our control).", lazier(WIDE_SAME, NARROW_SAME)),
    Claim("Deeper networks are sparser.", lazier(DEEP, SHALLOW)),
    Claim(
        "At birth the gradient to active units is positive on average: the loss pushes them down.",
        Rule(
            "Mean push on the active units of width 256 before the first step is above 0.",
            lambda data: at(data, "push", USUAL, 0),
            0.0,
            unit="nats per activation",
        ),
    ),
    Claim(
        "The push at birth tells which units will fall (our control).",
        Rule(
            "Rank correlation over the units of width 256 of the push at birth with the fall until the end is above 0.",
            lambda data: at(data, "foretold", USUAL),
            0.0,
        ),
    ),
    Claim("Without a push at birth, units stay more active (our control).", lazier(USUAL, UNPUSHED)),
    Claim("It takes training of the hidden layer (our control).", lazier(USUAL, FROZEN)),
    Claim("It takes a ReLU: with tanh more units stay above 0 (our control).", lazier(USUAL, SMOOTH)),
    Claim(
        "It is not only that units die (our control).",
        Rule(
            "Share of active units among those that are ever active, width 256, at the end minus at birth, is below 0.",
            lambda data: at(data, "awake", USUAL) - at(data, "awake", USUAL, 0),
            0.0,
            below=True,
            unit="points",
        ),
    ),
    Claim(
        "3.0 % of the activations are not zero in T5-Base.",
        needs="T5-Base and its training text: weeks on accelerators.",
    ),
    Claim("6.3 % are not zero in ViT-B/16.", needs="ViT-B/16 trained on millions of images: days on accelerators."),
]

study = Study(
    name="lazy_neurons",
    paper="P466",
    title="The lazy neuron phenomenon",
    question="Does training make a network lazy, and is it because the loss pushes active units down at birth?",
    task=lambda scale: StandardisedImages(
        "fashion_mnist", rows=scale.options["rows"], test_rows=scale.options["test_rows"]
    ),
    backbone=OnlyLayer,
    arms=ARMS,
    scales={
        "smoke": Scale(15, 2, 3, {"rows": 600, "test_rows": 100}),
        "lesson": Scale(500, 3, options={"rows": 10_000, "test_rows": 500}, at=(0, 5, 15, 40, 80, 150, 250, 350, 500)),
    },
    claims=CLAIMS,
    probes={
        "test_accuracy": score("accuracy"),
        "test_loss": score("loss"),
        "active": active,
        "awake": awake,
        "push": push,
        "foretold": foretold,
        "how_often": how_often,
    },
)
