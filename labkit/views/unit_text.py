"""One unit of a model that reads text: the places that move it most, painted, its density, and its ablation."""

import html

import numpy as np
import xarray as xr

from labkit.errors import LabError
from labkit.views.paint import KIND, Scale, legend, painted, style
from labkit.views.panels import coordinate, layer_named
from labkit.views.reading import entries, read, title_of, units_of
from labkit.views.spelling import Piece, spelled
from labkit.views.spread import Spread, spread_of
from labkit.views.wording import counted, listed, number, percent, sentence, short

WIDE, HIGH, MOST, TOKENS = 420, 110, 24, 2_400


def unit_text(
    activity: xr.DataArray,
    effect: xr.DataArray | None = None,
    *,
    places: int = 8,
    around: int = 24,
    dark: bool = False,
) -> str:
    """The page of one unit over a text: the strongest places with the tokens around them, a histogram, the ablation.

    The places keep a distance, so that one passage is not shown twice. All are painted on one scale; the exact value
    of each token is in its title, and the Tab key goes from peak to peak. The page around it chooses the theme where
    it has one, else `dark` does.

    Shapes:
        activity: (token), the activation of the unit at each token, with the coordinate `text` (token), maybe
            `sequence` (token); single coordinates `unit` and `layer` name the unit
        effect: (quantity), the change of each quantity (loss, output) when the unit is set to its mean
        places: how many passages, at most 24; around: how many tokens on each side, 2,400 in all passages at most
    Raises:
        LabError: other axes, no `text`, or no value at all.
    """
    activity = read("unit_text", activity, ("token",))
    change = None if effect is None else read("unit_text", effect, ("quantity",))
    text = coordinate("unit_text", activity, "text", ("token",), "the token itself")
    if places < 1 or around < 0:
        raise LabError(f"unit_text needs at least 1 place and no negative reach, and got {places} and {around}.")
    values = activity.values.astype(np.float64)
    owner = activity["sequence"].values if "sequence" in activity.coords else np.zeros(len(values))
    pieces, scale, tokens = spelled([str(one) for one in text]), Scale.of(values), entries(activity, "token")
    spread = spread_of("unit_text", activity.drop_vars("text"))
    reach, blocks = min(around, TOKENS // min(places, MOST) // 2), []
    for peak in _peaks(values, owner, min(places, MOST), around):
        start, end = _passage(owner, peak, reach)
        titles = [f"{number(values[at])}, token {tokens[at]}" for at in range(start, end)]
        body = painted(_open(pieces[start:end]), values[start:end], titles, scale, {peak - start})
        blocks.append(
            f"<li><b>{number(values[peak])}</b> at token {html.escape(str(tokens[peak]))}"
            f'<div class="text">{"… " * (start > 0)}{body}{" …" * (end < len(values))}</div></li>'
        )
    said = f"{counted(len(values), 'token')}; {spread.told}"
    effects = f"<p>{html.escape(_effects(change))}</p>" if change is not None else ""
    return (
        f'{style()}<figure class="{KIND}{" lab-dark" if dark else ""}"><figcaption><b>{html.escape(_name(activity))}'
        f"</b><small>{html.escape(sentence(said))}.</small>"
        f"{legend(scale, title_of(activity, 'Activation'), units_of(activity))}</figcaption>"
        f"{_histogram(spread)}{effects}<h4>Where it answers most</h4><ol>{''.join(blocks)}</ol></figure>"
    )


def _name(activity: xr.DataArray) -> str:
    said = [activity.coords[one].item() if one in activity.coords else None for one in ("unit", "layer")]
    name = "A unit" if said[0] is None else f"Unit {said[0]}"
    return (name if said[1] is None else f"{name} of {short(layer_named(str(said[1])), 40)}") + ": what it answers to"


def _peaks(values: np.ndarray, owner: np.ndarray, places: int, around: int) -> list[int]:
    """The strongest places, each farther than `around` tokens from a stronger one of its sequence."""
    found: list[int] = []
    for place in np.argsort(-np.abs(np.nan_to_num(values)), kind="stable").tolist():
        if len(found) == places or not values[place] or not np.isfinite(values[place]):
            break
        if all(owner[place] != owner[other] or abs(place - other) > around for other in found):
            found.append(place)
    return found


def _passage(owner: np.ndarray, peak: int, around: int) -> tuple[int, int]:
    """The tokens around a peak that belong to its sequence."""
    start, end = max(0, peak - around), min(len(owner), peak + around + 1)
    same = np.flatnonzero(owner[start:end] == owner[peak]) + start
    return int(same[0]), int(same[-1]) + 1


def _open(pieces: list[Piece]) -> list[Piece]:
    """The pieces of a passage; its first token needs no space before it, and line ends are shown but not made."""
    return [Piece(one.text, one.gap * (at > 0), False, one.special, one.invisible) for at, one in enumerate(pieces)]


def _histogram(spread: Spread) -> str:
    """The density as a small picture, logarithmic from the rarest to the most frequent bin."""
    filled = spread.shares > 0
    low = np.log10(spread.shares[filled].min()) - 0.3
    high = max(float(np.log10(spread.shares.max())), low + 0.3)
    tall = np.where(filled, (np.log10(np.where(filled, spread.shares, 1)) - low) / (high - low), 0) * HIGH
    step = WIDE / len(tall)
    bars = "".join(
        f'<rect x="{at * step:.1f}" y="{HIGH - one:.1f}" width="{max(0.5, step - 1):.1f}" height="{one:.1f}">'
        f"<title>{percent(share)} near {number(float(f'{middle:.3g}'))}</title></rect>"
        for at, (one, share, middle) in enumerate(zip(tall, spread.shares, spread.middles))
        if one > 0
    )
    half = spread.width / 2
    ends = [number(float(f"{one:.3g}")) for one in (spread.middles[0] - half, spread.middles[-1] + half)]
    label = f"Histogram of its activations from {ends[0]} to {ends[1]}, logarithmic: {spread.told}."
    return (
        f'<svg role="img" aria-label="{html.escape(label)}" viewBox="0 0 {WIDE} {HIGH + 20}" fill="currentColor" '
        f'style="width:100%;max-width:{WIDE}px;height:auto">{bars}<text x="0" y="{HIGH + 15}" font-size="13">{ends[0]}'
        f'</text><text x="{WIDE}" y="{HIGH + 15}" font-size="13" text-anchor="end">{ends[1]}</text>'
        f'<text x="{WIDE / 2}" y="{HIGH + 15}" font-size="13" text-anchor="middle">activation; height: share of tokens, '
        "logarithmic</text></svg>"
    )


def _effects(change: xr.DataArray) -> str:
    parts = []
    for name, value in zip(entries(change, "quantity"), change.values.astype(float)):
        sign = "+" if value > 0 else ""
        parts.append(f"the {name} changes by {sign}{number(value)}")
    return f"Set to its mean, {listed(parts)}."


def example(seed: int = 0) -> dict:
    """The unit of a small network, which guesses the next character, whose ablation costs most."""
    from labkit.views.network_specimen import text_network

    network = text_network(seed)
    activity, change = network.hidden()[1], network.ablated(1)
    unit = int(change[0].argmax())
    coords = {"token": np.arange(len(activity)), "text": ("token", list(network.tokens))}
    return {
        "activity": xr.DataArray(
            activity[:, unit],
            dims="token",
            coords={**coords, "unit": unit, "layer": "hidden 2"},
            attrs={"long_name": "activation", "units": ""},
        ),
        "effect": xr.DataArray(change[:, unit], dims="quantity", coords={"quantity": ["loss", "output"]}),
    }
