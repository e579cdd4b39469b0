"""Messages between a crew and its workers: a length of eight bytes, then a pickle, over an ordinary pipe.

Both ends are the same program started by the same person, so a pickle is safe here; nothing of it is kept.
"""

import pickle
import struct
from typing import Any, BinaryIO

_LENGTH = struct.Struct("<Q")


def send(pipe: BinaryIO, message: Any) -> None:
    """Write one message. Raises: OSError when the other end is gone."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.write(_LENGTH.pack(len(body)) + body)
    pipe.flush()


def receive(pipe: BinaryIO) -> Any:
    """Wait for one message. Raises: EOFError when the other end is gone, also in the middle of a message."""
    (length,) = _LENGTH.unpack(_exactly(pipe, _LENGTH.size))
    return pickle.loads(_exactly(pipe, length))


def _exactly(pipe: BinaryIO, count: int) -> bytes:
    body = pipe.read(count)
    if len(body) < count:
        raise EOFError("the other end of the pipe is gone")
    return body
