"""Where layers race: the data, the network around them, the places they take, and how large the dense layer is there."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from labkit.errors import LabError
from labkit.workbench.backbones.character_transformer import CharacterTransformer
from labkit.workbench.backbones.hidden_layers import HiddenLayers
from labkit.workbench.backbones.vision_transformer import VisionTransformer
from labkit.workbench.tasks.classification import Classification
from labkit.workbench.tasks.masked_characters import MaskedCharacters


@dataclass(frozen=True)
class Ground:
    """Where layers race: the data, the network, its places, and how large the dense layer is there."""

    says: str
    task: Callable[[], Any]
    backbone: Callable[[Any, Callable[[int, int], nn.Module]], nn.Module]
    places: str
    width: int
    steps: int


GROUNDS = {
    "characters": Ground(
        "A small transformer names hidden characters of a novel; both feedforward layers are replaced.",
        lambda: MaskedCharacters(batch=16, windows=128),
        partial(CharacterTransformer, width=64, depth=2, heads=4),
        "blocks.*.slot",
        256,
        240,
    ),
    "images": Ground(
        "A small vision transformer names the clothes of Fashion-MNIST; both feedforward layers are replaced.",
        lambda: Classification("fashion_mnist", batch=64, test_rows=1000),
        partial(VisionTransformer, width=48, depth=2, heads=4, patch=7),
        "blocks.*.slot",
        192,
        240,
    ),
    "digits": Ground(
        "A plain network reads handwritten digits: a dense layer in, the layer that races, a dense layer out.",
        lambda: Classification("mnist", batch=128, test_rows=1000),
        partial(HiddenLayers, width=64, depth=1),
        "slots.*",
        256,
        240,
    ),
}


def ground(name: str) -> Ground:
    """The ground of this name. Raises: LabError with the names that there are."""
    if name not in GROUNDS:
        raise LabError(f"There is no ground {name!r} to race on; there is {', '.join(GROUNDS)}.")
    return GROUNDS[name]
