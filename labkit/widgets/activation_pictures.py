"""Which pictures the hidden units of a model give, from the measurements of one batch."""

from collections.abc import Callable, Mapping

import plotly.graph_objects as go
import xarray as xr

from labkit.widgets.picture import Chosen, Picture

ORDER, SCALE = "Units", "Colours"
SORTED, IN_PLACE = "sorted by activity", "in their place"
TOGETHER, APART = "one scale for all layers", "each layer by its own largest"
Measurements = Mapping[str, xr.DataArray]


def activations(found: Measurements) -> list[Picture]:
    """What the units say, which of them never change, and how alike the layers are."""
    return _kept([_map(found), _distribution(found), _health(found), _similarity(found), _spectrum(found)])


def sparsity(found: Measurements) -> list[Picture]:
    """How few units are active, which are active together, and which weights are zero."""
    return _kept([_active(found), _lifetime(found), _together(found), _zeros(found)])


def _kept(pictures: list[Picture | None]) -> list[Picture]:
    return [picture for picture in pictures if picture is not None]


def plain(found: Measurements, name: str, title: str, says: str, view: Callable[..., go.Figure]) -> Picture | None:
    """A picture of one measurement as it is, where there is one."""
    if name not in found:
        return None
    data = found[name]
    return Picture(title, says, lambda _chosen, dark: view(data, dark=dark))


def _map(found: Measurements) -> Picture | None:
    if "unit_activity" not in found:
        return None
    data = found["unit_activity"]
    long = f"{data.attrs.get('long_name', 'activity')}, of the layer's largest"
    relative = (data / data.max("unit")).assign_attrs(long_name=long, units="fraction")

    def draw(chosen: Chosen, dark: bool) -> go.Figure:
        from labkit.views.unit_map import unit_map

        shown = data if chosen[SCALE] == TOGETHER else relative
        return unit_map(shown, order="value" if chosen[ORDER] == SORTED else "index", dark=dark)

    says = "Every hidden unit of every block, by how much it says on average. Where a row turns pale, units are silent."
    return Picture("Map of units", says, draw, {ORDER: [SORTED, IN_PLACE], SCALE: [APART, TOGETHER]})


def _distribution(found: Measurements) -> Picture | None:
    from labkit.views.distribution import distribution

    says = (
        "How often each value occurs among the activations of a layer. The axis is logarithmic: rare values show, too."
    )
    return plain(found, "activation_density", "Distribution", says, distribution)


def _health(found: Measurements) -> Picture | None:
    from labkit.views.health import health

    says = (
        "Units that do no work: dead ones never say anything, saturated ones always say the same, and duplicates say "
        "what another unit says already."
    )
    return plain(found, "unit_health", "Idle units", says, health)


def _similarity(found: Measurements) -> Picture | None:
    from labkit.views.similarity import similarity

    if "similarity" in found and found["similarity"].sizes["layer"] < 2:
        return None
    says = "How alike two layers see the inputs (CKA): 1 means the same up to a rotation, 0 nothing in common."
    return plain(found, "similarity", "Similarity of layers", says, similarity)


def _spectrum(found: Measurements) -> Picture | None:
    from labkit.views.spectrum import spectrum

    says = "In how many directions the activations of a layer really vary: a steep fall means few."
    return plain(found, "spectrum", "Spectrum", says, spectrum)


def _active(found: Measurements) -> Picture | None:
    from labkit.views.active_fraction import active_fraction

    inputs = "active_fraction" in found and bool(found["active_fraction"].attrs.get("averaged"))
    each = "input by input, where a unit is averaged over the places of an input" if inputs else "token by token"
    says = f"Which share of the units says more than the threshold, {each}. Move the threshold."
    return plain(found, "active_fraction", "Active fraction", says, active_fraction)


def _lifetime(found: Measurements) -> Picture | None:
    from labkit.views.lifetime import lifetime

    says = "How picky the units are: 0 says the same to every input, 1 answers to a single one."
    return plain(found, "lifetime_sparsity", "Lifetime sparsity", says, lifetime)


def _together(found: Measurements) -> Picture | None:
    from labkit.views.coactivation import coactivation

    says = (
        "Which units are active together. Blocks along the diagonal are groups, as the experts of a mixture would be."
    )
    return plain(found, "coactivation", "Active together", says, coactivation)


def _zeros(found: Measurements) -> Picture | None:
    from labkit.views.weight_pattern import weight_pattern

    if "weight_pattern" in found and not bool((found["weight_pattern"] > 0).any()):
        return None
    says = "Zeros among the weights, and whether they lie in a pattern that a fast kernel can use."
    return plain(found, "weight_pattern", "Zeros in the weights", says, weight_pattern)
