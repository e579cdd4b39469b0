"""Which units work together: how much more often than by chance each two are active at once, in groups."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.views.panels import colorbar, coordinate, layer_named, names_of
from labkit.views.reading import entries, read, title_of, units_of
from labkit.views.theme import look, styled
from labkit.views.thinning import blocks, compact
from labkit.views.wording import counted, number, sentence, wrapped

SIDE = 190


def coactivation(data: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """Units by units in the order of their groups, lines between the groups; 0 is chance.

    The subtitle says whether the groups are more than what one finds in any data: the modularity of the grouping
    against the modularity found after each unit's activity was shuffled. The diagonal, each unit with itself, is left
    empty, and the colours end where 99 % of the values lie.

    Shapes:
        data: (unit, other), signed, with the coordinate `cluster` (unit); attrs `modularity` and
            `modularity_shuffled` where they were measured. More than 190 units are averaged in blocks.
    Raises:
        LabError: other axes, or no `cluster`.
    """
    data = read("coactivation", data, ("unit", "other"))
    cluster = coordinate("coactivation", data, "cluster", ("unit",), "the group of each unit")
    values = data.values.astype(np.float64)
    order = np.argsort(cluster, kind="stable")
    square = values.shape[0] == values.shape[1] and names_of(data, "unit") == names_of(data, "other")
    if square:
        values = np.where(np.eye(len(values), dtype=bool), np.nan, values)
    sorted_already = bool((np.diff(order) == 1).all())
    if not sorted_already:
        values, cluster = values[order][:, order] if square else values[order], cluster[order]
    units = np.array(entries(data, "unit"))[order]
    others = np.array(entries(data, "other"))[order] if square else np.array(entries(data, "other"))
    cells, block, _ = blocks(values, SIDE, SIDE)
    bound = float(np.nanquantile(np.abs(cells), 0.99)) or float(np.nanmax(np.abs(cells))) or 1.0
    signed = float(np.nanmin(values)) < 0
    rows, columns = [str(one) for one in units[::block]], [str(one) for one in others[::block]]
    colors = look(dark)
    figure = go.Figure(
        go.Heatmap(
            z=compact(cells.astype(np.float32)),
            x=columns,
            y=rows,
            zmin=-bound if signed else 0,
            zmax=bound,
            colorscale=colors.scale(signed),
            colorbar=colorbar(f"{title_of(data, 'Active together')} ({units_of(data) or 'against chance'})", dark),
            hovertemplate="units %{y} and %{x}: %{z:.3~g}"
            + f" (mean of {block} x {block})" * (block > 1)
            + "<extra></extra>",
            hoverongaps=False,
            name="active together",
        )
    )
    _borders(figure, cluster, block, rows, len(columns) if square else 0, dark)
    sizes = np.unique(cluster, return_counts=True)[1]
    notes = [_modular(data), f"{counted(len(units), 'unit')} in {counted(len(sizes), 'group')}"]
    notes += [f"each cell the mean of {block} x {block} pairs"] * (block > 1)
    if "threshold" in data.attrs:
        notes.append(f"active above {number(float(data.attrs['threshold']))}")
    notes += [str(data.attrs["sampled"])] if data.attrs.get("sampled") else []
    inside, across = _means(values, cluster) if square else (np.nan, np.nan)
    layer = f" of {layer_named(str(data.attrs['layer']))}" if data.attrs.get("layer") else ""
    return styled(
        figure,
        title=f"Which units{layer} are active together",
        subtitle=sentence("; ".join(notes)),
        alt=_alt(sizes, inside, across, len(units), notes[0], units_of(data)),
        dark=dark,
        height=640,
        axes={"x": "other", "y": "unit"},
    )


def _borders(figure: go.Figure, cluster: np.ndarray, block: int, rows: list[str], wide: int, dark: bool) -> None:
    """Lines between the groups, and the number of each group where it has room."""
    cuts = [int(at) for at in np.flatnonzero(np.diff(cluster)) + 1]
    tall = -(-len(cluster) // block)
    for at in cuts:
        line = {"color": look(dark).ink, "width": 1.5}
        place = at / block - 0.5
        figure.add_shape(type="line", x0=-0.5, x1=(wide or tall) - 0.5, y0=place, y1=place, line=line)
        if wide:
            figure.add_shape(type="line", y0=-0.5, y1=tall - 0.5, x0=place, x1=place, line=line)
    edges = [0, *cuts, len(cluster)]
    middles = [(start + end) / 2 for start, end in zip(edges, edges[1:])]  # noqa: RUF007
    room = [end - start >= len(cluster) / 24 for start, end in zip(edges, edges[1:])]  # noqa: RUF007
    texts = [wrapped(f"group {cluster[int(middle)]}", 12) if free else "" for middle, free in zip(middles, room)]
    figure.update_layout(
        xaxis={"type": "category", "showticklabels": False, "constrain": "domain", "title": {"text": "Unit, by group"}},
        yaxis={
            "type": "category",
            "autorange": "reversed",
            "tickvals": [rows[int(middle) // block] for middle in middles],
            "ticktext": texts,
            "showgrid": False,
            "scaleanchor": "x",
            "constrain": "domain",
        },
    )
    figure.update_xaxes(showgrid=False)


def _modular(data: xr.DataArray) -> str:
    found, chance = data.attrs.get("modularity"), data.attrs.get("modularity_shuffled")
    if found is None:
        return "whether the groups are more than chance was not measured"
    if chance is None or not np.isfinite(chance):
        return f"modularity {number(float(found))}; the shuffled control was not measured"
    high = data.attrs.get("modularity_shuffled_high", chance)
    how = "no more modular than" if found <= high else "more modular than"
    return f"{how} shuffled activity: modularity {number(round(float(found), 3))} against {number(round(float(chance), 3))}"


def _means(values: np.ndarray, cluster: np.ndarray) -> tuple[float, float]:
    """The mean inside the groups and between them, each unit with itself left out."""
    same = cluster[:, None] == cluster[None]
    inside, between = values[same], values[~same]
    return tuple(float(np.nanmean(part)) if np.isfinite(part).any() else np.nan for part in (inside, between))  # type: ignore[return-value]


def _alt(sizes: np.ndarray, inside: float, across: float, units: int, note: str, unit: str) -> str:
    groups = f"{counted(len(sizes), 'group')} of {number(sizes.min())} to {number(sizes.max())} units"
    words = f" {unit}" if unit else ""
    told = f": within a group {number(inside)}{words} on average, between groups {number(across)}{words}"
    told = told if np.isfinite(inside) and np.isfinite(across) else ""
    return f"Co-activation of {counted(units, 'unit')} in {groups}{told}. {sentence(note)}."


def example(seed: int = 0) -> dict:
    """The second layer of a ReLU network on held-out digits: a unit belongs to the digit it is on for most often.

    The groups are those of Ward's method on the units' correlations; the control clusters activity that was shuffled
    over the inputs, unit by unit.
    """
    from labkit.views.network_specimen import digits_network

    active = (digits_network(seed).hidden()[1] > 0).astype(np.float64)
    units = np.flatnonzero((active.mean(0) > 0.01) & (active.mean(0) < 0.99))
    active = active[:, units]
    group, quality = _grouped(active)
    random = np.random.default_rng(seed)
    chance = [_grouped(random.permuted(active, axis=0))[1] for _ in range(5)]
    order = np.argsort(group, kind="stable")
    both, alone = active.T @ active, active.sum(0)
    lift = np.log2((both + 0.5) / (np.outer(alone, alone) / len(active) + 0.5))[np.ix_(order, order)]
    coords = {"unit": units[order], "other": units[order], "cluster": ("unit", group[order])}
    attrs = {"long_name": "active together, against chance", "units": "bits", "layer": "hidden 2"}
    attrs |= {"modularity": quality, "modularity_shuffled": float(np.mean(chance))}
    return {"data": xr.DataArray(lift, dims=("unit", "other"), coords=coords, attrs=attrs)}


def _grouped(active: np.ndarray, groups: int = 6) -> tuple[np.ndarray, float]:
    """Ward's groups of the units by their positive correlations, and Newman's modularity of these groups."""
    from scipy.cluster.hierarchy import fcluster, linkage

    weights = np.corrcoef(active.T).clip(0)
    group = fcluster(linkage(weights, "ward"), groups, "maxclust") - 1
    np.fill_diagonal(weights, 0)
    strength = weights.sum(1)
    excess = weights - np.outer(strength, strength) / strength.sum()
    return group, float((excess * (group[:, None] == group)).sum() / strength.sum())
