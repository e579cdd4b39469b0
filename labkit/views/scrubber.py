"""The slider under a picture: one frame for each recorded step, with buttons to play and to stop."""

from collections.abc import Sequence

import plotly.graph_objects as go

from labkit.views.theme import SMALL, look

HOLD = 350  # milliseconds a frame stays when playing
DEPTH = 110  # pixels that slider and buttons need below the plot


def scrub(figure: go.Figure, frames: Sequence[dict], labels: Sequence[str], name: str, dark: bool) -> None:
    """Add frames and the slider that goes through them; the figure itself must show the last one.

    Each frame is a dict as plotly has it: `data` (what changes), `traces` (in which traces), and maybe `layout`.
    `labels` name the frames on the slider, `name` says what they count ("step").
    """
    colors = look(dark)
    figure.frames = [go.Frame(name=str(place), **frame) for place, frame in enumerate(frames)]
    jump = {"mode": "immediate", "fromcurrent": False, "transition": {"duration": 0}}
    steps = [
        {
            "label": label,
            "method": "animate",
            "args": [[str(place)], {**jump, "frame": {"duration": 0, "redraw": True}}],
        }
        for place, label in enumerate(labels)
    ]
    figure.update_layout(
        sliders=[
            {
                "active": len(steps) - 1,
                "steps": steps,
                "x": 0,
                "len": 1,
                "xanchor": "left",
                "y": 0,
                "yanchor": "top",
                "pad": {"t": DEPTH - 60, "b": 8, "l": 132, "r": 10},
                "currentvalue": {
                    "prefix": f"{name} ",
                    "xanchor": "left",
                    "font": {"size": SMALL + 1, "color": colors.ink, "weight": 600},
                },
                "font": {"size": SMALL - 2, "color": colors.muted},
                "transition": {"duration": 0},
                "bgcolor": colors.grid,
                "activebgcolor": colors.series[0],
                "bordercolor": colors.muted,
                "borderwidth": 1,
                "tickcolor": colors.muted,
                "ticklen": 4,
                "minorticklen": 0,
            }
        ],
        updatemenus=[
            {
                "type": "buttons",
                "direction": "right",
                "showactive": False,
                "x": 0,
                "xanchor": "left",
                "y": 0,
                "yanchor": "top",
                "pad": {"t": DEPTH - 50, "r": 10, "l": 0},
                "bgcolor": colors.surface,
                "bordercolor": colors.muted,
                "font": {"size": SMALL, "color": colors.ink},
                "buttons": [
                    {
                        "label": "▶ play",
                        "method": "animate",
                        "args": [None, {**jump, "frame": {"duration": HOLD, "redraw": True}}],
                    },
                    {
                        "label": "❚❚",
                        "method": "animate",
                        "args": [[None], {**jump, "frame": {"duration": 0, "redraw": False}}],
                    },
                ],
            }
        ],
    )
