"""Pictures of graphs: every edge is drawn once, those over layers apart, and the correlation said is that of the dots."""

import numpy as np
import torch

from labkit.workshop.graph_pictures import against, layered


def test_every_edge_and_every_unit_is_drawn():
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[2, 0] = mask[2, 1] = mask[3, 2] = mask[3, 0] = True
    near, far, units = layered(mask, [2, 1, 1]).data
    assert (np.isfinite(near.x).sum(), np.isfinite(far.x).sum(), len(units.x)) == (6, 2, 4)
    assert list(far.x[:2]) == [0, 2]
    assert list(units.x) == [0, 0, 1, 2]


def test_the_correlation_is_said_for_each_arm():
    values = {"one": np.arange(5.0), "other": np.arange(5.0)}
    figure = against("sources", values, {"one": np.arange(5) / 10, "other": np.arange(5)[::-1] / 10})
    said = str(figure.layout)
    assert "+1.00 for one" in said
    assert "-1.00 for other" in said
    assert list(figure.data[0].y) == [0, 10, 20, 30, 40]
