"""The code that a class is joined with, and the tokens that nobody reads aloud.

A code is a word and four digits, such as KITE-7431: short enough to call out, one of 1.4 million. It opens the door to
a seat and to nothing else, and guessing is slowed down (`allowance.py`). Tokens are random with 128 bits; of a student's
token the class keeps only a digest.
"""

import hashlib
import hmac
import re
import secrets
from urllib.parse import urlsplit

from labkit.errors import LabError

PORT = 5010
_words = (
    "ACORN AMBER ANCHOR APPLE APRON ARROW AUTUMN BADGER BAMBOO BANJO BASKET BEACH BEAVER BERRY BIRCH BISON BLANKET "
    "BRIDGE BROOK BUCKET BUTTER CABIN CACTUS CAMEL CANDLE CANYON CARROT CASTLE CEDAR CELLO CHALK CHERRY CIRCLE CLOCK "
    "CLOUD CLOVER COMET COPPER CORAL COTTON CRANE CRAYON DAISY DOLPHIN DONKEY DRAGON EAGLE ELBOW EMBER FALCON FEATHER "
    "FERN FIDDLE FLUTE FOREST FOSSIL GARDEN GARLIC GINGER GLACIER GOBLET GRAPE HAMMER HARBOR HARP HAZEL HERON HONEY "
    "IGLOO ISLAND IVORY JACKET JAGUAR JASMINE JELLY JUNGLE KETTLE KITE KIWI LADDER LANTERN LEMON LILAC LION LIZARD "
    "LLAMA MAGNET MANGO MAPLE MARBLE MEADOW MELON MINT MITTEN MOOSE MUFFIN NUTMEG OCEAN OLIVE ONION ORCHID OTTER OWL "
    "PANDA PAPAYA PARROT PEBBLE PENCIL PEPPER PIANO PILLOW PLANET PLUM POCKET POPPY PRETZEL PUFFIN RABBIT RAVEN RIBBON "
    "RIVER ROCKET SADDLE SALMON SILVER SPRUCE SUMMER TEAPOT THUNDER TIGER TULIP TURTLE VALLEY VELVET VIOLIN WALNUT "
    "WALRUS WHALE WILLOW WINTER YARROW ZEBRA"
)
WORDS = tuple(_words.split())
_shape = re.compile(r"[A-Z]{3,12}-[0-9]{4}")


def new_code() -> str:
    """A random code to join with."""
    return f"{secrets.choice(WORDS)}-{secrets.randbelow(10000):04d}"


def new_token() -> str:
    """128 random bits, in letters that fit into an address."""
    return secrets.token_urlsafe(16)


def digest(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def same(given: object, right: str) -> bool:
    """Whether a code or token is the right one, in a time that does not tell how much of it was right."""
    text = given if isinstance(given, str) else ""
    return hmac.compare_digest(text.encode("utf-8", "replace"), right.encode())


def spelled(given: object) -> str:
    """A code as people type it, as the class spells it: capitals, one hyphen."""
    text = str(given)[:40] if isinstance(given, str) else ""
    return re.sub(r"[\s_\u2010-\u2015-]+", "-", text.strip().upper())


def place_of(address: str) -> tuple[str, int, str]:
    """Host, port and code of an address as the board shows it, such as 192.168.1.20:5010/KITE-7431.

    Raises: LabError with a sentence on what an address looks like.
    """
    text = address.strip() if isinstance(address, str) else ""
    try:
        parts = urlsplit(text if "//" in text else f"//{text}")
        host, port, code = parts.hostname, parts.port or PORT, spelled(parts.path.strip("/"))
    except ValueError:
        host, port, code = None, PORT, ""
    if not host or not _shape.fullmatch(code):
        raise LabError(
            f"{text[:80]!r} is no address of a class: copy the line from the board, "
            'such as join("192.168.1.20:5010/KITE-7431", "your name").'
        )
    return host, port, code
