"""How the activations of each layer are spread, and how the spread moves during training."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.panels import colorbar, coordinate, heading, layer_named, names_of, numbered, some, stack
from labkit.views.reading import axis_of, entries, read, title_of
from labkit.views.scrubber import DEPTH, scrub
from labkit.views.theme import look, styled
from labkit.views.thinning import compact, evenly
from labkit.views.wording import counted, escaped, fixed, number, percent, sentence

PANELS, LAYERS, CELLS, STEPS, BINS = 4, 40, 30_000, 200, 120
GAP = 44  # pixels between the panels
SHARES = [10.0**-power for power in range(8)]
DECADES = [100 * share for share in SHARES[:6]]


def distribution(data: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """The share of activations at each value, layer by layer; with an axis `step`, how it moves over training.

    With steps each layer is a heat map, the training from left to right, the value of the activation from bottom to
    top, and the colour says how many activations have that value, on a logarithmic scale: each shade is ten times the
    one before, so that a few far-off values are seen beside the many near zero. Without steps each layer is a
    histogram with a logarithmic axis. A dotted line marks zero. Up to four layers stand below each other, more are on
    a slider. Each layer has its own range of values.

    Shapes:
        data: (layer, bin) or (step, layer, bin), share of the values in each bin; the coordinates `centre`
            (layer, bin) and `width` (layer) say where the bins of each layer are
    Raises:
        LabError: other axes, no `centre`, a negative share, or nothing to draw.
    """
    data = read("distribution", data, ("layer", "bin"), ("step",))
    centres = coordinate("distribution", data, "centre", ("layer", "bin"), "the value in the middle of each bin")
    centres = centres.astype(np.float64)
    shares = data.transpose(..., "layer", "bin").values.astype(np.float64)
    shares = np.where(np.isfinite(shares), shares, np.nan)
    shares = shares if "step" in data.dims else shares[None]
    if np.nanmin(shares) < 0:
        raise LabError("distribution needs shares of the values, from 0 to 1, and found a negative one.")
    there = np.asarray(np.isfinite(shares).any((0, 2)))
    kept, names = some([name for name, one in zip(names_of(data, "layer"), there) if one], LAYERS)
    kept = np.flatnonzero(there)[kept]
    moves = len(shares) > 1
    picked = evenly(len(shares), max(12, min(STEPS, CELLS // (len(kept) * min(BINS // 3, shares.shape[2])))))
    steps = np.array(entries(data, "step"))[picked] if moves else np.zeros(1)
    bins = max(12, min(BINS, CELLS // (len(kept) * len(picked))))
    parts = []
    for layer in kept:
        middles, heights = _merged(centres[layer], shares[picked, layer], bins)
        parts.append(_bands(steps, middles, heights) if moves else _bars(middles, heights[-1]))
    figure = _drawn(data, parts, names, moves, dark)
    tall = len(names) if len(names) <= PANELS else 1
    deep = (DEPTH - 20) * (tall < len(names))
    zeros = data["zeros"].values if "zeros" in data.coords and data["zeros"].dims == ("layer",) else None
    told = [_told(centres[layer], shares[-1, layer], None if zeros is None else float(zeros[layer])) for layer in kept]
    notes = [f"{'at the end, ' * moves}in {layer_named(names[-1])}, {told[-1]}"]
    beyond = float(data["beyond"].max()) if "beyond" in data.coords else 0.0
    notes += [f"the outermost bins hold what lies beyond, up to {percent(beyond)}"] * (beyond > 0)
    notes += [f"{len(kept)} of {there.sum():,} layers"] if len(kept) < there.sum() else []
    notes += [f"{len(picked)} of {len(shares):,} steps"] if len(picked) < len(shares) else []
    figure.update_layout(margin={"b": 20 + deep})
    title = f"{title_of(data, 'Activations')}: how the values are spread"
    return styled(
        figure,
        title=title,
        subtitle=sentence("; ".join(notes)),
        alt=_alt(names, told, [_told(centres[layer], shares[0, layer]) for layer in kept], steps, moves),
        dark=dark,
        height=(220 + 170 * tall if tall > 1 else 500) + deep,
        above=22 * (len(names) <= PANELS and len(names) > 1),
        axes={"x": "step"} if moves else None,
    )


def _merged(centres: np.ndarray, shares: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Neighbouring bins put together until at most so many are left: their middles, and (step, bin) shares."""
    there = np.isfinite(centres)
    centres, shares = centres[there], np.nan_to_num(shares[:, there])
    starts = np.arange(0, len(centres), -(-len(centres) // most))
    counts = np.diff(np.append(starts, len(centres)))
    return np.add.reduceat(centres, starts) / counts, np.add.reduceat(shares, starts, axis=1)


def _bands(steps: np.ndarray, middles: np.ndarray, heights: np.ndarray) -> dict:
    shares = np.where(heights > 0, heights, np.nan).T
    return {"type": "heatmap", "x": compact(steps), "y": compact(middles), "z": compact(np.log10(shares))}


def _bars(middles: np.ndarray, heights: np.ndarray) -> dict:
    return {"type": "bar", "x": compact(middles), "y": compact(100 * heights)}


def _drawn(data: xr.DataArray, parts: list[dict], names: list[str], moves: bool, dark: bool) -> go.Figure:
    panels = parts if len(parts) <= PANELS else parts[-1:]
    figure, colors = go.Figure(), look(dark)
    domains = stack([150] * len(panels), GAP)
    across = axis_of(data, "step") if moves else "Value of the activation"
    for place, part in enumerate(panels):
        axes = {"xaxis": numbered("x", place), "yaxis": numbered("y", place)}
        once = {"showscale": place == 0} if moves else {}
        figure.add_trace({**part, **axes, **_style(parts, names[place], moves, dark), **once})
        if len(panels) > 1:
            heading(figure, layer_named(names[place]), domains[place][1])
        last = place == len(panels) - 1
        low, high = float(np.min(part["y" if moves else "x"])), float(np.max(part["y" if moves else "x"]))
        x: dict = {"anchor": axes["yaxis"], "showgrid": False}
        x |= {"title": {"text": escaped(across)}} if last else {}
        y: dict = {"domain": domains[place], "anchor": axes["xaxis"], "nticks": 5, "showgrid": not moves}
        if moves:
            x |= {"matches": "x"} if place else {}
            x |= {"showticklabels": last}
            y |= {"title": {"text": "Value"}}
        else:
            y |= {
                "title": {"text": "Share (%)"},
                "type": "log",
                "tickvals": DECADES,
                "ticktext": [number(one) for one in DECADES],
            }
        figure.update_layout({f"xaxis{axes['xaxis'][1:]}": x, f"yaxis{axes['yaxis'][1:]}": y})
        if low <= 0 <= high:
            line = {"color": colors.ink, "width": 1.5, "dash": "dot"}
            straight = {"y0": 0, "y1": 0, "x0": 0, "x1": 1} if moves else {"x0": 0, "x1": 0, "y0": 0, "y1": 1}
            spans = {"xref": f"{axes['xaxis']} domain", "yref": axes["yaxis"]}
            spans = spans if moves else {"xref": axes["xaxis"], "yref": f"{axes['yaxis']} domain"}
            figure.add_shape(type="line", line=line, **straight, **spans)
    if len(parts) > len(panels):
        frames = [{"data": [part], "traces": [0]} for part in parts]
        scrub(figure, frames, [name[-24:] for name in names], "layer", dark)
    return figure


def _style(parts: list[dict], name: str, moves: bool, dark: bool) -> dict:
    """What stays the same on the slider."""
    if not moves:
        look_of = {"color": look(dark).series[0], "line": {"width": 0}}
        hover = "%{y:.3~g} % of the values are near %{x:.3~g}<extra></extra>"
        return {"marker": look_of, "hovertemplate": hover, "name": name, "showlegend": False}
    finite = np.concatenate([part["z"][np.isfinite(part["z"])] for part in parts])
    low, high = float(finite.min()), float(finite.max())
    shown = [share for share in SHARES if low - 1e-9 <= np.log10(share) <= high + 1e-9]
    return {
        "zmin": low,
        "zmax": high if high > low else low + 1,
        "colorscale": look(dark).scale(),
        "colorbar": colorbar(
            "Share of the values",
            dark,
            tickvals=[float(np.log10(share)) for share in shown],
            ticktext=[f"{number(100 * share)} %" for share in shown],
        ),
        "hovertemplate": "step %{x}, near %{y:.3~g}: 10<sup>%{z:.2f}</sup> of the values<extra></extra>",
        "hoverongaps": False,
        "name": f"{name}: power of ten of the share",
        "showlegend": False,
    }


def _told(centres: np.ndarray, shares: np.ndarray, zeros: float | None = None) -> str:
    """The middle nine tenths of the values, and how many are at zero."""
    there = np.isfinite(centres) & np.isfinite(shares)
    middles, heights = centres[there], shares[there]
    if heights.sum() <= 0:
        return "no value"
    order = np.argsort(middles)
    filled = np.cumsum(heights[order]) / heights.sum()
    step = float(np.diff(middles[order]).mean()) if len(middles) > 1 else 0.0
    low, high = (middles[order][np.searchsorted(filled, share - 1e-9)] for share in (0.05, 0.95))
    low, high = low - step / 2, high + step / 2
    zero = heights[np.abs(middles) <= step / 2 * 1.001].sum() / heights.sum()
    near = f", {percent(float(zero))} near zero" if zero > 0 else ""
    near = f", {percent(float(zeros))} are exactly zero" if zeros else near
    return f"nine tenths of the values lie between {fixed(low, step)} and {fixed(high, step)}{near}"


def _alt(names: list[str], last: list[str], first: list[str], steps: np.ndarray, moves: bool) -> str:
    told = names if len(names) <= 3 else [names[0], names[-1]]
    said = []
    for name in told:
        place = names.index(name)
        if moves:
            said.append(
                f"In {layer_named(name)} at step {number(steps[0])} {first[place]}; at step {number(steps[-1])} {last[place]}"
            )
        else:
            said.append(f"In {layer_named(name)} {last[place]}")
    return f"Distribution of the activations in {counted(len(names), 'layer')}. {'. '.join(said)}."


def example(seed: int = 0) -> dict:
    """The activations of a ReLU network before its nonlinearity is applied, along its training on digits."""
    from labkit.views.network_specimen import LAYERS, digits_network

    network = digits_network(seed)
    sums = [network.sums(at) for at in range(len(network.steps))]
    reach = [max(float(np.abs(one[layer]).max()) for one in sums) for layer in range(len(LAYERS))]
    edges = [np.linspace(-size, size, 62) for size in reach]
    shares = [[np.histogram(part, edge)[0] / part.size for part, edge in zip(one, edges)] for one in sums]
    data = xr.DataArray(
        np.array(shares),
        dims=("step", "layer", "bin"),
        coords={
            "step": network.steps,
            "layer": list(LAYERS),
            "bin": np.arange(61),
            "centre": (("layer", "bin"), [(edge[1:] + edge[:-1]) / 2 for edge in edges]),
            "width": ("layer", [edge[1] - edge[0] for edge in edges]),
        },
        attrs={"long_name": "sums before the ReLU", "units": "share of values"},
    )
    return {"data": data}
