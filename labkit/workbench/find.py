"""Finds studies by walking the folder labkit/studies: nothing is registered."""

import difflib
import importlib
from pathlib import Path

from labkit.errors import LabError
from labkit.workbench.study import Study


def _modules() -> dict[str, str]:
    folder = Path(__file__).parents[1] / "studies"
    found = {}
    for path in sorted(folder.rglob("*.py")):
        if path.name != "__init__.py":
            found[path.stem] = ".".join(("labkit", "studies", *path.relative_to(folder).with_suffix("").parts))
    return found


def study_names() -> list[str]:
    """The names of all studies, which are the names of their files."""
    return list(_modules())


def study(name: str) -> Study:
    """The study of this name. Raises: LabError with the nearest names when there is none."""
    known = _modules()
    if name not in known:
        near = difflib.get_close_matches(name, known, 3, 0.4) or list(known)
        raise LabError(f"No study is called {name!r}; there is {', '.join(near)}.")
    return importlib.import_module(known[name]).study
