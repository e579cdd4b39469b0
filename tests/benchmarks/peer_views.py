"""Pictures of the same arrays by other packages, for `bench_views.py`: run by a Python that has them, one picture a call.

Usage: python peer_views.py PACKAGE ARRAY.npy PAGE.html; prints the seconds of Python time, writes the page.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def bertviz(array: np.ndarray) -> str:
    import torch
    from bertviz import head_view

    layers = [torch.from_numpy(one)[None] for one in array]
    return head_view(layers, [f"t{place}" for place in range(array.shape[-1])], html_action="return").data


def circuitsvis(array: np.ndarray) -> str:
    import torch

    values = torch.from_numpy(array)
    if array.ndim == 4:
        from circuitsvis.attention import attention_patterns

        tokens = [f"t{place}" for place in range(array.shape[-1])]
        return str(attention_patterns(tokens=tokens, attention=values.flatten(0, 1)))
    from circuitsvis.activations import text_neuron_activations

    return str(text_neuron_activations([f"t{place}" for place in range(len(array))], values))


def treescope(array: np.ndarray) -> str:
    from treescope import render_array

    return render_array(array)._repr_html_()


def plotly(array: np.ndarray) -> str:
    import plotly.graph_objects as go

    planes = array.reshape(-1, *array.shape[-2:])
    frames = [go.Frame(data=[go.Heatmap(z=plane)], name=str(place)) for place, plane in enumerate(planes)]
    figure = go.Figure(go.Heatmap(z=planes[0]), frames=frames if len(frames) > 1 else None)
    return figure.to_html(include_plotlyjs="directory")


MAKERS: dict[str, Callable[[np.ndarray], str]] = {
    "bertviz": bertviz,
    "circuitsvis": circuitsvis,
    "treescope": treescope,
    "plotly": plotly,
}


def main() -> None:
    package, source, page = sys.argv[1:]
    array = np.load(source)
    MAKERS[package](array[:1] if array.ndim == 4 else array)  # imports and first calls do not count
    start = time.perf_counter()
    text = MAKERS[package](array)
    print(time.perf_counter() - start)
    Path(page).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
