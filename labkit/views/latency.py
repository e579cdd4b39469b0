"""Speed against size: how long a forward pass takes at each width, and from which width on an arm beats the baseline."""

import itertools

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.labels import End, legend_height, legend_name, name_ends
from labkit.views.reading import axis_of, entries, read
from labkit.views.theme import HEIGHT, SMALL, look, styled
from labkit.views.thinning import compact, evenly
from labkit.views.wording import counted, escaped, listed, named, number, seconds, sentence, short

ARMS, WIDTHS, MARKS, TOLD = 12, 200, 4, 2


def latency(
    data: xr.DataArray, compare: str = "arm", *, baseline: str | None = "dense", dark: bool = False
) -> go.Figure:
    """Median seconds of a forward pass against width, both logarithmic, with whiskers from quartile to quartile.

    A ring marks where an arm's median crosses the baseline's, interpolated between the measured widths along straight
    lines of the logarithms. Where the two never cross, the subtitle says which is faster everywhere. With
    `baseline=None` nothing is compared. A scalar coordinate `batch` (after `data.sel(batch=...)`) goes into the title.

    Shapes:
        data: (width, repeat) or (width, repeat, compare), seconds, greater than 0
    Raises:
        LabError: other axes, a baseline that is not among the arms, widths or times that are not positive.
    """
    data = read("latency", data, ("width", "repeat"), (compare,))
    widths = np.array(entries(data, "width"))
    names = [named(entry, compare) for entry in entries(data, compare)] if compare in data.dims else [""]
    if widths.dtype.kind not in "iuf" or widths.min() <= 0:
        raise LabError(f"latency needs widths greater than 0, and found {widths.tolist()[:5]}.")
    if len(names) > 1 and baseline is not None and baseline not in names:
        raise LabError(f"latency has no {compare} {baseline!r} to compare with; it has {listed(names)}.")
    order = np.argsort(widths)
    order = order[evenly(len(order), WIDTHS)]
    widths, picked = widths[order], list(range(len(names)))[:ARMS]
    if baseline in names and names.index(baseline) not in picked:
        picked[-1] = names.index(baseline)
    names = [names[at] for at in picked]
    part = data.isel({"width": order, compare: picked} if compare in data.dims else {"width": order})
    quartiles = _quartiles(part.transpose(..., "width", "repeat").values.reshape(len(names), len(widths), -1))
    figure, unit = _drawn(quartiles, widths, names, dark)
    compared = len(names) > 1 and baseline is not None
    notes = _compare(figure, quartiles[1], widths, names, str(baseline), unit, dark) if compared else []
    told = (
        notes if len(notes) <= TOLD else [*notes[:TOLD], f"{len(notes) - TOLD} more {compare}s compared in the picture"]
    )
    _axes(figure, data, widths, quartiles, unit)
    direct = _name(figure, quartiles[1], widths, names, unit, dark)
    below = 0 if direct or len(names) == 1 else max(0, legend_height(names) - 30)
    repeats = data.sizes["repeat"]
    batch = data.coords.get("batch")
    size = f", batch of {number(batch.item())}" if batch is not None and batch.ndim == 0 else ""
    basis = f"median of {counted(repeats, 'repeat')}, whiskers from quartile to quartile"
    spare = [f"the first {ARMS} of {data.sizes[compare]} {compare}s"] if data.sizes.get(compare, 0) > ARMS else []
    return styled(
        figure,
        title=f"Time of a forward pass by width{size}",
        subtitle=sentence("; ".join([*told, basis, *spare])),
        alt=_alt(quartiles[1], widths, names, size, repeats, told),
        dark=dark,
        height=HEIGHT + below,
    )


def _quartiles(times: np.ndarray) -> np.ndarray:
    """(3, arm, width): lower quartile, median, upper quartile of the repeats, NaN where there are none."""
    result = np.full((3, *times.shape[:2]), np.nan)
    for place in np.ndindex(*times.shape[:2]):
        row = times[place]
        row = row[np.isfinite(row)]
        if len(row):
            if row.min() <= 0:
                raise LabError("latency needs times greater than 0 seconds; a logarithmic axis cannot show others.")
            result[:, *place] = np.quantile(row, (0.25, 0.5, 0.75))
    return result


