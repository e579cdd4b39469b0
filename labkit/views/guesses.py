"""What a class expected, and what happened: the guesses as a band, the curve over it, and how far the middle guess was off."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.labels import legend_height
from labkit.views.reading import axis_title, entries, read, title_of, units_of
from labkit.views.theme import HEIGHT, SMALL, faded, look, styled
from labkit.views.thinning import compact, evenly, peaks
from labkit.views.wording import WORDS, counted, fixed, number, sentence

SINGLES, PLACES, POINTS = 24, 1000, 300
HALF, MOST = (25, 75), (10, 90)


def guesses(guess: xr.DataArray, truth: xr.DataArray | None = None, *, dark: bool = False) -> go.Figure:
    """The guesses of a class as a band, and over it what happened, as far as that is known yet.

    The dark band holds the middle half of the guesses at each place, the light one four fifths of them; up to 24 are thin
    lines of their own. What happened is its mean over the seeds, with their range as a band. A guess is taken straight
    between its places; where it has no value (NaN) it takes no part.

    Shapes:
        guess: (guess, step), one row for each person
        truth: (step), and optionally (seed)
    Raises:
        LabError: other axes, or steps that are no numbers.
    """
    guess = read("guesses", guess, ("guess", "step"))
    places = _numbers(guess)
    rows = guess.values.astype(np.float64)
    rows = rows[np.isfinite(rows).any(1)]
    with np.errstate(invalid="ignore"):
        there = np.isfinite(rows).any(0)
    chosen = np.flatnonzero(there)[evenly(int(there.sum()), PLACES)]  # a drawn guess has no more places than that
    rows, places = rows[:, chosen], places[chosen]
    low, quarter, middle, upper, high = np.nanpercentile(rows, [MOST[0], HALF[0], 50, HALF[1], MOST[1]], axis=0)
    kept = peaks(np.stack([low, middle, high]), POINTS)
    colors, figure = look(dark), go.Figure()
    ink, other = colors.series[1], colors.series[0]
    if len(rows) <= SINGLES:
        for at, row in enumerate(rows):
            figure.add_scatter(
                x=compact(places[kept]),
                y=compact(row[kept]),
                mode="lines",
                line={"width": 1, "color": faded(ink, 0.35)},
                name=f"guess {at + 1}",
                hoverinfo="skip",
                showlegend=False,
            )
    _band(figure, places[kept], low[kept], high[kept], faded(ink, 0.14), "80 % of guesses")
    _band(figure, places[kept], quarter[kept], upper[kept], faded(ink, 0.24), "half of guesses")
    across = WORDS.get("step", "step")
    spot = f"%{{y:.4~g}} at {across} %{{x}}<extra></extra>"
    names = ["80 % of guesses", "half of guesses", "middle guess"]
    figure.add_scatter(
        x=compact(places[kept]),
        y=compact(middle[kept]),
        mode="lines",
        line={"width": 3, "color": ink, "dash": "dash"},
        name=names[2],
        hovertemplate=f"the guess in the middle: {spot}",
    )
    told, alt = "what happened is not known yet", ""
    if truth is not None:
        told, alt, more = _happened(figure, truth, places, middle, low, high, other, spot, units_of(guess))
        names += more
    what, people = title_of(guess, "Value"), counted(len(rows), "guess", "guesses")
    below = legend_height(names)
    figure.update_layout(
        xaxis={"title": {"text": sentence(across)}},
        yaxis={"title": {"text": axis_title(guess, "value")}},
        margin={"b": 50 + below},
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "xref": "container",
            "y": 0,
            "yanchor": "bottom",
            "yref": "container",
            "font": {"size": SMALL},
        },
    )
    spread = float(np.ptp(middle)) or 1.0
    start, end, least, most = (fixed(one, spread) for one in (middle[0], middle[-1], quarter[-1], upper[-1]))
    ends = f"The guess in the middle goes from {start} to {end}; at the end half of the class says {least} to {most}."
    return styled(
        figure,
        title=f"{what}: what was expected",
        subtitle=sentence(f"{people}; {told}"),
        alt=f"{people} of {what.lower()}, {across} {number(places[0])} to {number(places[-1])}. {ends} {alt}".strip(),
        dark=dark,
        height=HEIGHT + below,
    )


def _numbers(data: xr.DataArray) -> np.ndarray:
    found = entries(data, "step")
    if not all(isinstance(one, int | float) for one in found):
        raise LabError(f"guesses needs numbers along step, and found {found[0]!r}.")
    return np.asarray(found, dtype=np.float64)


def _happened(figure, truth, places, middle, low, high, ink, spot, units) -> tuple[str, str, list[str]]:
    """Draw what happened; how far the middle guess is off, the same as a sentence, and what the legend says of it."""
    truth = read("guesses", truth, ("step",), ("seed",))
    xs = _numbers(truth)
    runs = truth.transpose(..., "step").values.reshape(-1, len(xs)).astype(np.float64)
    known = np.isfinite(runs).any(0)
    xs, runs = xs[known], runs[:, known]
    mean, names = np.nanmean(runs, 0), ["what happened"]
    kept = peaks(runs[:8], POINTS)
    if len(runs) > 1:
        names = ["its seeds", "what happened"]
        _band(figure, xs[kept], np.nanmin(runs, 0)[kept], np.nanmax(runs, 0)[kept], faded(ink, 0.2), names[0])
    figure.add_scatter(
        x=compact(xs[kept]),
        y=compact(mean[kept]),
        mode="lines",
        line={"width": 3, "color": ink},
        name=names[-1],
        hovertemplate=f"what happened: {spot}",
    )
    shared = np.linspace(max(places[0], xs[0]), min(places[-1], xs[-1]), 400)
    if shared[0] >= shared[-1]:
        return "what happened lies outside the guesses", "", names
    actual = np.interp(shared, xs, mean)
    off = float(np.abs(np.interp(shared, places, middle) - actual).mean())
    held = float(((actual >= np.interp(shared, places, low)) & (actual <= np.interp(shared, places, high))).mean())
    said = f"{100 * off:.1f} points" if units == "fraction" else f"{number(off)} {units}".strip()
    told = (
        f"the guess in the middle is {said} off on average; for {held:.0%} of the way the truth lies in the light band"
    )
    return told, sentence(told) + ".", names


def _band(figure: go.Figure, x: np.ndarray, low: np.ndarray, high: np.ndarray, color: str, name: str) -> None:
    figure.add_scatter(
        x=compact(np.concatenate([x, x[::-1]])),
        y=compact(np.concatenate([high, low[::-1]])),
        mode="lines",
        fill="toself",
        fillcolor=color,
        line={"width": 0, "color": color},
        name=name,
        hoverinfo="skip",
    )


def example(seed: int = 0) -> dict:
    """Ten who expect of a soft tree what they saw of smaller models, all really trained, and what the tree then does."""
    from labkit.views.specimen import grown

    seen = [grown(seed + run, depth) for depth in (0, 2) for run in range(5)]
    runs = [grown(seed + run) for run in range(5)]
    attrs = {"long_name": "test accuracy", "units": "fraction"}
    steps = runs[0].steps
    expected = np.stack([np.interp(steps, one.steps, one.accuracy[:, 1]) for one in seen])
    return {
        "guess": xr.DataArray(expected, dims=("guess", "step"), coords={"step": steps}, attrs=attrs),
        "truth": xr.DataArray(
            np.stack([run.accuracy[:, 1] for run in runs]), dims=("seed", "step"), coords={"step": steps}, attrs=attrs
        ),
    }
