"""Which pictures the routing of a model gives, from the measurements of one batch or of a file that was recorded."""

from collections.abc import Mapping

import plotly.graph_objects as go
import xarray as xr

from labkit.widgets.activation_pictures import plain
from labkit.widgets.picture import Chosen, Picture

Measurements = Mapping[str, xr.DataArray]


def routing(found: Measurements) -> list[Picture]:
    """Who is chosen for what, how evenly, how surely, and what follows from it."""
    pictures = [
        _strip(found),
        _load(found),
        _balance(found),
        _certainty(found),
        _specialisation(found),
        _flow(found),
        _flips(found),
        _dropped(found),
        _slots(found),
    ]
    return [picture for picture in pictures if picture is not None]


def _strip(found: Measurements) -> Picture | None:
    from labkit.views.token_strip import token_strip

    says = "Which expert each token goes to: a row a layer, a column a token. Point at a cell for the weights."
    return plain(found, "token_choices", "Tokens", says, token_strip)


def _load(found: Measurements) -> Picture | None:
    from labkit.views.choice_load import choice_load

    says = "How much work each expert gets, beside an even share."
    return plain(found, "choice_load", "Load", says, choice_load)


def _balance(found: Measurements) -> Picture | None:
    from labkit.views.balance import balance

    if "balance" in found:
        data = found["balance"]
        losses = data.where(~data["pooled"]).sel(quantity="auxiliary loss")
        if not bool(losses.notnull().any()):  # a gate that does not tell its scores has no such loss
            return None
    says = (
        "Is every layer balanced? The auxiliary loss is usually computed over all layers together, where one collapsed "
        "layer hides behind the others."
    )
    return plain(found, "balance", "Balance", says, balance)


def _certainty(found: Measurements) -> Picture | None:
    if "choice_margin" not in found:
        return None
    margin, entropy = found["choice_margin"], found.get("token_entropy")

    def draw(_chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.certainty import certainty

        return certainty(margin, entropy, dark=dark)

    says = "How clearly the router prefers its first choice. At a margin near zero, the last digit decides."
    return Picture("Certainty", says, draw)


def _specialisation(found: Measurements) -> Picture | None:
    if "choice_by_class" not in found:
        return None
    shares, information = found["choice_by_class"], found.get("choice_information")

    def draw(_chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.specialisation import specialisation

        return specialisation(shares, information, dark=dark)

    says = "What each expert is used for, and whether that is more than chance would give."
    return Picture("Specialisation", says, draw)


def _flow(found: Measurements) -> Picture | None:
    from labkit.views.choice_flow import choice_flow

    says = "Where the tokens of each expert go in the next layer. A strong band is more than chance."
    return plain(found, "choice_flow", "Flow between layers", says, choice_flow)


def _flips(found: Measurements) -> Picture | None:
    from labkit.views.flips import flips

    says = "Tokens that would go elsewhere if only the number format changed, from 32 to 16 bits."
    return plain(found, "dtype_flips", "Flips", says, flips)


def _dropped(found: Measurements) -> Picture | None:
    from labkit.views.dropped import dropped

    if "dropped_tokens" in found and not bool((found["dropped_tokens"] > 0).any()):
        return None
    says = "Tokens that no expert had room for: they pass the layer unchanged."
    return plain(found, "dropped_tokens", "Dropped tokens", says, dropped)


def _slots(found: Measurements) -> Picture | None:
    if "choice_load" not in found or found["choice_load"]["choice"].attrs.get("long_name") != "slot":
        return None
    load, quantities = found["choice_load"], found.get("slot_usage")

    def draw(_chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.slot_usage import slot_usage

        return slot_usage(load, quantities, dark=dark)

    says = "How many of the slots of a memory are ever used, and how evenly."
    return Picture("Slot usage", says, draw)
