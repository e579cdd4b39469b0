"""Which layer keeps which property: checks by layers, ours and those of public packages, with the sentences on hover."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from labkit.errors import LabError
from labkit.views.narrow import narrowed
from labkit.views.theme import SMALL, look, styled
from labkit.views.wording import counted, escaped, listed, sentence, short, unique, wrapped

LAYERS, SAID = 48, 100
FAILED, EXEMPT, PASSED = 0, 1, 2
SIGNS, WORDS = ("✗", "–", "✓"), ("failed", "exempt, with a reason", "passed")


def contract_board(layers: Sequence[Mapping], *, dark: bool = False) -> go.Figure:
    """A row for each check, a column for each layer, ours first: passed ✓, exempt –, failed ✗, empty where it was not run.

    Shapes:
        layers: of a board: `name`, `package`, `version`, `ours`, and `checks`, check -> "passed", "exempt: why" or the
            sentence of its failure
    Raises:
        LabError: not such a list, or no layer at all.
    """
    if isinstance(layers, str | Mapping) or not isinstance(layers, Sequence):
        raise LabError(
            f"contract_board needs the layers of a board (board['layers']), and got {type(layers).__name__}."
        )
    if not layers or any("checks" not in layer or "name" not in layer for layer in layers):
        raise LabError("contract_board needs at least one layer with a name and checks, and found none or one without.")
    shown = sorted(layers, key=lambda layer: not layer.get("ours"))[:LAYERS]
    checks = list(dict.fromkeys(check for layer in shown for check in layer["checks"]))
    names = unique([short(_named(layer), 32) for layer in shown])
    grid = np.array([[_state(layer["checks"].get(check)) for layer in shown] for check in checks], dtype=float)
    colors = look(dark)
    steps = (colors.diverging[-3], colors.grid, colors.diverging[2])
    scale = [[edge, color] for place, color in enumerate(steps) for edge in (place / 3, (place + 1) / 3)]
    ours = sum(bool(layer.get("ours")) for layer in shown)
    figure = go.Figure()
    figure.add_heatmap(
        z=grid,
        x=[escaped(name) for name in names],
        y=[wrapped(check, 27, lines=2) for check in checks],
        text=[["" if np.isnan(one) else SIGNS[int(one)] for one in row] for row in grid],
        texttemplate="%{text}",
        textfont={"size": 14},
        hovertext=[[_hover(layer, check) for layer in shown] for check in checks],
        hovertemplate="<b>%{x}</b><br>%{y}<br>%{hovertext}<extra></extra>",
        hoverongaps=False,
        colorscale=scale,
        zmin=0,
        zmax=2,
        xgap=2,
        ygap=2,
        showscale=False,
        name="0 failed, 1 exempt, 2 passed",
    )
    if 0 < ours < len(shown):
        figure.add_vline(x=ours - 0.5, line={"width": 3, "color": colors.ink})
    figure.update_xaxes(side="top", tickangle=-90, showgrid=False, type="category", ticklabelposition="outside")
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category", tickfont={"size": 13})
    told = _told(shown, ours)
    more = f"; the first {LAYERS} of {len(layers)} layers" if len(layers) > LAYERS else ""
    figure.update_layout(margin={"b": 24})
    subtitle = sentence(f"✓ passed, – exempt with a reason, ✗ failed; ours stand at the left of the line{more}")
    above = int(max(map(len, names)) * SMALL * 0.6)
    styled(
        figure,
        title="Who keeps the contract",
        subtitle=subtitle,
        alt=f"Checks of the layer contract by layer: {told}.",
        dark=dark,
        height=140 + above + 38 * len(checks),
        above=above,
    )
    return narrowed(figure, subtitle)


def _named(layer: Mapping) -> str:
    return (
        str(layer["name"]) if layer.get("ours") or not layer.get("package") else f"{layer['name']}, {layer['package']}"
    )


def _state(said: str | None) -> float:
    if said is None:
        return np.nan
    return PASSED if said == "passed" else EXEMPT if said.startswith("exempt") else FAILED


def _hover(layer: Mapping, check: str) -> str:
    said = layer["checks"].get(check)
    if said is None:
        return ""
    word = said if _state(said) != FAILED else f"failed: {said}"
    of = " ".join(str(layer[key]) for key in ("package", "version") if layer.get(key))
    return f"{wrapped(short(word, SAID), 60)}<br>({escaped(of)})"


def _told(layers: Sequence[Mapping], ours: int) -> str:
    parts = []
    for whose, group in (("ours", layers[:ours]), ("of other packages", layers[ours:])):
        if not group:
            continue
        said = [one for layer in group for one in layer["checks"].values()]
        counts = [sum(_state(one) == state for one in said) for state in (PASSED, EXEMPT, FAILED)]
        failing = [
            str(layer["name"]) for layer in group if any(_state(one) == FAILED for one in layer["checks"].values())
        ]
        named = f" ({listed(failing[:4])}{' and others' if len(failing) > 4 else ''})" if failing else ""
        parts.append(
            f"{counted(len(group), 'layer')} {whose}: {counts[0]} checks passed, {counts[1]} exempt, {counts[2]} failed{named}"
        )
    return "; ".join(parts)


def example(seed: int = 0) -> dict:
    """Imagined layers that fail at random, ours less often."""
    random = np.random.default_rng(seed)
    checks = [f"property number {place} of the contract holds" for place in range(12)]
    said = ("the gradient of weight is None", "exempt: it mixes rows by design", "passed")
    layers = []
    for place in range(9):
        share = (0.02, 0.08) if place < 5 else (0.3, 0.3)
        drawn = random.choice(3, len(checks), p=[*share, 1 - sum(share)])
        found = {check: said[one] for check, one in zip(checks, drawn)}
        whose = {"package": "labkit" if place < 5 else "somebody-moe", "version": "0.1", "ours": place < 5}
        layers.append({"name": f"Layer number {place}", **whose, "checks": found})
    return {"layers": layers}
