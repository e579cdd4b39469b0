"""A race: what each contestant took at each size, as dots on one logarithmic axis of time, and what the hardware needs."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.labels import legend_height, legend_name
from labkit.views.narrow import narrowed
from labkit.views.reading import entries, read, title_of
from labkit.views.theme import SMALL, look, styled
from labkit.views.thinning import compact, evenly
from labkit.views.wording import counted, escaped, listed, number, seconds, sentence, short, unique

CONTESTANTS, SETTINGS, ROW, LETTERS, TOLD = 12, 40, 54, 62, 3
OURS, FLOOR = "ours", "floor: what the hardware needs"
ORDER = (0.25, 0.5, 0.75)
BASIS = "median time of one call, whiskers from quartile to quartile; each line of the grid is ten times as long"


def speed_board(data: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """A row for each size: a dot at the median time of each contestant, whiskers from quartile to quartile.

    The upright bar is the floor: the time that the machine needs for the least work, however it is programmed. A
    contestant "dense|mkl" is dense in the way mkl.

    Shapes:
        data: (setting, contestant, quantile), seconds, greater than 0, quantiles 0.25, 0.5, 0.75; NaN where somebody did
            not take part; coordinates, if any: `floor` (setting) in seconds, `times` (setting, contestant) as long as ours;
            the attribute `always`, if any, says what is the same in all settings
    Raises:
        LabError: other axes, other quantiles, times that are not positive, or nothing to draw.
    """
    data = read("speed_board", data, ("setting", "contestant", "quantile"))
    if tuple(entries(data, "quantile")) != ORDER:
        raise LabError(f"speed_board needs the quantiles {ORDER}, and found {tuple(entries(data, 'quantile'))}.")
    if np.nanmin(data.values) <= 0:
        raise LabError("speed_board needs times greater than 0 seconds; a logarithmic axis cannot show others.")
    every = data.sizes["setting"]
    data = data.isel(setting=evenly(every, SETTINGS), contestant=slice(CONTESTANTS))
    rows = unique([short(str(one), LETTERS) for one in entries(data, "setting")])
    names = [str(one) for one in entries(data, "contestant")]
    floors = data.coords["floor"].values.astype(float) if "floor" in data.coords else np.full(len(rows), np.nan)
    figure = go.Figure()
    legend = [*([FLOOR] if np.isfinite(floors).any() else []), *map(_said, names)]
    if len(legend) > len(names):
        _floor(figure, floors, rows, dark)
    for place in range(len(names)):
        _dots(figure, data.isel(contestant=place), rows, place, dark)
    _axes(figure, np.concatenate([data.values.ravel(), floors]), rows, dark)
    below = legend_height(legend)
    figure.update_layout(margin={"b": 56 + below}, legend={"y": 0.0, "itemwidth": 30})
    title = title_of(data, "Race")
    spare = [f"{len(rows)} of {every} sizes"] if every > len(rows) else []
    always = [f"all with {data.attrs['always']}"] if data.attrs.get("always") else []
    subtitle = sentence("; ".join([*always, BASIS, *spare]))
    styled(
        figure,
        title=title,
        subtitle=subtitle,
        alt=_alt(title, data, rows, names, floors),
        dark=dark,
        height=180 + ROW * len(rows) + below,
    )
    return narrowed(figure, subtitle)


def _said(name: str) -> str:
    who, _, way = name.partition("|")
    return f"{who} ({way})" if way else who


def _floor(figure: go.Figure, floors: np.ndarray, rows: list[str], dark: bool) -> None:
    there = np.isfinite(floors)
    figure.add_scatter(
        x=compact(floors[there]),
        y=[row for row, one in zip(rows, there) if one],
        mode="markers",
        marker={"symbol": "line-ns", "size": 16, "line": {"width": 3, "color": look(dark).ink}},
        name=legend_name(FLOOR),
        hovertext=[f"the hardware needs {seconds(one)}" for one in floors[there]],
        hovertemplate="%{y}<br>%{hovertext}<extra></extra>",
    )


def _dots(figure: go.Figure, part: xr.DataArray, rows: list[str], place: int, dark: bool) -> None:
    """The dots of one contestant."""
    low, middle, high = part.transpose("quantile", "setting").values
    there = np.isfinite(middle)
    name, style = str(part["contestant"].item()), look(dark).line(place)
    times = part.coords["times"].values if "times" in part.coords else np.full(len(rows), np.nan)
    told = [
        f"{escaped(_said(name))}: {seconds(middle[at])} ({seconds(low[at])} to {seconds(high[at])})"
        + (f", {number(float(f'{times[at]:.3g}'))} times as long as ours" if np.isfinite(times[at]) else "")
        for at in np.flatnonzero(there)
    ]
    figure.add_scatter(
        x=compact(middle[there]),
        y=[row for row, one in zip(rows, there) if one],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": compact((high - middle)[there]),
            "arrayminus": compact((middle - low)[there]),
            "thickness": 1.5,
            "width": 4,
        },
        mode="markers",
        marker={"size": 14 if name.split("|")[0] == OURS else 10, "color": style["color"], "symbol": style["symbol"]},
        name=legend_name(_said(name)),
        hovertext=told,
        hovertemplate="%{y}<br>%{hovertext}<extra></extra>",
    )


def _axes(figure: go.Figure, values: np.ndarray, rows: list[str], dark: bool) -> None:
    """Time across, with a line at each power of ten; down the sizes, each named above its dots."""
    colors = look(dark)
    finite = values[np.isfinite(values)]
    low, high = np.log10(finite.min()), np.log10(finite.max())
    air = max(0.04 * (high - low), 0.06)
    decades = range(int(np.floor(low - air)), int(np.ceil(high + air)) + 1)
    marks = [float(10.0**one) for one in decades]
    if high - low < 1.2:
        marks = [part * one for one in marks for part in (1, 2, 5)]
    figure.update_xaxes(
        type="log",
        range=[low - air, high + air],
        tickvals=marks,
        ticktext=[seconds(one) for one in marks],
        tickangle=0,
        title_text="Time of one call",
    )
    figure.update_yaxes(
        type="category",
        categoryorder="array",
        categoryarray=rows,
        range=[len(rows) - 0.6, -0.8],
        showticklabels=False,
        showgrid=True,
        title_text="",
    )
    for row in rows:
        figure.add_annotation(
            x=0,
            xref="paper",
            y=row,
            text=escaped(row),
            showarrow=False,
            xanchor="left",
            yshift=20,
            font={"size": SMALL, "color": colors.muted},
        )


def _alt(title: str, data: xr.DataArray, rows: list[str], names: list[str], floors: np.ndarray) -> str:
    lines = []
    for place in range(len(rows))[:TOLD]:
        middle = data.values[place, :, 1]
        said = [f"{_said(name)} {seconds(one)}" for name, one in zip(names, middle) if np.isfinite(one)]
        least = [f"the hardware needs {seconds(floors[place])}"] if np.isfinite(floors[place]) else []
        lines.append(f"at {rows[place]} {listed([*said, *least])}" if said else "")
    more = f"; {counted(len(rows) - TOLD, 'more size')}" if len(rows) > TOLD else ""
    return f"{title}, median time of one call: {'; '.join(filter(None, lines))}{more}."


def example(seed: int = 0) -> dict:
    """Simulated: a machine of 100 billion operations a second, and programs that need them and an overhead each."""
    random = np.random.default_rng(seed)
    batches = np.array([1, 8, 64, 512])
    work = 2 * 768 * 65 * batches / 100e9
    times = np.stack([4e-6 + 1.6 * work, 9e-5 + 4 * work, 2e-5 * batches, 32 * work + 1e-5], 1)
    rounds = times[..., None] * random.lognormal(0, 0.06, (*times.shape, 15))
    names = ["ours", "reference", "somebody's package", "dense|mkl"]
    coords = {
        "setting": [f"depth 5, leaf 32, batch {batch}" for batch in batches],
        "contestant": names,
        "quantile": list(ORDER),
        "floor": ("setting", work),
        "times": (("setting", "contestant"), np.median(rounds / rounds[:, :1], -1)),
    }
    values = np.moveaxis(np.quantile(rounds, ORDER, axis=-1), 0, -1)
    attrs = {"long_name": "a tree against others", "units": "s"}
    return {"data": xr.DataArray(values, dims=("setting", "contestant", "quantile"), coords=coords, attrs=attrs)}
