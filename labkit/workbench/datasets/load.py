"""One door to all data sets: `names()` lists them, `load(name)` gives one."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Literal, overload

from labkit.errors import LabError
from labkit.workbench.datasets import synthetic
from labkit.workbench.datasets.corpus import Corpus, austen
from labkit.workbench.datasets.dataset import Dataset
from labkit.workbench.datasets.images import IMAGE_SETS, image_set
from labkit.workbench.datasets.tables import SOURCES, table

SYNTHETIC: dict[str, Callable[[], Dataset]] = {
    "two_moons": synthetic.two_moons,
    "spirals": synthetic.spirals,
    "piecewise_regions": synthetic.piecewise_regions,
}


def names() -> list[str]:
    """The names that `load` knows: images, tables, the text corpus, and tasks made up from a seed."""
    return [*IMAGE_SETS, *SOURCES, "austen", *SYNTHETIC]


# The one name with text is also a str: whoever asks by a variable gets the common kind as the declared one.
@overload
def load(name: Literal["austen"], full: bool = False) -> Corpus: ...  # pyright: ignore[reportOverlappingOverload]
@overload
def load(name: str, full: bool = False) -> Dataset: ...
def load(name: str, full: bool = False) -> Dataset | Corpus:
    """A data set by its name, ready to train on: `load("mnist").train_x`.

    Everything comes from this machine. Only fashion_mnist and mnist have a larger public set: `full=True` gets it
    from the folder LABKIT_DATA, from the cache, or from its public home. All others are complete as they are, and
    `full` changes nothing. A `Dataset` comes back, for "austen" a `Corpus`; its tensors are new on every call.
    Raises: LabError for an unknown name, and where files are missing, damaged or out of reach.
    """
    if not isinstance(name, str) or name not in names():
        close = get_close_matches(str(name), names(), cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}? The names are" if close else "the names are"
        raise LabError(f"there is no data set named {name!r}; {hint} {', '.join(names())}")
    if name in IMAGE_SETS:
        return image_set(name, full)
    if name in SOURCES:
        return table(name)
    if name in SYNTHETIC:
        return SYNTHETIC[name]()
    return austen()