def crossings(mine: np.ndarray, other: np.ndarray, widths: np.ndarray) -> list[tuple[float, float, bool]]:
    """Where two lines of medians cross in log-log: width, seconds, and whether `mine` is the faster one after it."""
    there = np.isfinite(mine) & np.isfinite(other)
    x, y, lead = np.log(widths[there]), np.log(mine[there]), np.log(mine[there]) - np.log(other[there])
    signs = np.flatnonzero(lead)  # a tie at a measured width is no crossing yet: the next difference decides
    found = []
    for left, right in itertools.pairwise(signs):
        if lead[left] * lead[right] < 0:
            part = lead[left] / (lead[left] - lead[right])
            place = [values[left] + part * (values[right] - values[left]) for values in (x, y)]
            found.append((float(np.exp(place[0])), float(np.exp(place[1])), bool(lead[right] < 0)))
    return found


def _drawn(quartiles: np.ndarray, widths: np.ndarray, names: list[str], dark: bool) -> tuple[go.Figure, float]:
    """Lines in the unit that suits the times; the unit in seconds."""
    low, middle, high = quartiles
    unit = next((size for size in (1.0, 1e-3) if np.nanmedian(middle) >= size), 1e-6)
    figure, colors = go.Figure(), look(dark)
    for place, name in enumerate(names):
        style = colors.line(place)
        figure.add_scatter(
            x=compact(widths),
            y=compact(middle[place] / unit),
            error_y={
                "type": "data",
                "symmetric": False,
                "array": compact((high - middle)[place] / unit),
                "arrayminus": compact((middle - low)[place] / unit),
                "thickness": 1.5,
                "width": 5,
            },
            mode="lines+markers",
            line={"width": 3, "color": style["color"], "dash": style["dash"]},
            marker={"size": 10, "symbol": style["symbol"]},
            name=legend_name(name),
            showlegend=len(names) > 1,
            hovertemplate=f"%{{y:.3~g}} {_unit(unit)} at width %{{x:,}}",
        )
    return figure, unit


def _unit(unit: float) -> str:
    return {1.0: "s", 1e-3: "ms"}.get(unit, "µs")


def _compare(
    figure: go.Figure, medians: np.ndarray, widths: np.ndarray, names: list[str], baseline: str, unit: float, dark: bool
) -> list[str]:
    """Mark the crossings and say them, one clause for each arm."""
    colors, told = look(dark), []
    base = names.index(baseline)
    for place, name in enumerate(names):
        if place == base:
            continue
        marks = crossings(medians[place], medians[base], widths)[-MARKS:]
        if not marks:
            told.append(_apart(medians[place] / medians[base], widths, short(name), short(baseline)))
            continue
        for width, time, _ in marks:
            figure.add_scatter(
                x=[width],
                y=[time / unit],
                mode="markers",
                marker={"symbol": "circle-open", "size": 20, "color": colors.ink, "line": {"width": 2.5}},
                showlegend=False,
                name="crossover",
                hovertemplate=f"{escaped(name)} and {escaped(baseline)} are equally fast at width "
                f"{number(round(width))}<extra></extra>",
            )
        width, time, faster = marks[-1]
        figure.add_annotation(
            x=np.log10(width),
            y=np.log10(time / unit),
            text=f"<b>{number(round(width))}</b>",
            showarrow=False,
            yshift=22,
            font={"size": SMALL, "color": colors.ink},
            bgcolor=colors.surface,
        )
        lead = "faster" if faster else "slower"
        told.append(f"{short(name)} is {lead} than {short(baseline)} from width {number(round(width))} on")
    return sorted(told, key=lambda one: one.startswith("no crossover"))  # what happens before what does not


def _apart(ratio: np.ndarray, widths: np.ndarray, name: str, baseline: str) -> str:
    there = np.isfinite(ratio)
    if not there.any():
        return f"{name} and {baseline} were measured at no common width"
    first, last = (number(width) for width in widths[there][[0, -1]])
    across = f"from width {first} to {last}" if first != last else f"at width {first}"
    if (ratio[there] == 1).all():
        return f"{name} is as fast as {baseline} {across}"
    slow = ratio[there].max() > 1
    factor = (ratio if slow else 1 / ratio)[there]
    least, most = f"{factor.min():.2g}", f"{factor.max():.2g}"
    times = f"{least} times" if least == most else f"{least} to {most} times"
    return f"no crossover: {name} is {'slower' if slow else 'faster'} than {baseline} {across} ({times})"


