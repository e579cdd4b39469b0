"""Images in labelled rows, like a photographer's contact sheet: for looking at what a gate has put together."""

import base64
import io
from collections.abc import Mapping
from html import escape

import numpy as np

from labkit.errors import LabError
from labkit.views.theme import FONT

ACROSS, PIXELS = 14, 44


class ContactSheet:
    """Rows of small grey images, each row with its label; a notebook shows it. At most 14 images a row are drawn.

    Shapes: each value of `rows` (n, rows, columns) uint8, 0 black to 255 white.
    Raises: LabError for images of another type or shape.
    """

    def __init__(self, rows: Mapping[str, np.ndarray]):
        for label, images in rows.items():
            if images.ndim != 3 or images.dtype != np.uint8:
                raise LabError(
                    f"A contact sheet needs grey images (n, rows, columns) of type uint8; those of {label!r} have shape "
                    f"{images.shape} and type {images.dtype}."
                )
        self.rows = dict(rows)

    def __repr__(self) -> str:
        return "\n".join(f"{label}: {len(images):,} images" for label, images in self.rows.items())

    def _repr_html_(self) -> str:
        cell = "border: 0; padding: 3px 14px 3px 0; text-align: left; vertical-align: middle; background: none"
        body = "".join(
            f'<tr style="background: none"><th scope="row" style="{cell}; font-weight: 400">{escape(label)}</th>'
            f'<td style="{cell}">{_strip(label, images[:ACROSS])}</td></tr>'
            for label, images in self.rows.items()
        )
        color = "color: var(--jp-content-font-color1, inherit)"
        return f"<table style='{color}; font: 14px/1.4 {escape(FONT)}; border: 0'>{body}</table>"


def _strip(label: str, images: np.ndarray) -> str:
    """The images side by side as one PNG inside the page."""
    from PIL import Image

    if not len(images):
        return "no image"
    apart = np.pad(images, ((0, 0), (0, 0), (0, 2)))
    picture = Image.fromarray(np.hstack(list(apart)))
    file = io.BytesIO()
    picture.save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    wide = len(images) * PIXELS
    alt = escape(f"{len(images)} images of {label}", quote=True)
    return f'<img alt="{alt}" width="{wide}" style="max-width: none" src="data:image/png;base64,{data}">'
