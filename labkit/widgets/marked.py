"""Where a picture comes from, written into its own file: a PNG, an SVG or a page tells its commit, seeds and alt text."""

import json
import re
import struct
import zlib
from collections.abc import Mapping
from html import escape, unescape
from pathlib import Path
from typing import Any

from labkit.errors import LabError

KEY = b"labkit"
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def marked(image: bytes, kind: str, facts: Mapping[str, Any]) -> bytes:
    """The bytes of a PNG or SVG picture with the facts in them; what is drawn stays as it is."""
    text = json.dumps(dict(facts), ensure_ascii=False, default=str)
    if kind == "svg":
        drawn = image.decode()
        end = drawn.index(">", drawn.index("<svg")) + 1
        return f'{drawn[:end]}<metadata id="labkit">{escape(text)}</metadata>{drawn[end:]}'.encode()
    body = KEY + b"\0\1\0\0\0" + zlib.compress(text.encode())  # iTXt: keyword, packed, no language, no translation
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
    after_header = len(SIGNATURE) + 25
    return image[:after_header] + chunk + image[after_header:]


def provenance_of(path: Path | str) -> dict[str, Any]:
    """The facts that `export_figure` or `export_page` wrote into a PNG, SVG or HTML file.

    Raises: LabError when the file cannot be read or holds none.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise LabError(f"{path} could not be read: {error.strerror or error}.") from error
    text = _png(raw) if raw.startswith(SIGNATURE) else _markup(raw.decode(errors="replace"))
    if text is None:
        raise LabError(f"{path} does not say where it comes from: it was not saved by labkit, or changed since.")
    return json.loads(text)


def _png(raw: bytes) -> str | None:
    at = len(SIGNATURE)
    while at + 8 <= len(raw):
        size, kind = struct.unpack(">I4s", raw[at : at + 8])
        body = raw[at + 8 : at + 8 + size]
        if kind == b"iTXt" and body.startswith(KEY + b"\0\1\0\0\0"):
            return zlib.decompress(body[len(KEY) + 5 :]).decode()
        at += size + 12
    return None


def _markup(text: str) -> str | None:
    found = re.search(r'<metadata id="labkit">(.*?)</metadata>', text, re.DOTALL)
    if found:
        return unescape(found[1])
    found = re.search(r'<script type="application/json" id="provenance">(.*?)</script>', text, re.DOTALL)
    return found[1] if found else None
