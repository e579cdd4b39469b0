"""A character transformer whose blocks can share their feedforward layer, or have none: a plan says which.

    y_l = x_l + FFN_{p(l)}(norm_l(x_l))

in block l, where p is the plan: blocks with the same letter use the same weights. The norm before it, the attention and
the convolution stay each block's own. A block with "-" has neither feedforward layer nor the norm before it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from labkit.parts.shared import NOTHING, places
from labkit.workbench.backbones.character_transformer import CharacterTransformer

Layer = Callable[[int, int], nn.Module]


@dataclass(frozen=True)
class Plan:
    """Which feedforward layer each block has: `Plan(layer, "aabb")`, where a letter is a set of weights.

    As many blocks as letters. Called as a layer is made, it makes one layer, so that a study's arm may be a plan.
    """

    layer: Layer
    pattern: str

    def __call__(self, in_width: int, out_width: int) -> nn.Module:
        return self.layer(in_width, out_width)


class SharingTransformer(CharacterTransformer):
    """A character transformer by plan: (rows, length) numbers -> (rows, length, symbols) scores.

    Raises: ValueError where the pattern is empty or holds something else than letters and "-".
    """

    def __init__(self, task, plan: Plan, *, width: int = 64, heads: int = 4):
        slots = iter(places(lambda: plan(width, width), plan.pattern))
        super().__init__(task, lambda _in, _out: next(slots), width=width, depth=len(plan.pattern), heads=heads)
        for letter, block in zip(plan.pattern, self.blocks, strict=True):
            if letter == NOTHING:
                block.between = nn.Identity()
