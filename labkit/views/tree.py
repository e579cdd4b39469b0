"""A decision tree as it routes: which nodes have decided, and how many inputs take each way."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.reading import entries, read
from labkit.views.scrubber import scrub
from labkit.views.theme import FONT, SMALL, TEXT, faded, look, styled
from labkit.views.thinning import compact, evenly
from labkit.views.wording import counted, number, percent

DRAWN, FRAMES, WIDE = 7, 40, 256
CLASSES = (0.6, 1, 1.6, 2.4, 3.6, 5, 7, 9.5, 12.5, 16)  # the widths of the branches in pixels
TOSS = 0.5  # bits: above it a node is drawn as a diamond


def tree(entropy: xr.DataArray, load: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """The tree from the root down: discs are decisions, branches are as thick as the share of inputs that take them.

    A pale disc has decided (0 bits), a strong one tosses a coin (1 bit, and a diamond above 0.5). Bars below the tree
    are the share of inputs that end in each leaf. A tree deeper than 7 shows its first 6 levels, the levels below as
    rows of one heat map, and neighbouring leaves together. With an axis `step` a slider goes through the training.
    Every point of the trace "decisions" has its node number first in `customdata`, every bar its leaf number, so that
    a click says which it was.

    Shapes:
        entropy: (node) or (step, node), 2^depth - 1 nodes in bits; node 0 is the root, children of n are 2n+1 and 2n+2
        load: (choice) or (step, choice), 2^depth leaves, the share of inputs that reach each; empty places at the end
            (NaN, where arms of different size share an array) are dropped
    Raises:
        LabError: sizes that are not those of one tree, or steps that differ.
    """
    entropy, load = read("tree", entropy, ("node",), ("step",)), read("tree", load, ("choice",), ("step",))
    steps = _steps(entropy, load)
    bits, share = _sized(np.atleast_2d(entropy.transpose(..., "node").values.astype(float)), entropy, load)
    depth = int(np.log2(share.shape[1]))
    ...
