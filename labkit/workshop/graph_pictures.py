"""Graphs that are networks, as pictures: their layers, and how good networks are by a number that describes their graphs."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from labkit.views.theme import look, styled
from labkit.workbench.foretelling import ranks


def layered(mask: Tensor, widths: list[int], *, dark: bool = False) -> go.Figure:
    """Every unit at its layer, the first on the left; lines are edges, and those that leap over layers are dotted.

    Shapes: mask (nodes, nodes), who hears whom, nodes in the order of the layers; `widths` of the layers
    """
    colors, figure = look(dark), go.Figure()
    across = np.repeat(np.arange(len(widths)), widths)
    up = np.concatenate([np.arange(wide) - (wide - 1) / 2 for wide in widths])
    # every second layer a little higher, so that edges do not hide behind the nodes between
    up = up + 0.18 * (across % 2)
    hears, heard = mask.nonzero().T.numpy()
    near = across[hears] - across[heard] == 1
    kinds = (("to the next layer", near, "solid", colors.muted), ("over layers", ~near, "dot", colors.series[1]))
    for name, part, dash, color in kinds:
        blank = np.full(int(part.sum()), np.nan)
        x, y = (np.stack((place[heard[part]], place[hears[part]], blank), 1).ravel() for place in (across, up))
        line = {"color": color, "width": 1, "dash": dash}
        figure.add_scatter(x=x, y=y, mode="lines", line=line, name=name, hoverinfo="skip")
    said = [f"unit {at}, layer {layer + 1}" for at, layer in enumerate(across)]
    marker = {"size": 13, "color": colors.series[0], "line": {"color": colors.ink, "width": 0.6}}
    figure.add_scatter(
        x=across, y=up, mode="markers", marker=marker, name="unit", text=said, hovertemplate="%{text}<extra></extra>"
    )
    figure.update_xaxes(
        title={"text": "Layer"}, tickvals=list(range(len(widths))), ticktext=[str(at + 1) for at in range(len(widths))]
    )
    figure.update_yaxes(visible=False)
    figure.update_layout(showlegend=True, legend={"yref": "paper", "y": 1, "yanchor": "bottom", "orientation": "h"})
    return styled(
        figure,
        title="The graph as layers",
        subtitle="Signs are heard on the left, the answer is read on the right",
        alt=f"{len(across)} units in {len(widths)} layers of {', '.join(map(str, widths))} units, and {len(hears)} edges, "
        f"of which {int((~near).sum())} leap over layers.",
        dark=dark,
        height=430,
        above=30,
    )


def against(
    statistic: str, known: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray], *, dark: bool = False
) -> go.Figure:
    """Accuracies of networks by a number of their graphs, a dot a network, for some arms.

    Shapes: known and right, by arm, (networks,)
    """
    colors, figure = look(dark), go.Figure()
    told = []
    for place, (name, values) in enumerate(known.items()):
        figure.add_scatter(
            x=values,
            y=100 * right[name],
            mode="markers",
            name=name,
            marker={
                "color": colors.series[place],
                "size": 8,
                "opacity": 0.6,
                "symbol": ("circle", "diamond")[place % 2],
            },
            hovertemplate=f"{name}: {statistic} %{{x:.3g}}, %{{y:.1f}} % right<extra></extra>",
        )
        told.append(f"{ranks(values, right[name]):+.2f} for {name}")
    figure.update_xaxes(title={"text": statistic.capitalize()})
    figure.update_yaxes(title={"text": "Test accuracy (%)"})
    figure.update_layout(showlegend=True, legend={"yref": "paper", "y": 1, "yanchor": "bottom", "orientation": "h"})
    return styled(
        figure,
        title=f"Accuracy by {statistic}",
        subtitle=f"Rank correlation {', '.join(told)}",
        alt=f"One dot a network, accuracy by {statistic}; rank correlation {', '.join(told)}.",
        dark=dark,
        height=430,
        above=30,
    )
