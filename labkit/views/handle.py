"""What moves with the handle of the view `tradeoff`: the histogram, the lines at the level, the table of numbers."""

import numpy as np

from labkit.views.panels import numbered
from labkit.views.spread import Spread
from labkit.views.theme import SMALL, Look
from labkit.views.thinning import compact
from labkit.views.wording import escaped, number, short

TIME, DENSE, ACTIVE = "milliseconds", "dense milliseconds", "active fraction"
WORDS = {"accuracy": "accuracy", "loss": "loss", ACTIVE: "active", TIME: "ms"}


def state(
    at: int,
    levels: np.ndarray,
    limits: np.ndarray,
    parts: dict,
    methods: list[str],
    shown: list[str],
    spread: Spread,
    colors: Look,
) -> list[dict]:
    """What moves with the slider: the histogram and its line, the line through the curves, the table."""
    limit, level = float(limits[at]), 100 * float(levels[at])
    kept = np.abs(spread.middles) > limit
    low, top = 50 * float(spread.shares[spread.shares > 0].min()), 150 * float(spread.shares.max())
    quiet = {"type": "scatter", "mode": "lines", "showlegend": False, "hoverinfo": "skip"}
    parts_now: list[dict] = [
        {
            "type": "bar",
            "x": compact(spread.middles),
            "y": compact(100 * spread.shares),
            "width": spread.width,
            "marker": {"color": [colors.series[0] if one else colors.grid for one in kept], "line": {"width": 0}},
            "hovertemplate": "%{y:.3~g} % of the activations near %{x:.3~g}<extra></extra>",
            "name": "activations",
            "showlegend": False,
        },
    ]
    sides = [limit, None, -limit] if spread.middles[0] < 0 and limit > 0 else [limit]
    x = [place for one in sides for place in ((one, one) if one is not None else (None,))]
    y = [height for one in sides for height in ((low, top) if one is not None else (None,))]
    parts_now.append({**quiet, "x": x, "y": y, "line": {"width": 3, "color": colors.series[1]}, "name": "threshold"})
    for place, quantity in enumerate(shown):
        axes = {"xaxis": numbered("x", place + 1), "yaxis": numbered("y", place + 1)}
        bottom, ceiling = bounds(parts, quantity)
        line = {"width": 2, "color": colors.ink, "dash": "dot"}
        parts_now.append(
            {**quiet, **axes, "x": [level, level], "y": [bottom, ceiling], "line": line, "name": "this level"}
        )
    rows = [["threshold " + number(float(f"{limit:.3g}")), *(WORDS[one] for one in shown)]]
    for row, method in enumerate(methods):
        cells = [cell(one, float(parts[one][row, at])) for one in shown]
        rows.append([short(escaped(method), 16), *cells])
    if TIME in shown and DENSE in parts:
        rows[0][-1] += f" (dense {number(float(f'{np.nanmedian(parts[DENSE]):.3g}'))})"
    last = len(shown) + 1
    parts_now.append(
        {
            "type": "scatter",
            "mode": "text",
            "x": [column for row in rows for column in range(len(row))],
            "y": [place for place, row in enumerate(rows) for _ in row],
            "text": [f"<b>{cell}</b>" if not place else cell for place, row in enumerate(rows) for cell in row],
            "textfont": {"size": SMALL, "color": colors.ink},
            "textposition": "middle right",
            "hoverinfo": "skip",
            "showlegend": False,
            "cliponaxis": False,
            "name": "numbers",
            "xaxis": numbered("x", last),
            "yaxis": numbered("y", last),
        }
    )
    return parts_now


def scaled(quantity: str, values: np.ndarray) -> np.ndarray:
    """Shares in per cent, the rest as it is."""
    return 100 * values if quantity in ("accuracy", ACTIVE) else values


def cell(quantity: str, value: float) -> str:
    """One number of the table."""
    if not np.isfinite(value):
        return "–"
    return f"{100 * value:.1f}\u00a0%" if quantity in ("accuracy", ACTIVE) else number(float(f"{value:.3g}"))


def bounds(parts: dict, quantity: str) -> tuple[float, float]:
    """The ends of the axis of a quantity, with a little air; a time starts at 0."""
    values = scaled(quantity, parts[quantity])
    if quantity == TIME:
        values = np.concatenate([values.ravel(), parts.get(DENSE, values).ravel()])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    low = 0.0 if quantity == TIME else low
    air = 0.08 * (high - low) or 1.0
    return low - air * (quantity != TIME), high + air