def _axes(figure: go.Figure, data: xr.DataArray, widths: np.ndarray, quartiles: np.ndarray, unit: float) -> None:
    low, high = _limits(quartiles, unit)
    ticks = [one * 10.0**power for power in range(-9, 10) for one in (1, 2, 5)]
    if high - low > 2.2:
        ticks = [10.0**power for power in range(-9, 10)]
    inside = [tick for tick in ticks if low <= np.log10(tick) <= high]
    span = np.log10(widths[-1] / widths[0]) if len(widths) > 1 else 0
    picked = widths[:: -(-len(widths) // 8)]
    figure.update_xaxes(
        type="log",
        title_text=escaped(axis_of(data, "width")),
        tickvals=picked.tolist(),
        ticktext=[number(width) for width in picked],
        range=[np.log10(widths[0]) - 0.05 * span - 0.02, np.log10(widths[-1]) + 0.05 * span + 0.02],
    )
    figure.update_yaxes(
        type="log",
        title_text=f"Forward pass ({_unit(unit)})",
        tickvals=inside,
        ticktext=[number(tick) for tick in inside],
        range=[low, high],
    )


def _limits(quartiles: np.ndarray, unit: float) -> tuple[float, float]:
    low, high = np.log10(np.nanmin(quartiles) / unit), np.log10(np.nanmax(quartiles) / unit)
    air = max(0.08 * (high - low), 0.08)
    return float(low - air), float(high + air)


def _name(
    figure: go.Figure, medians: np.ndarray, widths: np.ndarray, names: list[str], unit: float, dark: bool
) -> bool:
    ends = []
    for place, name in enumerate(names):
        last = np.flatnonzero(np.isfinite(medians[place]))
        if not len(last):
            return False
        x, y = np.log10(widths[last[-1]]), medians[place, last[-1]]
        color = look(dark).line(place)["color"]
        ends.append(End(float(x), float(np.log10(y / unit)), name, seconds(y), color))
    return len(names) > 1 and name_ends(figure, ends, *_limits(medians, unit), pixels=HEIGHT - 200)


def _alt(medians: np.ndarray, widths: np.ndarray, names: list[str], size: str, repeats: int, told: list[str]) -> str:
    lines = []
    for name, row in list(zip(names, medians))[:4]:
        there = np.flatnonzero(np.isfinite(row))
        if len(there):
            first, last = there[0], there[-1]
            lines.append(
                f"{name or 'it'} takes {seconds(row[first])} at width {number(widths[first])} and {seconds(row[last])} "
                f"at width {number(widths[last])}"
            )
    return f"Forward pass by width{size}, medians of {counted(repeats, 'repeat')}: {listed([*lines, *told])}."


def example(seed: int = 0) -> dict:
    """Simulated timings of a machine that does 20 billion operations a second, with overheads and rare interruptions."""
    random = np.random.default_rng(seed)
    widths, batch = np.array([64, 128, 256, 512, 1024, 2048, 4096]), 256
    depth = np.log2(widths / 32)
    work = {
        "dense": 12e-6 + batch * 768 * widths * 4 / 20e9,
        "fast feedforward": 210e-6 + batch * 768 * (depth + 128) * 4 / 9e9,
        "mixture of 8 experts": 480e-6 + batch * 768 * widths / 2 / 14e9,
    }
    noise = random.lognormal(0, 0.06, (3, 7, 40)) * np.where(random.random((3, 7, 40)) < 0.04, 2.5, 1)
    data = xr.DataArray(
        np.stack(list(work.values()))[..., None] * noise,
        dims=("arm", "width", "repeat"),
        coords={"arm": list(work), "width": widths, "batch": batch},
        attrs={"long_name": "forward pass", "units": "s"},
    )
    data["width"].attrs.update(long_name="width of the hidden layer", units="neurons")
    return {"data": data, "baseline": "dense"}
