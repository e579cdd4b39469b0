"""The three networks that studies of sparse feedforward layers train: wide with GELU, wide with ReLU, and narrow with GELU."""

from torch import nn

from labkit.workbench.backbones.formed_feedforward import FormedFeedforward, dense
from labkit.workbench.backprop import Backprop
from labkit.workbench.baselines import DenseFeedforward
from labkit.workbench.study import Arm

UNITS = 256
RATES = {"GELU": 2e-2, "ReLU": 4e-2, "narrow": 4e-2}
"""The best of 0.005, 0.01, 0.02, 0.04 and 0.08 for each, by the loss after 240 steps with two seeds (100 and 101) on a twentieth
of the text that is learnt from, held out for this."""
MAIN, ZEROS = f"GELU {UNITS}", f"ReLU {UNITS}"


def narrow_of(units: int) -> str:
    """What the narrow arm is called."""
    return f"GELU {units}"


def gelu(units: int):
    """(in_width, out_width) -> a feedforward layer of so many GELU units."""
    return lambda i, o: FormedFeedforward(i, o, hidden=units, linear=dense)


def arms(narrow: int, *, main: str, zeros: str, small: str) -> dict[str, Arm]:
    """The three arms, each with what it says of itself."""
    return {
        MAIN: Arm(gelu(UNITS), lambda: Backprop(RATES["GELU"]), "method", main),
        ZEROS: Arm(lambda i, o: DenseFeedforward(i, o, width=UNITS), lambda: Backprop(RATES["ReLU"]), "control", zeros),
        narrow_of(narrow): Arm(gelu(narrow), lambda: Backprop(RATES["narrow"]), "baseline", small),
    }


def is_wide(model: nn.Module) -> bool:
    """Whether a network is one of the wide ones, which are made sparse, and not the narrow one."""
    return any(isinstance(one, nn.Linear) and one.out_features == UNITS for one in model.modules())
