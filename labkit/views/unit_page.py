"""One unit: the inputs that move it most, how its activations are spread, and what is lost without it."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.mosaic import GAP, Mosaic, grey, greys, smaller
from labkit.views.panels import heading, layer_named
from labkit.views.reading import entries, read
from labkit.views.spread import Spread, spread_of
from labkit.views.theme import SMALL, look, styled
from labkit.views.thinning import compact, evenly
from labkit.views.wording import counted, escaped, listed, number, percent, sentence, short

ACROSS, SHOWN, DOTS = 8, 16, 800


def unit_page(
    strongest: xr.DataArray,
    images: xr.DataArray,
    density: xr.DataArray | None = None,
    effect: xr.DataArray | None = None,
    *,
    dark: bool = False,
) -> go.Figure:
    """The page of one unit: its strongest inputs as images, its density, and the effect of taking it out.

    The images stand in the order of the activations, each with its activation below. The histogram has a logarithmic
    axis, so that rare strong answers are seen; a dotted line marks zero. The effect of ablation is drawn among those
    of the other units where `effect` has an axis `unit`: a diamond among dots.

    Shapes:
        strongest: (rank), the largest activations of the unit, with the coordinate `input` (rank); where it carries
            `layer` and `unit` as single coordinates (after data.sel), the title names them
        images: (input, rows, columns), grey values, with the coordinate `input` that says which inputs these are
        density: (input), the activation of the unit for each input, or (bin), shares with the coordinate
            `centre` or the centres as labels
        effect: (quantity) or (quantity, unit), the change of each quantity (loss, output) without the unit
    Raises:
        LabError: other axes, no `input`, or no image of any of the strongest inputs.
    """
    strongest = read("unit_page", strongest, ("rank",))
    images = read("unit_page", images, ("input", "rows", "columns"))
    spread = None if density is None else spread_of("unit_page", density)
    change = None if effect is None else _known(read("unit_page", effect, ("quantity",), ("unit",)), strongest)
    ranks, pictures = _matched(strongest, images)
    small, merged = smaller(pictures)
    tiles = Mosaic(
        len(small), ACROSS, small.shape[1], small.shape[2], max(1, small.shape[2] // 12), max(2, small.shape[1] // 3)
    )
    name = _name(strongest)
    effects = entries(change, "quantity") if change is not None else []
    below = spread is not None or bool(effects)
    high = int(tiles.size[0] * 520 / tiles.size[1]) + 10
    plot = high + 300 * below
    figure = go.Figure()
    _gallery(figure, tiles, small, ranks, [1 - high / plot, 1.0], dark)
    foot = 230 / plot
    if spread is not None:
        _spread(figure, spread, [0, 0.42 if effects else 1.0], [0, foot], dark)
    if change is not None:
        _effects(figure, change, strongest, [0.58 if spread is not None else 0.0, 1], foot, dark)
    count = f"{counted(len(small), 'image')}, strongest first" + f", {merged} x {merged} pixels in one" * (merged > 1)
    notes = [count, *([spread.told] if spread is not None else [])]
    return styled(
        figure,
        title=f"{name}: what it answers to",
        subtitle=sentence("; ".join(notes)),
        alt=_alt(name, ranks, spread, change, strongest),
        dark=dark,
        height=plot + 150,
        above=12,
    )


def _name(strongest: xr.DataArray) -> str:
    """Unit 3 of hidden 2, where the data says so."""
    said = [strongest.coords[one].item() if one in strongest.coords else None for one in ("unit", "layer")]
    name = "A unit" if said[0] is None else f"Unit {said[0]}"
    return name if said[1] is None else f"{name} of {short(layer_named(str(said[1])), 32)}"


def _known(change: xr.DataArray, strongest: xr.DataArray) -> xr.DataArray:
    """The quantities whose effect was measured for this unit."""
    there = [np.isfinite(_own(change.isel(quantity=place), strongest)[0]) for place in range(change.sizes["quantity"])]
    if not any(there):
        raise LabError("unit_page has no effect of this unit; measure it with ablation_effect and name the unit there.")
    return change.isel(quantity=np.flatnonzero(there))


def _matched(strongest: xr.DataArray, images: xr.DataArray) -> tuple[list[tuple], np.ndarray]:
    """(input, activation) of the strongest inputs that there are images of, and these images."""
    if "input" not in strongest.coords:
        raise LabError("unit_page needs the coordinate input (rank) of the strongest inputs, and it has none.")
    place = {one: at for at, one in enumerate(entries(images, "input"))}
    which = np.atleast_1d(strongest["input"].values).tolist()
    found = [(one, float(value)) for one, value in zip(which, strongest.values) if one in place and np.isfinite(value)]
    if not found:
        raise LabError(
            "unit_page found no image of any of the strongest inputs; their numbers are not among the images."
        )
    found = found[:SHOWN]
    return found, images.values[[place[one] for one, _ in found]]


def _gallery(
    figure: go.Figure, tiles: Mosaic, small: np.ndarray, ranks: list[tuple], domain: list[float], dark: bool
) -> None:
    colors = look(dark)
    figure.add_heatmap(
        z=tiles.laid(grey(small), GAP),
        zmin=0,
        zmax=GAP,
        colorscale=greys(colors),
        showscale=False,
        hoverinfo="skip",
        name="images",
    )
    spots = np.array([tiles.foot(place) for place in range(len(ranks))])
    figure.add_scatter(
        x=compact(spots[:, 0]),
        y=compact(spots[:, 1]),
        mode="text",
        text=[number(value) for _, value in ranks],
        customdata=[[place + 1, str(one)] for place, (one, _) in enumerate(ranks)],
        textfont={"size": SMALL - 1, "color": colors.ink},
        hovertemplate="rank %{customdata[0]}: activation %{text} for input %{customdata[1]}<extra></extra>",
        name="activation",
        showlegend=False,
        meta="single",
    )
    bare = {"showgrid": False, "showticklabels": False, "constrain": "domain", "fixedrange": True}
    figure.update_layout(
        xaxis={
            **bare,
            "anchor": "y",
            "domain": [0, 1],
            "range": [-0.5, tiles.size[1] - 0.5],
            "constraintoward": "left",
        },
        yaxis={
            **bare,
            "anchor": "x",
            "domain": domain,
            "range": [tiles.size[0] - 0.5, -0.5],
            "scaleanchor": "x",
            "constraintoward": "top",
        },
    )


def _spread(figure: go.Figure, spread: Spread, across: list[float], up: list[float], dark: bool) -> None:
    colors = look(dark)
    figure.add_bar(
        x=compact(spread.middles),
        y=compact(100 * spread.shares),
        width=spread.width,
        marker={"color": colors.series[0], "line": {"width": 0.5, "color": colors.surface}},
        hovertemplate="%{y:.3~g} % of the values are near %{x:.3~g}<extra></extra>",
        name="values",
        showlegend=False,
        xaxis="x2",
        yaxis="y2",
    )
    heading(figure, "How often it answers how much", up[1], across[0], width=34)
    decades = [10.0**power for power in range(2, -6, -1)]
    figure.update_layout(
        xaxis2={"title": {"text": "Activation"}, "domain": across, "anchor": "y2", "showgrid": False, "nticks": 6},
        yaxis2={
            "title": {"text": "Share of inputs (%)"},
            "domain": up,
            "anchor": "x2",
            "type": "log",
            "tickvals": decades,
            "ticktext": [number(one) for one in decades],
        },
    )
    if spread.middles[0] <= spread.width and spread.middles[-1] >= -spread.width:
        line = {"color": colors.ink, "width": 1.5, "dash": "dot"}
        figure.add_shape(type="line", x0=0, x1=0, y0=0, y1=1, xref="x2", yref="y2 domain", line=line)


def _effects(
    figure: go.Figure, change: xr.DataArray, strongest: xr.DataArray, across: list[float], foot: float, dark: bool
) -> None:
    """One strip for each quantity: this unit's effect, among those of the layer's other units."""
    colors, names = look(dark), [str(one) for one in entries(change, "quantity")]
    heading(figure, "What changes without it", foot, across[0], width=34)
    step = foot / len(names)
    for place, name in enumerate(names):
        own, others = _own(change.isel(quantity=place), strongest)
        axes = {"xaxis": f"x{3 + place}", "yaxis": f"y{3 + place}"}
        if len(others):
            kept = np.sort(others)[evenly(len(others), DOTS)]
            wave = np.modf(np.arange(len(kept)) * 0.618034)[0] - 0.5  # spread out, so that dots do not hide each other
            figure.add_scatter(
                x=compact(kept),
                y=compact(0.7 * wave),
                mode="markers",
                marker={"size": 6, "color": colors.muted, "opacity": 0.45},
                hovertemplate=f"another unit: %{{x:.3~g}}<extra>{escaped(name)}</extra>",
                name=f"{escaped(name)}, other units",
                showlegend=False,
                **axes,
            )
        figure.add_scatter(
            x=[own],
            y=[0],
            mode="markers",
            marker={
                "size": 15,
                "symbol": "diamond",
                "color": colors.series[1],
                "line": {"width": 2, "color": colors.surface},
            },
            hovertemplate=f"this unit: %{{x:.3~g}}<extra>{escaped(name)}</extra>",
            name=f"{escaped(name)}, this unit",
            showlegend=False,
            **axes,
        )
        top = foot - place * step
        figure.update_layout(
            {
                f"xaxis{3 + place}": {
                    "title": {"text": f"{escaped(sentence(name))}: {_signed(own)}"},
                    "domain": across,
                    "anchor": axes["yaxis"],
                    "nticks": 5,
                    "zeroline": True,
                    "zerolinecolor": colors.muted,
                    "showgrid": False,
                },
                f"yaxis{3 + place}": {
                    "domain": [max(0.0, top - 0.28 * step), top] if len(names) > 1 else [0, foot],
                    "anchor": axes["xaxis"],
                    "showticklabels": False,
                    "showgrid": False,
                    "range": [-0.6, 0.6],
                    "fixedrange": True,
                },
            }
        )


def _own(change: xr.DataArray, strongest: xr.DataArray) -> tuple[float, np.ndarray]:
    """The effect of this unit and those of the others."""
    if "unit" not in change.dims:
        return float(change), np.zeros(0)
    units = entries(change, "unit")
    unit = strongest.coords["unit"].item() if "unit" in strongest.coords else None
    if unit not in units:
        raise LabError(f"unit_page has the effects of {len(units)} units, and {unit} is not among them.")
    others = np.delete(change.values.astype(np.float64), units.index(unit))
    return float(change[units.index(unit)]), others[np.isfinite(others)]


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + number(value)


def _alt(
    name: str, ranks: list[tuple], spread: Spread | None, change: xr.DataArray | None, strongest: xr.DataArray
) -> str:
    values = [number(value) for _, value in ranks]
    told = f"{name}: {counted(len(ranks), 'image')} of the inputs that move it most, from {values[0]} to {values[-1]}."
    told += f" {sentence(spread.told)}." if spread is not None else ""
    if change is not None:
        parts = []
        for place, quantity in enumerate(entries(change, "quantity")):
            own, others = _own(change.isel(quantity=place), strongest)
            below = float((others < own).mean()) if len(others) else 0.0
            rank = f", more than for {percent(below)} of the other units" if len(others) else ""
            rank = ", more than for any other unit" if below == 1 else rank
            parts.append(f"{quantity} by {_signed(own)}{rank}")
        told += f" Without it change {listed(parts)}."
    return told


def example(seed: int = 0) -> dict:
    """The unit of the second layer of a ReLU network whose ablation costs most on held-out digits."""
    from labkit.views.network_specimen import HELD, digits_network

    network = digits_network(seed)
    activity, change = network.hidden()[1], network.ablated(1)
    unit = int(change[0].argmax())
    order = np.argsort(-activity[:, unit])[:16]
    named = {"unit": unit, "layer": "hidden 2"}
    pixels = (network.inputs.reshape(-1, 8, 8) * 255).astype(np.uint8)
    return {
        "strongest": xr.DataArray(activity[order, unit], dims="rank", coords={"input": ("rank", order), **named}),
        "images": xr.DataArray(pixels, dims=("input", "rows", "columns"), coords={"input": np.arange(HELD)}),
        "density": xr.DataArray(activity[:, unit], dims="input", attrs={"long_name": "activation"}),
        "effect": xr.DataArray(
            change,
            dims=("quantity", "unit"),
            coords={"quantity": ["loss", "output"], "unit": np.arange(activity.shape[1])},
        ),
    }
