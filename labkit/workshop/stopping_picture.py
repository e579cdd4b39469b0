"""One handle for one gate: the values that it gives, a threshold that moves, and what that stops and loses."""

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from labkit.views.scrubber import DEPTH, scrub
from labkit.views.theme import look, styled
from labkit.views.wording import percent

BINS = 40


def gate_handle(values: Tensor, wanted: Tensor, *, levels: int = 20, dark: bool = False) -> go.Figure:
    """Histograms of a gate's values for wanted inputs and others, with a threshold on a slider: left of it is stopped.

    Shapes: values (rows,) from 0 to 1, wanted (rows,) of 0 and 1.
    """
    colors, figure = look(dark), go.Figure()
    edges = np.linspace(0, 1, BINS + 1)
    groups = {"others": values[wanted == 0].numpy(), "wanted": values[wanted == 1].numpy()}
    top = 0.0
    for place, (name, part) in enumerate(groups.items()):
        share = 100 * np.histogram(part, edges)[0] / max(1, len(part))
        top = max(top, float(share.max()))
        figure.add_bar(
            x=(edges[1:] + edges[:-1]) / 2,
            y=share,
            width=1 / BINS,
            name=name,
            opacity=0.65,
            marker={"color": colors.series[place], "line": {"width": 0}},
            hovertemplate=f"{name}: %{{y:.1f}} % near %{{x:.2f}}<extra></extra>",
        )
    # half of the levels where the others are, half where the first of the wanted are lost
    places = np.quantile(values.numpy(), np.linspace(0, 1, levels // 2))
    places = np.append(places, np.quantile(groups["wanted"], np.linspace(0, 0.5, levels - levels // 2)))
    thresholds = np.unique(np.round(places, 3))
    lines = [
        go.Scatter(
            x=[at, at],
            y=[0, top],
            mode="lines",
            line={"color": colors.ink, "width": 2, "dash": "dot"},
            name=_told(groups, at),
            hoverinfo="skip",
        )
        for at in thresholds
    ]
    start = int(np.searchsorted(thresholds, np.quantile(groups["wanted"], 0.02)))
    start = min(max(0, start), len(lines) - 1)
    figure.add_trace(lines[start])
    frames = [{"data": [line], "traces": [len(groups)]} for line in lines]
    scrub(figure, frames, [f"{at:.3f}" for at in thresholds], "threshold", dark)
    figure.update_layout(
        sliders=[{"active": start}],
        barmode="overlay",
        xaxis={"title": {"text": "Value of the gate"}, "range": [-0.02, 1.02]},
        yaxis={"title": {"text": "Share of its kind (%)"}, "type": "log", "tickvals": [0.1, 1, 10, 100]},
        margin={"b": 54 + DEPTH},
        legend={"orientation": "h", "yref": "container", "y": 0.005, "yanchor": "bottom", "x": 0},
    )
    told = _told(groups, float(thresholds[start]))
    return styled(
        figure,
        title="A threshold on one gate",
        subtitle="What lies left of the dotted line is stopped",
        alt=f"Histograms of a gate's values for wanted inputs and others, and a threshold: {told}.",
        dark=dark,
        height=490 + DEPTH,
    )


def _told(groups: dict, at: float) -> str:
    stopped, lost = (float((groups[name] < at).mean()) for name in ("others", "wanted"))
    return f"stops {percent(stopped)} of the others, loses {percent(lost)} of the wanted"
