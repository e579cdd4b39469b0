"""Large recordings made small enough to send: no peak gets lost, and every view says what it left out."""

import numpy as np


def evenly(count: int, limit: int) -> np.ndarray:
    """At most `limit` of the places 0..count-1, evenly spread, the first and the last always among them."""
    if count <= limit:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, limit).round().astype(int))


def peaks(rows: np.ndarray, points: int) -> np.ndarray:
    """The places to keep of curves drawn on one axis, so that each row keeps its lowest and highest point everywhere.

    The axis is cut into equal stretches, and of each the places of every row's minimum and maximum stay, with the
    first and the last place of all.

    Shapes:
        rows: (curves, places), NaN where a curve has no value
        returns: sorted places, at most `points`
    """
    curves, places = rows.shape
    if places <= points:
        return np.arange(places)
    stretches = max(1, (points - 2) // (2 * curves))
    size = -(-places // stretches)
    padded = np.full((curves, stretches * size), np.nan, dtype=np.float64)
    padded[:, :places] = rows
    cut = padded.reshape(curves, stretches, size)
    gaps = np.isnan(cut)
    low = np.where(gaps, np.inf, cut).argmin(-1)
    high = np.where(gaps, -np.inf, cut).argmax(-1)
    start = np.arange(stretches) * size
    kept = np.concatenate([(low + start).ravel(), (high + start).ravel(), [0, places - 1]])
    return np.unique(kept[kept < places])


def blocks(grid: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, int, int]:
    """The grid averaged over blocks so that at most (rows, columns) cells are left; missing values are left out.

    Returns the smaller grid and the height and the width of a block.
    """
    tall, wide = -(-grid.shape[0] // rows), -(-grid.shape[1] // columns)
    if tall == wide == 1:
        return grid, 1, 1
    down, across = -(-grid.shape[0] // tall), -(-grid.shape[1] // wide)
    total, count = np.zeros((down, across)), np.zeros((down, across))
    for row in range(down):
        band = grid[row * tall : (row + 1) * tall]
        there = np.isfinite(band)
        starts = np.arange(across) * wide
        total[row] = np.add.reduceat(np.where(there, band, 0).sum(0, dtype=np.float64), starts)
        count[row] = np.add.reduceat(there.sum(0), starts)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan), tall, wide


def compact(values: np.ndarray) -> np.ndarray:
    """The same numbers in the smallest type that plotly sends as bytes: small whole numbers short, the rest float32."""
    values = np.asarray(values)
    if values.dtype.kind not in "iufb":
        return values
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.round(values)).all()):
        return values.astype(np.float32)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    for kind in (np.uint8, np.int8, np.uint16, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind)
    return values.astype(np.float64)
