"""What arms lose against what they cost, cost by cost: who is better at the same price, and who is cheaper and as good."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.labels import legend_height, legend_name
from labkit.views.panels import numbered
from labkit.views.reading import entries, read, title_of, units_of
from labkit.views.seeds import summarised
from labkit.views.theme import SMALL, look, styled
from labkit.views.thinning import compact
from labkit.views.wording import counted, escaped, fixed, listed, number, sentence

MOST, ROW, GAP = 36, 24, 0.07
LOG = 4.0
"""Costs that differ by more than this factor stand on a logarithmic axis."""


def race(loss: xr.DataArray, cost: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """A panel for each cost, the loss upwards: a mark is the mean over the seeds, its bar the 95 % confidence interval.

    The dotted line joins the arms that nobody beats, in their mean, at the same cost or less. Arms are listed from the
    best to the worst mean; where the bars of two overlap by much, their order says little.

    Shapes:
        loss: (arm, seed), lower is better
        cost: (cost, arm, seed), what each training cost; arms and seeds are matched by name
    Raises:
        LabError: other axes, more than 36 arms, costs that are not above 0, or no arm that has both loss and cost.
    """
    loss = read("race", loss, ("arm", "seed"))
    cost = read("race", cost, ("cost", "arm", "seed"))
    names = [str(arm) for arm in entries(loss, "arm")]
    if len(names) > MOST:
        raise LabError(f"race shows {MOST} arms at most, and found {len(names)}: leave some out.")
    cost = cost.assign_coords(arm=[str(arm) for arm in entries(cost, "arm")]).reindex(arm=names)
    spent = cost.transpose("cost", "arm", "seed").values.astype(np.float64)
    if np.nanmin(np.where(np.isfinite(spent), spent, np.nan), initial=np.inf) <= 0:
        raise LabError("race needs costs above 0, and found one that is not.")
    lines = [summarised(name, row[:, None]) for name, row in zip(names, loss.values.astype(np.float64))]
    mean, half = (np.array([getattr(line, word)[0] for line in lines]) for word in ("mean", "half"))
    with np.errstate(invalid="ignore"):
        middle = np.array([[np.nanmean(row) if np.isfinite(row).any() else np.nan for row in rows] for rows in spent])
    order = [at for at in np.argsort(mean) if np.isfinite(mean[at]) and np.isfinite(middle[:, at]).any()]
    if not order:
        raise LabError("race needs arms with a loss and a cost, and found none that has both.")
    kinds = [str(kind) for kind in entries(cost, "cost")]
    figure = _drawn(kinds, names, order, mean, half, middle, title_of(loss, "loss"), units_of(loss), dark)
    what = title_of(loss, "loss")
    seeds = int(np.isfinite(loss.values).any(0).sum())
    told = _told(names, order, mean, half)
    return styled(
        figure,
        title=f"{what} against cost",
        subtitle=sentence(
            f"lower is better; mean over {counted(seeds, 'seed')} and 95 % interval; dotted: nobody is better and cheaper. {told}"
        ),
        alt=_alt(what, kinds, names, order, mean, half, middle, told),
        dark=dark,
        height=460 + legend_height([names[at] for at in order]) + ROW,
        above=8,
    )


def _drawn(kinds, names, order, mean, half, middle, what, units, dark) -> go.Figure:
    colors, figure = look(dark), go.Figure()
    width = (1 - GAP * (len(kinds) - 1)) / len(kinds)
    for panel, kind in enumerate(kinds):
        x, y = numbered("x", panel), numbered("y", panel)
        front = _front(middle[panel], mean, order)
        figure.add_scatter(
            x=compact(middle[panel][front]),
            y=compact(mean[front]),
            mode="lines",
            line={"width": 1.5, "dash": "dot", "color": colors.muted},
            hoverinfo="skip",
            showlegend=False,
            xaxis=x,
            yaxis=y,
            name=f"nobody is better and cheaper ({kind})",
        )
        for rank, at in enumerate(order):
            style = colors.line(at)
            figure.add_scatter(
                x=compact(middle[panel, at : at + 1]),
                y=compact(mean[at : at + 1]),
                error_y={
                    "type": "data",
                    "array": compact(np.nan_to_num(half[at : at + 1])),
                    "width": 4,
                    "thickness": 1.5,
                },
                mode="markers",
                marker={"size": 11, "color": style["color"], "symbol": style.get("symbol", "circle")},
                hovertemplate=f"{escaped(names[at])}<br>{what.lower()} %{{y:.4g}}<br>{kind} %{{x:,.4g}}<extra></extra>",
                name=legend_name(names[at]),
                legendgroup=str(at),
                legendrank=rank + 1,
                showlegend=panel == 0,
                xaxis=x,
                yaxis=y,
            )
        left = panel * (width + GAP)
        known = middle[panel][np.isfinite(middle[panel])]
        figure.update_layout(
            {
                f"xaxis{x[1:]}": {
                    "domain": [left, left + width],
                    "anchor": y,
                    "title": {"text": sentence(kind)},
                    "nticks": 4,
                    "tickangle": 0,
                    "tickformat": "~s" if known.max() >= 1e4 else "",
                    **_range(known),
                },
                f"yaxis{y[1:]}": {
                    "anchor": x,
                    "showticklabels": panel == 0,
                    **({"matches": "y"} if panel else {"title": {"text": f"{what} ({units})" if units else what}}),
                },
            }
        )
    below = legend_height([names[at] for at in order]) + ROW
    figure.update_layout(
        legend={
            "orientation": "h",
            "title": {"text": "Best first", "side": "top", "font": {"size": SMALL}},
            "x": 0,
            "xanchor": "left",
            "xref": "container",
            "y": 0,
            "yanchor": "bottom",
            "yref": "container",
            "font": {"size": SMALL},
        },
        margin={"b": 62 + below},
    )
    return figure


def _range(values: np.ndarray) -> dict:
    """An axis with room on both sides; equal costs stand in the middle."""
    low, high = float(values.min()), float(values.max())
    if high / low > LOG:
        reach = np.log10(high / low) * 0.12
        wide = np.log10(high / low) > 1.5  # else a power of ten may not be among the ticks at all
        return {"type": "log", "range": [np.log10(low) - reach, np.log10(high) + reach], "dtick": 1 if wide else "D2"}
    reach = max(0.16 * (high - low), 0.15 * high)  # what costs the same within a few percent stands in one column
    return {"range": [low - reach, high + reach]}


def _front(price: np.ndarray, mean: np.ndarray, order: list) -> list[int]:
    """The arms that no other beats at the same cost or less, from cheap to dear."""
    best, front = np.inf, []
    for at in sorted((at for at in order if np.isfinite(price[at])), key=lambda at: (price[at], mean[at])):
        if mean[at] < best:
            best = mean[at]
            front.append(at)
    return front


def _told(names, order, mean, half) -> str:
    """Who leads, and whether the second is apart from it."""
    if len(order) < 2:
        return ""
    first, second = order[:2]
    apart = mean[first] + np.nan_to_num(half[first], nan=np.inf) < mean[second] - np.nan_to_num(
        half[second], nan=np.inf
    )
    word = "their intervals are apart" if apart else "their intervals overlap"
    return f"{escaped(names[first])} is ahead of {escaped(names[second])}; {word}"


def _alt(what, kinds, names, order, mean, half, middle, told) -> str:
    spread = float(np.ptp(mean[order])) or float(abs(mean[order[0]])) or 1.0
    each = []
    for at in order[:6]:
        reach = f" ± {fixed(half[at], 10 * half[at])}" if np.isfinite(half[at]) and half[at] else ""
        spent = listed([f"{number(middle[panel, at])} {kind}" for panel, kind in enumerate(kinds)])
        each.append(f"{names[at]} {fixed(mean[at], spread / 10)}{reach} with {spent}")
    more = f"; {len(order) - 6} more are worse" if len(order) > 6 else ""
    return (
        f"{what} of {counted(len(order), 'arm')} against {listed(kinds)}, best first: {'; '.join(each)}{more}. {told}."
    )


def example(seed: int = 0) -> dict:
    """A linear classifier and two soft trees, really trained on digits over five seeds, with what each of them computes."""
    from labkit.views.specimen import grown

    arms = {"linear classifier": 0, "tree of depth 2": 2, "tree of depth 3": 3}
    runs = [[grown(seed + run, depth) for run in range(5)] for depth in arms.values()]
    wrong = np.array([[1 - run.accuracy[-1, 1] for run in row] for row in runs])
    work = np.array([64 * (2**depth - 1 + 10 * 2**depth) for depth in arms.values()], dtype=np.float64)
    used = np.array([64 * (depth + 10) for depth in arms.values()], dtype=np.float64)
    table = np.repeat(np.stack([work, 2 * used])[..., None], 5, -1)
    coords = {"arm": list(arms), "seed": list(range(5))}
    loss = xr.DataArray(
        wrong, dims=("arm", "seed"), coords=coords, attrs={"long_name": "test error", "units": "fraction"}
    )
    cost = xr.DataArray(
        table,
        dims=("cost", "arm", "seed"),
        coords={"cost": ["parameters", "operations an input"], **coords},
        attrs={"long_name": "cost", "units": ""},
    )
    return {"loss": loss, "cost": cost}
