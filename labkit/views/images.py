"""Which inputs go left and which go right: the images themselves, in two strips."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from labkit.errors import LabError
from labkit.views.reading import read
from labkit.views.theme import SMALL, TEXT, look, styled
from labkit.views.thinning import blocks
from labkit.views.wording import counted, percent, sentence, wrapped

ACROSS, DOWN, PIXELS = 6, 6, 40
GREYS = 250  # grey levels; the values above them are the gaps between the images
GAP = 255
IMAGE = ("n", "rows", "columns")


def sides(
    left: xr.DataArray,
    right: xr.DataArray,
    *,
    counts: tuple[int, int] | None = None,
    node: int | None = None,
    labels: tuple[str, str] = ("score < 0: goes left", "score ≥ 0: goes right"),
    dark: bool = False,
) -> go.Figure:
    """Two grids of images side by side: a sample of the inputs that a node sends left, and of those it sends right.

    At most 36 images are drawn on each side, in the order given, and images of more than 40 x 40 pixels are averaged
    down; the subtitle says so. Grey is as recorded: 0 is black.

    Shapes:
        left, right: (n, rows, columns) uint8, n may be 0 on one side
        counts: how many inputs go left and right in all, where only some of them are given
    Raises:
        LabError: other axes, no image on either side, images of different sizes, or counts that are below what is given.
    """
    images = [_images(left), _images(right)]
    if not len(images[0]) + len(images[1]):
        raise LabError("sides needs at least one image on one of its sides, and found none; choose a node with inputs.")
    if len(images[0]) and len(images[1]) and images[0].shape[1:] != images[1].shape[1:]:
        raise LabError(f"sides needs images of one size, and found {images[0].shape[1:]} and {images[1].shape[1:]}.")
    went = counts or (len(images[0]), len(images[1]))
    if went[0] < len(images[0]) or went[1] < len(images[1]):
        raise LabError(f"sides got counts {went}, fewer than the {len(images[0])} and {len(images[1])} images given.")
    given = images[0] if len(images[0]) else images[1]
    tall, wide = given.shape[1:]
    size = -(-max(tall, wide) // PIXELS)
    drawn = [
        np.array([blocks(image, -(-tall // size), -(-wide // size))[0] for image in side[: ACROSS * DOWN]])
        for side in images
    ]
    high = max(1, *(-(-len(side) // ACROSS) for side in drawn))
    tall, wide = -(-tall // size), -(-wide // size)
    figure, colors = go.Figure(), look(dark)
    gap = max(1, round(tall / 12))
    for place, side in enumerate(drawn):
        mosaic = _mosaic(side, (high, tall, wide), gap)
        figure.add_heatmap(
            z=mosaic,
            zmin=0,
            zmax=GAP,
            colorscale=[
                [0, "#000000"],
                [GREYS / GAP, "#FFFFFF"],
                [(GREYS + 1) / GAP, colors.surface],
                [1, colors.surface],
            ],
            showscale=False,
            hoverinfo="skip",
            xaxis=f"x{place + 1}" if place else "x",
            yaxis=f"y{place + 1}" if place else "y",
            name=("left", "right")[place],
        )
        _label(figure, place, labels[place], went, dark)
    _axes(figure)
    notes = [f"{len(drawn[0])} and {len(drawn[1])} of them are shown"] if (len(drawn[0]), len(drawn[1])) != went else []
    notes += [f"{size} x {size} pixels averaged into one"] if size > 1 else []
    at = "A node" if node is None else f"Node {node}"
    height = 150 + 20 * len(notes) + int(high * 58)
    return styled(
        figure,
        title=f"{at} sends {went[0]:,} of {counted(sum(went), 'input')} left, {went[1]:,} right",
        subtitle=sentence("; ".join(notes)),
        alt=_alt(at, went, images, drawn),
        dark=dark,
        height=max(300, height),
        above=52,
    )


def _images(data: object) -> np.ndarray:
    if isinstance(data, xr.DataArray) and data.ndim == 3 and data.sizes[data.dims[0]] == 0:
        return np.zeros((0, 1, 1))
    images = read("sides", data, IMAGE)
    if images.dtype != np.uint8:
        raise LabError(f"sides needs grey images of type uint8, 0 to 255, and found {images.dtype}; scale them first.")
    return images.values


def _mosaic(images: np.ndarray, sizes: tuple[int, int, int], gap: int) -> np.ndarray:
    """The images row by row in one picture of bytes, with gaps between them."""
    high, tall, wide = sizes
    picture = np.full((high * (tall + gap) - gap, ACROSS * (wide + gap) - gap), GAP, np.uint8)
    for place, image in enumerate(images):
        row, column = place // ACROSS * (tall + gap), place % ACROSS * (wide + gap)
        picture[row : row + tall, column : column + wide] = (image * (GREYS / 255)).round()
    return picture


def _label(figure: go.Figure, place: int, text: str, went: tuple[int, int], dark: bool) -> None:
    colors, x = look(dark), 0.52 * place
    share = f"{counted(went[place], 'input')} ({percent(went[place] / max(1, sum(went)))})"
    head = {"xref": "paper", "yref": "paper", "x": x, "y": 1, "xanchor": "left", "yanchor": "bottom", "yshift": 6}
    name = wrapped(text, 30, lines=2)
    figure.add_annotation(text=f"<b>{name}</b><br>{share}", align="left", showarrow=False, font={"size": TEXT}, **head)
    if not went[place]:
        empty = {"xref": "paper", "yref": "paper", "x": x + 0.24, "y": 0.6, "showarrow": False}
        figure.add_annotation(text="no input", font={"size": SMALL, "color": colors.muted}, **empty)


def _axes(figure: go.Figure) -> None:
    for place in (0, 1):
        bare = {"showgrid": False, "showticklabels": False, "constrain": "domain", "fixedrange": True}
        name = str(place + 1) if place else ""
        figure.update_layout(
            {
                f"xaxis{name}": {**bare, "domain": [0.52 * place, 0.48 + 0.52 * place], "constraintoward": "left"},
                f"yaxis{name}": {
                    **bare,
                    "autorange": "reversed",
                    "anchor": f"x{name}",
                    "scaleanchor": f"x{name}",
                    "constraintoward": "top",
                },
            }
        )
    figure.update_layout(xaxis={"anchor": "y"}, xaxis2={"anchor": "y2"})


def _alt(at: str, went: tuple[int, int], images: list[np.ndarray], drawn: list[np.ndarray]) -> str:
    told = [f"{count:,} {way} ({percent(count / max(1, sum(went)))})" for count, way in zip(went, ("left", "right"))]
    bright = [
        f"{side.mean() / 255:.2f} {way}" for side, way in zip(images, ("on the left", "on the right")) if len(side)
    ]
    return (
        f"{at} sends {' and '.join(told)}. Shown are {len(drawn[0])} images that go left and {len(drawn[1])} that go "
        f"right; their mean brightness, from 0 to 1, is {' and '.join(bright)}."
    )


def example(seed: int = 0) -> dict:
    """The root of a trained tree and the held-out digits that it sends left and right."""
    from labkit.views.specimen import grown

    run = grown(seed)
    right = run.scores[:, 0] >= 0
    left_images, right_images = (xr.DataArray(run.images[side], dims=IMAGE) for side in (~right, right))
    return {
        "left": left_images[:30],
        "right": right_images[:30],
        "counts": (int((~right).sum()), int(right.sum())),
        "node": 0,
    }
