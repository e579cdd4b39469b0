"""What if this token had gone elsewhere: loss and output when it is sent to each expert in turn."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.choices import noun_of, plural
from labkit.views.panels import heading, stack
from labkit.views.reading import entries, read
from labkit.views.theme import look, styled
from labkit.views.thinning import compact
from labkit.views.wording import counted, escaped, number, sentence, short

CHOICES, LOSS, OUTPUT = 256, "loss", "output"


def forced_choice(change: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """A bar for each expert: how the loss changes when the token is sent there, and below how far the output moves.

    The router's own choice changes nothing and is marked with a star. Bars below zero are experts that would have
    answered better than the one that was taken.

    Shapes:
        change: (choice, quantity), quantity with "output" and, where there are labels, "loss"; coordinate `taken`
            (choice) true at the router's own choice; attributes `layer` and `token` say where
    Raises:
        LabError: other axes or quantities, or more than 256 choices.
    """
    change = read("forced_choice", change, ("choice", "quantity"))
    quantities = [str(one) for one in entries(change, "quantity")]
    if not {LOSS, OUTPUT} <= set(quantities):
        raise LabError(f"forced_choice needs the quantities {LOSS} and {OUTPUT}, and found {', '.join(quantities)}.")
    if change.sizes["choice"] > CHOICES:
        raise LabError(
            f"forced_choice draws at most {CHOICES} choices, and found {change.sizes['choice']:,}; choose some with "
            "data.isel(choice=slice(256))."
        )
    loss, output = (change.isel(quantity=quantities.index(one)).values.astype(np.float64) for one in (LOSS, OUTPUT))
    noun, choices = noun_of(change, "expert"), np.array(entries(change, "choice"))
    taken = change["taken"].values.astype(bool) if "taken" in change.coords else np.zeros(len(choices), bool)
    known = np.isfinite(loss).any()
    figure = _drawn(loss if known else None, output, choices, taken, noun, change, dark)
    told = _told(loss if known else None, output, choices, taken, noun)
    return styled(
        figure,
        title=f"What if the token had gone to another {noun}",
        subtitle=sentence("; ".join([_where(change), *told])),
        alt=f"Bars for {counted(len(choices), noun, plural(noun))}: {_where(change)}: {'; '.join(told)}.",
        dark=dark,
        height=190 + (200 + 70) * bool(known) + 180,
        above=30,
        axes={"x": "choice"},
    )


def _where(change: xr.DataArray) -> str:
    layer, token = change.attrs.get("layer"), change.attrs.get("token")
    text = f" “{short(str(change.attrs['text']), 16)}”" if change.attrs.get("text") else ""
    where = f" in layer {short(str(layer), 40)}" if layer is not None else ""
    return f"token {token}{text}{where}" if token is not None else f"one token{text}{where}"


def _unit(change: xr.DataArray, quantity: str, default: str) -> str:
    if "unit" not in change.coords:
        return default
    units = dict(zip(entries(change, "quantity"), change["unit"].values.tolist()))
    return str(units.get(quantity) or "")


def _drawn(
    loss: np.ndarray | None,
    output: np.ndarray,
    choices: np.ndarray,
    taken: np.ndarray,
    noun: str,
    change: xr.DataArray,
    dark: bool,
) -> go.Figure:
    colors, figure = look(dark), go.Figure()
    domains = stack([200, 180], 70) if loss is not None else [[0, 1]]
    nats = _unit(change, LOSS, "nats")
    panels = [] if loss is None else [("y", loss, f"Loss against the router's own choice ★{f' ({nats})' * bool(nats)}")]
    panels.append(
        (
            "y2" if panels else "y",
            output,
            "How far the output moves (length of the difference)" + " ★ own choice" * (not panels),
        )
    )
    whole = {"dtick": 1} if len(choices) <= 16 else {"nticks": 12}
    for place, (axis, values, words) in enumerate(panels):
        better = values < 0
        figure.add_bar(
            x=compact(choices),
            y=compact(values),
            yaxis=axis,
            marker={
                "color": [colors.series[0] if one else colors.series[1] for one in better]
                if axis == "y" and loss is not None
                else colors.series[2],
                "line": {"width": 0},
            },
            hovertemplate=f"sent to {escaped(noun)} %{{x}}: %{{y:+.4~g}}<extra></extra>",
            name=words,
        )
        figure.add_scatter(
            x=compact(choices[taken]),
            y=compact(np.nan_to_num(values[taken])),
            yaxis=axis,
            mode="markers",
            marker={"symbol": "star", "size": 16, "color": colors.ink, "line": {"width": 1, "color": colors.surface}},
            cliponaxis=False,
            hovertemplate=f"{escaped(noun)} %{{x}}: the router's own choice<extra></extra>",
            name="the router's own choice",
        )
        side = {
            "domain": domains[place],
            "zeroline": True,
            "zerolinecolor": colors.muted,
            "zerolinewidth": 1.5,
            "nticks": 6,
        }
        figure.update_layout({f"yaxis{axis[1:]}": side})
        heading(figure, words, domains[place][1], width=62)
    figure.update_layout(
        xaxis={
            "title": {"text": f"{sentence(escaped(noun))} that it is sent to"},
            "anchor": panels[-1][0],
            "showgrid": False,
            "tickformat": ",d",
            "range": [choices.min() - 0.6, choices.max() + 0.6],
            **whole,
        },
        showlegend=False,
        bargap=0.3 if len(choices) <= 64 else 0,
    )
    return figure


def _told(loss: np.ndarray | None, output: np.ndarray, choices: np.ndarray, taken: np.ndarray, noun: str) -> list[str]:
    own = f"the router chose {noun} {choices[taken][0]}" if taken.any() else "the router's own choice is not recorded"
    far = int(np.nanargmax(output))
    moved = f"the output moves most, by {number(output[far])}, with {noun} {choices[far]}"
    if loss is None:
        return [own, moved, "without labels there is no loss"]
    rest = np.where(taken, np.nan, loss)
    if np.isnan(rest).all():
        return [own, moved]
    best, worst = int(np.nanargmin(rest)), int(np.nanargmax(rest))
    better = int((rest < 0).sum())
    words = (
        f"no other {noun} would have been better"
        if not better
        else f"{better} of {len(loss) - taken.sum()} others would have been better"
    )
    edge = f"best {choices[best]} ({number(loss[best])}), worst {choices[worst]} (+{number(loss[worst])})"
    edge = edge.replace("+\N{MINUS SIGN}", "\N{MINUS SIGN}")
    return [own, f"{words}, {edge}", moved]


def example(seed: int = 0) -> dict:
    """A character of a text in the first of two mixtures of 8 experts, sent to each of them in turn."""
    from labkit.views.routed_specimen import NAMES, routed

    run = routed(seed)
    token = int(np.argsort(run.probability[-1, 0].max(-1))[len(run.text) // 2])
    losses, outputs = run.sent(token)
    own = int(run.index[-1, 0, token, 0])
    values = np.stack([losses - losses[own], np.linalg.norm(outputs - outputs[own], axis=-1)], 1)
    axis = np.arange(len(values))
    return {
        "change": xr.DataArray(
            values,
            dims=("choice", "quantity"),
            coords={
                "choice": ("choice", axis, {"long_name": run.noun}),
                "quantity": [LOSS, OUTPUT],
                "taken": ("choice", axis == own),
                "unit": ("quantity", ["nats", "length"]),
            },
            attrs={"layer": NAMES[0], "token": token, "text": run.text[token]},
        )
    }
