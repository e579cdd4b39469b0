"""A mask that was chosen before the training: what is 0 in the weights stays 0, and everything else learns.

For fine-tuning a network that something else has pruned, with the trainer that the other schedules have.

Source: the last of the three steps train, prune, fine-tune in S. Han et al., "Learning both weights and connections for efficient
neural networks" (2015).
"""

from dataclasses import dataclass

import torch

from labkit.parts.mask import Masks
from labkit.parts.mask_schedules import Named, Schedule


@dataclass(frozen=True)
class Kept(Schedule):
    """The masks are where the weights are not 0 as the training begins; they stay."""

    def begin(self, weights: Named, gradients: Named, draw: torch.Generator) -> Masks:
        return {name: weight.detach() != 0 for name, weight in weights.items()}
