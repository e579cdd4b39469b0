"""A decision tree as it routes: which nodes have decided, and how many inputs take each way."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.views.flow import Flow, flows, level_of, middle
from labkit.views.reading import read
from labkit.views.scrubber import DEPTH, scrub
from labkit.views.theme import BUDGET, SMALL, Look, look, styled
from labkit.views.thinning import compact, evenly
from labkit.views.wording import counted, fixed, number, percent, sentence

DRAWN, KEPT, COLUMNS, FRAMES, NUMBERED = 7, 6, 256, 40, 31
WIDTHS = (0.8, 1.5, 2.5, 4, 6, 8.5, 11, 14, 17)  # of the branches, in pixels
TOSS = 0.5  # bits; from here on a node is a diamond


def tree(entropy: xr.DataArray, load: xr.DataArray, *, dark: bool = False) -> go.Figure:
    """The tree from the root down: discs are decisions, branches are as thick as the share of inputs that take them.

    A pale disc has decided (0 bits), a strong one tosses a coin (1 bit; a diamond from 0.5 bits on), an open one gets
    no input. Bars below are the share of inputs that ends in each leaf. A tree deeper than 7 shows its first 6 levels
    as a tree and the levels below as rows of a heat map, with neighbours averaged. With an axis `step` a slider goes
    through the training. Points of the traces "decisions" and "idle" have the node's number first in `customdata`,
    bars ("leaves") the leaf's, so that a click says what was clicked.

    Shapes:
        entropy: (node) or (step, node), 2^depth - 1 nodes in bits; node 0 is the root, children of n are 2n+1 and 2n+2
        load: (choice) or (step, choice), 2^depth leaves, the share of inputs that reaches each; empty places at the
            end (NaN, where arms of different size share an array) are dropped
    Raises:
        LabError: sizes that are not those of one tree, or steps that differ.
    """
    entropy, load = read("tree", entropy, ("node",), ("step",)), read("tree", load, ("choice",), ("step",))
    entropy, load = entropy.transpose(..., "node"), load.transpose(..., "choice")
    steps, states = flows(entropy, load)
    colors, last = look(dark), states[-1]
    parts = traces(last, colors)
    figure = go.Figure([_whole(name, part, last, colors) for name, part in parts.items()])
    shown = evenly(len(states), _affordable(figure, parts))
    if len(shown) > 1:
        frames = [
            {"data": list(traces(states[at], colors).values()), "traces": list(range(len(parts)))} for at in shown
        ]
        scrub(figure, frames, [number(steps[at]) for at in shown], "step", dark)
    _axes(figure, states, colors, bool(len(shown) > 1))
    leaves = len(last.share)
    title = f"Where the inputs go: a tree with {counted(leaves, 'leaf', 'leaves')}"
    notes = [_entropies(states, steps), _idle(last)]
    if last.depth > DRAWN:
        group = leaves // _columns(last)
        notes.append(f"levels {KEPT} to {last.depth - 1} as rows" + f", {group} leaves a column" * (group > 1))
    if len(states) > len(shown):
        notes.append(f"{len(shown)} of {len(states):,} recorded steps")
    subtitle = sentence("; ".join(filter(None, notes)))
    return styled(figure, title=title, subtitle=subtitle, alt=_alt(last, states, steps), dark=dark, height=640)


def _columns(state: Flow) -> int:
    return min(len(state.share), COLUMNS)


def _discs(state: Flow) -> int:
    """How many nodes are drawn one by one."""
    return 2 ** (KEPT if state.depth > DRAWN else state.depth) - 1


def traces(state: Flow, colors: Look) -> dict[str, dict]:
    """What changes from step to step, by the name of the trace."""
    parts, discs = {}, _discs(state)
    child = np.arange(1, 2 * discs + 1)
    parent = (child - 1) // 2
    flow = state.through[child]
    thick = np.abs(flow[:, None] * WIDTHS[-1] - np.array(WIDTHS)).argmin(1)
    for place in range(-1, len(WIDTHS)):
        here = (flow == 0) if place < 0 else (flow > 0) & (thick == place)
        ends = np.stack([parent, child], 1)[here]
        across, down = middle(ends, state.depth), -level_of(ends)
        parts[f"branches {place + 1}"] = {
            "type": "scatter",
            "x": compact(across[:, [0, 1, 1]].ravel()),
            "y": [height for row in down.tolist() for height in (*row, None)],
        }
    columns = _columns(state)
    parts["leaves"] = {"type": "bar", "y": compact(100 * state.share.reshape(columns, -1).sum(1))}
    if state.depth > DRAWN:
        parts["deep"] = {"type": "heatmap", "z": compact(_deep(state, columns))}
    idle = np.isnan(state.bits[:discs]) | (state.through[:discs] == 0)
    parts["idle"] = _nodes(state, np.flatnonzero(idle), colors)
    parts["idle"]["marker"] = {"color": colors.surface, "size": parts["idle"]["marker"]["size"]}
    parts["idle"].pop("textfont", None)
    parts["decisions"] = _nodes(state, np.flatnonzero(~idle), colors)
    return parts


def _nodes(state: Flow, node: np.ndarray, colors: Look) -> dict:
    bits = state.bits[node]
    size = np.clip(0.62 * 540 / 2 ** level_of(node), 6, 34)
    part: dict = {
        "type": "scatter",
        "x": compact(middle(node, state.depth)),
        "y": compact(-level_of(node)),
        "customdata": compact(np.stack([node, 100 * state.through[node], 100 * state.right[node]], 1)),
        "marker": {
            "color": compact(bits),
            "size": compact(np.where(bits >= TOSS, 0.85 * size, size).round()),
            "symbol": [2 if bit >= TOSS else 0 for bit in bits],  # diamond, circle
        },
    }
    large = node < NUMBERED
    part["text"] = [str(one) for one in node[large]]
    part["textfont"] = {"color": [colors.surface if bit > 0.45 else colors.ink for bit in bits[large]]}
    return part


def _deep(state: Flow, columns: int) -> np.ndarray:
    """(level, column) mean entropy of the nodes above each column, weighted by nothing, missing ones left out."""
    rows = []
    for level in range(KEPT, state.depth):
        bits = state.bits[2**level - 1 : 2 ** (level + 1) - 1]
        if len(bits) <= columns:
            rows.append(np.repeat(bits, columns // len(bits)))
            continue
        group = bits.reshape(columns, -1)
        there = ~np.isnan(group)
        total, count = np.where(there, group, 0).sum(1), there.sum(1)
        rows.append(np.divide(total, count, out=np.full(columns, np.nan), where=count > 0))
    return np.stack(rows)


def _whole(name: str, part: dict, state: Flow, colors: Look) -> go.Scatter | go.Bar | go.Heatmap:
    """One trace, with what stays the same in all steps."""
    part = {key: value for key, value in part.items() if key != "type"}
    leaves, columns = len(state.share), _columns(state)
    group = leaves // columns
    if name.startswith("branches"):
        place = int(name.split()[1])
        line = {"width": WIDTHS[max(0, place - 1)], "color": colors.muted, "dash": "solid" if place else "dot"}
        return go.Scatter(mode="lines", line=line, opacity=0.6, hoverinfo="skip", showlegend=False, name=name, **part)
    if name == "leaves":
        every = "leaf %{customdata}" if group == 1 else f"the {group} leaves from %{{customdata}} on"
        return go.Bar(
            x=compact(2 * np.arange(columns) * group + group - 1),
            customdata=compact(np.arange(columns) * group),
            width=(1.44 if leaves <= 32 else 1.8) * group,
            yaxis="y2",
            marker={"color": colors.series[0], "line": {"width": 0}},
            hovertemplate=every + ": %{y:.1f} % of the inputs<extra></extra>",
            name=name,
            **part,
        )
    if name == "deep":
        return go.Heatmap(
            x0=group - 1,
            dx=2 * group,
            y0=-KEPT - 0.2,
            dy=-0.4,
            coloraxis="coloraxis",
            hovertemplate="mean entropy %{z:.2f} bits<extra></extra>",
            name=name,
            **part,
        )
    part["marker"] = {**part["marker"], "opacity": 1, "line": {"width": 1.2, "color": colors.ink}}
    if name == "decisions":
        part["marker"]["coloraxis"] = "coloraxis"
        hover = (
            "node %{customdata[0]}: entropy %{marker.color:.2f} bits<br>%{customdata[1]:.1f} % of the inputs come "
            "here,<br>of these %{customdata[2]:.0f} % go right<extra></extra>"
        )
    else:
        part["marker"].update(color=colors.surface, line={"width": 1.2, "color": colors.muted})
        part["textfont"] = {"color": colors.muted}
        hover = "node %{customdata[0]}: %{customdata[1]:.0f} % of the inputs come here<extra></extra>"
    part["textfont"] = {"size": SMALL, **part.get("textfont", {})}
    return go.Scatter(mode="markers+text", hovertemplate=hover, name=name, cliponaxis=False, **part)


def _affordable(figure: go.Figure, parts: dict) -> int:
    """How many frames fit into the budget."""
    frame = len(go.Figure(data=list(parts.values()), layout={"template": "none"}).to_json() or "")
    left = 0.85 * BUDGET - len(figure.to_json() or "") - 20_000
    return int(np.clip(left // (frame + 400), 2, FRAMES))


def _axes(figure: go.Figure, states: list[Flow], colors: Look, scrubbed: bool) -> None:
    state = states[-1]
    leaves, columns = len(state.share), _columns(state)
    deep = 0.4 * (state.depth - KEPT) if state.depth > DRAWN else 0
    floor = -(KEPT if deep else state.depth) - deep
    top = 100 * max(one.share.reshape(columns, -1).sum(1).max() for one in states)
    ticks = np.arange(0, leaves, max(1, leaves // 8 if leaves > 16 else 1))
    even = f"dotted line: equal shares, {number(100 / columns)} %"
    figure.update_xaxes(
        title_text=f"Leaf ({even})" if columns == leaves else f"First leaf of {leaves // columns} ({even})",
        range=[-1 - leaves * 0.02, 2 * leaves - 1 + leaves * 0.02],
        showgrid=False,
        tickvals=(2 * ticks).tolist(),
        ticktext=[str(leaf) for leaf in ticks],
    )
    levels = list(range(KEPT if deep else state.depth))
    figure.update_layout(
        showlegend=False,
        xaxis={"anchor": "y2"},
        yaxis={
            "domain": [0.27, 0.9],
            "range": [floor, 0.4],
            "showgrid": False,
            "tickmode": "array",
            "tickvals": [-level for level in levels],
            "ticktext": ["root", *map(str, levels[1:])],
            "title": {"text": "Level"},
        },
        yaxis2={"domain": [0, 0.27], "range": [top * 1.1, 0], "nticks": 4, "title": {"text": "Inputs (%)"}},
        coloraxis={
            "colorscale": colors.scale(),
            "cmin": 0,
            "cmax": 1,
            "colorbar": {
                "orientation": "h",
                "x": 0.43,
                "y": 0.965,
                "yanchor": "middle",
                "len": 0.3,
                "thickness": 12,
                "outlinewidth": 1,
                "outlinecolor": colors.grid,
                "showticklabels": False,
                "ypad": 0,
            },
        },
        margin={"b": 20 + DEPTH * scrubbed},
    )
    figure.add_hline(y=100 / columns, line={"color": colors.ink, "width": 1.5, "dash": "dot"}, yref="y2")
    for text, x, anchor in (("● decided: 0 bits", 0.26, "right"), ("coin toss: 1 bit (◆ from 0.5)", 0.6, "left")):
        figure.add_annotation(
            text=text,
            font={"size": SMALL - 1, "color": colors.muted},
            showarrow=False,
            xref="paper",
            yref="paper",
            x=x,
            y=0.965,
            xanchor=anchor,
            yanchor="middle",
        )


def _entropies(states: list[Flow], steps: list) -> str:
    now, then = np.nanmean(states[-1].bits), np.nanmean(states[0].bits)
    if len(states) == 1:
        return f"mean entropy of the decisions {fixed(now, 0.1)} bits"
    return (
        f"mean entropy of the decisions {fixed(then, 0.1)} bits at step {number(steps[0])}, {fixed(now, 0.1)} at step "
        f"{number(steps[-1])}"
    )


def _idle(state: Flow) -> str:
    none = int((state.share == 0).sum())
    return f"{none:,} of {counted(len(state.share), 'leaf', 'leaves')} without inputs" if none else ""


def _alt(state: Flow, states: list[Flow], steps: list) -> str:
    when = f" at step {number(steps[-1])}" if steps else ""
    most, least = int(np.nanargmax(state.bits)), int(state.share.argmax())
    right = f" The root sends {percent(state.right[0])} of the inputs right." if np.isfinite(state.right[0]) else ""
    return (
        f"Decision tree of depth {state.depth} with {len(state.bits):,} nodes and {len(state.share):,} leaves{when}: "
        f"{_entropies(states, steps)}.{right} Least decided is node {most} with {fixed(state.bits[most], 0.1)} bits. "
        f"Leaf {least} gets most, {percent(state.share[least])}; {_idle(state) or 'no leaf is without inputs'}."
    )


def example(seed: int = 0) -> dict:
    """A tree of depth 3, really trained on digits, at every recorded step."""
    from labkit.views.specimen import grown

    run = grown(seed)
    entropy = xr.DataArray(run.entropy, dims=("step", "node"), coords={"step": run.steps})
    load = xr.DataArray(run.load, dims=("step", "choice"), coords={"step": run.steps})
    entropy.attrs.update(long_name="node entropy", units="bits")
    load.attrs.update(long_name="leaf load", units="share of inputs")
    return {"entropy": entropy, "load": load}
