"""From the novels as plain text to the one embedded text: what is left out, what is changed, how it is packed."""

import gzip
import re
from pathlib import Path

from labkit.errors import LabError

NOVELS = ("pride_and_prejudice.txt", "emma.txt", "sense_and_sensibility.txt")
# Between chapters stand headings, rows of stars and, in Sense and Sensibility, notes of the editor in brackets.
NO_PROSE = re.compile(r"(VOLUME|CHAPTER) [IVXL0-9]+|[* ]+|FINIS|THE END|\[At this point in the .*\]", re.IGNORECASE)


def clean(text: str) -> str:
    """The prose of a novel, one paragraph a line: no title page, no headings, no line breaks within a paragraph.

    Underscores that mark emphasis are taken out, square brackets become round ones, any white space a single space.
    """
    paragraphs = [" ".join(one.split()) for one in re.split(r"\n\s*\n", text.replace("\r\n", "\n"))]
    first = next((i for i, one in enumerate(paragraphs) if re.fullmatch(r"CHAPTER [I1]", one, re.IGNORECASE)), None)
    if first is None:
        raise LabError("the novel has no heading 'Chapter 1'; take the plain text with its chapter headings")
    prose = [one for one in paragraphs[first:] if one and not NO_PROSE.fullmatch(one)]
    return "".join(one.translate(str.maketrans("[]", "()", "_")) + "\n" for one in prose)


def pack_novels(folder: Path) -> bytes:
    """The novels of this folder, cleaned and put together, as a gzip file without a time in it.

    Raises: LabError where a novel is missing, is not UTF-8 text, or holds characters beyond ASCII.
    """
    parts = []
    for name in NOVELS:
        try:
            parts.append(clean((folder / name).read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as reason:
            raise LabError(f"{folder / name} cannot be read as text ({reason}); put the novel there") from reason
        if strange := sorted(set(parts[-1]) - set(map(chr, range(128)))):
            raise LabError(f"{name} holds {strange[0]!r}; take the plain ASCII edition, or replace such characters")
    return gzip.compress("".join(parts).encode(), compresslevel=9, mtime=0)
