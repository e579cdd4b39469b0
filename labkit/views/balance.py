"""The loss that lies: each layer's balance beside the balance loss of all layers pooled, which may look fine."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.choices import filled, layers_of
from labkit.views.layer_lines import LAYERS, Wording, layer_lines, layer_ticks
from labkit.views.reading import entries, read
from labkit.views.theme import SMALL, look, styled
from labkit.views.thinning import compact, evenly
from labkit.views.wording import counted, fixed, listed, number, sentence

LOSS, EVEN = "auxiliary loss", "loss if even"
CALM = 1.1  # times even; below this a loss looks balanced


def balance(data: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """The balance loss of each layer, divided by what it is when all experts are used alike, beside the pooled one.

    The loss is E Σ F P (E experts, F how often each is chosen, P its mean probability); 1 means even, and a layer in
    which one expert takes everything comes near E. Trainings usually compute it once over the tokens of all layers;
    then each layer may collapse onto experts of its own while the loss stays at 1. Above: pooled, mean and worst layer
    by step. Below: every layer by step as colour; a collapsed layer is a strong row.

    Shapes:
        data: (layer, quantity) or (step, layer, quantity) with the quantities "auxiliary loss" and "loss if even"; the
            pooled row is the layer where the coordinate `pooled` (layer) is true, or else the one whose name has
            the word "pooled"
    Raises:
        LabError: other axes, quantities missing, or no layer beside the pooled row.
    """
    data = filled(read("balance", data, ("layer", "quantity"), ("step",)))
    quantities = [str(one) for one in entries(data, "quantity")]
    if not {LOSS, EVEN} <= set(quantities):
        raise LabError(f"balance needs the quantities {LOSS} and {EVEN}, and found {', '.join(quantities)}.")
    steps = entries(data, "step") if "step" in data.dims else [0]
    ratio = data.isel(quantity=quantities.index(LOSS)) / data.isel(quantity=quantities.index(EVEN))
    rows = ratio.transpose("layer", ...).values.astype(np.float64).reshape(len(data["layer"]), len(steps))
    rows = np.where(np.isfinite(rows), rows, np.nan)
    together = _pooled(data)
    layers, pooled = rows[~together], rows[together][0] if together.any() else np.full(len(steps), np.nan)
    names, short = layers_of(data.isel(layer=np.flatnonzero(~together)))
    if not len(names) or np.isnan(layers).all():
        raise LabError("balance needs the loss of at least one layer, and found only the pooled one or none at all.")
    if len(steps) > 1:
        figure, height, notes = _over_steps(data, layers, pooled, names, short, steps, dark)
    else:
        figure, height, notes = _bars(layers[:, 0], float(pooled[0]), names, short, dark)
    told = _told(layers, pooled, short, steps)
    return styled(
        figure,
        title="The loss that lies" if _lies(layers[:, -1], pooled[-1]) else "The balance of each layer",
        subtitle=sentence("; ".join([told, *notes])),
        alt=_alt(layers, pooled, short, steps, told),
        dark=dark,
        height=height,
        above=52 if len(steps) > 1 else 30,
        axes={"x": "step", "y": "layer"} if len(steps) > 1 else {"y": "layer"},
    )


def _pooled(data: xr.DataArray) -> np.ndarray:
    if "pooled" in data.coords and data["pooled"].dims == ("layer",):
        return data["pooled"].values.astype(bool)
    return np.array(["pooled" in str(name) for name in entries(data, "layer")])


def _lies(layers: np.ndarray, pooled: float) -> bool:
    """Whether the pooled loss hides most of what is wrong in the worst layer."""
    worst = float(np.nanmax(layers)) if np.isfinite(layers).any() else np.nan
    return bool(np.isfinite(pooled) and worst > 1.3 and pooled - 1 < (worst - 1) / 2)


def _over_steps(
    data: xr.DataArray,
    layers: np.ndarray,
    pooled: np.ndarray,
    names: list[str],
    short: list[str],
    steps: list,
    dark: bool,
) -> tuple[go.Figure, int, list[str]]:
    worst = int(np.nanargmax(np.nan_to_num(layers[:, -1])))
    with np.errstate(invalid="ignore"):
        mean = np.nansum(layers, 0) / np.isfinite(layers).sum(0)
    lines = {
        f"worst layer at the end: {short[worst]}": (layers[worst], 1),
        "mean of the layers": (mean, 2),
        "all layers pooled": (pooled, 0),
    }
    words = Wording("Loss (1: even)", "times even", " times even")
    figure, height, notes = layer_lines(data, lines, layers, (names, short), np.array(steps), 1.0, words, dark)
    figure.add_hline(y=1, line={"color": look(dark).muted, "width": 1.5, "dash": "dot"}, yref="y")
    return figure, height, notes


def _bars(
    layers: np.ndarray, pooled: float, names: list[str], short: list[str], dark: bool
) -> tuple[go.Figure, int, list[str]]:
    colors, shown = look(dark), evenly(len(names), LAYERS)
    figure = go.Figure(
        go.Bar(
            y=[names[at] for at in shown],
            x=compact(layers[shown]),
            orientation="h",
            marker={"color": colors.series[0], "line": {"width": 0}},
            hovertemplate="layer %{y}: %{x:.3~g} times even<extra></extra>",
            name="loss of the layer",
            showlegend=False,
        )
    )
    top = max(1.5, float(np.nanmax(layers)), np.nan_to_num(pooled))
    for value, words, dash, color, side in (
        (1.0, "even", "dot", colors.muted, "right"),
        (pooled, f"pooled {fixed(pooled, 0.1)}", "dash", colors.series[1], "left"),
    ):
        if not np.isfinite(value):
            continue
        figure.add_vline(x=value, line={"color": color, "width": 2.5, "dash": dash})
        figure.add_annotation(
            text=words,
            x=value,
            y=1,
            yref="paper",
            yanchor="bottom",
            xanchor=side,
            showarrow=False,
            font={"size": SMALL, "color": color if dash == "dash" else colors.ink},
        )
    figure.update_layout(
        xaxis={"title": {"text": "Balance loss of the layer (1: even)"}, "range": [0, 1.06 * top]},
        yaxis=layer_ticks(names, short, shown),
    )
    notes = [f"{len(shown)} of {len(names):,} layers"] if len(shown) < len(names) else []
    return figure, max(320, min(900, 210 + 26 * len(shown))), notes


def _told(layers: np.ndarray, pooled: np.ndarray, short: list[str], steps: list) -> str:
    last, all_of = layers[:, -1], float(pooled[-1])
    if np.isnan(last).all():
        return "the last step has no loss"
    worst = int(np.nanargmax(last))
    own = f"layer {short[worst]} for itself is at {fixed(last[worst], 0.1)} times even"
    if not np.isfinite(all_of):
        return f"{own}; a pooled loss was not recorded or is not defined"
    words = "looks balanced" if all_of < CALM else "is"
    lie = f"pooled over the layers the loss {words} ({fixed(all_of, 0.1)} times even)"
    return f"{lie}, but {own}" if _lies(last, all_of) else f"{lie}, and {own}, the worst"


def _alt(layers: np.ndarray, pooled: np.ndarray, short: list[str], steps: list, told: str) -> str:
    last = np.nan_to_num(layers[:, -1], nan=1.0)
    worst = np.argsort(-last)[:3]
    each = listed([f"layer {short[at]} {fixed(last[at], 0.1)}" for at in worst])
    calm = int((last < CALM).sum())
    when = f" over {len(steps):,} steps, at step {number(steps[-1])}" if len(steps) > 1 else ""
    return (
        f"Balance loss of {counted(len(layers), 'layer')} against the pooled one{when}: {told}. Highest: {each}; "
        f"{calm} of {len(layers)} are below {CALM} times even."
    )


def example(seed: int = 0) -> dict:
    """Two mixtures of 8 experts that were really trained with the pooled balance loss: each layer uses only some."""
    from labkit.views.routed_specimen import NAMES, routed

    run = routed(seed, "pooled", rate=0.03, strength=0.1)
    often, mean = run.chosen(), run.probability.mean(2)
    chosen, experts = run.index.shape[-1], often.shape[-1]
    own = chosen * experts * (often * mean).sum(-1)
    pooled = chosen * experts * (often.mean(1) * mean.mean(1)).sum(-1)
    losses = np.concatenate([own, pooled[:, None]], 1)
    return {
        "data": xr.DataArray(
            np.stack([losses, np.full_like(losses, chosen)], -1),
            dims=("step", "layer", "quantity"),
            coords={
                "step": run.steps,
                "layer": [*NAMES, "all layers pooled"],
                "quantity": [LOSS, EVEN],
                "pooled": ("layer", [False, False, True]),
            },
            attrs={"long_name": "balance of the load", "units": ""},
        )
    }
