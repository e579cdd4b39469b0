"""IDX, the file format of the MNIST family: a magic number, the sizes, then the values, all in big-endian order."""

import math
import struct

import numpy as np

from labkit.errors import LabError


def read_idx(content: bytes, name: str) -> np.ndarray:
    """The array in an IDX file of unsigned bytes; `name` is what an error calls the file.

    Shapes: as the file says, (images, rows, columns) or (labels,); uint8, read-only.
    Raises: LabError where the content is no such file, or shorter or longer than its header says.
    """
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or len(content) < 4 + 4 * content[3]:
        raise LabError(f"{name} is no IDX file of unsigned bytes; put the original file of the data set there")
    start = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    values = math.prod(shape)
    if len(content) != start + values:
        raise LabError(
            f"{name} should hold {values:,} values of shape {shape} but holds {len(content) - start:,}; "
            "put the original file of the data set there"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def write_idx(values: np.ndarray) -> bytes:
    """The bytes of an IDX file with these unsigned bytes, as `read_idx` reads them."""
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return header + np.ascontiguousarray(values, np.uint8).tobytes()
